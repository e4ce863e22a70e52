"""What takes the probabilities of states from `recursions.smooth`, on the device of the frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastmotion.core.memory import Memory
from fastmotion.hmm.kernels import kernels_for

__all__ = ["MostProbable", "Posteriors"]


class Posteriors:
    """Takes all of them.

    Parameters
    ----------
    shape : tuple of two ints
        Number of frames and of states.
    dtype : dtype
    source : Memory
        Where they come from.
    target : Memory
        Where they go: there, too, or to the host.

    Attributes
    ----------
    values : array of that shape and dtype
        NaN for frames whose probabilities were not told.
    """

    def __init__(
        self, shape: tuple[int, int], dtype: DTypeLike, source: Memory, target: Memory
    ) -> None:
        self._kernels = kernels_for(source.device.kind)
        self.values = target.new(shape, dtype)
        target.fill(self.values, np.nan)

    def __call__(self, rows: slice, posteriors: Any) -> None:
        """Take those of some frames."""
        self._kernels.store(posteriors, self.values[rows])


class MostProbable:
    """Takes the most probable state of each frame.

    Parameters
    ----------
    n_frames : int
    memory : Memory

    Attributes
    ----------
    states : array of shape (n_frames,), int64
        0 for frames whose probabilities were not told.
    """

    def __init__(self, n_frames: int, memory: Memory) -> None:
        self._kernels = kernels_for(memory.device.kind)
        self.states = memory.new(n_frames, np.int64)
        memory.fill(self.states, 0)
        self._certainty = memory.zeros(n_frames, np.float64)

    def __call__(self, rows: slice, posteriors: Any) -> None:
        """Take those of some frames."""
        self._kernels.most_probable(posteriors, self.states[rows], self._certainty[rows])

    @property
    def certainty(self) -> float:
        """The sum of the states' probabilities."""
        return self._kernels.total(self._certainty)
