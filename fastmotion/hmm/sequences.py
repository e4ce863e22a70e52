"""Sequences of frames as callers hold them, and as the recursions work on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from fastmotion.core.compile import as_kernel_input
from fastmotion.core.device import CPU, is_cuda_array
from fastmotion.core.interop import as_device_array
from fastmotion.core.memory import Memory, memory_of
from fastmotion.core.validation import as_real_array, require_no_text
from fastmotion.em.device_input import check_device_features, host_weights
from fastmotion.em.missing import DevicePatterns
from fastmotion.em.rows import has_missing
from fastmotion.hmm.kernels import kernels_for

__all__ = ["FrameSequences", "check_no_lengths", "check_sequences", "check_weights"]


@dataclass(frozen=True)
class FrameSequences:
    """Sequences of frames, one after the other in one array.

    Attributes
    ----------
    frames : array of shape (n_frames, n_features), float32 or float64
        C-contiguous; it may be the caller's memory and must not be written to. NaN is missing.
    stops : ndarray of shape (n_sequences,), int64
        Where each sequence ends.
    memory : Memory
        Where the frames lie.
    """

    frames: Any
    stops: NDArray[np.int64]
    memory: Memory = field(default_factory=lambda: memory_of(CPU))

    @property
    def is_on_host(self) -> bool:
        """Whether the frames are."""
        return self.memory.device.kind == "cpu"

    @cached_property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not has_missing(self.frames)

    def patterns(self, rows: slice) -> DevicePatterns:
        """Return which of some frames on a device miss what; kept as long as the sequences."""
        key = rows.start, rows.stop
        if key not in self._patterns:
            found = DevicePatterns.of(self.frames[rows], self.memory)
            self._patterns[key] = DevicePatterns(self._keep(found.order), self._keep(found.starts))
        return self._patterns[key]

    @cached_property
    def _patterns(self) -> dict[tuple[int, int], DevicePatterns]:
        return {}

    def _keep(self, array: Any) -> Any:
        kept = self.memory.new(array.shape, array.dtype)
        self.memory.copy(array, kept)
        return kept

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each sequence begins."""
        return np.concatenate([[0], self.stops[:-1]])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of frames of each sequence."""
        return self.stops - self.starts

    def spread(self, sequence_weight: NDArray) -> NDArray | None:
        """Return the weight of each frame's sequence, or None where all are 1."""
        if (sequence_weight == 1).all():
            return None
        return np.repeat(sequence_weight, self.lengths)

    def without_idle(self, row_weight: NDArray | None) -> FrameSequences:
        """Return sequences whose frames of weight 0 hold what a frame that counts does.

        Whatever they held is not to count, and might overflow.
        """
        if row_weight is None or row_weight.all():
            return self
        memory = self.memory
        frames = memory.empty(self.frames.shape, self.frames.dtype)
        memory.copy(self.frames, frames)
        kernels = kernels_for(memory.device.kind)
        kernels.replace_rows(frames, memory.put(row_weight), int(np.argmax(row_weight > 0)))
        return FrameSequences(frames, self.stops, memory)

    def __len__(self) -> int:
        return len(self.stops)


def check_sequences(
    estimator: Any,
    X: Any,
    lengths: ArrayLike | None,
    *,
    reset: bool,
    memory: Memory | None = None,
) -> FrameSequences:
    """Return sequences as one array and where they end.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``, or is held to them.
    X : array_like of shape (n_frames, n_features) or (n_sequences, n_frames, n_features), or list
        A list holds arrays of shape (n_frames, n_features), whose lengths may differ. Arrays may
        lie on the device that is worked on.
    lengths : array_like of shape (n_sequences,) or None
        The number of frames of each sequence, for an array of two dimensions only.
    reset : bool
        Whether the features of `X` are those of a new fit.
    memory : Memory, default=None
        Of the device to work on, in whose scope the result is good; None for the host.

    Returns
    -------
    FrameSequences

    Raises
    ------
    TypeError
        `X` does not hold real numbers.
    ValueError
        A shape does not fit, a sequence is empty, or a value is infinite.
    """
    memory = memory_of(CPU) if memory is None else memory
    own_lengths = None
    if isinstance(X, list | tuple) and X and all(np.ndim(part) == 2 for part in X):
        X, own_lengths = _concatenate(X, memory)
    elif (isinstance(X, np.ndarray) or is_cuda_array(X)) and X.ndim == 3:
        own_lengths = np.full(X.shape[0], X.shape[1])
        if is_cuda_array(X) and memory.device.kind == "cuda":
            X = as_device_array(X, memory.device)
        X = X.reshape((X.shape[0] * X.shape[1], X.shape[2]))
    if own_lengths is not None and lengths is not None:
        raise ValueError(
            "lengths must be None where X is a list of sequences or has three dimensions, got "
            f"{_shorten(lengths)}; the sequences tell their lengths themselves"
        )
    given = own_lengths if lengths is None else lengths
    if is_cuda_array(X):
        if memory.device.kind == "cpu":
            as_real_array(X, "X")  # raises
        frames = check_device_features(estimator, X, memory.device, allow_nan=True, reset=reset)
        return FrameSequences(frames, _check_stops(given, len(frames)), memory)
    require_no_text(X, "X")
    frames = validate_data(
        estimator,
        X,
        dtype=(np.float64, np.float32),
        order="C",
        ensure_all_finite="allow-nan",
        reset=reset,
    )
    stops = _check_stops(given, len(frames))
    return FrameSequences(memory.put(as_kernel_input(frames)), stops, memory)


def _name_of_dtype(array: Any) -> str:
    return str(array.dtype).rpartition(".")[2]  # PyTorch calls them "torch.float32"


def _concatenate(parts: Any, memory: Memory) -> tuple[Any, NDArray[np.int64]]:
    is_on_device = memory.device.kind == "cuda" and any(map(is_cuda_array, parts))
    arrays = [
        part if is_on_device and is_cuda_array(part) else as_real_array(part, f"X[{i}]")
        for i, part in enumerate(parts)
    ]
    widths = {array.shape[1] for array in arrays}
    if len(widths) > 1:
        raise ValueError(
            f"the sequences of X must have the same number of features, got {sorted(widths)}"
        )
    lengths = np.array([array.shape[0] for array in arrays])
    if not is_on_device:
        return np.concatenate(arrays), lengths
    is_narrow = all(_name_of_dtype(array) == "float32" for array in arrays)
    dtype = np.float32 if is_narrow else np.float64
    frames = memory.empty((int(lengths.sum()), widths.pop()), dtype)
    stops = np.cumsum(lengths)
    for array, first, stop in zip(arrays, stops - lengths, stops):
        memory.copy(as_device_array(array, memory.device, dtype), frames[first:stop])
    return frames, lengths


def _check_stops(lengths: ArrayLike | None, n_frames: int) -> NDArray[np.int64]:
    if lengths is None:
        return np.array([n_frames], np.int64)
    array = as_real_array(lengths, "lengths")
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise ValueError(
            "lengths must be a list of the sequences' numbers of frames, all integers, got "
            f"{_shorten(lengths)}"
        )
    if array.size and array.min() < 1:
        empty = int(array.argmin())
        raise ValueError(
            f"lengths must be at least 1, got {array[empty]} for sequence {empty}; leave empty "
            "sequences out"
        )
    stops = np.cumsum(array, dtype=np.int64)
    total = int(stops[-1]) if stops.size else 0
    if total != n_frames:
        raise ValueError(
            f"lengths must add up to the number of frames in X, {n_frames}, got {total}"
        )
    return stops


def check_no_lengths(y: Any, sequences: FrameSequences) -> None:
    """Raise if what was passed as `y`, which is ignored, is meant to be the lengths.

    Raises
    ------
    ValueError
        `y` has an entry neither for each frame nor for each sequence of a list.
    """
    if y is None or not hasattr(y, "__len__"):
        return
    n_frames, n_sequences = len(sequences.frames), len(sequences)
    if len(y) in (n_frames, n_sequences if n_sequences > 1 else n_frames):
        return
    raise ValueError(
        f"y is ignored, and has {len(y)} entries for the {n_frames} frames of X; if it holds the "
        "lengths of sequences, pass it by keyword: lengths=..."
    )


def check_weights(
    sample_weight: ArrayLike | None, sequences: FrameSequences
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return a weight for each sequence, and for each frame where these were given.

    Parameters
    ----------
    sample_weight : array_like of shape (n_sequences,) or (n_frames,), or None
    sequences : FrameSequences

    Returns
    -------
    sequence_weight : ndarray of shape (n_sequences,)
    frame_weight : ndarray of shape (n_frames,) or None

    Raises
    ------
    ValueError
        The shape is another, a weight is negative or not finite, or all are zero.
    """
    n_sequences, n_frames = len(sequences), len(sequences.frames)
    if sample_weight is None:
        return np.ones(n_sequences), None
    weight = as_real_array(host_weights(sample_weight), "sample_weight").astype(np.float64)
    if weight.shape not in ((n_sequences,), (n_frames,)):
        raise ValueError(
            f"sample_weight must have one entry per sequence, shape ({n_sequences},), or per "
            f"frame, shape ({n_frames},), got shape {weight.shape}"
        )
    if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.any()):
        raise ValueError(
            "sample_weight must be finite, not negative and not all zero, got values from "
            f"{weight.min()} to {weight.max()}"
        )
    if len(weight) == n_sequences:
        return weight, None
    return np.ones(n_sequences), weight


def _shorten(values: Any) -> str:
    text = " ".join(repr(values).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
