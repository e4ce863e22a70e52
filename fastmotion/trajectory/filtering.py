"""Motion kernels at work: weighted sums of the frames around each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, is_cuda_array, thread_limit, worthwhile_threads
from fastmotion.core.memory import memory_at, memory_of
from fastmotion.core.transfer import transfers
from fastmotion.trajectory.kernels import kernels_for
from fastmotion.trajectory.on_device import as_float64, row_blocks, transposed
from fastmotion.trajectory.sequences import Sequences

EDGES = ("valid", "nearest", "reflect", "refit")

# Bytes of frames on the host, and of their outputs, that go to a device as one part.
_PART_BYTES = 1 << 26
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
    values = filter_frames(
        sequences,
        kernels,
        edges=edges,
        min_valid=min_valid,
        confidence=confidence,
        n_jobs=n_jobs,
        device=device,
        out=out,
    )
    if is_cuda_array(values):
        return transposed(values, (1, 2, 3, 0))
    return np.moveaxis(values, 0, -1)


def filter_frames(
    sequences: Sequences,
    kernels: Sequence[Taps],
    *,
    edges: str,
    min_valid: float,
    confidence: Any = None,
    n_jobs: int | None = None,
    device: Device,
    out: Any = None,
) -> Any:
    """Return what `apply_kernels` does with the axis of the kernels as the first one.

    Frames on a CUDA device give outputs on it, which belong to the caller. Frames on the host go to
    a device in parts.
    """
    compiled = kernels_for(device.kind)
    frames = sequences.frames
    n_channels = sequences.n_joints * sequences.n_coords
    shape = len(frames), n_channels
    taps = np.unique(np.concatenate([kernel.offsets for kernel in kernels]))
    program = _Program.of(kernels, taps, edges, min_valid, frames.dtype, n_channels, compiled)
    blocks = _blocks(sequences, _block_rows(taps, n_channels, compiled))
    if out is None:
        empty = memory_at(frames).new if is_cuda_array(frames) else np.empty
        out = empty((len(kernels), *shape), frames.dtype)
    outs = out.reshape((len(kernels), *shape))
    work = outs.size * (len(taps) + 4)
    with thread_limit(n_jobs) as n_threads, thread_limit(worthwhile_threads(n_threads, work)):
        if device.kind == "cpu" or is_cuda_array(frames):
            with memory_of(device).scope("pass fewer frames at a time"):
                n_infinite = program.run(frames.reshape(shape), confidence, blocks, outs, device)
        else:
            n_infinite = _filter_parts(
                program, frames.reshape(shape), confidence, blocks, outs, device
            )
    if n_infinite:
        raise ValueError("X must not hold infinite values; mark missing values with NaN")
    return out.reshape((len(kernels), *tuple(frames.shape)))


@dataclass(frozen=True, eq=False)
class _Program:
    """What several motion kernels are to a compiled `apply_kernels`."""

    compiled: ModuleType
    offsets: NDArray[np.int64]
    uses: NDArray[np.bool_]
    weights: NDArray
    edges: int
    edge_weights: NDArray
    edge_rows: NDArray[np.int64]
    moments: NDArray[np.int64]
    min_valid: float

    @classmethod
    def of(
        cls,
        kernels: Sequence[Taps],
        taps: NDArray[np.int64],
        edges: str,
        min_valid: float,
        dtype: np.dtype,
        n_channels: int,
        compiled: ModuleType,
    ) -> _Program:
        """Return the program of kernels that read the frames at `taps`."""
        columns = max(len(kernel.weights) for kernel in kernels)
        n_padded = _padded(len(taps), columns, compiled)
        edge_rows = _edge_rows(kernels, edges)
        return cls(
            compiled,
            np.pad(taps, (0, n_padded - len(taps)), "edge"),
            np.stack([np.isin(taps, kernel.offsets) for kernel in kernels]),
            _weights(kernels, taps, n_padded, columns).astype(dtype),
            {"nearest": compiled.EDGE_NEAREST, "reflect": compiled.EDGE_REFLECT}.get(
                edges, compiled.EDGE_MISSING
            ),
            _edge_weights(kernels, taps, edge_rows, columns).astype(dtype),
            edge_rows,
            _moments(kernels),
            float(min_valid),
        )

    @property
    def reach(self) -> int:
        """Frames that a window reads at most to either side of its own."""
        return int(np.abs(self.offsets).max())

    def run(self, frames: Any, confidence: Any, blocks: Any, outs: Any, device: Device) -> int:
        """Set the outputs of some blocks; return the number of infinite values met."""
        n_channels = frames.shape[1]
        columns = 1 if confidence is None else confidence.shape[1]
        trust = np.empty((0, columns)) if confidence is None else as_float64(confidence)
        if not is_cuda_array(trust):
            trust = memory_of(device).put(np.ascontiguousarray(trust))
        return self.compiled.apply_kernels(
            frames,
            trust,
            np.arange(n_channels, dtype=np.int64) * columns // n_channels,
            blocks,
            self.offsets,
            self.uses,
            self.weights,
            self.edges,
            self.edge_weights,
            self.edge_rows,
            self.moments,
            self.min_valid,
            outs,
        )


def _filter_parts(
    program: _Program,
    frames: NDArray,
    confidence: NDArray | None,
    blocks: NDArray[np.int64],
    outs: NDArray,
    device: Device,
) -> int:
    """Filter frames on the host part by part on a device: while one is worked on, others move."""
    memory = memory_of(device)
    blocks = blocks[np.argsort(blocks[:, 2], kind="stable")]
    row_bytes = frames.shape[1] * frames.itemsize * (1 + len(outs))
    # Of those on their way there are a few at a time, each way.
    most = max(1, min(_PART_BYTES, memory.budget() // 6) // row_bytes)
    n_infinite = 0
    with memory.scope("pass fewer frames at a time"), transfers(memory) as moving:
        parts = _parts(blocks, most, program.reach)
        coming = moving.up(frames[parts[0].rows])
        for part, following in zip(parts, [*parts[1:], None]):
            here = coming()
            if following is not None:
                coming = moving.up(frames[following.rows])
            with memory.scope("pass fewer frames at a time"):
                trust = None if confidence is None else memory.put(confidence[part.rows])
                results = memory.empty((len(outs), *here.shape), frames.dtype)
                shifted = blocks[part.blocks] - part.rows.start
                n_infinite += program.run(here, trust, shifted, results, device)
                low, high = (
                    part.outputs.start - part.rows.start,
                    part.outputs.stop - part.rows.start,
                )
                for k, out in enumerate(outs):
                    moving.down(results[k][low:high], out[part.outputs])
    return n_infinite


@dataclass(frozen=True)
class _Part:
    """Some blocks, the rows that they give, and those that these need."""

    blocks: slice
    outputs: slice
    rows: slice


def _parts(blocks: NDArray[np.int64], n_rows: int, reach: int) -> list[_Part]:
    """Return blocks, whose sequences follow on each other, in parts of at most so many rows."""
    parts, first = [], 0
    while first < len(blocks):
        end = int(np.searchsorted(blocks[:, 3], blocks[first, 2] + n_rows, side="right"))
        last = max(first, end - 1)
        low = max(blocks[first, 0], blocks[first, 2] - reach)
        high = min(blocks[last, 1], blocks[last, 3] + reach)
        parts.append(
            _Part(
                slice(first, last + 1),
                slice(int(blocks[first, 2]), int(blocks[last, 3])),
                slice(int(low), int(high)),
            )
        )
        first = last + 1
    return parts


def _block_rows(taps: NDArray[np.int64], n_channels: int, compiled: ModuleType) -> int:
    """Return the rows of a block: whole groups of those that a thread gives at a time."""
    group = compiled.BLOCK_ROWS
    if group > 1 and len(taps) > 1:
        group *= int(np.gcd.reduce(np.diff(taps)))
    return max(1, compiled.BLOCK // n_channels // group) * group


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
    return row_blocks(sequences.starts, sequences.stops, n_rows)
