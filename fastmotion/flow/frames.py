"""How frames, clips and flows come in and go out, on the host and on a CUDA device.

On a device all arrays have one axis more, the first: pairs of frames that are worked on together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.device import is_cuda_array
from fastmotion.core.interop import as_device_array
from fastmotion.core.transfer import transfers
from fastmotion.core.validation import (
    LUMA,
    as_real_array,
    check_clips,
    check_flow,
    check_image,
    check_image_pair,
    common_span,
    common_white,
    require_clip_shape,
    require_finite_range,
    require_flow_shape,
    require_image_shape,
    require_real,
)
from fastmotion.flow.pyramid import Engine, Pyramid

# The most pixels that one launch works on, many times what fills the largest device, and the most
# pairs: a grid has no more layers than that.
_MOST_PIXELS = 2**24
_MOST_PAIRS = 2**13


def real_array(x: ArrayLike, name: str, engine: Engine) -> Any:
    """Return an array of real numbers, on the host or the engine's device, where it lies."""
    if engine.on_host or not is_cuda_array(x):
        return as_real_array(x, name)
    array = as_device_array(x, engine.memory.device)
    require_real(array, name)
    return array


def first_on_device(*arrays: Any) -> Any:
    """Return the first of some arrays that lies on a CUDA device, or else the first one."""
    return next(filter(is_cuda_array, arrays), arrays[0])


def read_pair(frame0: ArrayLike, frame1: ArrayLike, engine: Engine) -> Any:
    """Return two frames as gray planes with intensities in [0, 1].

    Raises
    ------
    TypeError, ValueError
        As for `fastmotion.core.validation.check_image_pair`.
    """
    if engine.on_host:
        return check_image_pair(frame0, frame1)
    arrays = [real_array(frame0, "frame0", engine), real_array(frame1, "frame1", engine)]
    for array, name in zip(arrays, ("frame0", "frame1")):
        require_image_shape(array.shape, name)
    white = common_white(*arrays)
    dtype = _pixel_dtype(white, *(array.dtype for array in arrays))
    planes = engine.memory.empty((2, *arrays[0].shape[:2]), _number(dtype))
    for k, array in enumerate(arrays):
        _write_luminance(array, dtype, white, planes[k : k + 1], engine)
    return _paired(planes, white, 0, 1, 2, engine)


def read_image(frame: ArrayLike, name: str, engine: Engine) -> Any:
    """Return one image as a gray float32 plane, its values as they are.

    Raises
    ------
    TypeError, ValueError
        As for `fastmotion.core.validation.check_image`.
    """
    if engine.on_host:
        return check_image(frame, name)
    array = real_array(frame, name, engine)
    require_image_shape(array.shape, name)
    dtype = {"bool": np.uint8, "uint8": np.uint8, "uint16": np.uint16}.get(
        array.dtype.name, np.float32
    )
    plane = engine.memory.empty((1, *array.shape[:2]))
    _write_luminance(array, np.dtype(dtype), None, plane, engine)
    ((low, high),) = engine.kernels.extremes(plane)
    require_finite_range(float(low), float(high), plane.dtype, name)
    return plane


def read_flow(
    flow: ArrayLike, engine: Engine, shape: tuple[int, int] | None = None, name: str = "flow"
) -> Any:
    """Return a flow field as planes that may be written to.

    Raises
    ------
    TypeError, ValueError
        As for `fastmotion.core.validation.check_flow`.
    """
    memory, kernels = engine.memory, engine.kernels
    if engine.on_host or not is_cuda_array(flow):
        field = memory.put(check_flow(flow, shape, name))
    else:
        field = real_array(flow, name, engine)
        require_flow_shape(field.shape, shape, name)
        field = as_device_array(field, memory.device, np.float32)
        height, width = field.shape[:2]
        ((low, high),) = kernels.extremes(field.reshape(1, height, 2 * width))
        require_finite_range(float(low), float(high), field.dtype, name)
    height, width = field.shape[:2]
    planes = memory.empty((*engine.lead, 2, height, width))
    kernels.split(field.reshape(*engine.lead, height, width, 2), planes)
    return planes


def write_field(planes: Any, engine: Engine) -> Any:
    """Return the planes of one flow as a field of shape ``(height, width, 2)``."""
    *_, height, width = planes.shape
    out = engine.memory.new((*engine.lead, height, width, 2))
    engine.kernels.join(planes, out)
    return out.reshape(height, width, 2)


def map_pairs(
    X: ArrayLike, estimate: Callable[[Any, Any], Any], pyramid: Pyramid, engine: Engine
) -> Any:
    """Return the flow between all successive frames of clips.

    Parameters
    ----------
    X : array of shape (n_clips, n_frames, height, width[, channels])
    estimate : callable
        Returns the planes of the flow from one gray plane to another.
    pyramid : Pyramid
        What `estimate` uses.
    engine : Engine

    Returns
    -------
    array of shape (n_clips, n_frames - 1, height, width, 2), float32
        On the device if the clips are.

    Raises
    ------
    TypeError, ValueError
        As for `read_pair`; a note tells of which frames.
    """
    clips = read_clips(X, engine)
    n_clips, n_frames, height, width = clips.shape[:4]
    shape = n_clips, n_frames - 1, height, width, 2
    if engine.on_host:
        fields = np.empty(shape, np.float32)
        for k, field in enumerate(fields.reshape(-1, *shape[2:])):
            clip, i = divmod(k, n_frames - 1)
            with _told_apart(k, n_frames):
                pair = check_image_pair(clips[clip, i], clips[clip, i + 1])
            engine.kernels.join(estimate(*pair), field)
        return fields
    on_device = is_cuda_array(clips)
    fields = engine.memory.new(shape) if on_device else np.empty(shape, np.float32)
    _map_on_device(clips, fields.reshape(-1, *shape[2:]), estimate, pyramid, engine)
    return fields


def read_clips(X: ArrayLike, engine: Engine) -> Any:
    """Return a batch of clips, checked as `fastmotion.core.validation.check_clips` does."""
    if engine.on_host:
        return check_clips(X)
    clips = real_array(X, "X", engine)
    require_clip_shape(clips.shape, "X")
    return clips


def _map_on_device(
    clips: Any,
    fields: Any,
    estimate: Callable[[Any, Any], Any],
    pyramid: Pyramid,
    engine: Engine,
) -> None:
    """Write the flow of all pairs, many at a time; frames go up and flows down meanwhile."""
    memory, kernels = engine.memory, engine.kernels
    n_frames = clips.shape[1]
    frames = clips.reshape(clips.shape[0] * n_frames, *clips.shape[2:])
    require_image_shape(frames.shape[1:], "frame0")
    white = common_white(frames[0], frames[1])
    dtype = _pixel_dtype(white, frames.dtype)
    n = _pairs_at_once(len(fields), frames, pyramid, engine)
    parts = [(first, min(first + n, len(fields))) for first in range(0, len(fields), n)]
    shown = [_frames_of(first, stop, n_frames) for first, stop in parts]
    on_device = is_cuda_array(fields)
    field: Any = None if on_device else memory.empty((n, *fields.shape[1:]))
    with transfers(memory) as moving:
        coming = _coming(moving, frames[shown[0]], dtype)
        for k, (first, stop) in enumerate(parts):
            raw = coming()
            if k + 1 < len(parts):
                coming = _coming(moving, frames[shown[k + 1]], dtype)
            out = fields[first:stop] if on_device else field[: stop - first]
            with memory.scope():
                planes = memory.empty((len(raw), *fields.shape[1:3]), _number(dtype))
                _write_luminance(raw, dtype, white, planes, engine)
                pairs = _paired(planes, white, first, stop - first, n_frames, engine)
                kernels.join(estimate(pairs[0], pairs[1]), out)
            if not on_device:
                moving.down(out, fields[first:stop])


def _coming(moving: Any, frames: Any, dtype: np.dtype) -> Callable[[], Any]:
    """Start to move frames up to the device, if they are not there; return what waits for them."""
    return (lambda: frames) if is_cuda_array(frames) else moving.up(_in_dtype(frames, dtype))


def _frames_of(first: int, stop: int, n_frames: int) -> slice:
    """Return which frames of all clips some successive pairs show."""
    # A clip has a frame more than pairs.
    return slice(first + first // (n_frames - 1), stop + 1 + (stop - 1) // (n_frames - 1))


def _pairs_at_once(n_pairs: int, frames: Any, pyramid: Pyramid, engine: Engine) -> int:
    height, width = frames.shape[1:3]
    raw = math.prod(frames.shape[3:]) * frames.dtype.itemsize * height * width
    needed = pyramid.bytes_per_pair(height, width, engine.kernels.SCRATCH_PER_PIXEL) + 2 * raw
    most = min(_MOST_PAIRS, _MOST_PIXELS // (height * width), engine.memory.budget() // needed)
    return max(1, min(n_pairs, most))


def _pixel_dtype(white: int | None, *dtypes: np.dtype) -> np.dtype:
    """Return the dtype in which frames go to the kernels."""
    if white is not None:
        return np.dtype(np.uint16 if white > 255 else np.uint8)
    # float64 keeps what distinguishes the values of wide integers and of float64 with an offset.
    is_narrow = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in dtypes)
    return np.dtype(np.float32 if is_narrow else np.float64)


def _number(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which luminance is computed."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _in_dtype(frames: Any, dtype: np.dtype) -> NDArray:
    """Return frames on the host in the dtype of the kernels."""
    if frames.dtype.name == "bool":
        frames = frames.view(np.uint8)
    with np.errstate(over="ignore"):  # becomes infinite, which is reported later
        return np.ascontiguousarray(frames, dtype)


def _write_luminance(
    frames: Any, dtype: np.dtype, white: int | None, out: Any, engine: Engine
) -> None:
    """Write the luminance of frames, divided by ``white``, to planes on the device."""
    if not is_cuda_array(frames):
        frames = engine.memory.put(_in_dtype(frames, dtype))
    elif frames.dtype.name == "bool":
        frames = frames.view(np.uint8)
    elif frames.dtype != dtype:
        frames = as_device_array(frames, engine.memory.device, dtype)
    n_channels = math.prod(frames.shape) // math.prod(out.shape)
    engine.kernels.luminance(frames.reshape(*out.shape, n_channels), LUMA, white or 1, out)


def _paired(
    planes: Any, white: int | None, first: int, n: int, n_frames: int, engine: Engine
) -> Any:
    """Return both frames of n successive pairs from ``first`` on, in the unit range."""
    memory = engine.memory
    if white is None:
        ranges = memory.put(_ranges(planes, first, n, n_frames, engine))
    else:
        ranges = memory.constant(_unit_ranges(n))
    out = memory.empty((2, n, *planes.shape[1:]))
    engine.kernels.pair_up(planes, ranges, first, n_frames, out)
    return out


@functools.lru_cache(maxsize=64)
def _unit_ranges(n: int) -> NDArray:
    return np.tile(np.array([0, 1], np.float32), (n, 1))


def _ranges(planes: Any, first: int, n: int, n_frames: int, engine: Engine) -> NDArray:
    """Return the least luminance of each pair and what lies between it and the greatest one."""
    extremes = engine.kernels.extremes(planes)
    ranges = np.empty((n, 2), extremes.dtype)
    start = _frames_of(first, first + 1, n_frames).start
    for k in range(first, first + n):
        shown = _frames_of(k, k + 1, n_frames)
        with _told_apart(k, n_frames):
            found = [tuple(map(float, extremes[i - start])) for i in (shown.start, shown.start + 1)]
            for (low, high), name in zip(found, ("frame0", "frame1")):
                require_finite_range(low, high, planes.dtype, name)
            low, high = min(found[0][0], found[1][0]), max(found[0][1], found[1][1])
            span = common_span(low, high, planes.dtype)
        ranges[k - first] = low, span if span > 0 else 1.0
    return ranges


@contextmanager
def _told_apart(k: int, n_frames: int) -> Iterator[None]:
    """Add to errors about pair k of all clips which frames it shows."""
    try:
        yield
    except ValueError as error:
        clip, i = divmod(k, n_frames - 1)
        error.add_note(f"frame0 and frame1 are frames {i} and {i + 1} of clip {clip}")
        raise
