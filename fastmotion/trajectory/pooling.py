"""Statistics of features over whole sequences and over parts of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

POOLS = ("mean", "std", "min", "max", "energy")

# Bytes that are worked on at a time: they stay in the second cache.
_CHUNK_BYTES = 1 << 20


def cell_names(pyramid: Sequence[int]) -> list[str]:
    """Return the names of the parts of a sequence, "1of1" for the whole."""
    return [f"{i + 1}of{level}" for level in pyramid for i in range(level)]


def cells_of(pyramid: Sequence[int]) -> list[tuple[int, int]]:
    """Return of each part of a sequence into how many of them it is cut, and its number."""
    return [(n, i) for n in pyramid for i in range(n)]


def pool(
    values: NDArray,
    lengths: NDArray[np.int64],
    pools: Sequence[str],
    pyramid: Sequence[int],
) -> NDArray:
    """Return statistics of each sequence and of its parts.

    Parameters
    ----------
    values : ndarray of shape (n_kernels, n_rows, n_channels)
        Rows of the sequences, one after the other. NaN is left out.
    lengths : ndarray of shape (n_sequences,), int64
        Rows of each sequence; at least as many as the finest level of the pyramid has parts.
    pools : sequence of {"mean", "std", "min", "max", "energy"}
        "energy" is the mean square.
    pyramid : sequence of int
        For each number, sequences are cut into so many parts of equal length, to within a row.

    Returns
    -------
    ndarray of shape (n_sequences, n_kernels, n_channels, n_pools, n_cells)
        Of the dtype of the values; sums are float64. NaN for parts without any value.
    """
    n_kernels, _, n_channels = values.shape
    n_cells = sum(pyramid)
    out = np.empty((len(lengths), n_kernels, n_channels, len(pools), n_cells), values.dtype)
    for begin, end, row in _runs(lengths, values.itemsize * n_kernels * n_channels):
        n_rows = int(lengths[begin])
        rows = values[:, row : row + (end - begin) * n_rows]
        block = rows.reshape(n_kernels, end - begin, n_rows, n_channels)
        for cell, (first, last) in enumerate(_bounds(n_rows, pyramid)):
            statistics = _statistics(block[:, :, first:last], pools)
            out[begin:end, ..., cell] = statistics.transpose(2, 1, 3, 0)
    return out


def _runs(lengths: NDArray[np.int64], row_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Yield first sequence, end and first row of runs of sequences of one length."""
    begin, row = 0, 0
    while begin < len(lengths):
        n_rows = int(lengths[begin])
        end = begin + max(1, _CHUNK_BYTES // (row_bytes * n_rows))
        others = np.flatnonzero(lengths[begin:end] != n_rows)
        end = begin + int(others[0]) if len(others) else min(end, len(lengths))
        yield begin, end, row
        begin, row = end, row + (end - begin) * n_rows


def _bounds(n_rows: int, pyramid: Sequence[int]) -> list[tuple[int, int]]:
    return [(n_rows * i // n, n_rows * (i + 1) // n) for n, i in cells_of(pyramid)]


def _statistics(block: NDArray, pools: Sequence[str]) -> NDArray[np.float64]:
    """Return statistics over the last axis but one, (n_pools, ..., n_channels)."""
    missing = np.isnan(block)
    some_missing = missing.any()
    count = np.full(block.shape[:-2] + block.shape[-1:], float(block.shape[-2]))
    present = block
    if some_missing:
        count -= missing.sum(axis=-2)
        present = np.where(missing, 0, block)
    divisor = np.maximum(count, 1)

    def average(terms: NDArray) -> NDArray[np.float64]:
        return terms.sum(axis=-2, dtype=np.float64) / divisor

    def std() -> NDArray[np.float64]:
        deviations = present - average(present)[..., np.newaxis, :]
        if some_missing:
            deviations[missing] = 0
        return np.sqrt(average(deviations * deviations))

    makers = {
        "mean": lambda: average(present),
        "std": std,
        "min": lambda: np.fmin.reduce(block, axis=-2),
        "max": lambda: np.fmax.reduce(block, axis=-2),
        "energy": lambda: average(np.square(present, dtype=np.float64)),
    }
    statistics = np.array([makers[name]() for name in pools], np.float64)
    if some_missing:
        statistics[:, count == 0] = np.nan
    return statistics
