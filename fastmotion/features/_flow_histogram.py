"""Histograms of oriented flow and of motion boundaries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.metaestimators import available_if

from fastmotion.core.compile import as_kernel_input
from fastmotion.core.device import (
    Device,
    is_cuda_array,
    resolve_device,
    thread_limit,
    worthwhile_threads,
)
from fastmotion.core.interop import as_device_array, like, summarise
from fastmotion.core.memory import memory_of
from fastmotion.core.validation import (
    ArrayOutput,
    Interval,
    StrOptions,
    as_real_array,
    extremes,
    n_jobs_constraint,
    require_flow_clips_shape,
    require_real,
    takes_clips,
    validate_parameter_constraints,
)
from fastmotion.features.kernels import kernels_for
from fastmotion.features.kernels.layout import MOST_ORIENTATIONS
from fastmotion.features.lattice import BlockAxis

COMPONENTS = ("flow", "boundary")

# Flow that is unknown is beyond this in Middlebury's files, which mark it so.
_MOST_PIXELS = 1e9

# Pairs of frames that one call of the kernels works on.
_MOST_PAIRS = 32

# Multiplications that a vote for one bin takes, about.
_WORK_PER_VOTE = 5

_ADVICE = "pass fewer or shorter clips at a time"


@dataclass(frozen=True)
class _Bins:
    """The bins of the histograms of one cell.

    Attributes
    ----------
    n_orientations : int
    still_threshold : float or None
    components : sequence of str
    """

    n_orientations: int
    still_threshold: float | None
    components: Sequence[str]

    @property
    def n_flow(self) -> int:
        """Bins of the flow: one more than orientations where stillness counts."""
        has_flow = "flow" in self.components
        return has_flow * (self.n_orientations + (self.still_threshold is not None))

    @property
    def n_boundary(self) -> int:
        """Bins of each of the two motion boundaries."""
        return ("boundary" in self.components) * self.n_orientations

    @property
    def total(self) -> int:
        """Bins of all histograms together."""
        return self.n_flow + 2 * self.n_boundary

    def parts(self) -> Iterator[tuple[str, slice]]:
        """Yield the name of each histogram, and which bins are its own."""
        sizes = {
            "flow": self.n_flow,
            "boundary_u": self.n_boundary,
            "boundary_v": self.n_boundary,
        }
        start = 0
        for name, size in sizes.items():
            if size:
                yield name, slice(start, start + size)
            start += size

    def names(self) -> list[str]:
        """Return the names of the bins of a histogram of flow; of others the last may be cut."""
        angles = 360 * np.arange(self.n_orientations) / self.n_orientations
        form = "{:03.0f}deg" if 360 % self.n_orientations == 0 else "{:05.1f}deg"
        return [*map(form.format, angles), "still"]


def _is_table(histogram: FlowHistogram) -> bool:
    if histogram.block_shape is not None:
        raise AttributeError(
            "there are names of columns without block_shape only; with it, bin_names_ has those of "
            "the last axis"
        )
    return True


class FlowHistogram(ArrayOutput, TransformerMixin, BaseEstimator):
    r"""Histograms of oriented flow and of motion boundaries over a grid in space and time.

    For each cell of a grid over a clip, or over each of many blocks of it, the pixels' flow votes
    for its direction with its length (HOF; Laptev et al. 2008). The same is done with the spatial
    derivatives of u and with those of v (MBH; Dalal, Triggs and Schmid 2006): these leave out
    motion that is the same all over, as much of the camera's is, and keep what moves against its
    surroundings.

    Parameters
    ----------
    n_orientations : int, default=8
        Directions over the full circle, from 2 to 64. A vector votes for the two nearest ones, in
        proportion to how near it is to them.
    components : sequence of {"flow", "boundary"}, default=("flow", "boundary")
        Which histograms to make. In the output, flow comes before ``boundary_u`` and
        ``boundary_v``.
    grid : tuple of three ints, default=(3, 2, 2)
        Cells along time, height and width. They are equal to within one pair or pixel, and none is
        left out.
    block_shape : tuple of three ints or None, default=None
        Pairs, height and width in pixels of blocks, each of which has a grid and so a descriptor of
        its own. None makes one block of the whole clip.
    block_step : tuple of three ints or None, default=None
        From one block to the next, in pairs and pixels; None for half a block. Blocks lie wholly in
        the clip: what is left at its far ends counts in none.
    still_threshold : float or None, default=0.4
        Pixels whose flow is not longer, in pixels per frame, vote for no direction but, with a
        weight of 1, for a further bin of the histogram of flow, "still". None leaves out that bin.
    normalization : {"l1-sqrt", "l2"} or None, default="l1-sqrt"
        What each histogram (flow, boundary_u, boundary_v), all cells of a block together, is
        divided by: its sum, after which the square root is taken (Arandjelović and Zisserman 2012;
        for motion, Wang and Schmid 2013), or its Euclidean norm (Dalal et al. 2006). None keeps the
        sums, in pixels.
    n_jobs : int or None, default=None
        Threads of the CPU; None takes what `fastmotion.config_context` or Numba is set to, -1 all.
        It does not change the result.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; "auto" is where the flow lies. None takes what
        `fastmotion.config_context` is set to.

    Attributes
    ----------
    bin_names_ : list of str
        Names of the numbers of a block, such as "flow_t0_y1_x0_045deg", "flow_t2_y1_x1_still" or
        "boundary_u_t0_y0_x0_000deg". Directions count from +x (right) towards +y (down).
    flow_shape_ : tuple of three ints
        Pairs, height and width of the clips given to `fit`.
    device_ : str
        The device found by `fit`.

    See Also
    --------
    FisherVector : Makes one vector of the blocks of each clip.
    fastmotion.flow.HornSchunck : Makes flow of clips.

    Notes
    -----
    A vector :math:`(a, b)` at the angle :math:`\varphi = \operatorname{atan2}(b, a)` gives bin k of
    n, whose centre is :math:`\varphi_k = 2 \pi k / n`,

    .. math:: \sqrt{a^2 + b^2} \; \max\left(0, 1 - \frac{n}{2 \pi} |\varphi - \varphi_k|\right),

    where the difference of angles is the smaller one around the circle. Derivatives are central
    differences, one-sided at the rim of the image.

    Flow that is NaN is unknown: such pixels are left out, as are the derivatives that would need
    them, and a histogram without any known pixel is zeros. Results are float32.

    References
    ----------
    Laptev, Marszałek, Schmid and Rozenfeld (2008), Learning realistic human actions from movies,
    section 3.1.
    Dalal, Triggs and Schmid (2006), Human detection using oriented histograms of flow and
    appearance, section 4.
    Wang, Kläser, Schmid and Liu (2013), Dense trajectories and motion boundary descriptors for
    action recognition, section 3.2: full orientation, eight bins, and the bin for stillness.
    Arandjelović and Zisserman (2012), Three things everyone should know to improve object
    retrieval, section 3. Wang and Schmid (2013), Action recognition with improved trajectories.

    Examples
    --------
    All of a clip moves to the right, by two pixels a frame:

    >>> import numpy as np
    >>> from fastmotion.features import FlowHistogram
    >>> flow = np.zeros((1, 4, 48, 64, 2), np.float32)
    >>> flow[..., 0] = 2
    >>> histogram = FlowHistogram(components=("flow",), grid=(1, 1, 1))
    >>> histogram.set_output(transform="pandas").fit_transform(flow).idxmax(axis=1)[0]
    'flow_t0_y0_x0_000deg'

    Descriptors of blocks of 4 pairs and 16 x 16 pixels, every 8 pixels:

    >>> histogram = FlowHistogram(grid=(2, 2, 2), block_shape=(4, 16, 16))
    >>> histogram.fit_transform(flow).shape
    (1, 35, 200)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_orientations": [Interval(Integral, 2, MOST_ORIENTATIONS, closed="both")],
        "components": [list, tuple],
        "grid": ["array-like"],
        "block_shape": ["array-like", None],
        "block_step": ["array-like", None],
        "still_threshold": [Interval(Real, 0, _MOST_PIXELS, closed="both"), None],
        "normalization": [StrOptions({"l1-sqrt", "l2"}), None],
        "n_jobs": n_jobs_constraint(),
        "device": [str, None],
    }

    def __init__(
        self,
        n_orientations: int = 8,
        *,
        components: Sequence[str] = COMPONENTS,
        grid: Sequence[int] = (3, 2, 2),
        block_shape: Sequence[int] | None = None,
        block_step: Sequence[int] | None = None,
        still_threshold: float | None = 0.4,
        normalization: str | None = "l1-sqrt",
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None:
        self.n_orientations = n_orientations
        self.components = components
        self.grid = grid
        self.block_shape = block_shape
        self.block_step = block_step
        self.still_threshold = still_threshold
        self.normalization = normalization
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Check the parameters and the shape of the flow; nothing is learnt from it.

        Parameters
        ----------
        X : array_like of shape (n_clips, n_pairs, height, width, 2)
            Flow of clips, in pixels per frame, on the host or a CUDA device.
        y : object, default=None
            Ignored.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``X`` does not hold real numbers.
        ValueError
            A parameter is out of range, ``X`` has another shape, or there are more cells than
            pixels or pairs.
        RuntimeError
            The device is not available.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.features import FlowHistogram
        >>> FlowHistogram().fit(np.zeros((2, 5, 24, 32, 2))).flow_shape_
        (5, 24, 32)
        """
        bins = self._check_parameters()
        device = resolve_device(self.device, X)
        shape = _read_flow(X, device).shape[1:4]
        self._block_axes(shape)
        self.device_ = str(device)
        self.flow_shape_ = tuple(shape)
        self.bin_names_ = self._names(bins)
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return the histograms of clips.

        Parameters
        ----------
        X : array_like of shape (n_clips, n_pairs, height, width, 2)
            Flow of clips, in pixels per frame; NaN where it is unknown. The clips may differ in
            size and length from those given to `fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_features) or (n_clips, n_blocks, n_features), float32
            With ``block_shape``, of each block, along time first, then down, then to the right. An
            array of the flow's library on the device where the flow lies there.

        Raises
        ------
        TypeError, RuntimeError, MemoryError
            As for `fit`; or the device has not enough memory.
        ValueError
            As for `fit`; or the flow is infinite, or beyond 1e9 pixels per frame.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.features import FlowHistogram
        >>> flow = np.full((1, 1, 4, 4, 2), [0.0, -3.0])
        >>> histogram = FlowHistogram(4, components=["flow"], grid=(1, 1, 1), normalization=None)
        >>> histogram.transform(flow)  # to the right, down, left, up; still
        array([[ 0.,  0.,  0., 48.,  0.]], dtype=float32)
        """
        bins = self._check_parameters()
        device = resolve_device(self.device, X)
        clips = _read_flow(X, device)
        axes = self._block_axes(clips.shape[1:4])
        blocks = [self._normalized(self._cells(clip, axes, bins, device), bins) for clip in clips]
        out = np.stack(blocks)
        return like(out if self.block_shape is not None else out[:, 0], X)

    @available_if(_is_table)
    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Return the names of the columns; there are columns without ``block_shape`` only.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of str objects
            Such as "flow_t0_y1_x0_045deg"; see ``bin_names_``.

        Examples
        --------
        >>> from fastmotion.features import FlowHistogram
        >>> FlowHistogram(4, components=["flow"], grid=(1, 1, 1)).get_feature_names_out()[-2:]
        array(['flow_t0_y0_x0_270deg', 'flow_t0_y0_x0_still'], dtype=object)
        """
        return np.array(self._names(self._check_parameters()), dtype=object)

    def _check_parameters(self) -> _Bins:
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        components = list(self.components)
        is_known = all(name in COMPONENTS for name in components)
        if not components or not is_known or len(set(components)) < len(components):
            raise ValueError(
                f"components must be some of {list(COMPONENTS)}, each once, got {components}"
            )
        for name in ("grid", "block_shape", "block_step"):
            _check_triple(getattr(self, name), name)
        return _Bins(self.n_orientations, self.still_threshold, components)

    def _block_axes(self, shape: Sequence[int]) -> list[BlockAxis]:
        """Return the cells of all blocks along time, height and width."""
        block = shape if self.block_shape is None else self.block_shape
        step = [max(size // 2, 1) for size in block] if self.block_step is None else self.block_step
        for size, length, n_cells, axis in zip(shape, block, self.grid, ("t", "y", "x")):
            if length > size:
                raise ValueError(
                    f"blocks must lie within the clip: along {axis} they have {length} of {size}; "
                    "decrease block_shape, or pass larger or longer clips"
                )
            if n_cells > length:
                raise ValueError(
                    f"every cell must have a pixel: along {axis} there are {n_cells} cells on "
                    f"{length}; decrease grid, or pass larger or longer clips or blocks"
                )
        return [BlockAxis.of(*sizes) for sizes in zip(shape, self.grid, block, step)]

    def _cells(
        self, clip: Any, axes: list[BlockAxis], bins: _Bins, device: Device
    ) -> NDArray[np.float64]:
        """Return the histograms of the cells of all blocks, (n_blocks, n_cells, n_bins)."""
        kernels = kernels_for(device.kind)
        longest = _MOST_PAIRS, kernels.MOST_ROWS, kernels.MOST_COLUMNS
        edges = [axis.edges(most) for axis, most in zip(axes, longest)]
        sums = self._lattice(clip, edges, bins, device)
        for k, axis in enumerate(axes):
            sums = axis.sum_cells(sums, k, edges[k])
        n_blocks, n_cells = zip(*(axis.shape for axis in axes))
        split = [size for axis in axes for size in axis.shape]
        blocks = sums.reshape(*split, bins.total).transpose(0, 2, 4, 1, 3, 5, 6)
        return blocks.reshape(math.prod(n_blocks), math.prod(n_cells), bins.total)

    def _lattice(
        self, clip: Any, edges: list[NDArray[np.int64]], bins: _Bins, device: Device
    ) -> NDArray[np.float64]:
        """Return the histograms of a lattice of intervals along time, height and width."""
        times, rows, columns = edges
        memory, kernels = memory_of(device), kernels_for(device.kind)
        threshold = np.float32(-1 if bins.still_threshold is None else bins.still_threshold)
        dtype = np.float64 if device.kind == "cpu" else np.float32
        sums = np.empty((times.size - 1, rows.size - 1, columns.size - 1, bins.total))
        work = _WORK_PER_VOTE * math.prod(clip.shape[1:3]) * bins.total
        with thread_limit(self.n_jobs) as most, memory.scope(_ADVICE):
            where = [memory.put(edge) for edge in (rows, columns)]
            for k, (start, stop) in enumerate(zip(times[:-1], times[1:])):
                n_threads = worthwhile_threads(most, work * (stop - start))
                with thread_limit(n_threads), memory.scope(_ADVICE):
                    flow = memory.put(clip[start:stop])
                    _require_in_range(flow)
                    out = memory.empty((stop - start, *sums.shape[1:]), dtype)
                    kernels.orientation_histograms(
                        flow, *where, bins.n_orientations, threshold,
                        bins.n_flow, bins.n_boundary, out,
                    )  # fmt: skip
                    memory.fetch(out).sum(axis=0, dtype=np.float64, out=sums[k])
        return sums

    def _normalized(self, cells: NDArray[np.float64], bins: _Bins) -> NDArray[np.float32]:
        """Return the numbers of all blocks, (n_blocks, n_features)."""
        parts = []
        for _, own in bins.parts():
            part = cells[..., own].reshape(len(cells), -1)
            if self.normalization is not None:
                order = 1 if self.normalization == "l1-sqrt" else 2
                norm = np.linalg.norm(part, order, axis=1, keepdims=True)
                part = part / np.where(norm > 0, norm, 1)
            parts.append(np.sqrt(part) if self.normalization == "l1-sqrt" else part)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _names(self, bins: _Bins) -> list[str]:
        n_times, n_rows, n_columns = self.grid
        return [
            f"{part}_t{t}_y{y}_x{x}_{name}"
            for part, own in bins.parts()
            for t in range(n_times)
            for y in range(n_rows)
            for x in range(n_columns)
            for name in bins.names()[: own.stop - own.start]
        ]

    def __sklearn_tags__(self) -> Any:
        tags = takes_clips(super().__sklearn_tags__())
        tags.input_tags.allow_nan = True
        return tags


def _check_triple(values: Any, name: str) -> None:
    """Raise a ValueError unless a parameter is None or three positive integers."""
    if values is None:
        return
    values = list(values)
    is_whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in values)
    if len(values) != 3 or not is_whole or min(values) < 1:
        raise ValueError(
            f"{name} must be three integers of at least 1, along time, height and width; got "
            f"{values}"
        )


def _read_flow(X: ArrayLike, device: Device) -> Any:
    """Return the flow of clips as float32, where it lies, values unseen."""
    if device.kind == "cpu" or not is_cuda_array(X):
        array = as_real_array(X, "X")
    else:
        array = as_device_array(X, device)
        require_real(array, "X")
    require_flow_clips_shape(tuple(array.shape), "X")
    if is_cuda_array(array):
        return as_device_array(array, device, np.float32)
    with np.errstate(over="ignore"):  # becomes infinite, which is reported later
        return as_kernel_input(np.ascontiguousarray(array, dtype=np.float32))


def _require_in_range(flow: Any) -> None:
    """Raise a ValueError if flow is infinite, or so long that it must mean something else."""
    if is_cuda_array(flow):
        found = summarise(flow)
        low, high = found.smallest, found.largest
        largest = math.inf if found.n_infinite else max(-low, high)
    else:
        low, high = extremes(flow)
        largest = float(max(-low, high))
    if largest > _MOST_PIXELS:
        raise ValueError(
            f"X must be finite, and no flow longer than {_MOST_PIXELS:g} pixels per frame, got "
            f"{largest:g}; set to NaN what is unknown"
        )
