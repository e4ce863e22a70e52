from itertools import pairwise

import numpy as np
import pytest

from fastmotion.cli import flow


class StandIn:
    """An estimator that measures one translation for all pixels, by phase correlation."""

    def __init__(self, args):
        self.args = args
        self.n_calls = 0
        self.interrupt_at = None

    def transform(self, X):
        return np.array([[self.estimate(*pair) for pair in pairwise(clip)] for clip in X])

    def estimate(self, frame0, frame1):
        self.n_calls += 1
        if self.n_calls == self.interrupt_at:
            raise KeyboardInterrupt
        if frame0.shape != frame1.shape:
            raise ValueError(f"frames differ in size:\n{frame0.shape} and {frame1.shape}")
        planes = [np.fft.fft2(np.atleast_3d(frame).mean(axis=2)) for frame in (frame0, frame1)]
        cross = planes[1] * planes[0].conj()
        peak = np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-9)).real
        v, u = np.unravel_index(peak.argmax(), peak.shape)
        height, width = peak.shape
        vector = (u + width // 2) % width - width // 2, (v + height // 2) % height - height // 2
        return np.full((height, width, 2), vector, dtype=np.float32)


@pytest.fixture
def stand_in(monkeypatch):
    """Replace the estimators of ``fastmotion flow`` by one object, which notes its arguments."""
    estimator = StandIn(None)

    def make(args):
        estimator.args = args
        return estimator

    monkeypatch.setattr(flow, "make_estimator", make)
    return estimator
