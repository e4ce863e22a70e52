"""Horn and Schunck's global method, in its textbook form and in its robust one."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fastmotion.core.validation import Interval, StrOptions
from fastmotion.flow._estimator import COMMON_CONSTRAINTS, DenseFlow
from fastmotion.flow.kernels.functional import VariationalFunctional, in_float32
from fastmotion.flow.pyramid import Engine

_DEFAULT_ALPHA = {"robust": 0.9, "quadratic": 0.06}

# Scales of the robust functional: distances in pixels, and gradients (of the intensity, of its
# derivatives) below which a residual no longer counts as a distance. Chosen once, on real and on
# synthetic pairs together.
_DATA_EPSILON = 0.03
_SMOOTHNESS_EPSILON = 0.008
_ZETA = 0.016
_GRADIENT_ZETA = 0.0025

# Sweeps after which the weights of robust penalties are taken anew.
_SWEEPS_PER_REWEIGHTING = 10


@dataclass(frozen=True)
class _SweepSolver:
    """Refines a flow by sweeps of successive over-relaxation."""

    functional: VariationalFunctional
    n_sweeps: int
    omega: float
    max_update: float

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
        functional = self._graduated(progress)
        is_robust = functional.data_exponent < 1
        current, spare = flow, None
        left = self.n_sweeps
        while left > 0:
            n_sweeps = min(left, _SWEEPS_PER_REWEIGHTING) if is_robust else left
            if current is out and spare is None:
                spare = engine.memory.empty(out.shape)
            target = spare if current is out else out
            engine.kernels.relax(
                frame0,
                warped,
                flow,
                current,
                target,
                functional,
                n_sweeps,
                np.float32(self.omega),
                np.float32(self.max_update),
                n_bands,
            )
            current = target
            left -= n_sweeps
        if current is not out:
            engine.memory.copy(current, out)

    def _graduated(self, progress: float) -> VariationalFunctional:
        """Return the functional with its penalties made non-convex gradually over the warps."""
        functional = self.functional
        if functional.data_exponent >= 0.5:
            return functional
        exponent = np.float32(0.5 + progress * (functional.data_exponent - 0.5))
        return functional._replace(data_exponent=exponent, smoothness_exponent=exponent)


class HornSchunck(DenseFlow):
    r"""Dense optical flow by Horn and Schunck's global method.

    The flow minimises the sum of a data term, which asks that the frames agree where the flow
    points to, and ``alpha**2`` times a smoothness term, which asks that neighbouring pixels move
    alike.

    With ``penalty="robust"`` (the default) the data term holds brightness constancy and gradient
    constancy, both divided by the gradient's size so that they measure distances; both terms are
    penalised by :math:`(s^2 + \epsilon^2)^a`, which lets motion boundaries and occlusions be; and
    smoothness counts less across edges of the image. With ``penalty="quadratic"`` it is the
    functional of 1981,

    .. math:: \sum (I_x u + I_y v + I_t)^2 + \alpha^2 (|\nabla u|^2 + |\nabla v|^2).

    Both are solved coarse to fine, with repeated warping and red-black sweeps of successive
    over-relaxation. ``HornSchunck.from_preset("textbook")`` minimises the functional of 1981 on one
    level with one warp and no filters; derivatives are those of "barron" in `image_derivatives`.

    Parameters
    ----------
    alpha : float or None, default=None
        Weight of smoothness; intensities range over [0, 1], flow is in pixels. None is 0.9 with
        robust penalties and 0.06 with quadratic ones.
    penalty : {"robust", "quadratic"}, default="robust"
        The functional, as above.
    exponent : float, default=0.5
        The exponent a of the robust penalties, in (0, 1]. 0.5 is Charbonnier's. Below 0.5 they are
        not convex, and are approached from 0.5 over the warps of each level.
    gradient_weight : float, default=0.8
        Share of gradient constancy in the robust data term, in [0, 1]; the rest is brightness
        constancy.
    edge_sensitivity : float, default=500.0
        The weight of smoothness between two pixels is divided by one plus this number times their
        squared intensity difference. Robust functional only.
    n_sweeps : int, default=7
        Sweeps of over-relaxation per warp.
    omega : float, default=1.95
        Over-relaxation factor that the sweeps of a warp rise to, in [1, 2).
    n_warps : int, default=5
        Warps per level of the pyramid.
    n_finest_warps : int or None, default=None
        Warps of the finest of several levels, which costs most of the time; None for ``n_warps``.
    max_update : float, default=1.5
        Largest change of a component of the flow per warp, in pixels; may be infinite.
    median_filter : bool, default=True
        Whether a 5 x 5 median filters the flow after each warp.
    weighted_median : bool, default=False
        Whether, at the end of each level, the flow near motion boundaries becomes the median of
        that of pixels which look alike: sharper boundaries, in several times the time.
    prefilter_sigma : float, default=0.8
        Standard deviation of the Gaussian that smooths the frames, in pixels of the finest level.
    pyramid_factor : float, default=0.75
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
    LucasKanade : The local method: faster, less accurate, with a confidence.
    horn_schunck : The same as a function.

    References
    ----------
    Horn and Schunck (1981), Determining optical flow, equations 9 and 15.
    Brox, Bruhn, Papenberg and Weickert (2004), High accuracy optical flow estimation based on a
    theory for warping.
    Zimmer, Bruhn and Weickert (2011), Optic flow in harmony.
    Sun, Roth and Black (2014), A quantitative analysis of current practices in optical flow
    estimation and the principles behind them.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_photograph
    >>> from fastmotion.flow import HornSchunck
    >>> from fastmotion.metrics import endpoint_error
    >>> pair = make_warped_photograph("china", motion="rotation", magnitude=3.0, shape=(96, 128))
    >>> flow = HornSchunck().estimate(pair.frame0, pair.frame1)
    >>> flow.shape
    (96, 128, 2)
    >>> endpoint_error(pair.flow, flow) < 0.1
    True
    """

    _presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"finest_scale": 2, "pyramid_factor": 0.5, "n_finest_warps": 2},
        "medium": {"finest_scale": 1, "pyramid_factor": 0.5, "n_finest_warps": 2},
        "default": {},
        "best": {
            "exponent": 0.45,
            "pyramid_factor": 0.85,
            "n_warps": 8,
            "n_sweeps": 10,
            "weighted_median": True,
        },
        "textbook": {
            "penalty": "quadratic",
            "n_levels": 1,
            "n_warps": 1,
            "n_sweeps": 200,
            "max_update": np.inf,
            "median_filter": False,
            "prefilter_sigma": 0.0,
        },
    }

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "alpha": [Interval(Real, 1e-4, 1e3, closed="both"), None],
        "penalty": [StrOptions({"robust", "quadratic"})],
        "exponent": [Interval(Real, 0, 1, closed="right")],
        "gradient_weight": [Interval(Real, 0, 1, closed="both")],
        "edge_sensitivity": [Interval(Real, 0, 1e6, closed="both")],
        "n_sweeps": [Interval(Integral, 1, None, closed="left")],
        "omega": [Interval(Real, 1, 2, closed="left")],
        **COMMON_CONSTRAINTS,
    }

    def __init__(
        self,
        alpha: float | None = None,
        *,
        penalty: str = "robust",
        exponent: float = 0.5,
        gradient_weight: float = 0.8,
        edge_sensitivity: float = 500.0,
        n_sweeps: int = 7,
        omega: float = 1.95,
        n_warps: int = 5,
        n_finest_warps: int | None = None,
        max_update: float = 1.5,
        median_filter: bool = True,
        weighted_median: bool = False,
        prefilter_sigma: float = 0.8,
        pyramid_factor: float = 0.75,
        n_levels: int | None = None,
        finest_scale: int = 0,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None:
        self.alpha = alpha
        self.penalty = penalty
        self.exponent = exponent
        self.gradient_weight = gradient_weight
        self.edge_sensitivity = edge_sensitivity
        self.n_sweeps = n_sweeps
        self.omega = omega
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

    def _solver(self) -> _SweepSolver:
        return _SweepSolver(self._functional(), self.n_sweeps, self.omega, self.max_update)

    def _functional(self) -> VariationalFunctional:
        alpha = _DEFAULT_ALPHA[self.penalty] if self.alpha is None else self.alpha
        if self.penalty == "quadratic":
            return in_float32(
                VariationalFunctional,
                brightness=1.0,
                gradient=0.0,
                normalize=0.0,
                zeta2=1.0,
                gradient_zeta2=1.0,
                data_epsilon2=0.0,
                data_exponent=1.0,
                smoothness=alpha**2,
                edge=0.0,
                smoothness_epsilon2=0.0,
                smoothness_exponent=1.0,
            )
        return in_float32(
            VariationalFunctional,
            brightness=1.0 - self.gradient_weight,
            gradient=self.gradient_weight,
            normalize=1.0,
            zeta2=_ZETA**2,
            gradient_zeta2=_GRADIENT_ZETA**2,
            data_epsilon2=_DATA_EPSILON**2,
            data_exponent=self.exponent,
            smoothness=alpha**2,
            edge=self.edge_sensitivity,
            smoothness_epsilon2=_SMOOTHNESS_EPSILON**2,
            smoothness_exponent=self.exponent,
        )


def horn_schunck(
    frame0: ArrayLike, frame1: ArrayLike, *, initial_flow: ArrayLike | None = None, **params: Any
) -> Any:
    """Return the dense flow from one frame to the next by Horn and Schunck's method.

    Parameters
    ----------
    frame0, frame1 : array of shape (height, width) or (height, width, channels)
        On the host or a CUDA device; see `HornSchunck.estimate`.
    initial_flow : array_like of shape (height, width, 2) or None, default=None
        Where to start.
    **params
        Parameters of `HornSchunck`.

    Returns
    -------
    ndarray of shape (height, width, 2), float32
        Pixels; ``frame1[y + v, x + u]`` shows what ``frame0[y, x]`` shows.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As for `HornSchunck.estimate`.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_photograph
    >>> from fastmotion.flow import horn_schunck
    >>> pair = make_warped_photograph("flower", motion="zoom", magnitude=2.0, shape=(64, 64))
    >>> horn_schunck(pair.frame0, pair.frame1, n_warps=3).shape
    (64, 64, 2)
    """
    return HornSchunck(**params).estimate(frame0, frame1, initial_flow=initial_flow)
