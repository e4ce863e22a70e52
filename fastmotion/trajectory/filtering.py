"""Motion kernels at work: weighted sums of the frames around each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, thread_limit, worthwhile_threads
from fastmotion.trajectory.kernels import kernels_for
from fastmotion.trajectory.sequences import Sequences, number_parts

EDGES = ("valid", "nearest", "reflect", "refit")

# Values of a block: its inputs and outputs stay in the first caches.
_BLOCK = 4096
# Weights that differ between channels are laid out until a row of them is about this long.
_ROW = 256
# A moment is zero if it is this small beside the sum of its terms' sizes.
_ZERO_MOMENT = 1e-9


@dataclass(frozen=True, eq=False)
class Taps:
    """A motion kernel.

    Attributes
    ----------
    offsets : ndarray of shape (n_taps,), int64
        Frames that it reads, relative to the one it gives a value for; increasing.
    weights : ndarray of shape (1 or n_channels, n_taps)
        For all channels, or for each; a channel is a coordinate of a joint.
    edge_weights : ndarray of shape (2, n_rows, 1 or n_channels, n_taps) or None
        Weights for windows that are cut off, at the first (0) or last frame (1) of a sequence, by
        the distance from that frame.
    """

    offsets: NDArray[np.int64]
    weights: NDArray[np.float64]
    edge_weights: NDArray[np.float64] | None = None

    @property
    def derivative_order(self) -> int:
        """Number of the first moment ``sum weights offsets^p`` that is not zero; at most 3."""
        sizes = np.abs(self.weights)
        for order in range(3):
            powers = self.offsets.astype(np.float64) ** order
            if (np.abs(self.weights @ powers) > _ZERO_MOMENT * (sizes @ np.abs(powers))).any():
                return order
        return 3


def apply_kernels(
    sequences: Sequences,
    kernels: Sequence[Taps],
    *,
    edges: str,
    min_valid: float,
    confidence: NDArray | None = None,
    n_jobs: int | None = None,
    device: Device,
    out: NDArray | None = None,
) -> NDArray:
    """Return the output of each kernel at each frame.

    Where taps are missing the others' weights are changed, by as little as possible, so that the
    sum and the first moment of the weights (up to the third one for derivatives) stay what they
    are: what stands still or moves evenly gives the same as with all taps. Confidences, relative to
    the largest in the window, count as taps that are there in part.

    Parameters
    ----------
    sequences : Sequences
    kernels : sequence of Taps
    edges : {"valid", "nearest", "reflect", "refit"}
        What windows read beyond the ends of a sequence: the frame at the end, frames mirrored there
        (``c b a | a b c``), or nothing, so that those taps are missing or the kernel's own weights
        for the edge apply. With "valid" the caller leaves those frames out.
    min_valid : float
        Least share of a kernel's taps that must be there, else the result is NaN.
    confidence : ndarray of shape (total_frames, n_joints) or None, default=None
    n_jobs : int or None, default=None
    device : Device
    out : ndarray of shape (n_kernels, total_frames, n_channels) or None, default=None
        C-contiguous memory of the dtype of the frames to put the outputs in. To let the system
        provide new memory takes about as long as to fill it.

    Returns
    -------
    ndarray of shape (total_frames, n_joints, n_coords, n_kernels)
        Of the dtype of the frames; a view of an array whose first axis is that of the kernels.

    Raises
    ------
    ValueError
        A value is infinite.
    """
    compiled = kernels_for(device.kind)
    frames = sequences.frames.reshape(len(sequences.frames), -1)
    n_channels = frames.shape[1]
    taps = np.unique(np.concatenate([kernel.offsets for kernel in kernels]))
    columns = max(len(kernel.weights) for kernel in kernels)
    n_padded = _padded(len(taps), columns, compiled)
    edge_rows = _edge_rows(kernels, edges)
    rows = np.empty((0, 1)) if confidence is None else confidence
    outs = np.empty((len(kernels), *frames.shape), frames.dtype) if out is None else out
    work = outs.size * (len(taps) + 4)
    with thread_limit(n_jobs) as n_threads, thread_limit(worthwhile_threads(n_threads, work)):
        n_infinite = compiled.apply_kernels(
            frames,
            np.ascontiguousarray(rows, np.float64),
            np.arange(n_channels, dtype=np.int64) * rows.shape[1] // n_channels,
            _blocks(sequences, max(1, _BLOCK // n_channels)),
            np.pad(taps, (0, n_padded - len(taps)), "edge"),
            np.stack([np.isin(taps, kernel.offsets) for kernel in kernels]),
            _weights(kernels, taps, n_padded, columns).astype(frames.dtype),
            {"nearest": compiled.EDGE_NEAREST, "reflect": compiled.EDGE_REFLECT}.get(
                edges, compiled.EDGE_MISSING
            ),
            _edge_weights(kernels, taps, edge_rows, columns).astype(frames.dtype),
            edge_rows,
            _moments(kernels),
            float(min_valid),
            outs,
        )
    if n_infinite:
        raise ValueError("X must not hold infinite values; mark missing values with NaN")
    return np.moveaxis(outs.reshape(len(kernels), *sequences.frames.shape), 0, -1)


def _padded(n_taps: int, columns: int, compiled: ModuleType) -> int:
    """Return the number of taps of whole passes."""
    first = compiled.FIRST_TAPS if columns == 1 else compiled.MORE_TAPS
    return first + -(-max(0, n_taps - first) // compiled.MORE_TAPS) * compiled.MORE_TAPS


def _weights(
    kernels: Sequence[Taps], taps: NDArray[np.int64], n_padded: int, columns: int
) -> NDArray[np.float64]:
    """Return the weights of all taps, (n_kernels, n_padded, period)."""
    repeats = max(1, _ROW // columns) if columns > 1 else 1
    out = np.zeros((len(kernels), n_padded, repeats, columns))
    for kernel, row in zip(kernels, out):
        row[np.searchsorted(taps, kernel.offsets)] = kernel.weights.T[:, np.newaxis, :]
    return out.reshape(len(kernels), n_padded, -1)


def _edge_rows(kernels: Sequence[Taps], edges: str) -> NDArray[np.int64]:
    """Return for how many distances from an edge each kernel has weights of its own."""
    weights = [kernel.edge_weights if edges == "refit" else None for kernel in kernels]
    return np.array([0 if w is None else w.shape[1] for w in weights], np.int64)


def _edge_weights(
    kernels: Sequence[Taps],
    taps: NDArray[np.int64],
    edge_rows: NDArray[np.int64],
    columns: int,
) -> NDArray[np.float64]:
    """Return the weights at the edges, (n_kernels, 2, n_rows, n_taps, columns)."""
    out = np.zeros((len(kernels), 2, int(edge_rows.max()), len(taps), columns))
    for kernel, n_rows, block in zip(kernels, edge_rows, out):
        if kernel.edge_weights is not None and n_rows:
            places = np.searchsorted(taps, kernel.offsets)
            block[:, :n_rows, places] = kernel.edge_weights.swapaxes(2, 3)
    return out


def _moments(kernels: Sequence[Taps]) -> NDArray[np.int64]:
    """Return how many moments to keep where taps are missing, and how many at least."""
    needed = np.array([kernel.derivative_order + 1 for kernel in kernels])
    return np.stack([np.maximum(needed, 2), needed], axis=1)


def _blocks(sequences: Sequences, n_rows: int) -> NDArray[np.int64]:
    """Return sequence and part of each block of frames, (n_blocks, 4)."""
    counts = -(-sequences.lengths // n_rows)
    owners, number = number_parts(counts)
    starts, stops = sequences.starts[owners], sequences.stops[owners]
    begin = starts + number * n_rows
    return np.stack([starts, stops, begin, np.minimum(begin + n_rows, stops)], axis=1)
