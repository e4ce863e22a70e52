"""Several motion kernels at once, as features of trajectories."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.device import Device, is_cuda_array, to_host
from fastmotion.core.interop import like
from fastmotion.core.memory import memory_of
from fastmotion.core.validation import (
    ArrayOutput,
    Interval,
    StrOptions,
    n_jobs_constraint,
    validate_parameter_constraints,
)
from fastmotion.trajectory import on_device
from fastmotion.trajectory.class_kernels import class_kernels
from fastmotion.trajectory.complementary import (
    Prediction,
    Similarity,
    prediction_taps,
    solve_apart,
)
from fastmotion.trajectory.design import kernel_offsets
from fastmotion.trajectory.filtering import EDGES, Taps, filter_frames
from fastmotion.trajectory.fixed import FIXED_KERNELS, fixed_kernel
from fastmotion.trajectory.lags import LagStatistics, channel_groups, collect_lags
from fastmotion.trajectory.pooling import POOLS, cell_names, cells_of, pool
from fastmotion.trajectory.sequences import (
    Sequences,
    check_confidence,
    check_joints,
    check_pose,
    check_sequences,
    device_for,
    rows_of,
    takes_sequences,
)
from fastmotion.trajectory.weighting import split_weights

# Outputs of the kernels that are made before they are pooled, in bytes.
_BATCH_BYTES = 1 << 25

_logger = logging.getLogger(__name__)


# Names, kernels, and further attributes that only some kinds of kernels have.
_Learned = tuple[list[str], list[Taps], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class _Source:
    """What kernels are learned from: weighted windows from a first to a last offset."""

    sequences: Sequences
    reach: tuple[int, int]
    window_weights: NDArray[np.float64] | None
    sequence_weights: NDArray[np.float64]
    n_jobs: int | None
    device: Device

    def collect(self, members: NDArray[np.bool_], whose: str = "") -> LagStatistics:
        """Return the sums over the windows of some sequences, whose name an error has."""
        sequences = self.sequences
        first, last = self.reach
        stats = collect_lags(
            sequences,
            channel_groups("all", sequences.n_joints, sequences.n_coords),
            last - first + 1,
            last,
            row_weights=self.window_weights,
            sequence_weights=self.sequence_weights * members,
            n_jobs=self.n_jobs,
            device=self.device,
        )
        if not stats.n_windows[0]:
            lengths = sequences.lengths[members]
            raise ValueError(
                f"the sequences{whose} must hold at least one window of {stats.n_lags} frames "
                "without NaN, of a weight above zero, which the largest scale and dilation need, "
                f"got sequences of up to {lengths.max()} frames; choose smaller ones"
            )
        return stats


def _is_pooled(bank: MotionKernelBank) -> bool:
    if bank.pooling is None:
        raise AttributeError(
            "there are names of features with pooling only; without, kernel_names_ has those of "
            "the last axis"
        )
    return True


class MotionKernelBank(ArrayOutput, TransformerMixin, BaseEstimator):
    """Features of trajectories from several temporal kernels, learned and fixed ones, at once.

    A kernel gives, at each frame and for each coordinate of each joint, a weighted sum of the
    frames around it. The bank has kernels of several lengths (`scales`) whose taps lie one or more
    frames apart (`dilations`); one pass over the frames runs them all. For a classifier, `pooling`
    turns the outputs into one row of features for each sequence.

    Parameters
    ----------
    scales : sequence of int, default=(2, 3, 5)
        Numbers of taps of the learned kernels; there is one for each scale and dilation.
    dilations : sequence of int, default=(1,)
        Frames from one tap to the next, of learned and of fixed kernels.
    fixed : sequence of str or tuple, default=()
        Names of `fixed_kernel`, such as "velocity", "acceleration", "jerk" and "hold", or tuples
        such as ("savgol_velocity", 7) and ("savgol_velocity", 7, 3) with the number of taps and the
        order of the polynomial. Each comes once for each dilation.
    learned : {"next", "class"} or None, default="next"
        - "next": each kernel predicts the frame that comes `horizon` frames after the newest one
          that it reads, by least squares over all joints and sequences among the weights that add
          up to one: a shift of all positions is a shift of the output;
        - "class": for each label in ``y``, the kernel whose weights add up to zero and to the
          energy of whose output the sequences of that label contribute most; with 2 taps there is
          but one such kernel, the difference, for all labels;
        - None: there are fixed kernels only.
    horizon : int, default=1
        How many frames ahead kernels predict that learn "next".
    causal : bool, default=True
        Whether windows end at the frame itself, or are centred on it (with an even number of taps,
        one step more lies in the past).
    alpha : float, default=0.0
        Strength of a ridge. It pulls kernels that learn "next" towards repeating their newest
        frame, in units of the squared error of that prediction, and makes up to "class" for what
        moves too little to be told from noise, in units of the mean square of a window's motion.
    cross_scale_penalty : float, default=0.0
        Weight of the squared similarity of every two kernels that learn "next", beside their
        squared errors, each in units of the error of repeating the newest frame. The kernels then
        predict less well and differ more. As the weights of each add up to one, none escapes the
        penalty by shrinking.
    similarity : {"weights", "outputs"}, default="weights"
        What that penalty holds down: the cosine of the weights, aligned by the frames that they
        multiply; or that of the outputs, less the newest frame of each window, over all windows:
        the correlation of the motions that the kernels predict.
    pooling : sequence of {"mean", "std", "min", "max", "energy"}, str or None, default=None
        Statistics of the outputs over the frames of each sequence; "energy" is the mean square.
        None keeps the frames; the output is then no table: it has no `get_feature_names_out`, and
        stays an array whatever `set_output` asks for.
    pyramid : sequence of int, default=(1,)
        Into how many parts of equal length sequences are cut for pooling; (1, 2, 4) pools the
        whole, its halves and its quarters.
    fill_value : float, default=0.0
        Pooled feature of a joint in a part of a sequence where it has no valid output. 0 keeps
        classifiers running, but to them it is a joint that stands still, at the origin for kernels
        of positions; the log then has a warning. NaN leaves the choice to an imputer.
    fps : float or None, default=None
        Frames per second: fixed kernels then give derivatives per second instead of per frame.
    edges : {"refit", "nearest", "reflect", "valid"}, default="refit"
        What windows read beyond the ends of a sequence. "refit" uses the frames that are there: in
        kernels that learn "next" with weights fitted to just those frames, in others with their
        weights changed by as little as keeps the derivative, if `min_valid` allows. "nearest"
        repeats the frame at the end, "reflect" mirrors frames there, and "valid" leaves out the
        frames at which any kernel's window is cut off.
    min_valid : float, default=0.5
        Least share of a window's frames that must not be missing, else the output is NaN.
    axes : sequence of {"sequence", "frame", "joint", "coord"} or None, default=None
        Order of the axes of the input where it is another than that of `fit`.
    n_jobs : int or None, default=None
        Number of threads; never changes a result.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute. Arrays on a CUDA device are worked on where they lie, and outputs are
        arrays of their library on it; None takes that of `fastmotion.config_context`.

    Attributes
    ----------
    kernels_ : list of (offsets, weights)
        ``weights[i]`` multiplies the frame at ``offsets[i]``, counted in frames from that of the
        output; learned kernels first, scale by scale within each dilation.
    kernel_names_ : list of str
        Such as "next3", "next3_dilation4", "velocity" or "class5_walk".
    similarity_ : ndarray of shape (n_learned, n_learned)
        With learned="next": the cosines that `similarity` speaks of.
    objective_trace_ : ndarray of shape (n_sweeps + 1,)
        With learned="next": squared errors and penalty before and after each sweep over the
        kernels; it never rises.
    classes_ : ndarray of shape (n_classes,)
        With learned="class": the labels, sorted.
    device_ : str
        Where it was fitted.
    n_joints_, n_coords_ : int
        Sizes of a pose.
    n_features_in_ : int
        Numbers of a pose, the product of the two.

    See Also
    --------
    fixed_kernel : The kernels that are known by name.

    Notes
    -----
    The sums of products of lagged frames over the longest window, collected in one pass, serve all
    scales and dilations (of each class, with learned="class"); sequences shorter than that window
    take no part in learning.

    A "next" kernel is that of a `MotionKernel` with ``weight_sum=1``: where positions lie far from
    the origin, even a sum of 1.0001 would show in every feature.

    The penalty is quadratic in the weights of one kernel while the others stay. One after the
    other is therefore set to its optimum in closed form, over and over, until the objective no
    longer falls. Where the penalty begins, it is the squared cosine.

    Examples
    --------
    Tell who turns fast from who turns slowly:

    >>> import numpy as np
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastmotion.trajectory import MotionKernelBank
    >>> rng = np.random.default_rng(0)
    >>> speed = np.repeat([0.1, 0.3], 20)
    >>> phase = speed[:, np.newaxis] * np.arange(60) + rng.uniform(0, 6, (40, 1))
    >>> X = np.stack([np.cos(phase), np.sin(phase)], axis=-1)[:, :, np.newaxis]
    >>> bank = MotionKernelBank(fixed=("velocity",), pooling=("mean", "std", "min", "max"))
    >>> classifier = make_pipeline(bank, StandardScaler(), RidgeClassifier())
    >>> classifier.fit(X[::2], speed[::2] > 0.2).score(X[1::2], speed[1::2] > 0.2)
    1.0

    The outputs themselves:

    >>> bank = MotionKernelBank(scales=(2, 3), fixed=("velocity",)).fit(X)
    >>> bank.transform(X).shape
    (40, 60, 1, 2, 3)
    >>> bank.kernel_names_
    ['next2', 'next3', 'velocity']
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "scales": ["array-like"],
        "dilations": ["array-like"],
        "fixed": [list, tuple],
        "learned": [StrOptions({"next", "class"}), None],
        "horizon": [Interval(Integral, 1, None, closed="left")],
        "causal": ["boolean"],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "cross_scale_penalty": [Interval(Real, 0, None, closed="left")],
        "similarity": [StrOptions({"weights", "outputs"})],
        "pooling": [str, list, tuple, None],
        "pyramid": ["array-like"],
        "fill_value": [Real],
        "fps": [Interval(Real, 0, None, closed="neither"), None],
        "edges": [StrOptions(set(EDGES))],
        "min_valid": [Interval(Real, 0, 1, closed="right")],
        "axes": ["array-like", None],
        "n_jobs": n_jobs_constraint(),
        "device": [str, None],
    }

    def __init__(
        self,
        scales: Sequence[int] = (2, 3, 5),
        *,
        dilations: Sequence[int] = (1,),
        fixed: Sequence[str | tuple] = (),
        learned: str | None = "next",
        horizon: int = 1,
        causal: bool = True,
        alpha: float = 0.0,
        cross_scale_penalty: float = 0.0,
        similarity: str = "weights",
        pooling: Sequence[str] | str | None = None,
        pyramid: Sequence[int] = (1,),
        fill_value: float = 0.0,
        fps: float | None = None,
        edges: str = "refit",
        min_valid: float = 0.5,
        axes: Sequence[str] | None = None,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None:
        self.scales = scales
        self.dilations = dilations
        self.fixed = fixed
        self.learned = learned
        self.horizon = horizon
        self.causal = causal
        self.alpha = alpha
        self.cross_scale_penalty = cross_scale_penalty
        self.similarity = similarity
        self.pooling = pooling
        self.pyramid = pyramid
        self.fill_value = fill_value
        self.fps = fps
        self.edges = edges
        self.min_valid = min_valid
        self.axes = axes
        self.n_jobs = n_jobs
        self.device = device

    def fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: ArrayLike | Sequence[ArrayLike] | None = None,
    ) -> Self:
        """Learn the kernels.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            Positions, of shape (n_sequences, n_frames, n_joints, n_coords) or (n_frames, n_joints,
            n_coords), or a list of sequences of the second shape. Windows in which a value is NaN
            are left out, each coordinate of each joint by itself.
        y : array_like of shape (n_sequences,) or None, default=None
            Labels, for learned="class"; ignored otherwise.
        sample_weight : array_like or None, default=None
            What sequences weigh in what is learned, of shape (n_sequences,), or what the windows
            of each frame do, of shape (total_frames,) or (total_frames, n_joints), or like ``X``
            without coordinates. Not negative.
        confidence : like ``X`` without coordinates, or None, default=None
            From 0 (missing) to 1; a window weighs as much as its least certain frame.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``X`` does not hold real numbers.
        ValueError
            A parameter is out of range or unknown, a shape is wrong, a value is infinite, a weight
            or confidence is out of range, a joint has no value in any frame, no sequence is as long
            as the longest window or has as many frames as the pyramid has parts, the labels are
            missing or do not fit, or nothing moves that learned="class" could learn from. What was
            fitted before stays.
        RuntimeError
            The device is not available.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import MotionKernelBank
        >>> angle = np.arange(60) / 5
        >>> X = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, np.newaxis]
        >>> bank = MotionKernelBank(scales=(2, 4), fixed=("velocity", "acceleration")).fit(X)
        >>> bank.kernel_names_
        ['next2', 'next4', 'velocity', 'acceleration']
        >>> offsets, weights = bank.kernels_[0]
        >>> offsets, weights.round(2)
        (array([-1,  0]), array([-0.98,  1.98]))
        """
        self._check_parameters()
        device = device_for(self.device, X)
        with memory_of(device).scope():
            sequences = check_sequences(X, axes=self.axes, device=device).on(device)
            trust = check_confidence(confidence, sequences, self.axes)
            check_joints(sequences)
            fixed_names, fixed_taps = self._fixed_kernels()
            source = self._source(sequences, sample_weight, trust, device)
            if self.learned == "next":
                names, taps, found = self._learn_next(source)
            elif self.learned == "class":
                names, taps, found = self._learn_class(source, y)
            else:
                names, taps, found = [], [], {}
        taps = [*taps, *fixed_taps]
        _check_lengths(sequences, self._least_frames(taps), any)
        self._forget()
        self.kernel_names_ = [*names, *fixed_names]
        self._taps = taps
        self.kernels_ = [(kernel.offsets, kernel.weights[0]) for kernel in taps]
        self.device_ = str(device)
        self.n_joints_, self.n_coords_ = sequences.n_joints, sequences.n_coords
        self.n_features_in_ = self.n_joints_ * self.n_coords_
        for name, value in found.items():
            setattr(self, name, value)
        return self

    def fit_transform(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: ArrayLike | Sequence[ArrayLike] | None = None,
    ) -> Any:
        """Learn the kernels and run them over the sequences, both with the same confidence.

        Parameters
        ----------
        X, y, sample_weight, confidence : array_like
            As for `fit`.

        Returns
        -------
        ndarray, list of ndarray, or xarray.DataArray
            As by `transform`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As by `fit` and `transform`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import MotionKernelBank
        >>> angle = np.arange(60) / 5
        >>> X = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, np.newaxis]
        >>> bank = MotionKernelBank(scales=(2,), fixed=("velocity",), alpha=0.0)
        >>> outputs = bank.fit_transform(X)
        >>> outputs.shape
        (60, 1, 2, 2)
        >>> outputs[30, 0].round(2)  # x and y: the next position as predicted, and the velocity
        array([[ 1.03,  0.07],
               [-0.1 ,  0.19]])
        >>> X[31, 0].round(2)
        array([ 1.  , -0.08])
        """
        return self.fit(X, y, sample_weight, confidence).transform(X, confidence)

    def transform(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        confidence: ArrayLike | Sequence[ArrayLike] | None = None,
    ) -> Any:
        """Run all kernels over the sequences.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            As for `fit`, with the same joints; sequences may be of other lengths.
        confidence : like ``X`` without coordinates, or None, default=None
            From 0 (missing) to 1: how far the weight of a frame goes to the others of its window.

        Returns
        -------
        ndarray, list of ndarray, or xarray.DataArray
            Of float32 for float32, of float64 for all else. With pooling an array of shape
            (n_sequences, n_features), its columns named by `get_feature_names_out`. Without, the
            outputs of the kernels as one more axis behind those of ``X``: (n_sequences, n_frames,
            n_joints, n_coords, n_kernels) for an array of that form, called "kernel" in xarray; NaN
            where too many frames of a window are missing, and fewer frames with edges="valid".

        Raises
        ------
        sklearn.exceptions.NotFittedError
            It was not fitted.
        TypeError
            ``X`` does not hold real numbers.
        ValueError
            A shape is wrong, a value is infinite, a confidence is not in [0, 1], or a sequence is
            too short for edges="valid" or for the finest level of the pyramid.
        RuntimeError
            The device is not available.

        Examples
        --------
        With pooling each sequence becomes one row of features:

        >>> import numpy as np
        >>> from fastmotion.trajectory import MotionKernelBank
        >>> angle = np.arange(60) / 5
        >>> X = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, np.newaxis]
        >>> bank = MotionKernelBank(learned=None, fixed=("velocity",), pooling="max", pyramid=(1,))
        >>> bank.fit([X]).transform([X, X[:30]]).round(3)
        array([[0.2  , 0.2  ],
               [0.2  , 0.199]])
        """
        check_is_fitted(self)
        self._check_parameters()
        device = device_for(self.device, X)
        with memory_of(device).scope():
            sequences = check_sequences(X, axes=self.axes, device=device)
            check_pose(sequences, self.n_joints_, self.n_coords_)
            trust = check_confidence(confidence, sequences, self.axes)
            before, after = _reach(self._taps) if self.edges == "valid" else (0, 0)
            if self.pooling is not None:
                _check_lengths(sequences, before + after + max(self._pyramid()), all)
                return self._pooled(sequences, trust, before, after, device)
            _check_lengths(sequences, before + after + 1, any)
            outputs = self._outputs(sequences, trust, device)
        out = sequences.restore_outputs(outputs, before, after, ("kernel",))
        return self._with_kernel_names(out)

    # scikit-learn makes data frames where there are names of columns.
    @available_if(_is_pooled)
    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the features, with pooling; without, see ``kernel_names_``.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of shape (n_features,), object
            The columns, such as "next3_joint0_x_std_1of1": kernel, joint, coordinate (a number
            beyond three), statistic and part of the sequence.

        Raises
        ------
        AttributeError
            There is no pooling.
        sklearn.exceptions.NotFittedError
            It was not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import MotionKernelBank
        >>> X = np.sin(np.arange(60.0) / 5).reshape(1, 60, 1, 1)
        >>> bank = MotionKernelBank(scales=(2,), fixed=("velocity",), pooling="std", pyramid=(1,))
        >>> bank.fit(X).get_feature_names_out().tolist()
        ['next2_joint0_x_std_1of1', 'velocity_joint0_x_std_1of1']
        """
        check_is_fitted(self)
        coords = "xyz" if self.n_coords_ <= 3 else range(self.n_coords_)
        names = [
            f"{kernel}_joint{joint}_{coord}_{statistic}_{cell}"
            for kernel in self.kernel_names_
            for joint in range(self.n_joints_)
            for coord in coords[: self.n_coords_]
            for statistic in self._pools()
            for cell in cell_names(self._pyramid())
        ]
        return np.array(names, object)

    # Parameters

    def _check_parameters(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        _whole_numbers(self.scales, "scales", 2 if self.learned == "class" else 1)
        _whole_numbers(self.dilations, "dilations", 1)
        self._pyramid()
        pools = self._pools()
        is_unknown = any(name not in POOLS for name in pools)
        if is_unknown or len(set(pools)) < len(pools) or (self.pooling is not None and not pools):
            raise ValueError(
                f"pooling must be some of {list(POOLS)}, each once, got {self.pooling!r}"
            )
        if self.learned is None and not self.fixed:
            raise ValueError(
                "there are no kernels: learned is None and fixed is empty; name some in fixed"
            )
        if self.cross_scale_penalty and self.learned != "next":
            raise ValueError(
                f"cross_scale_penalty must be 0 with learned={self.learned!r}, got "
                f"{self.cross_scale_penalty}; it is for learned='next'"
            )

    def _pyramid(self) -> list[int]:
        return _whole_numbers(self.pyramid, "pyramid", 1)

    def _pools(self) -> list[str]:
        return [self.pooling] if isinstance(self.pooling, str) else list(self.pooling or ())

    # Kernels

    def _forget(self) -> None:
        """Drop what only some kinds of kernels have."""
        for name in ("classes_", "similarity_", "objective_trace_"):
            if hasattr(self, name):
                delattr(self, name)

    def _fixed_kernels(self) -> tuple[list[str], list[Taps]]:
        kernels: dict[str, Taps] = {}
        entries = [_as_entry(entry) for entry in self.fixed]
        if len(set(entries)) < len(entries):
            raise ValueError(f"fixed must hold each kernel once, got {self.fixed!r}")
        for dilation in _whole_numbers(self.dilations, "dilations", 1):
            for entry in entries:
                offsets, weights = _named_kernel(entry, self.causal, self.fps)
                label = "_".join(map(str, entry))
                # One tap is the same at all dilations.
                name = label if len(offsets) == 1 else _dilated_name(label, dilation)
                scale = float(dilation) ** -FIXED_KERNELS[entry[0]].derivative
                kernels[name] = Taps(dilation * offsets, scale * weights[np.newaxis])
        return list(kernels), list(kernels.values())

    def _learned_windows(self) -> list[tuple[int, int, NDArray[np.int64]]]:
        """Return scale, dilation and offsets of each learned kernel."""
        return [
            (scale, dilation, kernel_offsets(scale, None, self.causal, dilation, None))
            for dilation in _whole_numbers(self.dilations, "dilations", 1)
            for scale in _whole_numbers(self.scales, "scales", 1)
        ]

    def _source(
        self,
        sequences: Sequences,
        sample_weight: ArrayLike | None,
        trust: NDArray | None,
        device: Device,
    ) -> _Source:
        offsets = np.concatenate([offsets for *_, offsets in self._learned_windows()])
        ahead = self.horizon if self.learned == "next" else 0
        reach = int(offsets.min()), int(offsets.max()) + ahead
        rows, weights = split_weights(sample_weight, trust, sequences, reach)
        weights = np.ones(sequences.n_sequences) if weights is None else weights
        return _Source(sequences, reach, rows, weights, self.n_jobs, device)

    def _learn_next(self, source: _Source) -> _Learned:
        windows = self._learned_windows()
        names = [_dilated_name(f"next{scale}", dilation) for scale, dilation, _ in windows]
        goals = [int(offsets[-1]) + self.horizon for *_, offsets in windows]
        stats = source.collect(np.ones(source.sequences.n_sequences, bool))
        problems = [
            Prediction.of_frame(stats, offsets, goal, self.alpha)
            for (*_, offsets), goal in zip(windows, goals)
        ]
        similarity = Similarity(stats, problems, self.similarity)
        weights, trace = solve_apart(problems, similarity, self.cross_scale_penalty)
        taps = [
            prediction_taps(stats, problem, row, goal, self.alpha)
            for problem, row, goal in zip(problems, weights, goals)
        ]
        found = {"objective_trace_": trace, "similarity_": similarity.cosines(weights)}
        return names, taps, found

    def _learn_class(self, source: _Source, y: ArrayLike | None) -> _Learned:
        labels = _check_labels(y, source.sequences)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y must hold at least two labels for learned='class', got {labels[0]} alone"
            )
        windows = self._learned_windows()
        stats = [
            source.collect(codes == code, f" of label {label}")
            for code, label in enumerate(classes)
        ]
        names, taps = [], []
        for scale, dilation, taken in windows:
            rows = class_kernels(stats, taken, self.alpha)
            base = _dilated_name(f"class{scale}", dilation)
            names += [f"{base}_{c}" for c in classes] if len(rows) > 1 else [base]
            taps += [Taps(taken, row[np.newaxis]) for row in rows]
        return names, taps, {"classes_": classes}

    # Outputs

    def _least_frames(self, taps: list[Taps]) -> int:
        """Return how long a sequence must be for a window of all kernels, and for the pyramid."""
        n_frames = sum(_reach(taps)) + 1
        if self.pooling is None:
            return n_frames
        n_parts = max(self._pyramid())
        return n_frames + n_parts - 1 if self.edges == "valid" else max(n_frames, n_parts)

    def _outputs(
        self, sequences: Sequences, confidence: Any, device: Device, out: Any = None
    ) -> Any:
        """Return the outputs of the kernels, (n_kernels, total_frames, n_joints, n_coords)."""
        return filter_frames(
            sequences,
            self._taps,
            edges=self.edges,
            min_valid=self.min_valid,
            confidence=confidence,
            n_jobs=self.n_jobs,
            device=device,
            out=out,
        )

    def _pooled(
        self, sequences: Sequences, confidence: Any, before: int, after: int, device: Device
    ) -> Any:
        """Return features, (n_sequences, n_features), where the frames lie."""
        n_kernels, n_channels = len(self._taps), self.n_features_in_
        shape = (
            sequences.n_sequences, n_kernels, n_channels, len(self._pools()), sum(self._pyramid())
        )  # fmt: skip
        n_empty = np.zeros(sequences.n_sequences, np.int64)
        memory = memory_of(device)
        row_bytes = n_kernels * n_channels * sequences.frames.dtype.itemsize
        most = _BATCH_BYTES if device.kind == "cpu" else memory.budget() // 2
        out = memory.new(shape, sequences.frames.dtype)
        for part in _batches(sequences, most // row_bytes):
            with memory.scope("pass fewer or shorter sequences at a time"):
                batch, rows = _cut(sequences, part)
                batch = replace(batch, frames=memory.put(batch.frames))
                trust = None if confidence is None else memory.put(confidence[rows])
                outputs = memory.empty((n_kernels, *tuple(batch.frames.shape)), out.dtype)
                self._outputs(batch, trust, device, outputs)
                n_empty[part] = self._pool(batch, outputs, before, after, out[part])
        self._tell_filled(n_empty)
        if is_cuda_array(out):
            return like(out.reshape((shape[0], math.prod(shape[1:]))), sequences.given)
        return out.reshape(len(out), -1)

    def _pool(
        self, sequences: Sequences, outputs: Any, before: int, after: int, out: Any
    ) -> NDArray[np.int64]:
        """Set the features of some sequences; return how many of each have no value."""
        pools, pyramid = self._pools(), self._pyramid()
        starts, lengths = sequences.starts + before, sequences.lengths - before - after
        if is_cuda_array(outputs):
            return on_device.pool(
                outputs, starts, lengths, pools, cells_of(pyramid), self.fill_value, out
            )
        kept = rows_of(starts, lengths) if before + after else slice(None)
        values = outputs.reshape(*outputs.shape[:2], -1)[:, kept]
        out[...] = pool(values, lengths, pools, pyramid)
        is_empty = np.isnan(out)
        n_empty = is_empty.reshape(len(out), -1).sum(axis=1)
        if n_empty.any():
            out[is_empty] = self.fill_value
        return n_empty

    def _tell_filled(self, n_empty: NDArray[np.int64]) -> None:
        """Tell of features without a value, unless they stay without one."""
        if np.isnan(self.fill_value) or not n_empty.any():
            return
        _logger.warning(
            "%d of %d sequences have parts in which a joint has no valid output; %d features are "
            "fill_value=%g (fill_value=nan leaves them to an imputer)",
            np.count_nonzero(n_empty),
            len(n_empty),
            n_empty.sum(),
            self.fill_value,
        )

    def _with_kernel_names(self, values: Any) -> Any:
        """Give the axis of the kernels in a DataArray its coordinates."""
        if isinstance(values, list):
            return [self._with_kernel_names(part) for part in values]
        if hasattr(values, "assign_coords"):
            return values.assign_coords(kernel=self.kernel_names_)
        return values

    def __sklearn_tags__(self) -> Any:
        tags = takes_sequences(super().__sklearn_tags__())
        tags.target_tags.required = self.learned == "class"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _reach(taps: list[Taps]) -> tuple[int, int]:
    """Return how many frames before and after its own the kernels read."""
    offsets = np.concatenate([kernel.offsets for kernel in taps])
    return max(0, -int(offsets.min())), max(0, int(offsets.max()))


def _dilated_name(name: str, dilation: int) -> str:
    return name if dilation == 1 else f"{name}_dilation{dilation}"


def _as_entry(entry: Any) -> tuple:
    """Return a kernel of `fixed` as a tuple of name, number of taps and order, where given."""
    parts = (entry,) if isinstance(entry, str) else entry
    is_tuple = isinstance(parts, tuple | list) and 1 <= len(parts) <= 3
    is_named = is_tuple and isinstance(parts[0], str)
    if not is_named or not all(n is None or isinstance(n, Integral) for n in parts[1:]):
        raise ValueError(
            f"fixed must hold names, or tuples (name, n_taps, order) with whole numbers, got "
            f"{entry!r}"
        )
    return tuple(parts)


def _named_kernel(
    entry: tuple, causal: bool, fps: float | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    name, *options = entry
    try:
        return fixed_kernel(
            name, causal=causal, fps=fps, **dict(zip(("n_taps", "polynomial_order"), options))
        )
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"fixed holds {entry if options else repr(name)}, which is no kernel: {error}; a "
            "kernel is a name, or a tuple such as ('savgol_velocity', 7) with its number of taps"
        ) from error


def _whole_numbers(values: Any, name: str, least: int) -> list[int]:
    """Return a parameter that is a sequence of different whole numbers."""
    numbers = list(values)
    is_whole = all(isinstance(n, Integral) and int(n) >= least for n in numbers)
    if not numbers or not is_whole or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"{name} must be different whole numbers, at least {least} each, got {values!r}"
        )
    return [int(n) for n in numbers]


def _check_lengths(sequences: Sequences, n_frames: int, quantifier: Any) -> None:
    """Check that any or all sequences have a number of frames."""
    if not quantifier(sequences.lengths >= n_frames):
        which, got = ("some", "at most") if quantifier is any else ("all", "as few as")
        length = sequences.lengths.max() if quantifier is any else sequences.lengths.min()
        raise ValueError(
            f"X must have at least {n_frames} frames in {which} sequences, as many as the longest "
            f"kernel and the pyramid need, got {got} {length}; choose smaller scales, dilations or "
            "pyramid levels, or leave short sequences out"
        )


def _check_labels(y: Any, sequences: Sequences) -> NDArray:
    if y is None:
        raise ValueError("learned='class' needs y, one label for each sequence, got none")
    labels = to_host(y)
    if labels.shape != (sequences.n_sequences,):
        raise ValueError(
            f"y must hold one label for each of {sequences.n_sequences} sequences, got shape "
            f"{labels.shape}"
        )
    check_classification_targets(labels)
    return labels


def _batches(sequences: Sequences, n_rows: int) -> Iterator[slice]:
    """Yield runs of sequences of at most a number of frames, or of one sequence."""
    begin = 0
    while begin < sequences.n_sequences:
        last_row = sequences.starts[begin] + n_rows
        fitting = int(np.searchsorted(sequences.stops, last_row, side="right"))
        yield slice(begin, max(begin + 1, fitting))
        begin = max(begin + 1, fitting)


def _cut(sequences: Sequences, part: slice) -> tuple[Sequences, slice]:
    """Return a run of sequences with their own frames only, and where those were."""
    starts, stops = sequences.starts[part], sequences.stops[part]
    rows = slice(int(starts[0]), int(stops[-1]))
    batch = replace(
        sequences, frames=sequences.frames[rows], starts=starts - starts[0], stops=stops - starts[0]
    )
    return batch, rows
