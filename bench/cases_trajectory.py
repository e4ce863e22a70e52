"""Recorded joint trajectories and the tasks set on them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d
from scipy.signal import butter, filtfilt

from bench.cases import data_folder

FPS = 25.0
# Joints of the 38 that stay where they are or repeat another: the usual list of this benchmark.
_LEFT_OUT = (0, 1, 2, 7, 8, 13, 16, 20, 24, 27, 29, 33, 36)
# The one training sequence with glitches: 53 jumps of more than 300 mm.
_GLITCHY = ("directing_traffic", 1)
# No part of the usual benchmark.
_EXTRA = "walking_extra"

CUTOFF_HZ = 8.0
# Central difference over seven frames: exact for polynomials up to the sixth degree.
_DERIVATIVE = np.array([-1, 9, -45, 0, 45, -9, 1]) / 60


@dataclass(frozen=True)
class MotionCapture:
    """Sequences of shape (n_frames, 25, 3) in mm at 25 frames per second, float64."""

    clean: list[np.ndarray]
    """For training."""
    glitchy: list[np.ndarray]
    """For training, with tracking errors."""
    test: list[np.ndarray]


@functools.cache
def motion_capture() -> MotionCapture:
    """CMU motion capture, with the split of the benchmark of human motion prediction."""
    with np.load(_folder() / "cmu_mocap_8actions.npz") as file:
        frames = np.delete(file["X"].astype(float), _LEFT_OUT, axis=1)
        sequences = np.split(frames, np.cumsum(file["lengths"])[:-1])
        rows = list(zip(sequences, file["action"], file["number"], file["split"] == 0))
    rows = [row for row in rows if row[1] != _EXTRA]
    train = [(x, (action, number) == _GLITCHY) for x, action, number, trains in rows if trains]
    return MotionCapture(
        clean=[x for x, is_glitchy in train if not is_glitchy],
        glitchy=[x for x, is_glitchy in train if is_glitchy],
        test=[x for x, _, _, trains in rows if not trains],
    )


@dataclass(frozen=True)
class NoisyMotion:
    """Positions (mm) with noise, and the velocity (mm/s) of the motion without it."""

    positions: list[np.ndarray]
    velocities: list[np.ndarray]


def noisy_motion(sequences: Iterable[np.ndarray], sigma: float, seed: int) -> NoisyMotion:
    """Low-pass sequences forwards and backwards, differentiate, then add white noise."""
    rng = np.random.default_rng(seed)
    filter_ = butter(4, CUTOFF_HZ, fs=FPS)
    smooth = [filtfilt(*filter_, x, axis=0) for x in sequences]
    return NoisyMotion(
        [x + sigma * rng.standard_normal(x.shape) for x in smooth],
        [FPS * correlate1d(x, _DERIVATIVE, axis=0) for x in smooth],
    )


@dataclass(frozen=True)
class Labelled:
    """Sequences of shape (n_sequences, n_frames, n_joints, n_coords) and their classes."""

    X: np.ndarray
    y: np.ndarray


@functools.cache
def signals() -> tuple[Labelled, Labelled]:
    """Training and test half of NATOPS: six aircraft handling signals, 8 joints, 51 frames."""
    with np.load(_folder() / "natops.npz") as file:
        X, y, split = file["X"].astype(float), file["y"], file["split"]
    X = X.reshape(len(y), -1, *X.shape[1:])
    return Labelled(X[split == 0], y[split == 0]), Labelled(X[split == 1], y[split == 1])


def with_gaps(
    sequence: np.ndarray, length: int, *, margin: int, shift: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make every ``2 * margin + length``-th run of frames NaN, `shift` frames later than at first.

    Returns the sequence with gaps and which frames are missing; `margin` frames at both ends and
    twice as many between gaps stay.
    """
    starts = np.arange(margin + shift, len(sequence) - margin - length + 1, 2 * margin + length)
    missing = np.zeros(len(sequence), bool)
    missing[(starts[:, np.newaxis] + np.arange(length)).ravel()] = True
    gappy = sequence.copy()
    gappy[missing] = np.nan
    return gappy, missing


def pooled_rmse(
    estimates: Sequence[np.ndarray], truths: Sequence[np.ndarray], margin: int
) -> float:
    """Root mean square error over all frames of all sequences but `margin` at both ends."""
    errors = [(a - b)[margin:-margin].ravel() for a, b in zip(estimates, truths)]
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def joint_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over frames and joints of the Euclidean distance."""
    return float(np.linalg.norm(a - b, axis=-1).mean())


def _folder():
    folder = data_folder("trajectory")
    if folder is None:
        raise FileNotFoundError("set FASTMOTION_DATA to the folder that holds trajectory/")
    return folder
