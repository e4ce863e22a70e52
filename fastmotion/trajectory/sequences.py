"""Joint trajectories as callers hold them, and as the estimators work on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.compile import as_kernel_input
from fastmotion.core.device import CPU, Device, is_cuda_array, resolve_device
from fastmotion.core.interop import as_device_array, like, summarise
from fastmotion.core.memory import memory_at, memory_of
from fastmotion.core.validation import as_real_array, extremes, import_optional, require_real
from fastmotion.trajectory import on_device

__all__ = [
    "Sequences",
    "check_confidence",
    "check_joints",
    "check_not_infinite",
    "check_pose",
    "check_sequence_weights",
    "check_sequences",
    "check_target",
    "device_for",
    "number_parts",
    "require_host",
    "rows_of",
    "takes_sequences",
]

_AXES = ("sequence", "frame", "joint", "coord")

# The axes of an array that says nothing of them, by its number of dimensions.
_DEFAULT_AXES = {3: _AXES[1:], 4: _AXES}

# What the dimensions of an xarray.DataArray are called.
_DIMS = {
    "individual": "sequence",
    "individuals": "sequence",
    "time": "frame",
    "keypoint": "joint",
    "keypoints": "joint",
    "space": "coord",
}

# Frames that fits of several passes take: them, their target and weights, in float64.
_COPIES = 8

_RESHAPE = (
    "insert the axis that is missing, X[:, numpy.newaxis, :] for one joint or "
    "X[:, :, numpy.newaxis] for one coordinate, or name the axes with axes="
)


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the axes of one container lie, and what it came as.

    ``template`` is a DataArray, and ``given`` an array on a CUDA device, if it was one.
    """

    axes: tuple[str, ...]
    template: Any = None
    given: Any = None

    def unfold(self, array: Any) -> Any:
        """Return a view, on a device an array, with the axes (sequence, frame, joint, coord)."""
        order = [self.axes.index(axis) for axis in _AXES if axis in self.axes]
        if is_cuda_array(array):
            ordered = on_device.contiguous(array, order)
            sizes = dict(zip(self.axes, tuple(array.shape)))
            return ordered.reshape(tuple(sizes.get(axis, 1) for axis in _AXES))
        ordered = array.transpose(order)
        return ordered[tuple(slice(None) if a in self.axes else np.newaxis for a in _AXES)]

    def fold(self, block: NDArray, first: int, extra_dims: Sequence[str]) -> Any:
        """Undo ``unfold``; axes behind the four stay the last ones."""
        present = [axis for axis in _AXES if axis in self.axes]
        array = block[tuple(slice(None) if axis in self.axes else 0 for axis in _AXES)]
        order = [present.index(axis) for axis in self.axes]
        array = array.transpose(*order, *range(len(order), array.ndim))
        if self.template is None:
            return array
        frames = slice(first, first + block.shape[1])
        like = self.template.isel({self._dim("frame"): frames})
        xarray = import_optional("xarray", extra="xarray", purpose="returning a DataArray")
        return xarray.DataArray(
            array,
            coords=like.coords,
            dims=(*like.dims, *extra_dims),
            name=like.name,
            attrs=like.attrs,
        )

    def select(self, indices: NDArray) -> _Layout:
        """Return the layout of some of the sequences."""
        if self.template is None:
            return self
        return _Layout(self.axes, self.template.isel({self._dim("sequence"): indices}), self.given)

    def single(self, index: int) -> _Layout:
        """Return the layout of one sequence alone."""
        if "sequence" not in self.axes:
            return self
        axes = tuple(axis for axis in self.axes if axis != "sequence")
        if self.template is None:
            return _Layout(axes, None, self.given)
        return _Layout(axes, self.template.isel({self._dim("sequence"): index}), self.given)

    def dims(self) -> dict[str, str]:
        """Return the axis that each name of a dimension stands for."""
        return {} if self.template is None else dict(zip(self.template.dims, self.axes))

    def _dim(self, axis: str) -> Any:
        return self.template.dims[self.axes.index(axis)]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of poses, their frames in one array one after the other.

    Made by `check_sequences`.

    Attributes
    ----------
    frames : ndarray or device array of shape (total_frames, n_joints, n_coords)
        float32 or float64, C-contiguous; it may be the caller's memory and must not be written to.
        NaN is missing.
    starts, stops : ndarray of shape (n_sequences,), int64
        Sequence ``i`` is ``frames[starts[i]:stops[i]]``.
    """

    frames: Any
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    _layouts: tuple[_Layout, ...]
    _counts: tuple[int, ...]  # sequences in the container of each layout
    _is_list: bool

    @property
    def n_sequences(self) -> int:
        """Number of sequences."""
        return len(self.starts)

    @property
    def n_joints(self) -> int:
        """Number of joints."""
        return self.frames.shape[1]

    @property
    def n_coords(self) -> int:
        """Number of coordinates of a joint."""
        return self.frames.shape[2]

    @property
    def given(self) -> Any:
        """The first array on a CUDA device that the sequences came as, or None."""
        return next((x.given for x in self._layouts if x.given is not None), None)

    @property
    def place(self) -> Device:
        """The device that the frames lie on."""
        return memory_at(self.frames).device

    def beside(self, values: Any) -> Any:
        """Return what belongs to the frames where these lie."""
        return memory_of(self.place).put(values)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of frames of each sequence."""
        return self.stops - self.starts

    def on(self, device: Device) -> Sequences:
        """Return the sequences with their frames on a device, if they are and fit into its memory.

        They stay on the host, to go there in parts, if the device has no room for a few of them.

        Parameters
        ----------
        device : Device

        Returns
        -------
        Sequences
            Its frames are good until the scope of the device's memory ends.
        """
        if device.kind == "cpu" or is_cuda_array(self.frames):
            return self
        memory = memory_of(device)
        if _COPIES * self.frames.nbytes > memory.budget(1.0):
            return self
        return replace(self, frames=memory.put(self.frames))

    def select(self, indices: Any) -> Sequences:
        """Return some of the sequences, on the same frames.

        Parameters
        ----------
        indices : array_like of int or bool, or slice
            Which sequences, as an index into ``starts``.

        Returns
        -------
        Sequences
            ``frames`` is the same array; only ``starts`` and ``stops`` differ. Targets,
            confidences and weights go with the rows of ``frames``: check them before selecting.

        Raises
        ------
        IndexError
            An index is out of range.
        ValueError
            None is selected.
        """
        chosen = np.atleast_1d(np.arange(self.n_sequences)[indices])
        if not chosen.size:
            raise ValueError("indices must select at least one sequence, got none")
        layouts: tuple[_Layout, ...]
        counts: tuple[int, ...]
        if not self._is_list and "sequence" in self._layouts[0].axes:
            layouts, counts, is_list = (self._layouts[0].select(chosen),), (len(chosen),), False
        else:
            singles = [
                layout.single(i)
                for layout, count in zip(self._layouts, self._counts)
                for i in range(count)
            ]
            layouts = tuple(singles[i] for i in chosen)
            counts, is_list = (1,) * len(chosen), self._is_list or len(chosen) > 1
        return Sequences(
            self.frames, self.starts[chosen], self.stops[chosen], layouts, counts, is_list
        )

    def restore(
        self,
        values: NDArray,
        lengths: ArrayLike | None = None,
        *,
        first: int = 0,
        extra_dims: Sequence[str] = (),
    ) -> Any:
        """Put values back into a container like the one that the sequences came in.

        Parameters
        ----------
        values : ndarray of shape (total_frames, n_joints, n_coords, *extra)
            One row for each row of ``frames``; with `lengths`, for each frame that is left.
        lengths : array_like of shape (n_sequences,) or None, default=None
            Frames that each sequence has in `values`. None keeps all.
        first : int, default=0
            The frame of a sequence that its first row in `values` stands for; an
            ``xarray.DataArray`` keeps the time coordinates from there on.
        extra_dims : sequence of str, default=()
            Names of the dimensions behind the four in an ``xarray.DataArray``.

        Returns
        -------
        ndarray, list of ndarray, or xarray.DataArray
            With the order and number of axes of the input, extra axes last; a view of `values`
            where possible. A list of sequences from an array whose `lengths` differ.

        Raises
        ------
        ValueError
            The shape of `values` does not fit.
        """
        if lengths is None:
            starts, stops, n_rows = self.starts, self.stops, len(self.frames)
        else:
            kept = np.asarray(lengths, np.int64)
            stops = np.cumsum(kept)
            starts, n_rows = stops - kept, int(stops[-1])
        wanted = (n_rows, self.n_joints, self.n_coords)
        if values.shape[:3] != wanted or len(starts) != self.n_sequences:
            raise ValueError(
                f"values must have shape {(*wanted, '...')} for {self.n_sequences} sequences, got "
                f"{values.shape} for {len(starts)}"
            )
        results, begin = [], 0
        for layout, count in zip(self._layouts, self._counts):
            part = slice(begin, begin + count)
            results.append(_put_back(layout, values, starts[part], stops[part], first, extra_dims))
            begin += count
        return results if self._is_list else results[0]

    def restore_outputs(
        self, outputs: Any, before: int = 0, after: int = 0, extra_dims: Sequence[str] = ()
    ) -> Any:
        """Put what kernels give for all frames back into a container like that of the sequences.

        Parameters
        ----------
        outputs : ndarray or device array of shape (n_kernels, total_frames, n_joints, n_coords)
        before, after : int, default=0
            Frames of each sequence to leave out at its beginning and at its end.
        extra_dims : tuple of one str or none, default=()
            Name of the kernels' axis, which comes last, in an ``xarray.DataArray``; without it
            there is one kernel, and no such axis.

        Returns
        -------
        ndarray, CUDA array, list of these, or xarray.DataArray
            As by `restore`; arrays on a device are of the library that the input came from.
        """
        lengths = np.maximum(self.lengths - before - after, 0)
        if not is_cuda_array(outputs):
            values = np.moveaxis(outputs, 0, -1) if extra_dims else outputs[0]
            kept = rows_of(self.starts + before, lengths) if before + after else slice(None)
            return self.restore(values[kept], lengths, first=before, extra_dims=extra_dims)
        results, begin = [], 0
        for layout, count in zip(self._layouts, self._counts):
            part = slice(begin, begin + count)
            axes = (*layout.axes, "kernel") if extra_dims else layout.axes
            values = on_device.folded(outputs, self.starts[part] + before, lengths[begin], axes)
            results.append(like(values, layout.given))
            begin += count
        return results if self._is_list else results[0]


def _put_back(
    layout: _Layout,
    values: NDArray,
    starts: NDArray,
    stops: NDArray,
    first: int,
    extra_dims: Sequence[str],
) -> Any:
    """Return the values of one container in its form."""
    length = int(stops[0] - starts[0])
    if (stops - starts != length).any():
        return [
            _put_back(
                layout.single(i), values, starts[i : i + 1], stops[i : i + 1], first, extra_dims
            )
            for i in range(len(starts))
        ]
    if (np.diff(starts) == length).all():
        block = values[starts[0] : stops[-1]].reshape(len(starts), length, *values.shape[1:])
    else:
        block = np.stack([values[start:stop] for start, stop in zip(starts, stops)])
    return layout.fold(block, first, extra_dims)


def device_for(device: str | Device | None, X: Any) -> Device:
    """Return the device that a call runs on: `resolve_device` for sequences, or a list of them."""
    return resolve_device(device, *(X if isinstance(X, list | tuple) else (X,)))


def check_sequences(
    X: ArrayLike | Sequence[ArrayLike],
    *,
    axes: Sequence[str] | None = None,
    name: str = "X",
    device: Device = CPU,
) -> Sequences:
    """Return trajectories of joints in one form, without a copy where they have it already.

    Parameters
    ----------
    X : array_like, list of array_like, or xarray.DataArray
        Positions, of shape (n_sequences, n_frames, n_joints, n_coords) or, for one sequence,
        (n_frames, n_joints, n_coords); or a list of sequences of that second shape, which may
        differ in length. NaN and masked values are missing. A DataArray has the dimensions
        ``time``, ``space``, ``keypoint`` (or ``keypoints``; without it there is one joint) and
        may have ``individual`` (or ``individuals``), which are its sequences.
    axes : sequence of {"sequence", "frame", "joint", "coord"} or None, default=None
        What the axes of the input (of each sequence, in a list) are where they are others than
        those above. "frame" must be among them; what is left out has size one.
    name : str, default="X"
        What error messages call it.
    device : Device, default=CPU
        Where the call runs: arrays on a CUDA device stay there. If one of a list lies on it, all
        go there; others stay on the host, see `Sequences.on`.

    Returns
    -------
    Sequences
        float32 stays float32, all else becomes float64.

    Raises
    ------
    TypeError
        The dtype is not bool, integer or float.
    ValueError
        The shape or `axes` is wrong, an axis has size zero, or the sequences of a list differ in
        joints, in coordinates or in number of dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.trajectory.sequences import check_sequences
    >>> sequences = check_sequences([np.zeros((50, 15, 3)), np.zeros((80, 15, 3))])
    >>> sequences.frames.shape, sequences.starts, sequences.stops
    ((130, 15, 3), array([ 0, 50]), array([ 50, 130]))
    >>> velocity = np.gradient(sequences.frames, axis=0)
    >>> [values.shape for values in sequences.restore(velocity)]
    [(50, 15, 3), (80, 15, 3)]
    """
    axes = _check_axes(axes)
    is_list = isinstance(X, list | tuple)
    parts = _parts(X, name)
    if not parts:
        raise ValueError(f"{name} must hold at least one sequence, got an empty {type(X).__name__}")
    if is_list and axes is not None and "sequence" in axes:
        raise ValueError(
            f"axes must be those of one sequence of the list {name}, without 'sequence', got {axes}"
        )
    blocks, layouts = [], []
    for part, part_name in parts:
        block, layout = _read(part, part_name, axes, device, is_part=is_list)
        blocks.append(block)
        layouts.append(layout)
    _check_same_joints(blocks, name)
    lengths = np.repeat([block.shape[1] for block in blocks], [block.shape[0] for block in blocks])
    stops = np.cumsum(lengths, dtype=np.int64)
    counts = tuple(block.shape[0] for block in blocks)
    return Sequences(_join(blocks, device), stops - lengths, stops, tuple(layouts), counts, is_list)


def takes_sequences(tags: Any) -> Any:
    """Tell by scikit-learn's tags that an estimator takes sequences, with gaps, and return them."""
    tags.input_tags.two_d_array = False
    tags.input_tags.three_d_array = True
    tags.input_tags.allow_nan = True
    return tags


def number_parts(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each of some parts that sequences are cut into, the sequence and its number."""
    owners = np.repeat(np.arange(len(counts)), counts)
    return owners, np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)


def rows_of(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of parts of all sequences, one after the other."""
    places = np.cumsum(lengths) - lengths
    return np.repeat(starts - places, lengths) + np.arange(lengths.sum())


def check_pose(sequences: Sequences, n_joints: int, n_coords: int) -> None:
    """Check that the sequences have the joints and coordinates of those of a fit.

    Parameters
    ----------
    sequences : Sequences
    n_joints, n_coords : int
        Sizes of a pose in the fit.

    Raises
    ------
    ValueError
        They have others.
    """
    if (sequences.n_joints, sequences.n_coords) != (n_joints, n_coords):
        raise ValueError(
            f"X must have {n_joints} joints of {n_coords} coordinates as in fit, got "
            f"{sequences.n_joints} of {sequences.n_coords}"
        )


def check_joints(sequences: Sequences) -> None:
    """Check that no joint is missing in all frames.

    Raises
    ------
    ValueError
        One is.
    """
    frames = sequences.frames
    # Most are there in the first frame, and need no look at the others.
    if is_cuda_array(frames):
        first = memory_at(frames).fetch(frames[:1])[0]
        unseen = np.flatnonzero(np.isnan(first).all(axis=-1))
        unseen = np.flatnonzero(~on_device.seen_joints(frames)) if len(unseen) else unseen
    else:
        unseen = np.flatnonzero(np.isnan(frames[0]).all(axis=-1))
        unseen = unseen[np.isnan(frames[:, unseen]).all(axis=(0, 2))]
    if len(unseen):
        raise ValueError(
            f"X must have values for all joints, got only NaN for joint(s) {unseen.tolist()}; "
            "leave them out"
        )


def require_host(X: Any, what: str) -> None:
    """Check that sequences do not lie on a CUDA device, for what works on the host alone.

    Raises
    ------
    RuntimeError
        They do.
    """
    if any(map(is_cuda_array, X if isinstance(X, list | tuple) else (X,))):
        raise RuntimeError(
            f"{what} works on the host, and X lies on a CUDA device; copy it to the host first, "
            "with X.copy_to_host(), X.get() or X.cpu() as its library has it"
        )


def check_not_infinite(sequences: Sequences) -> None:
    """Check that no value is infinite, for those that do not notice as they go.

    Parameters
    ----------
    sequences : Sequences

    Raises
    ------
    ValueError
        A value is infinite.
    """
    if np.isinf(sequences.frames).any():
        raise ValueError("X must not hold infinite values; mark missing values with NaN")


def check_target(
    y: ArrayLike | Sequence[ArrayLike], sequences: Sequences, axes: Sequence[str] | None = None
) -> NDArray:
    """Return a target that has a value for each value of the sequences.

    Parameters
    ----------
    y : array_like, list of array_like, or xarray.DataArray
        The same kind of container as the sequences came in, with the same sizes and the same
        lengths. NaN is missing.
    sequences : Sequences
        What it is the target of.
    axes : sequence of str or None, default=None
        The axes of the sequences' container; None takes those it was read with.

    Returns
    -------
    ndarray of shape (total_frames, n_joints, n_coords), float32 or float64
        C-contiguous; the caller's memory where it is so already.

    Raises
    ------
    TypeError
        The dtype is not bool, integer or float.
    ValueError
        The containers differ in kind, number of sequences, lengths, joints or coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.trajectory.sequences import check_sequences, check_target
    >>> sequences = check_sequences(np.zeros((4, 50, 15, 3)))
    >>> check_target(np.zeros((4, 50, 15, 3)), sequences).shape
    (200, 15, 3)
    """
    target = _read_alike(y, "y", sequences, _check_axes(axes), [()], sequences.n_coords)
    return sequences.beside(target)


def check_confidence(
    confidence: ArrayLike | Sequence[ArrayLike] | None,
    sequences: Sequences,
    axes: Sequence[str] | None = None,
) -> NDArray | None:
    """Return how far each joint of each frame can be trusted.

    Parameters
    ----------
    confidence : array_like, list of array_like, xarray.DataArray or None
        The same kind of container as the sequences came in, without its coordinate axis or with
        one of size one. Values from 0 to 1; NaN counts as 0.
    sequences : Sequences
        What it belongs to.
    axes : sequence of str or None, default=None
        The axes of the sequences' container; None takes those it was read with.

    Returns
    -------
    ndarray of shape (total_frames, n_joints), float32 or float64, or None
        None where `confidence` is None.

    Raises
    ------
    TypeError
        The dtype is not bool, integer or float.
    ValueError
        The containers differ in kind or size, or a value lies outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.trajectory.sequences import check_confidence, check_sequences
    >>> sequences = check_sequences(np.zeros((50, 15, 3)))
    >>> check_confidence(np.ones((50, 15)), sequences).shape
    (50, 15)
    """
    if confidence is None:
        return None
    dropped: list[tuple[str, ...]] = [("coord",), ()]
    values = _read_alike(confidence, "confidence", sequences, _check_axes(axes), dropped, 1)
    values = values.reshape(tuple(values.shape)[:2])
    is_on_device = is_cuda_array(values)
    if is_on_device:
        summary = summarise(values)
        low, high = summary.smallest, summary.largest
    else:
        low, high = extremes(values)
    if low < 0 or high > 1:
        raise ValueError(
            f"confidence must lie in [0, 1], got values from {low} to {high}; scale it, for "
            "example by its maximum"
        )
    if is_on_device:
        return on_device.filled(values, 0.0) if summary.n_nan else values
    return sequences.beside(np.nan_to_num(values, nan=0.0))


def check_sequence_weights(
    sample_weight: ArrayLike | Sequence[ArrayLike], sequences: Sequences
) -> tuple[NDArray[np.float64], str]:
    """Return weights and what each of them belongs to.

    Parameters
    ----------
    sample_weight : array_like, list of array_like, or xarray.DataArray
        Nonnegative and finite: of shape (n_sequences,), (total_frames,) or (total_frames,
        n_joints), the frames of all sequences one after the other; or the same kind of container
        as the sequences came in, without its coordinate axis and with or without its joint axis.
    sequences : Sequences
        What they weigh.

    Returns
    -------
    weights : ndarray of shape (n_sequences,), (total_frames,) or (total_frames, n_joints), float64
        The shape tells the kind.
    kind : {"sequence", "frame", "joint"}
        What a weight belongs to: a sequence, a frame, or a joint in a frame.

    Raises
    ------
    TypeError
        The dtype is not bool, integer or float.
    ValueError
        The shape fits nothing, or a weight is negative, NaN or infinite, or all are zero.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.trajectory.sequences import check_sequence_weights, check_sequences
    >>> sequences = check_sequences(np.zeros((2, 50, 15, 3)))
    >>> check_sequence_weights([1, 3], sequences)
    (array([1., 3.]), 'sequence')
    >>> weights, kind = check_sequence_weights(np.ones((2, 50)), sequences)
    >>> weights.shape, kind
    ((100,), 'frame')
    """
    weights, kind = _read_weights(sample_weight, sequences)
    if is_cuda_array(weights):
        summary = summarise(weights)
        is_finite, low, high = summary.is_finite, summary.smallest, summary.largest
    else:
        is_finite = bool(np.isfinite(weights).all())
        low, high = weights.min(), weights.max()
    if not is_finite or low < 0 or not high > 0:
        raise ValueError(
            "sample_weight must be finite and not negative, with at least one weight above zero, "
            f"got values from {low} to {high}"
        )
    return weights if kind == "sequence" else sequences.beside(weights), kind


def _read_weights(sample_weight: Any, sequences: Sequences) -> tuple[NDArray[np.float64], str]:
    n_frames, n_joints = len(sequences.frames), sequences.n_joints
    flat = {
        (sequences.n_sequences,): "sequence",
        (n_frames,): "frame",
        (n_frames, n_joints): "joint",
    }
    is_nested = isinstance(sample_weight, list | tuple) and any(map(_n_axes, sample_weight))
    if not is_nested and not (_is_data_array(sample_weight) and sample_weight.ndim > 1):
        array = _floats(sample_weight, "sample_weight", sequences.place)
        kind = flat.get(tuple(array.shape))
        if kind == "sequence" and is_cuda_array(array):
            array = memory_at(array).fetch(array)
        if kind is not None:
            return on_device.as_float64(array), kind
    try:
        values = _read_alike(
            sample_weight, "sample_weight", sequences, None, [("coord",), ("joint", "coord")], 1
        )
    except ValueError as error:
        shapes = ", ".join(map(str, flat))
        raise ValueError(
            f"sample_weight must have one of the shapes {shapes}, or hold the axes of the "
            f"sequences without the coordinates and with or without the joints: {error}"
        ) from error
    weights = on_device.as_float64(values.reshape(tuple(values.shape)[:2]))
    if weights.shape[1] == n_joints:
        return weights, "joint"
    return weights.reshape((len(weights),)), "frame"


def _n_axes(x: Any) -> int:
    return x.ndim if is_cuda_array(x) else np.ndim(x)


def _check_axes(axes: Sequence[str] | None) -> tuple[str, ...] | None:
    if axes is None:
        return None
    names = (axes,) if isinstance(axes, str) else tuple(axes)
    if not set(names) <= set(_AXES) or len(set(names)) < len(names) or "frame" not in names:
        raise ValueError(
            f"axes must name each axis of the input once, out of {_AXES} and with 'frame' among "
            f"them, got {axes!r}"
        )
    return names


def _parts(X: Any, name: str) -> list[tuple[Any, str]]:
    """Return the containers of the input and what to call them."""
    if isinstance(X, list | tuple):
        return [(part, f"{name}[{i}]") for i, part in enumerate(X)]
    return [(X, name)]


def _is_data_array(x: Any) -> bool:
    # By what it can do: whoever passes one has imported xarray, and nobody else needs it.
    return hasattr(x, "dims") and hasattr(x, "coords") and hasattr(x, "isel")


def _floats(x: Any, name: str, device: Device = CPU) -> Any:
    """Return an array of real numbers, with NaN where it was masked; of floats on a device."""
    if is_cuda_array(x) and device.kind == "cuda":
        array = as_device_array(x, device)
        require_real(array, name)
        return as_device_array(array, device, _float_type(array.dtype))
    if hasattr(x, "data_vars"):
        raise TypeError(f"{name} is a Dataset; pass one of its variables, {name}['position']")
    if isinstance(x, np.ndarray) and x.dtype == object:
        raise TypeError(
            f"{name} is an array of objects; pass a list of sequences, list({name}), each an array "
            "of numbers"
        )
    if np.ma.is_masked(x) and x.dtype.kind in "buif":
        x = x.astype(_float_type(x.dtype)).filled(np.nan)
    return as_real_array(x, name)


def _float_type(*dtypes: np.dtype) -> type[np.floating]:
    is_single = all(dtype.kind == "f" and dtype.itemsize == 4 for dtype in dtypes)
    return np.float32 if is_single else np.float64


def _read(
    x: Any, name: str, axes: tuple[str, ...] | None, device: Device, *, is_part: bool
) -> tuple[Any, _Layout]:
    """Return one container as (n_sequences, n_frames, n_joints, n_coords), and its layout."""
    array = _floats(x, name, device)
    template = x if _is_data_array(x) else None
    if template is not None and axes is None:
        axes = _axes_of_dims(template.dims, name, _DIMS)
    elif axes is None:
        axes = _default_axes(array, name, is_part)
    elif len(axes) != array.ndim:
        raise ValueError(f"{name} must have the axes {axes} that axes names, got {array.shape}")
    if not array.size:
        raise ValueError(
            f"{name} must hold at least one frame, joint and coordinate, got shape {array.shape} "
            f"for the axes {axes}; leave it out"
        )
    layout = _Layout(axes, template, x if is_cuda_array(x) else None)
    return layout.unfold(array), layout


def _default_axes(array: NDArray, name: str, is_part: bool) -> tuple[str, ...]:
    if array.ndim == 3 or (array.ndim == 4 and not is_part):
        return _DEFAULT_AXES[array.ndim]
    one = "(n_frames, n_joints, n_coords)"
    wanted = one if is_part else f"(n_sequences, n_frames, n_joints, n_coords) or {one}"
    cure = f"; {_RESHAPE}" if array.ndim < 3 else ""
    raise ValueError(f"{name} must have shape {wanted}, got {array.shape}{cure}")


def _axes_of_dims(dims: Sequence[Any], name: str, known: dict[str, str]) -> tuple[str, ...]:
    axes = tuple(known.get(dim, "") for dim in dims)
    if "" in axes or len(set(axes)) < len(axes) or "frame" not in axes:
        raise ValueError(
            f"{name} must have the dimensions 'time' and any of 'individual(s)', 'keypoint(s)' "
            f"and 'space', got {tuple(dims)}; rename them, or name their axes with axes="
        )
    return axes


def _check_same_joints(blocks: list[NDArray], name: str) -> None:
    first = tuple(blocks[0].shape)[2:]
    for i, block in enumerate(blocks):
        if tuple(block.shape)[2:] != first:
            raise ValueError(
                f"the sequences of {name} must have the same joints and coordinates, got "
                f"{tuple(block.shape)[2:]} in {name}[{i}] and {first} in {name}[0]"
            )


def _join(blocks: list[Any], device: Device) -> Any:
    """Return all frames one after the other, (total_frames, n_joints, n_coords)."""
    shape = tuple(blocks[0].shape)[2:]
    dtype = _float_type(*(block.dtype for block in blocks))
    if any(map(is_cuda_array, blocks)):
        return on_device.join(blocks, device, dtype)
    if len(blocks) == 1:
        return as_kernel_input(np.ascontiguousarray(blocks[0], dtype).reshape(-1, *shape))
    out = np.empty((sum(block.shape[0] * block.shape[1] for block in blocks), *shape), dtype)
    return np.concatenate([block.reshape(-1, *shape) for block in blocks], out=out)


def _read_alike(
    y: Any,
    name: str,
    sequences: Sequences,
    axes: tuple[str, ...] | None,
    dropped: list[tuple[str, ...]],
    n_coords: int,
) -> NDArray:
    """Return what comes in the container of the sequences, short of one of the sets of axes."""
    if sequences._is_list and not (
        isinstance(y, list | tuple) and len(y) == len(sequences._layouts)
    ):
        what = f"{len(y)} items" if isinstance(y, list | tuple) else f"a {type(y).__name__}"
        raise ValueError(
            f"{name} must be a list of {len(sequences._layouts)} arrays as the sequences are, "
            f"got {what}"
        )
    parts = _parts(y, name) if sequences._is_list else [(y, name)]
    device = sequences.place
    blocks, begin = [], 0
    for (part, part_name), layout, count in zip(parts, sequences._layouts, sequences._counts):
        sizes = {
            "sequence": count,
            "frame": int(sequences.lengths[begin]),
            "joint": sequences.n_joints,
            "coord": n_coords,
        }
        begin += count
        full = axes or layout.axes
        options = [tuple(axis for axis in full if axis not in drop) for drop in dropped]
        blocks.append(_read_sized(part, part_name, layout, options, sizes, device))
    if len({block.shape[2] for block in blocks}) > 1:
        raise ValueError(f"{name} must have the joint axis in all of its arrays or in none")
    return _join(blocks, device)


def _read_sized(
    x: Any,
    name: str,
    layout: _Layout,
    options: list[tuple[str, ...]],
    sizes: dict[str, int],
    device: Device,
) -> Any:
    """Return a container with one of the sets of axes and of these sizes."""
    array = _floats(x, name, device)
    if _is_data_array(x):
        found = _axes_of_dims(x.dims, name, {**_DIMS, **layout.dims()})
        if set(found) not in map(set, options):
            raise ValueError(f"{name} must have dimensions for {options}, got {tuple(x.dims)}")
        options = [found]
    shapes = {tuple(sizes[axis] for axis in option): option for option in options}
    shape = tuple(array.shape)
    if shape not in shapes:
        wanted = " or ".join(f"{shape} for {option}" for shape, option in shapes.items())
        raise ValueError(f"{name} must have the sizes of the sequences, {wanted}, got {shape}")
    return _Layout(shapes[shape]).unfold(array)
