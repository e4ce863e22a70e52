"""Lucas and Kanade's local method: weighted least squares in a window around each pixel."""

from __future__ import annotations

import functools
import math
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.interop import like
from fastmotion.core.validation import Interval, Options, StrOptions
from fastmotion.flow._estimator import COMMON_CONSTRAINTS, DenseFlow
from fastmotion.flow.frames import first_on_device, write_field
from fastmotion.flow.kernels.functional import WindowFunctional, in_float32
from fastmotion.flow.pyramid import Engine, resize

# The threshold for residuals of the gradient, as a share of that for the intensity's.
_GRADIENT_THRESHOLD = 0.25

# The standard deviation of the Gaussian window, as a share of the window's size.
_WINDOW_SIGMA = 0.18


class _WindowSolver:
    """Refines a flow by solving the normal equations of each pixel's window once.

    Keeps the confidence of the last level that it worked on, if wanted.
    """

    def __init__(self, functional: WindowFunctional, window: NDArray) -> None:
        self.functional = functional
        self.window = window
        self.wants_confidence = False
        self.confidence: Any = None

    def __call__(
        self,
        engine: Engine,
        frame0: Any,
        warped: Any,
        flow: Any,
        out: Any,
        progress: float,
        n_bands: int,
    ) -> None:
        shape = tuple(n if self.wants_confidence else 0 for n in frame0.shape)
        if self.confidence is None or tuple(self.confidence.shape) != shape:
            self.confidence = engine.memory.new(shape)  # outlasts the level
        engine.kernels.solve_windows(
            frame0,
            warped,
            flow,
            out,
            self.confidence,
            engine.memory.constant(self.window),
            self.functional,
            n_bands,
        )


@functools.lru_cache(maxsize=16)  # what is kept is also kept on a CUDA device
def _window_weights(window_size: int, window: str) -> NDArray:
    """Return the weights by distance from the centre along one axis; the window sums to 1."""
    distance = np.arange(window_size // 2 + 1)
    if window == "gaussian":
        weights = np.exp(-0.5 * (distance / (_WINDOW_SIGMA * window_size)) ** 2)
    else:
        weights = np.ones(len(distance))
    return (weights / (2.0 * weights.sum() - weights[0])).astype(np.float32)


class LucasKanade(DenseFlow):
    r"""Dense optical flow by Lucas and Kanade's local method.

    All pixels of a window are taken to move alike. For each pixel the flow solves the normal
    equations of weighted least squares over the window around it,

    .. math::

        \begin{bmatrix} \sum w I_x^2 + \lambda & \sum w I_x I_y \\
        \sum w I_x I_y & \sum w I_y^2 + \lambda \end{bmatrix}
        \begin{bmatrix} u \\ v \end{bmatrix}
        = -\begin{bmatrix} \sum w I_x I_t \\ \sum w I_y I_t \end{bmatrix}

    coarse to fine with repeated warping. The weights fall with the distance from the window's
    centre and with the residual of the pixel (Charbonnier), and are zero where the flow leaves the
    image. The two components of the image's gradient are asked to be constant as well as its
    intensity, and enter the same sums.

    Parameters
    ----------
    window_size : int, default=7
        Height and width of the window in pixels, odd, from 3 to 9999.
    window : {"gaussian", "uniform"}, default="gaussian"
        How weights fall with the distance from the centre: a Gaussian of standard deviation 0.18
        ``window_size``, or not at all.
    regularization : float, default=3e-5
        The number :math:`\lambda`; intensities range over [0, 1]. It holds the flow still where
        the window has no texture.
    gradient_weight : float, default=8.0
        Weight of gradient constancy relative to brightness constancy; 0 leaves the textbook's
        equations.
    residual_threshold : float, default=0.02
        Difference of intensities from which on a pixel counts less; infinite for plain least
        squares.
    n_warps : int, default=5
        Warps, each with one solution of the equations, per level of the pyramid.
    n_finest_warps : int or None, default=1
        Warps of the finest of several levels, which costs most of the time; None for ``n_warps``.
    max_update : float, default=1.0
        Largest change of a component of the flow per warp, in pixels; may be infinite.
    median_filter : bool, default=True
        Whether a 5 x 5 median filters the flow after each warp.
    weighted_median : bool, default=False
        Whether, at the end of each level, the flow near motion boundaries becomes the median of
        that of pixels which look alike: sharper boundaries, in several times the time.
    prefilter_sigma : float, default=0.7
        Standard deviation of the Gaussian that smooths the frames, in pixels of the finest level.
    pyramid_factor : float, default=0.5
        Size of a level of the pyramid relative to the next finer one, in [0.1, 0.95].
    n_levels : int or None, default=None
        Most levels of the pyramid; None goes on down to 16 pixels.
    finest_scale : int, default=0
        The flow is estimated at ``1 / 2**finest_scale`` of the resolution and upsampled.
    n_jobs : int or None, default=None
        Threads of the CPU; None takes what `fastmotion.config_context` or Numba is set to, -1 all.
        It does not change the result.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; "auto" is where the frames lie. None takes what
        `fastmotion.config_context` is set to.

    Attributes
    ----------
    device_ : str
        The device found by `fit`.
    frame_shape_ : tuple of int
        Shape of the frames given to `fit`.

    See Also
    --------
    HornSchunck : The global method: more accurate.
    lucas_kanade : The same as a function.

    References
    ----------
    Lucas and Kanade (1981), An iterative image registration technique with an application to stereo
    vision.
    Barron, Fleet and Beauchemin (1994), Performance of optical flow techniques, section 2.1.
    Baker and Matthews (2004), Lucas-Kanade 20 years on: a unifying framework.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_photograph
    >>> from fastmotion.flow import LucasKanade
    >>> from fastmotion.metrics import endpoint_error
    >>> pair = make_warped_photograph("china", motion="rotation", magnitude=3.0, shape=(96, 128))
    >>> flow, confidence = LucasKanade().estimate(
    ...     pair.frame0, pair.frame1, return_confidence=True
    ... )
    >>> flow.shape, confidence.shape
    ((96, 128, 2), (96, 128))
    >>> trusted = confidence > 1e-3
    >>> endpoint_error(pair.flow, flow, mask=trusted) < 0.1
    True
    """

    _presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"finest_scale": 2},
        "medium": {"finest_scale": 1},
        "default": {},
        "best": {"pyramid_factor": 0.75, "n_warps": 10, "weighted_median": True},
        "textbook": {
            "n_levels": 1,
            "n_warps": 1,
            "gradient_weight": 0.0,
            "residual_threshold": np.inf,
            "max_update": np.inf,
            "median_filter": False,
            "prefilter_sigma": 0.0,
        },
    }

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "window_size": [Interval(Integral, 3, 9999, closed="both")],
        "window": [StrOptions({"gaussian", "uniform"})],
        "regularization": [Interval(Real, 1e-9, 1e3, closed="both")],
        "gradient_weight": [Interval(Real, 0, 1e3, closed="both")],
        "residual_threshold": [
            Interval(Real, 1e-6, 1e6, closed="both"),
            Options(Real, {math.inf}),
        ],
        **COMMON_CONSTRAINTS,
    }

    def __init__(
        self,
        window_size: int = 7,
        *,
        window: str = "gaussian",
        regularization: float = 3e-5,
        gradient_weight: float = 8.0,
        residual_threshold: float = 0.02,
        n_warps: int = 5,
        n_finest_warps: int | None = 1,
        max_update: float = 1.0,
        median_filter: bool = True,
        weighted_median: bool = False,
        prefilter_sigma: float = 0.7,
        pyramid_factor: float = 0.5,
        n_levels: int | None = None,
        finest_scale: int = 0,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None:
        self.window_size = window_size
        self.window = window
        self.regularization = regularization
        self.gradient_weight = gradient_weight
        self.residual_threshold = residual_threshold
        self.n_warps = n_warps
        self.n_finest_warps = n_finest_warps
        self.max_update = max_update
        self.median_filter = median_filter
        self.weighted_median = weighted_median
        self.prefilter_sigma = prefilter_sigma
        self.pyramid_factor = pyramid_factor
        self.n_levels = n_levels
        self.finest_scale = finest_scale
        self.n_jobs = n_jobs
        self.device = device

    def estimate(
        self,
        frame0: ArrayLike,
        frame1: ArrayLike,
        *,
        initial_flow: ArrayLike | None = None,
        return_confidence: bool = False,
    ) -> Any:
        """Return the flow from one frame to the next.

        Parameters
        ----------
        frame0, frame1 : array of shape (height, width) or (height, width, channels)
            At least 16 x 16 pixels; 1 or 3 (RGB) channels, of which the luminance is used. uint8,
            uint16 and bool have their full range (10 or 12 bits in uint16: convert to float); the
            range of float frames is that of both frames together, so that their scale does not
            matter. On the host, or on the CUDA device that the estimator computes on.
        initial_flow : array_like of shape (height, width, 2) or None, default=None
            Where to start, in pixels; for example the flow of the previous pair of a video.
        return_confidence : bool, default=False
            Whether to return the confidence too.

        Returns
        -------
        flow : ndarray of shape (height, width, 2), float32
            Pixels. ``flow[y, x] = u, v`` means that ``frame1[y + v, x + u]`` shows what
            ``frame0[y, x]`` shows. An array on the device, of the library of the first one
            there, where one of the arguments is.
        confidence : ndarray of shape (height, width), float32
            The smaller eigenvalue of each pixel's 2 x 2 matrix, without regularisation: how well
            the window's texture determines the flow (Shi and Tomasi 1994). Squared intensity per
            squared pixel, intensities in [0, 1]. Only if ``return_confidence``.

        Raises
        ------
        TypeError
            A frame does not hold real numbers.
        ValueError
            A shape, size or parameter is out of range, or a pixel NaN or infinite.
        RuntimeError
            The device is not available.
        MemoryError
            It has not enough memory.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import make_warped_photograph
        >>> from fastmotion.flow import LucasKanade
        >>> pair = make_warped_photograph("china", motion=(2.0, -1.0), shape=(48, 64))
        >>> flow, confidence = LucasKanade().estimate(
        ...     pair.frame0, pair.frame1, return_confidence=True
        ... )
        >>> np.median(flow[confidence > 1e-4], axis=0).round(1)
        array([ 2., -1.], dtype=float32)
        """
        self._check_parameters()
        solver = self._solver()
        solver.wants_confidence = return_confidence
        with self._engine(frame0, frame1, initial_flow) as engine:
            planes = self._run(frame0, frame1, initial_flow, solver, engine)
            given = first_on_device(frame0, frame1, initial_flow)
            flow = like(write_field(planes, engine), given)
            if not return_confidence:
                return flow
            *_, height, width = planes.shape
            confidence = engine.memory.new((height, width))
            resize(
                solver.confidence,
                confidence,
                engine,
                factor=(4.0**-self.finest_scale,),  # squared gradients of smaller pixels
            )
            return flow, like(confidence, given)

    def _solver(self) -> _WindowSolver:
        functional = in_float32(
            WindowFunctional,
            gradient=self.gradient_weight,
            epsilon2=self.residual_threshold**2,
            gradient_epsilon2=(_GRADIENT_THRESHOLD * self.residual_threshold) ** 2,
            regularization=self.regularization,
            max_update=self.max_update,
        )
        return _WindowSolver(functional, _window_weights(self.window_size, self.window))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.window_size % 2 == 0:
            raise ValueError(
                f"window_size must be odd, got {self.window_size}; a window has a pixel at its "
                f"centre, so use {self.window_size - 1} or {self.window_size + 1}"
            )


def lucas_kanade(
    frame0: ArrayLike,
    frame1: ArrayLike,
    *,
    initial_flow: ArrayLike | None = None,
    return_confidence: bool = False,
    **params: Any,
) -> Any:
    """Return the dense flow from one frame to the next by Lucas and Kanade's method.

    Parameters
    ----------
    frame0, frame1 : array of shape (height, width) or (height, width, channels)
        On the host or a CUDA device; see `LucasKanade.estimate`.
    initial_flow : array_like of shape (height, width, 2) or None, default=None
        Where to start.
    return_confidence : bool, default=False
        Whether to return the confidence too.
    **params
        Parameters of `LucasKanade`.

    Returns
    -------
    flow : ndarray of shape (height, width, 2), float32
        Pixels; ``frame1[y + v, x + u]`` shows what ``frame0[y, x]`` shows.
    confidence : ndarray of shape (height, width), float32
        The smaller eigenvalue of each pixel's matrix. Only if ``return_confidence``.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As for `LucasKanade.estimate`.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_photograph
    >>> from fastmotion.flow import lucas_kanade
    >>> pair = make_warped_photograph("flower", motion="zoom", magnitude=2.0, shape=(64, 64))
    >>> lucas_kanade(pair.frame0, pair.frame1, window_size=9).shape
    (64, 64, 2)
    """
    return LucasKanade(**params).estimate(
        frame0, frame1, initial_flow=initial_flow, return_confidence=return_confidence
    )
