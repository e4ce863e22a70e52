"""Gaussian emissions: densities of frames in the states, and moments of the frames of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.missing import MissingDevicePasses, MissingPasses, MissingSums
from fastmotion.em.passes import GaussianPasses, MomentSums
from fastmotion.hmm.kernels import kernels_for
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
    frame_weight : array of shape (n_frames,) or None, default=None
        Exponents of the densities, on the device of the sequences.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        sequences: FrameSequences,
        frame_weight: Any = None,
    ) -> None:
        self.gaussians = gaussians
        self.memory = sequences.memory
        self._kernels = kernels_for(self.memory.device.kind)
        self._sequences = sequences
        self._passes: Any
        if sequences.is_on_host and not sequences.is_complete:
            self._passes = MissingPasses(gaussians)
        else:
            as_matrices = not sequences.is_complete
            self._passes = GaussianPasses(gaussians, memory=self.memory, as_matrices=as_matrices)
        self._frame_weight = frame_weight

    def log_densities(self, rows: slice, out: Any) -> None:
        """Set `out`, of shape (n, n_states), to the log-densities of frames in all states."""
        self._passes_over(rows).log_densities(self._sequences.frames[rows], out)
        if self._frame_weight is not None:
            self._kernels.temper(out, self._frame_weight[rows])

    def new_sums(self) -> MomentSums | MissingSums:
        """Return sums over no frames."""
        return self._passes.new_sums()

    def add_moments(self, rows: slice, posteriors: Any, sums: MomentSums | MissingSums) -> None:
        """Add the moments of frames, given the (weighted) probabilities of their states."""
        if self._frame_weight is not None:
            self._kernels.weigh_rows(posteriors, self._frame_weight[rows])
        self._passes_over(rows).add_moments(self._sequences.frames[rows], posteriors, sums)

    def moments(self, sums: MomentSums | MissingSums) -> GaussianMoments:
        """Return what the sums stand for."""
        return self._passes.moments(self._passes.fetch(sums))

    def _passes_over(self, rows: slice) -> Any:
        """Return the passes over some frames: those on a device know which of them miss what."""
        if self._sequences.is_on_host or self._sequences.is_complete:
            return self._passes
        patterns = self._sequences.patterns(rows)
        return MissingDevicePasses(self.gaussians, patterns=patterns, memory=self.memory)


class StateSums:
    """What the M-step needs of the probabilities of states: a sink of `recursions.smooth`.

    Parameters
    ----------
    emissions : GaussianEmissions
    starts : ndarray of shape (n_sequences,)
        The first frame of each sequence.
    row_weight : array of shape (n_frames,) or None
        The weight of each frame's sequence, on the device of the emissions; None if all are 1.
    """

    def __init__(
        self, emissions: GaussianEmissions, starts: NDArray[np.int64], row_weight: Any
    ) -> None:
        self._emissions = emissions
        self._starts = starts
        self._row_weight = row_weight
        self.moments: Any = emissions.new_sums()
        self._memory = emissions.memory
        self._kernels = kernels_for(self._memory.device.kind)
        self._first = self._memory.zeros(emissions.gaussians.n_components, np.float64)

    @property
    def first(self) -> NDArray[np.float64]:
        """Expected number of sequences that begin in each state."""
        return self._memory.fetch(self._first)

    def __call__(self, rows: slice, posteriors: Any) -> None:
        """Add frames."""
        if self._row_weight is not None:
            self._kernels.weigh_rows(posteriors, self._row_weight[rows])
        begin, end = np.searchsorted(self._starts, (rows.start, rows.stop))
        if end > begin:
            starts = self._memory.put(self._starts[begin:end] - rows.start)
            self._kernels.sum_starts(posteriors, starts, self._first)
        self._emissions.add_moments(rows, posteriors, self.moments)

    def add(self, other: StateSums) -> None:
        """Add the sums over other frames; both on the host."""
        self.moments.add(other.moments)
        self._first += other._first
