"""Motion kernels: temporal convolutions of joint trajectories, fitted by least squares."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.device import Device, is_cuda_array
from fastmotion.core.memory import memory_at, memory_of
from fastmotion.core.validation import (
    ArrayOutput,
    Interval,
    StrOptions,
    n_jobs_constraint,
    validate_parameter_constraints,
)
from fastmotion.trajectory import on_device
from fastmotion.trajectory.design import MAX_TAPS, PRIORS, TARGETS, Design, make_design
from fastmotion.trajectory.filtering import EDGES, Taps, filter_frames
from fastmotion.trajectory.lags import (
    SHARING,
    LagStatistics,
    channel_groups,
    coef_shape,
    collect_lags,
)
from fastmotion.trajectory.noise import noise_deviation, noise_levels
from fastmotion.trajectory.sequences import (
    Sequences,
    check_confidence,
    check_joints,
    check_pose,
    check_sequences,
    check_target,
    device_for,
    rows_of,
    takes_sequences,
)
from fastmotion.trajectory.solvers import (
    Quadratic,
    build_quadratic,
    constant_term,
    correct,
    descend,
    fit_edges,
    intercepts,
    is_well_conditioned,
    solve,
)
from fastmotion.trajectory.weighting import (
    frame_weights,
    outlier_weights,
    split_weights,
    weighted,
)

_MAX_REWEIGHTINGS = 50
_REWEIGHTING_TOLERANCE = 1e-6
_MAX_REFINEMENTS = 4
_REFINEMENT_TOLERANCE = 1e-12


class MotionKernel(ArrayOutput, TransformerMixin, BaseEstimator):
    """Temporal convolution of joint trajectories with weights fitted by least squares.

    A motion kernel gives, for each joint and coordinate, ``sum_i coef_[i] * x[t + offsets_[i]]``.
    Velocity ``[-1, 1]`` and acceleration ``[1, -2, 1]`` are such kernels; here the weights are
    those that come closest to a target on the data: a later frame, the position or a derivative
    without the noise, or values that are given.

    Parameters
    ----------
    n_taps : int, default=5
        Frames that the kernel reads.
    window : float or None, default=None
        Seconds that it spans, in place of `n_taps`; needs `fps`.
    causal : bool, default=True
        Whether it reads the present frame and earlier ones only, or as many later ones as well.
    dilation : int, default=1
        Frames from one tap to the next.
    target : {"next", "position", "velocity", "acceleration"}, default="next"
        What it shall give: the frame at `horizon`; or position or derivative at the frame, by
        central differences of seven frames. If `fit` gets `y`, that is the target instead.
    horizon : int, default=1
        How many frames ahead "next" is.
    sharing : {"all", "coordinate", "joint", "channel"}, default="all"
        One kernel for all, or one for each coordinate, each joint, or each joint's coordinate.
    shrinkage : float, default=0.0
        Share, from 0 to 1, that the statistics of all channels have in the fit of each finer
        kernel; 1 gives all the same kernel, but for `alpha` and other penalties.
    alpha : float, default=0.0
        Ridge penalty ``alpha * |coef - prior|²``, on the scale of scikit-learn's Ridge.
    prior : str, array_like of the shape of `offsets_` or of `coef_`, or None, default=None
        The kernel that `alpha` pulls to and gradient descent starts from: "zero" (which None stands
        for), "random" (small), or a name that `fixed_kernel` knows, such as "velocity" or "savgol".
    smoothness : float, default=0.0
        Penalty on the squared differences of successive weights.
    smoothness_order : {1, 2}, default=1
        First or second differences.
    weight_sum : float, tuple (float, float) or None, default=None
        What the weights must add up to; or that and a penalty on the squared deviation from it.
    moments : int, dict of int to float, or None, default=None
        Exact moments ``sum_i coef_[i] * offsets_[i] ** p`` by their order p; or the highest order
        up to which they are those of the target, so that the kernel is right for all polynomials
        of that degree.
    loss : {"squared", "huber"}, default="squared"
        "huber" counts residuals beyond 1.345 standard deviations, robustly estimated, linearly, so
        that some bad frames do little harm.
    solver : {"closed_form", "gradient"}, default="closed_form"
        "gradient" descends from the prior to the same weights and keeps a trace.
    learning_rate : float or None, default=None
        Step of the gradient solver in units of the inverse of the largest curvature, below 2; None
        takes the best constant step and momentum.
    max_iter : int, default=100000
        Most epochs of the gradient solver.
    tol : float, default=1e-13
        Size of the gradient, beside that at the start, at which the gradient solver stops.
    residual : bool, default=False
        Fit what is added to the present frame: the weights add up to 1, positions far from the
        origin do no harm, and without a `prior` the ridge pulls to the present frame.
    noise : float, "auto" or None, default=None
        Standard deviation of white noise in the positions. The kernel then is that which would come
        closest to the target without the noise, though only noisy data are seen. "auto" estimates
        it from the fifth differences.
    fit_intercept : bool, default=False
        Whether to add a constant to each kernel's output.
    fps : float or None, default=None
        Frames per second; derivatives are per second if it is given, else per frame.
    edges : {"refit", "nearest", "reflect", "valid"}, default="refit"
        What to do near the first and last frames: kernels of their own, fitted to the frames that
        are there; the frame at the end repeated; frames mirrored (``c b a | a b c``); or to leave
        those frames out of the output. A derivative is NaN where too few frames are left for one.
    min_valid : float, default=0.5
        Least share of the taps that must not be missing, else the output is NaN. Taps beyond the
        ends of a sequence are missing only if both its ends cut a window off, for which there are
        no kernels of their own.
    axes : tuple of {"sequence", "frame", "joint", "coord"} or None, default=None
        Axes of the input if they are others than these four or the last three of them.
    random_state : int, RandomState instance or None, default=None
        For ``prior="random"``.
    n_jobs : int or None, default=None
        Threads; never changes a result.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute. Arrays on a CUDA device are worked on where they lie, and outputs are
        arrays of their library on it; None takes that of `fastmotion.config_context`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_taps,), (n_coords, n_taps), (n_joints, n_taps) or \
            (n_joints, n_coords, n_taps)
        Weights, by `sharing`; ``coef_[..., i]`` multiplies the frame at ``offsets_[i]``.
    offsets_ : ndarray of shape (n_taps,), int64
        Frames relative to the one that the output belongs to; increasing.
    intercept_ : ndarray of the shape of `coef_` without its last axis
        Zero unless `fit_intercept`.
    noise_ : float
        Standard deviation of the noise that was allowed for.
    statistics_ : LagStatistics
        The sums over all data seen.
    n_windows_ : int
        Windows seen.
    n_joints_, n_coords_, n_features_in_ : int
        Number of joints, of coordinates, and of both multiplied.
    trace_ : Bunch
        With the gradient solver: ``epoch``, ``loss`` (squared error and penalties, by the number of
        windows) and ``coef``, one row for each record; every epoch at first, then ever fewer.
    n_iter_ : int
        Epochs of the gradient solver, or reweightings of the Huber loss.
    device_ : str
        What ran.

    See Also
    --------
    MotionKernelCV : Chooses taps, alpha and sharing by leaving sequences out.
    MotionKernelBank : Several kernels at once, as features.

    Notes
    -----
    The fit needs the sums ``sum x[t - i] x[t - j]`` only, which take O(frames x taps) and no lagged
    matrix. A missing frame splits a sequence in two. Where frames are missing in a window that is
    filtered, the other weights are changed least so that their sum and first moment stay.

    The kernel for noisy data minimises ``E |w x - d s|²`` for observed ``x = s + n`` and the target
    ``d s``, with white noise n of variance σ²: ``w = G⁻¹ (G d - N σ² d)``, G and N being the Gram
    matrix and the number of windows [1]_.

    References
    ----------
    .. [1] N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", 1949;
       here in the time domain, with sample covariances.

    Examples
    --------
    Predict each next frame of a walking figure:

    >>> from fastmotion.datasets import make_motion
    >>> from fastmotion.trajectory import MotionKernel
    >>> X = make_motion("walk", n_sequences=4, random_state=0).positions
    >>> kernel = MotionKernel(n_taps=3, residual=True).fit(X)
    >>> kernel.offsets_
    array([-2, -1,  0])
    >>> bool(kernel.score(X) > 0.99)
    True

    Velocity in mm/s from noisy joints, without a clean example:

    >>> observed = make_motion("walk", noise=5.0, fps=60.0, random_state=0).observed
    >>> kernel = MotionKernel(
    ...     21, causal=False, target="velocity", noise="auto", weight_sum=0.0, fps=60.0
    ... )
    >>> kernel.fit_transform(observed).shape
    (1, 300, 19, 3)
    """

    statistics_: LagStatistics
    _noise_levels: NDArray[np.float64]
    _design: Design
    _groups: NDArray[np.int64]
    _has_target: bool
    _tails: list[tuple[NDArray, NDArray | None]] | None
    _edge_weights: NDArray[np.float64] | None

    _parameter_constraints: dict[str, list] = {
        "n_taps": [Interval(Integral, 1, MAX_TAPS, closed="both")],
        "window": [Interval(Real, 0, None, closed="neither"), None],
        "causal": ["boolean"],
        "dilation": [Interval(Integral, 1, 65536, closed="both")],
        "target": [StrOptions(set(TARGETS))],
        "horizon": [Interval(Integral, 1, 65536, closed="both")],
        "sharing": [StrOptions(set(SHARING))],
        "shrinkage": [Interval(Real, 0, 1, closed="both")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "prior": [StrOptions(set(PRIORS)), "array-like", None],
        "smoothness": [Interval(Real, 0, None, closed="left")],
        "smoothness_order": [Interval(Integral, 1, 2, closed="both")],
        "weight_sum": [Interval(Real, None, None, closed="neither"), tuple, None],
        "moments": [Interval(Integral, 0, 16, closed="both"), dict, None],
        "loss": [StrOptions({"squared", "huber"})],
        "solver": [StrOptions({"closed_form", "gradient"})],
        "learning_rate": [Interval(Real, 0, 2, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "residual": ["boolean"],
        "noise": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
        "fit_intercept": ["boolean"],
        "fps": [Interval(Real, 0, None, closed="neither"), None],
        "edges": [StrOptions(set(EDGES))],
        "min_valid": [Interval(Real, 0, 1, closed="right")],
        "axes": ["array-like", None],
        "random_state": ["random_state"],
        "n_jobs": n_jobs_constraint(),
        "device": [str, None],
    }

    def __init__(
        self,
        n_taps: int = 5,
        *,
        window: float | None = None,
        causal: bool = True,
        dilation: int = 1,
        target: str = "next",
        horizon: int = 1,
        sharing: str = "all",
        shrinkage: float = 0.0,
        alpha: float = 0.0,
        prior: str | ArrayLike | None = None,
        smoothness: float = 0.0,
        smoothness_order: int = 1,
        weight_sum: float | tuple[float, float] | None = None,
        moments: int | dict[int, float] | None = None,
        loss: str = "squared",
        solver: str = "closed_form",
        learning_rate: float | None = None,
        max_iter: int = 100_000,
        tol: float = 1e-13,
        residual: bool = False,
        noise: float | str | None = None,
        fit_intercept: bool = False,
        fps: float | None = None,
        edges: str = "refit",
        min_valid: float = 0.5,
        axes: tuple[str, ...] | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None:
        self.n_taps = n_taps
        self.window = window
        self.causal = causal
        self.dilation = dilation
        self.target = target
        self.horizon = horizon
        self.sharing = sharing
        self.shrinkage = shrinkage
        self.alpha = alpha
        self.prior = prior
        self.smoothness = smoothness
        self.smoothness_order = smoothness_order
        self.weight_sum = weight_sum
        self.moments = moments
        self.loss = loss
        self.solver = solver
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.residual = residual
        self.noise = noise
        self.fit_intercept = fit_intercept
        self.fps = fps
        self.edges = edges
        self.min_valid = min_valid
        self.axes = axes
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
    ) -> Self:
        """Fit the kernel.

        Parameters
        ----------
        X : array_like of shape (n_sequences, n_frames, n_joints, n_coords), or of one sequence \
                without its first axis, list of sequences, or xarray.DataArray
            Positions; NaN is missing.
        y : like X, or None, default=None
            What the kernel shall give at each frame; None takes `target`. Frames where it is NaN
            are left out. One value for each sequence, such as a classifier's labels in a pipeline,
            is no target and is ignored.
        sample_weight : array_like or None, default=None
            Nonnegative weights of sequences, (n_sequences,), or of the frames that outputs belong
            to: like X without coordinates, with or without joints.
        confidence : like X without coordinates, or None, default=None
            From 0 (missing) to 1. A window weighs as much as its least trusted frame.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            The data are not real numbers.
        ValueError
            A parameter is out of range or contradicts another; shapes do not match; a value is
            infinite; there is no window without a missing frame.
        RuntimeError
            The device is not available.

        Examples
        --------
        What comes closest to the position without noise of 5 mm:

        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernel
        >>> walk = make_motion("walk", n_sequences=2, noise=5.0, random_state=0)
        >>> kernel = MotionKernel(3, causal=False).fit(walk.observed, walk.positions)
        >>> kernel.coef_.round(2)
        array([0.33, 0.34, 0.33])
        """
        with self._unchanged_on_error():
            self._forget()
            return self._update(X, y, sample_weight, confidence, whole=True)

    def fit_transform(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
    ) -> Any:
        """Fit the kernel and return its output at each frame, both with the same confidence.

        Parameters
        ----------
        X, y, sample_weight, confidence : array_like
            As for `fit`.

        Returns
        -------
        ndarray, list of ndarray or xarray.DataArray
            As by `transform`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As by `fit` and `transform`.

        Examples
        --------
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernel
        >>> walk = make_motion("walk", noise=5.0, fps=60.0, random_state=0)
        >>> kernel = MotionKernel(21, causal=False, target="velocity", noise="auto", fps=60.0)
        >>> velocity = kernel.fit_transform(walk.observed)
        >>> float((velocity - walk.velocity).std()), float(walk.velocity.std())  # mm/s
        (41.612, 860.412)
        """
        return self.fit(X, y, sample_weight, confidence).transform(X, confidence)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        *,
        continued: bool = False,
    ) -> Self:
        """Add sequences to those seen before and fit the kernel to all of them.

        The result is that of `fit` on all data at once, to rounding. With ``noise="auto"``, which
        takes the median over sequences, each part of a continued one counts as one.

        Parameters
        ----------
        X, y, sample_weight, confidence : array_like
            As for `fit`.
        continued : bool, default=False
            Whether the sequences go on with those of the last call, so that windows reach across.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `fit`. ValueError too if the kernel, its target or the joints changed since the
            first call, for ``loss="huber"``, which needs all data at once, and if `continued` finds
            other sequences than before, or weights of frames.

        Examples
        --------
        A long sequence that comes in parts:

        >>> import numpy as np
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernel
        >>> X = make_motion("walk", n_frames=120, random_state=0).positions
        >>> kernel = MotionKernel(3)
        >>> for part in np.split(X, 4, axis=1):
        ...     kernel = kernel.partial_fit(part, continued=hasattr(kernel, "coef_"))
        >>> bool(np.allclose(kernel.coef_, MotionKernel(3).fit(X).coef_))
        True
        """
        if self.loss == "huber":
            raise ValueError(
                "loss='huber' needs all data at once; call fit, or take loss='squared'"
            )
        with self._unchanged_on_error():
            return self._update(X, y, sample_weight, confidence, whole=False, continued=continued)

    def merge(self, other: MotionKernel) -> Self:
        """Add what another kernel of the same kind has seen, and fit to all of it.

        Parameters
        ----------
        other : MotionKernel
            Fitted to the same joints, with windows of the same frames; not changed.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            The other is no `MotionKernel`.
        ValueError
            The two differ in the frames of a window, in sharing, in having a target ``y`` or in the
            joints; one comes from a file, without the sums; or ``loss="huber"``, which needs all
            data at once.

        Examples
        --------
        Kernels that two processes fitted, each to its own sequences:

        >>> import numpy as np
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernel
        >>> X = make_motion("walk", n_sequences=4, random_state=0).positions
        >>> kernel = MotionKernel(3).fit(X[:2]).merge(MotionKernel(3).fit(X[2:]))
        >>> bool(np.allclose(kernel.coef_, MotionKernel(3).fit(X).coef_))
        True
        """
        if not isinstance(other, MotionKernel):
            raise TypeError(f"other must be a MotionKernel, got {type(other).__name__}")
        for kernel in (self, other):
            check_is_fitted(kernel)
            kernel._check_sums()
        if "huber" in (self.loss, other.loss):
            raise ValueError(
                "loss='huber' needs all data at once; call fit on all of it, or take loss='squared'"
            )
        with self._unchanged_on_error():
            self._design = make_design(self, self._coef_shape(), self._has_target)
            self._check_same(other._design, other._groups, other._has_target)
            self.statistics_ = self.statistics_ + other.statistics_
            self._noise_levels = np.concatenate([self._noise_levels, other._noise_levels])
            self._tails = None
            self._solve()
        return self

    def transform(self, X: ArrayLike, confidence: ArrayLike | None = None) -> Any:
        """Return the kernel's output at each frame.

        Parameters
        ----------
        X : as for `fit`
            Sequences of the same joints; of any number and length.
        confidence : like X without coordinates, or None, default=None
            From 0 (missing) to 1: how far the weight of a frame goes to the others. What counts is
            its confidence beside the largest in the window.

        Returns
        -------
        ndarray, list of ndarray or xarray.DataArray
            In the container and shape of X, shorter by the window less one frame if ``edges`` is
            "valid"; float32 for float32. NaN where too many frames are missing.

        Raises
        ------
        TypeError
            The data are not real numbers.
        ValueError
            The joints are others than those of `fit`, or a value is infinite; for
            ``edges="valid"``, every sequence is shorter than the window.

        Examples
        --------
        A kernel of one sequence, run over others that are shorter:

        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernel
        >>> X = make_motion("walk", n_sequences=3, n_frames=100, random_state=0).positions
        >>> kernel = MotionKernel(5, target="velocity", edges="valid").fit(X[0])
        >>> [velocity.shape for velocity in kernel.transform([X[1, :50], X[2]])]
        [(46, 19, 3), (96, 19, 3)]
        """
        check_is_fitted(self)
        device = device_for(self.device, X)
        with memory_of(device).scope():
            sequences = check_sequences(X, axes=self.axes, device=device)
            check_pose(sequences, *self._groups.shape)
            trust = check_confidence(confidence, sequences, self.axes)
            outputs = self._filter(sequences, self._taps(), self.edges, trust, device)
        if self.edges != "valid":
            return sequences.restore_outputs(outputs)
        first, last = int(self.offsets_[0]), int(self.offsets_[-1])
        if sequences.lengths.max() <= last - first:
            raise ValueError(
                f"with edges='valid' a sequence must be as long as the kernel's window of "
                f"{last - first + 1} frames, got at most {sequences.lengths.max()}; take another "
                "value of edges"
            )
        return sequences.restore_outputs(outputs, -first, last)

    def predict(self, X: ArrayLike, confidence: ArrayLike | None = None) -> Any:
        """Return what the kernel predicts, at the frame from which it does: as `transform`.

        Parameters
        ----------
        X : as for `fit`
            Sequences of the same joints; of any number and length.
        confidence : like X without coordinates, or None, default=None
            As for `transform`.

        Returns
        -------
        ndarray, list of ndarray or xarray.DataArray
            As by `transform`: with ``target="next"`` the entry of frame t is the prediction of
            frame ``t + horizon``.

        Raises
        ------
        TypeError, ValueError
            As by `transform`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import MotionKernel
        >>> x = np.sin(np.arange(50.0) / 6).reshape(-1, 1, 1)
        >>> kernel = MotionKernel(2).fit(x)
        >>> predicted = kernel.predict(x)
        >>> bool(np.allclose(predicted[10], x[11]))
        True
        """
        return self.transform(X, confidence)

    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the coefficient of determination R² over all complete windows.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As for `fit`.

        Returns
        -------
        float
            1 for an exact kernel, 0 for a constant.

        Raises
        ------
        TypeError, ValueError
            As for `fit`.

        Examples
        --------
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernel
        >>> X = make_motion("walk", n_sequences=2, random_state=0).positions
        >>> kernel = MotionKernel(3, horizon=10).fit(X[:1])
        >>> kernel.score(X[1:])
        1.000
        """
        check_is_fitted(self)
        device = device_for(self.device, X)
        with memory_of(device).scope():
            sequences = check_sequences(X, axes=self.axes, device=device).on(device)
            check_pose(sequences, *self._groups.shape)
            if y is None and self._has_target:
                raise ValueError("the kernel was fitted to values y; give them to score as well")
            target = None if y is None else check_target(y, sequences, self.axes)
            wanted = self._wanted(sequences, target, device)
            given = self._complete(sequences, device)
            weights = None if sample_weight is None else frame_weights(sample_weight, sequences)
            score = determination(wanted, given, weights)
        if score is None:
            raise ValueError(
                f"no window of {self._design.n_lags} frames is complete and has a weight: there is "
                "nothing to score"
            )
        return score

    def check_parameters(self) -> None:
        """Raise a ValueError if a parameter is out of range.

        Examples
        --------
        >>> from fastmotion.trajectory import MotionKernel
        >>> MotionKernel(n_taps=0).check_parameters()
        Traceback (most recent call last):
            ...
        sklearn.utils._param_validation.InvalidParameterError: The 'n_taps' parameter ...
        """
        # The names are those of get_params, which looks them up each time.
        values = {name: getattr(self, name) for name in self._parameter_constraints}
        validate_parameter_constraints(self._parameter_constraints, values, type(self).__name__)

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Put all attributes back if an error is raised; none of them is changed in place."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _forget(self) -> None:
        for name in ("statistics_", "coef_", "trace_", "n_iter_"):
            if hasattr(self, name):
                delattr(self, name)

    def _update(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        confidence: ArrayLike | None,
        *,
        whole: bool,
        continued: bool = False,
    ) -> Self:
        self.check_parameters()
        device = device_for(self.device, X)
        with memory_of(device).scope():
            sequences = check_sequences(X, axes=self.axes, device=device).on(device)
            target = frame_target(y, sequences, self.axes)
            trust = check_confidence(confidence, sequences, self.axes)
            groups = channel_groups(self.sharing, sequences.n_joints, sequences.n_coords)
            shape = coef_shape(self.sharing, sequences.n_joints, sequences.n_coords)
            design = make_design(self, shape, target is not None)
            if hasattr(self, "statistics_"):
                self._check_same(design, groups, target is not None)
                if isinstance(self.prior, str) and self.prior == "random":
                    design = replace(design, prior=self._design.prior)
            elif whole and not self.shrinkage:
                check_joints(sequences)
            rows, per_sequence = split_weights(sample_weight, trust, sequences, design.reach)
            levels = noise_levels(sequences) if self.noise == "auto" else np.empty(0)
            if continued:
                if rows is not None:
                    raise ValueError(
                        "continued=True takes weights of whole sequences only, got weights or "
                        "confidences of frames; give the sequences at once"
                    )
                sequences, target = self._go_on(sequences, target)
            statistics = collect_lags(
                sequences,
                groups,
                design.n_lags,
                design.anchor,
                target=target,
                row_weights=rows,
                sequence_weights=per_sequence,
                n_jobs=self.n_jobs,
                device=device,
            )
            if hasattr(self, "statistics_"):
                statistics = self.statistics_ + statistics
                levels = np.concatenate([self._noise_levels, levels])
            self._keep(statistics, levels, design, groups, target is not None, device)
            self._tails = _tails(sequences, target, design.n_lags - 1)
            if whole or has_windows(statistics, design):
                check_windows(statistics, design, sequences, self.sharing)
                problem = self._solve()
                if whole:
                    self._finish(problem, sequences, target, rows, per_sequence, device)
        return self

    def _finish(
        self,
        problem: Quadratic,
        sequences: Sequences,
        target: NDArray | None,
        rows: NDArray[np.float64] | None,
        per_sequence: NDArray[np.float64] | None,
        device: Device,
    ) -> None:
        """Do what takes further passes over the data: weigh outliers down, correct rounding."""
        if self.loss == "huber":
            self._reweight(sequences, target, rows, per_sequence, device)
            return
        is_plain = not self.noise_ and not self.shrinkage and self.solver == "closed_form"
        if is_plain and not is_well_conditioned(problem, self.statistics_, self._design):
            self._refine(problem, sequences, target, rows, per_sequence, device)

    def _refine(
        self,
        problem: Quadratic,
        sequences: Sequences,
        target: NDArray | None,
        rows: NDArray[np.float64] | None,
        per_sequence: NDArray[np.float64] | None,
        device: Device,
    ) -> None:
        """Correct the weights by what they leave of the target, until they stay."""
        precise = replace(sequences, frames=on_device.as_float64(sequences.frames))
        wanted = self._wanted(precise, target, device)
        for _ in range(_MAX_REFINEMENTS):
            with memory_of(device).scope():
                left = self._left_of(wanted, self._complete(precise, device))
                residuals = collect_lags(
                    precise,
                    self._groups,
                    self._design.n_lags,
                    self._design.anchor,
                    target=left,
                    row_weights=rows,
                    sequence_weights=per_sequence,
                    n_jobs=self.n_jobs,
                    device=device,
                )
            before = self.coef_.reshape(-1, len(self.offsets_))
            weights = correct(problem, self._design, before, residuals)
            self._set_weights(weights)
            if np.abs(weights - before).max() <= _REFINEMENT_TOLERANCE * np.abs(weights).max():
                break

    def _left_of(self, wanted: Any, given: Any) -> Any:
        """Return what outputs leave of the target."""
        # Where it is missing, a window is not complete or the target is.
        if is_cuda_array(wanted):
            return on_device.difference(wanted, given, keep_missing=self._has_target)
        return wanted - given if self._has_target else np.nan_to_num(wanted - given)

    def _keep(
        self,
        statistics: LagStatistics,
        levels: NDArray[np.float64],
        design: Design,
        groups: NDArray[np.int64],
        has_target: bool,
        device: Device,
    ) -> None:
        """Keep sums, which may be of longer windows than the kernel needs."""
        self.statistics_, self._noise_levels = statistics, levels
        self._design, self._groups, self._has_target = design, groups, has_target
        self.device_ = str(device)

    def _check_sums(self) -> None:
        if not hasattr(self, "statistics_"):
            raise ValueError(
                "a kernel that was read from a file holds its weights alone, not the sums over the "
                "data that this takes; fit a new one"
            )

    def _check_same(self, design: Design, groups: NDArray, has_target: bool) -> None:
        """Raise if sums for another kernel cannot be added to those at hand."""
        mine = self.statistics_
        same = (
            np.array_equal(groups, self._groups)
            and (design.n_lags, design.anchor) == (mine.n_lags, mine.anchor)
            and has_target == self._has_target
        )
        if not same:
            raise ValueError(
                f"the data so far are of shape {self._groups.shape} (joints, coordinates), for "
                f"windows of {mine.n_lags} frames, sharing as in {len(np.unique(self._groups))} "
                f"kernel(s) and {'a' if self._has_target else 'no'} target y; these are of shape "
                f"{groups.shape}, {design.n_lags} frames, {len(np.unique(groups))} kernel(s) and "
                f"{'a' if has_target else 'no'} target y; call fit to start anew"
            )

    def _go_on(
        self, sequences: Sequences, target: NDArray | None
    ) -> tuple[Sequences, NDArray | None]:
        """Return the sequences after the last frames of those before."""
        tails = getattr(self, "_tails", None)
        if tails is None:
            raise ValueError(
                "continued=True needs sequences to go on with, but nothing was fitted yet or merge "
                "came last; call partial_fit without it first"
            )
        if len(tails) != sequences.n_sequences:
            raise ValueError(
                f"continued=True needs the {len(tails)} sequences of the last call, in their "
                f"order, got {sequences.n_sequences}"
            )
        if is_cuda_array(sequences.frames):
            return _continued_on_device(sequences, target, tails)
        spans = list(zip(sequences.starts, sequences.stops))
        frames = [
            np.concatenate([tail[0], sequences.frames[a:b]]) for tail, (a, b) in zip(tails, spans)
        ]
        if target is not None:
            target = np.concatenate(
                [part for tail, (a, b) in zip(tails, spans) for part in (tail[1], target[a:b])]
            )
        return check_sequences(frames), target

    def _solve(self) -> Quadratic:
        """Fit the weights to the sums at hand; return what they minimise."""
        self.noise_ = noise_deviation(self.noise, self._noise_levels)
        problem = build_quadratic(self.statistics_, self._design, self.noise_)
        if self.solver == "gradient":
            weights = self._descend(problem)
        else:
            weights = solve(problem)
        self.n_windows_ = int(self.statistics_.n_windows.sum())
        self.n_joints_, self.n_coords_ = self._groups.shape
        self.n_features_in_ = self._groups.size
        self._set_weights(weights)
        return problem

    def _set_weights(self, weights: NDArray[np.float64]) -> None:
        shape = self._coef_shape()
        self.offsets_ = self._design.offsets
        self.coef_ = weights.reshape(*shape, -1)
        self.intercept_ = intercepts(self.statistics_, self._design, weights).reshape(shape)
        self._edge_weights = None

    def _descend(self, problem: Quadratic) -> NDArray[np.float64]:
        descent = descend(
            problem,
            self._design.prior,
            learning_rate=self.learning_rate,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        total = max(float(self.statistics_.weights.sum()), np.finfo(float).tiny)
        self.trace_ = Bunch(
            epoch=descent.epochs,
            loss=(descent.values + constant_term(self.statistics_, self._design, self.noise_))
            / total,
            coef=descent.path.reshape(len(descent.epochs), *self._coef_shape(), -1),
        )
        self.n_iter_ = int(descent.epochs[-1])
        return descent.weights

    def _coef_shape(self) -> tuple[int, ...]:
        return coef_shape(self.sharing, *self._groups.shape)

    def _reweight(
        self,
        sequences: Sequences,
        target: NDArray | None,
        rows: NDArray[np.float64] | None,
        per_sequence: NDArray[np.float64] | None,
        device: Device,
    ) -> None:
        """Fit again with outlying residuals weighed down until the weights stay (IRLS)."""
        wanted = self._wanted(sequences, target, device)
        base = _base_weights(sequences, rows, per_sequence)
        for self.n_iter_ in range(1, _MAX_REWEIGHTINGS + 1):
            before = self.coef_
            with memory_of(device).scope():
                given = self._complete(sequences, device)
                self.statistics_ = collect_lags(
                    sequences,
                    self._groups,
                    self._design.n_lags,
                    self._design.anchor,
                    target=target,
                    row_weights=outlier_weights(wanted, given, base, self._groups.ravel()),
                    n_jobs=self.n_jobs,
                    device=device,
                )
            self._solve()
            if np.abs(self.coef_ - before).max() <= _REWEIGHTING_TOLERANCE * np.abs(before).max():
                return
        warnings.warn(
            f"the Huber loss still changed the weights after {_MAX_REWEIGHTINGS} reweightings; "
            "take more data, fewer taps or coarser sharing",
            ConvergenceWarning,
            stacklevel=5,
        )

    def _wanted(self, sequences: Sequences, target: Any, device: Device) -> Any:
        """Return the target at each frame, NaN where it is not known."""
        if target is not None:
            return target
        functional = self._design.functional
        assert functional is not None
        taps = Taps(functional.offsets, functional.weights[np.newaxis])
        return self._passing(sequences, taps, device)[0]

    def _complete(self, sequences: Sequences, device: Device) -> Any:
        """Return the output at each frame, NaN where the window is not complete."""
        taps = Taps(self.offsets_, self._weight_rows())
        return self._add_intercept(self._passing(sequences, taps, device)[0])

    def _passing(self, sequences: Sequences, taps: Taps, device: Device) -> Any:
        """Return outputs of complete windows, (1, total_frames, ...), for the time being."""
        frames = sequences.frames
        shape = (1, *tuple(frames.shape))
        return filter_frames(
            sequences,
            [taps],
            edges="valid",
            min_valid=1.0,
            n_jobs=self.n_jobs,
            device=device,
            out=memory_of(sequences.place).empty(shape, frames.dtype),
        )

    def _filter(
        self,
        sequences: Sequences,
        taps: Taps,
        edges: str,
        trust: Any,
        device: Device,
    ) -> Any:
        """Return the output at each frame, (1, total_frames, n_joints, n_coords)."""
        outputs = filter_frames(
            sequences,
            [taps],
            edges=edges,
            min_valid=self.min_valid,
            confidence=trust,
            n_jobs=self.n_jobs,
            device=device,
        )
        self._add_intercept(outputs[0])
        return outputs

    def _add_intercept(self, values: Any) -> Any:
        if self.intercept_.any():
            n_joints, n_coords = self._groups.shape
            constant = self._rows(self.intercept_.reshape(-1))
            constants = np.broadcast_to(constant, self._groups.size)
            if is_cuda_array(values):
                on_device.add_constants(values, constants)
            else:
                values += constants.reshape(n_joints, n_coords)
        return values

    def _rows(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (n_groups, ...) of the channels, (n_channels, ...), or one row for all."""
        return values if len(values) == 1 else values[self._groups.ravel()]

    def _weight_rows(self) -> NDArray[np.float64]:
        return self._rows(self.coef_.reshape(-1, len(self.offsets_)))

    def _taps(self) -> Taps:
        if self.edges == "refit" and self._edge_weights is None:
            self._check_sums()
            fitted = fit_edges(
                self.statistics_, self._design, self.noise_, self.intercept_.reshape(-1)
            )
            self._edge_weights = np.moveaxis(self._rows(fitted), 0, 2)
        return Taps(self.offsets_, self._weight_rows(), self._edge_weights)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    def __sklearn_tags__(self) -> Any:
        tags = takes_sequences(super().__sklearn_tags__())
        tags.transformer_tags.preserves_dtype = ["float32", "float64"]
        return tags


def _base_weights(sequences: Sequences, rows: Any, per_sequence: NDArray[np.float64] | None) -> Any:
    """Return what values weigh without regard to outliers, (total_frames, n_channels).

    On a device there may be fewer columns, each for several channels.
    """
    base = sequences.beside(np.ones((len(sequences.frames), 1))) if rows is None else rows
    if per_sequence is not None:
        base = weighted(base, frame_weights(per_sequence, sequences))
    if is_cuda_array(base):
        return base
    n_channels = sequences.n_joints * sequences.n_coords
    return np.repeat(base, n_channels // base.shape[1], axis=1)


def determination(wanted: Any, given: Any, weights: Any) -> float | None:
    """Return R² over what is known of both, or None if that has no weight.

    Parameters
    ----------
    wanted, given : array of shape (total_frames, n_joints, n_coords)
        On one device; NaN where a value is not known.
    weights : array of shape (total_frames, 1 or n_joints) or None
    """
    if is_cuda_array(wanted):
        total, first, *_ = on_device.score_sums(wanted, given, weights, 0.0)
        if not total:
            return None
        *_, spread, error = on_device.score_sums(wanted, given, weights, first / total)
    else:
        wanted, given = wanted.astype(np.float64), given.astype(np.float64)
        scale = np.ones(wanted.shape)
        if weights is not None:
            scale *= weights[:, :, np.newaxis]
        known = ~np.isnan(wanted) & ~np.isnan(given)
        if not scale[known].any():
            return None
        mean = np.average(wanted[known], weights=scale[known])
        spread = (scale[known] * (wanted[known] - mean) ** 2).sum()
        error = (scale[known] * (wanted[known] - given[known]) ** 2).sum()
    if spread == 0:
        return 1.0 if error == 0 else 0.0
    return float(1 - error / spread)


_Tails = list[tuple[NDArray, NDArray | None]]


def _tails(sequences: Sequences, target: Any, n_frames: int) -> _Tails:
    """Return copies, on the host, of the last frames of each sequence, and of their target."""
    lengths = np.minimum(sequences.lengths, n_frames)
    rows = rows_of(sequences.stops - lengths, lengths)
    bounds = np.cumsum(lengths)[:-1]
    frames = np.split(_rows_on_host(sequences.frames, rows), bounds)
    if target is None:
        return [(part, None) for part in frames]
    return list(zip(frames, np.split(_rows_on_host(target, rows), bounds)))


def _rows_on_host(values: Any, rows: NDArray[np.int64]) -> NDArray:
    if not is_cuda_array(values):
        return values[rows]
    memory = memory_at(values)
    with memory.scope():
        return memory.fetch(on_device.take_rows(values, rows))


def _continued_on_device(sequences: Sequences, target: Any, tails: _Tails) -> tuple[Any, Any]:
    """Return sequences, and their target, behind the last frames of those before."""
    before = np.array([len(frames) for frames, _ in tails])
    # The tails come first, all of them, then the frames; rows puts them into their order.
    tail_starts = np.cumsum(before) - before
    starts = np.stack([tail_starts, before.sum() + sequences.starts], axis=1).ravel()
    rows = rows_of(starts, np.stack([before, sequences.lengths], axis=1).ravel())
    stops = np.cumsum(before + sequences.lengths)

    def behind(parts: list[Any], values: Any) -> Any:
        return on_device.take_rows(on_device.stacked(np.concatenate(parts), values), rows)

    frames = behind([frames for frames, _ in tails], sequences.frames)
    if target is not None:
        target = behind([part for _, part in tails], target)
    starts = stops - before - sequences.lengths
    return replace(sequences, frames=frames, starts=starts, stops=stops), target


def frame_target(y: Any, sequences: Sequences, axes: tuple[str, ...] | None) -> NDArray | None:
    """Return the target of each frame, or None if there is none but, at most, a label each."""
    if y is None:
        return None
    is_flat = all(np.ndim(v) == 0 for v in y) if isinstance(y, list | tuple) else np.ndim(y) == 1
    if is_flat and len(y) == sequences.n_sequences:
        return None
    return check_target(y, sequences, axes)


def has_windows(statistics: LagStatistics, design: Design) -> bool:
    """Return whether there is something to fit each kernel to."""
    some = statistics.weights > 0
    return bool(some.any() if design.shrinkage > 0 else some.all())


def check_windows(
    statistics: LagStatistics, design: Design, sequences: Sequences, sharing: str
) -> None:
    """Raise if there is nothing to fit a kernel to."""
    if has_windows(statistics, design):
        return
    empty = statistics.weights <= 0
    if sequences.lengths.max() < design.n_lags:
        raise ValueError(
            f"the kernel and its target span {design.n_lags} frames, but the longest sequence has "
            f"{sequences.lengths.max()}; lower n_taps, window, dilation or horizon"
        )
    which = "X" if empty.all() else f"{sharing} {np.flatnonzero(empty).tolist()} of X"
    raise ValueError(
        f"{which} has no {design.n_lags} successive frames without a missing value (NaN, or of "
        "weight or confidence 0, or without y), which is what the kernel and its target span; fill "
        "gaps with interpolate_gaps, lower n_taps, leave joints out, or share more with shrinkage "
        "> 0"
    )
