"""Gaussian emissions: densities of frames in the states, and moments of the frames of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.missing import MissingPasses, MissingSums
from fastmotion.em.passes import GaussianPasses, MomentSums
from fastmotion.hmm.sequences import FrameSequences

__all__ = ["GaussianEmissions", "StateSums"]


class GaussianEmissions:
    """Densities and moments of the frames of sequences.

    Parameters
    ----------
    gaussians : Gaussians
        One component for each state.
    sequences : FrameSequences
        A frame's density is that of what was observed of it, 1 if nothing was.
    frame_weight : ndarray of shape (n_frames,) or None, default=None
        Exponents of the densities.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        sequences: FrameSequences,
        frame_weight: NDArray | None = None,
    ) -> None:
        self.gaussians = gaussians
        passes = GaussianPasses if sequences.is_complete else MissingPasses
        self._passes: Any = passes(gaussians)
        self._frames = sequences.frames
        self._frame_weight = frame_weight

    def log_densities(self, rows: slice, out: NDArray) -> None:
        """Set `out`, of shape (n, n_states), to the log-densities of frames in all states."""
        self._passes.log_densities(self._frames[rows], out)
        if self._frame_weight is not None:
            weight = self._frame_weight[rows, np.newaxis]
            # Nothing to the power of 0 is 1.
            np.multiply(out, weight, out=out, where=weight > 0)
            out[weight[:, 0] == 0] = 0.0

    def new_sums(self) -> MomentSums | MissingSums:
        """Return sums over no frames."""
        return self._passes.new_sums()

    def add_moments(self, rows: slice, posteriors: NDArray, sums: MomentSums | MissingSums) -> None:
        """Add the moments of frames, given the (weighted) probabilities of their states."""
        if self._frame_weight is not None:
            posteriors *= self._frame_weight[rows, np.newaxis]
        self._passes.add_moments(self._frames[rows], posteriors, sums)

    def moments(self, sums: MomentSums | MissingSums) -> GaussianMoments:
        """Return what the sums stand for."""
        return self._passes.moments(sums)


class StateSums:
    """What the M-step needs of the probabilities of states: a sink of `recursions.smooth`.

    Parameters
    ----------
    emissions : GaussianEmissions
    starts : ndarray of shape (n_sequences,)
        The first frame of each sequence.
    row_weight : ndarray of shape (n_frames,) or None
        The weight of each frame's sequence; None if all are 1.
    """

    def __init__(
        self, emissions: GaussianEmissions, starts: NDArray, row_weight: NDArray | None
    ) -> None:
        self._emissions = emissions
        self._starts = starts
        self._row_weight = row_weight
        self.moments: Any = emissions.new_sums()
        self.first = np.zeros(emissions.gaussians.n_components)

    def __call__(self, rows: slice, posteriors: NDArray) -> None:
        """Add frames."""
        if self._row_weight is not None:
            posteriors *= self._row_weight[rows, np.newaxis]
        begin, end = np.searchsorted(self._starts, (rows.start, rows.stop))
        self.first += posteriors[self._starts[begin:end] - rows.start].sum(axis=0)
        self._emissions.add_moments(rows, posteriors, self.moments)

    def add(self, other: StateSums) -> None:
        """Add the sums over other frames."""
        self.moments.add(other.moments)
        self.first += other.first
