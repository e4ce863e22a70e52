"""Products of all channels at all pairs of lags, without the lagged matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray

# Segments whose ends are multiplied at once.
_BATCH = 64


class BlockLags:
    """Sums over windows of the products of all channels at all pairs of lags.

    One step along both lags changes a sum by the products at the two ends of a segment alone. So
    the products of lag 0 with all others and those at the ends determine all of them: for N frames,
    C channels and L lags that is a cost of N C² L, where the lagged matrix would take N C² L². The
    sums are additive: they may be collected apart and merged.

    Parameters
    ----------
    n_lags : int
        Frames of a window, lag 0 being its last one.
    n_channels : int
        Values of a frame.

    Attributes
    ----------
    n_windows : int
        Number of windows seen.
    """

    def __init__(self, n_lags: int, n_channels: int) -> None:
        self.n_lags = n_lags
        self.n_channels = n_channels
        self.n_windows = 0
        self._first_row = np.zeros((n_lags, n_channels, n_channels))
        n_inner = (n_lags - 1) * n_channels
        self._ends = np.zeros((n_inner, n_inner))

    def update(self, segments: Iterable[NDArray[np.float64]]) -> Self:
        """Add all windows of segments.

        Parameters
        ----------
        segments : iterable of ndarray of shape (n_frames, n_channels), float64
            Finite; segments shorter than a window add nothing.

        Returns
        -------
        self
            This object.
        """
        heads: list[NDArray] = []
        tails: list[NDArray] = []
        inner = self.n_lags - 1
        for values in segments:
            if len(values) < self.n_lags:
                continue
            self._add_first_row(values)
            heads.append(values[:inner][::-1].ravel())
            tails.append(values[len(values) - inner :][::-1].ravel())
            if len(heads) == _BATCH:
                self._add_ends(heads, tails)
                heads, tails = [], []
        if heads:
            self._add_ends(heads, tails)
        return self

    def _add_first_row(self, values: NDArray[np.float64]) -> None:
        n_windows = len(values) - self.n_lags + 1
        newest = values[self.n_lags - 1 :].T
        for lag, products in enumerate(self._first_row):
            first = self.n_lags - 1 - lag
            products += newest @ values[first : first + n_windows]
        self.n_windows += n_windows

    def _add_ends(self, heads: list[NDArray], tails: list[NDArray]) -> None:
        entering, leaving = np.stack(heads), np.stack(tails)
        self._ends += entering.T @ entering
        self._ends -= leaving.T @ leaving

    def merge(self, other: BlockLags) -> Self:
        """Add the sums of others with as many lags and channels.

        Parameters
        ----------
        other : BlockLags
            It stays as it is.

        Returns
        -------
        self
            This object.
        """
        self.n_windows += other.n_windows
        self._first_row += other._first_row
        self._ends += other._ends
        return self

    def gram(self) -> NDArray[np.float64]:
        """Return the sums of products.

        Returns
        -------
        ndarray of shape (n_lags, n_channels, n_lags, n_channels), float64
            ``[i, a, j, b]`` is the sum over the windows of channel a at lag i times b at lag j.
        """
        n_lags, n_channels = self.n_lags, self.n_channels
        gram = np.zeros((n_lags, n_channels, n_lags, n_channels))
        ends = self._ends.reshape(n_lags - 1, n_channels, n_lags - 1, n_channels)
        gram[0] = self._first_row.transpose(1, 0, 2)
        for i in range(n_lags - 1):
            gram[i + 1, :, i + 1 :] = gram[i, :, i:-1] + ends[i, :, i:]
        flat = gram.reshape(n_lags * n_channels, -1)
        return (np.triu(flat) + np.triu(flat, 1).T).reshape(gram.shape)
