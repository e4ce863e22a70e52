"""Motion kernels whose taps, penalty and sharing are chosen by leaving sequences out."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.memory import memory_of
from fastmotion.core.validation import ArrayOutput, Interval, validate_parameter_constraints
from fastmotion.trajectory._motion_kernel import (
    MotionKernel,
    check_windows,
    frame_target,
)
from fastmotion.trajectory.design import make_design
from fastmotion.trajectory.lags import channel_groups, coef_shape, collect_lags
from fastmotion.trajectory.noise import noise_deviation, noise_levels
from fastmotion.trajectory.sequences import (
    Sequences,
    check_confidence,
    check_joints,
    check_sequences,
    device_for,
    takes_sequences,
)
from fastmotion.trajectory.solvers import build_quadratic, solve, squared_loss
from fastmotion.trajectory.weighting import split_weights


class MotionKernelCV(ArrayOutput, TransformerMixin, BaseEstimator):
    """Motion kernel whose taps, ridge penalty and sharing are chosen by leaving sequences out.

    The data are read once: the sums over all sequences, less those over the sequences left out,
    give the kernel that these did not see, and their own sums give its error on them.

    Parameters
    ----------
    estimator : MotionKernel or None, default=None
        What is fitted, with parameters other than those that are chosen; None is a `MotionKernel`
        with its defaults. Its loss must be "squared" and `fit_intercept` False.
    n_taps : sequence of int, default=(2, 3, 5, 9)
        Numbers of taps to choose from.
    alphas : sequence of float, default=(0.0,)
        Ridge penalties to choose from.
    sharing : sequence of {"all", "coordinate", "joint", "channel"}, default=("all",)
        Ways of sharing to choose from.
    cv : int or None, default=None
        Number of parts, every so-many-th sequence, of which each is left out in turn; None leaves
        out one sequence, or one group of them, at a time.

    Attributes
    ----------
    best_estimator_ : MotionKernel
        Fitted to all sequences with the chosen parameters, on the windows of the widest candidate.
    best_params_ : dict
        ``n_taps``, ``alpha`` and ``sharing`` that were chosen.
    best_loss_ : float
        Their mean squared error on sequences left out.
    cv_results_ : dict
        ``params``, list of dict; ``mean_test_loss``, ndarray of shape (n_candidates,), the error
        over all windows; ``split_test_loss``, ndarray of shape (n_candidates, n_splits).
    coef_, offsets_, intercept_ : ndarray
        Of `best_estimator_`.

    Notes
    -----
    With `noise` the error is an unbiased estimate of that against the target without noise. Sums
    take ``8 n_splits n_kernels (n_taps + horizon)²`` bytes: for many joints with kernels of their
    own, many taps and many sequences, set `cv`.

    Examples
    --------
    >>> from fastmotion.datasets import make_motion
    >>> from fastmotion.trajectory import MotionKernelCV
    >>> X = make_motion("walk", n_sequences=6, noise=2.0, random_state=0).observed
    >>> search = MotionKernelCV(n_taps=(2, 5, 9), sharing=("all", "joint")).fit(X)
    >>> search.best_params_
    {'n_taps': 9, 'alpha': 0.0, 'sharing': 'joint'}
    """

    _parameter_constraints: dict[str, list] = {
        "estimator": [MotionKernel, None],
        "n_taps": ["array-like"],
        "alphas": ["array-like"],
        "sharing": ["array-like"],
        "cv": [Interval(Integral, 2, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator: MotionKernel | None = None,
        *,
        n_taps: Sequence[int] = (2, 3, 5, 9),
        alphas: Sequence[float] = (0.0,),
        sharing: Sequence[str] = ("all",),
        cv: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_taps = n_taps
        self.alphas = alphas
        self.sharing = sharing
        self.cv = cv

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Choose the parameters and fit the kernel to all sequences.

        Parameters
        ----------
        X, y, sample_weight, confidence : array_like
            As for `MotionKernel.fit`.
        groups : array_like of shape (n_sequences,) or None, default=None
            Labels of sequences that are left out together, such as persons.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `MotionKernel.fit`; ValueError also if there are fewer than two parts to leave
            out, or no candidates.

        Examples
        --------
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernelCV
        >>> X = make_motion("walk", n_sequences=4, n_frames=100, noise=2.0, random_state=0).observed
        >>> persons = [0, 0, 1, 1]  # two sequences of each
        >>> search = MotionKernelCV(n_taps=(2, 9)).fit(X, groups=persons)
        >>> search.best_params_["n_taps"], search.cv_results_["split_test_loss"].shape
        (9, (2, 2))
        """
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        candidates = self._candidates()
        kernel = candidates[0]
        device = device_for(kernel.device, X)
        with memory_of(device).scope():
            sequences = check_sequences(X, axes=kernel.axes, device=device).on(device)
            target = frame_target(y, sequences, kernel.axes)
            check_joints(sequences)
            trust = check_confidence(confidence, sequences, kernel.axes)
            size = sequences.n_joints, sequences.n_coords
            designs = [
                make_design(c, coef_shape(c.sharing, *size), target is not None) for c in candidates
            ]
            reach = min(d.reach[0] for d in designs), max(d.reach[1] for d in designs)
            widest = max(designs, key=operator.attrgetter("n_lags"))
            finest = self.sharing[0] if len(set(self.sharing)) == 1 else "channel"
            rows, weights = split_weights(sample_weight, trust, sequences, reach)
            splits = [
                collect_lags(
                    sequences.select(split),
                    channel_groups(finest, *size),
                    reach[1] - reach[0] + 1,
                    reach[1],
                    target=target,
                    row_weights=rows,
                    sequence_weights=None if weights is None else weights[split],
                    n_jobs=kernel.n_jobs,
                    device=device,
                )
                for split in self._splits(sequences, groups)
            ]
            levels = noise_levels(sequences) if kernel.noise == "auto" else np.empty(0)
        noise = noise_deviation(kernel.noise, levels)
        total = functools.reduce(operator.add, splits)
        losses = np.zeros((len(candidates), len(splits)))
        counts = np.zeros(losses.shape)
        for row, (candidate, design) in enumerate(zip(candidates, designs)):
            labels = _labels(finest, candidate.sharing, size)
            whole = total.regroup(labels)
            check_windows(whole, widest, sequences, candidate.sharing)
            for column, split in enumerate(splits):
                left_out = split.regroup(labels)
                weights_found = solve(build_quadratic(whole - left_out, design, noise))
                loss = squared_loss(left_out, design, weights_found, noise)
                losses[row, column], counts[row, column] = loss.sum(), left_out.weights.sum()
        self._choose(candidates, losses, counts)
        best = int(np.argmin(self.cv_results_["mean_test_loss"]))
        sharing = candidates[best].sharing
        self.best_estimator_ = candidates[best]
        self.best_estimator_._keep(
            total.regroup(_labels(finest, sharing, size)),
            levels,
            designs[best],
            channel_groups(sharing, *size),
            target is not None,
            device,
        )
        self.best_estimator_._solve()
        self.coef_ = self.best_estimator_.coef_
        self.offsets_ = self.best_estimator_.offsets_
        self.intercept_ = self.best_estimator_.intercept_
        return self

    def fit_transform(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Any:
        """Fit to sequences and return the chosen kernel's output on them.

        Parameters
        ----------
        X, y, sample_weight, confidence, groups : array_like
            As for `fit`.

        Returns
        -------
        ndarray, list of ndarray or xarray.DataArray
            As by `MotionKernel.transform`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As by `fit` and `MotionKernel.transform`.

        Examples
        --------
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernelCV
        >>> X = make_motion("walk", n_sequences=4, n_frames=100, noise=2.0, random_state=0).observed
        >>> MotionKernelCV(n_taps=(2, 9)).fit_transform(X).shape
        (4, 100, 19, 3)
        """
        return self.fit(X, y, sample_weight, confidence, groups).transform(X, confidence)

    def transform(self, X: ArrayLike, confidence: ArrayLike | None = None) -> Any:
        """Return the output of the chosen kernel at each frame.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            As for `fit`, with the same joints.
        confidence : like X without coordinates, or None, default=None
            As for `MotionKernel.transform`.

        Returns
        -------
        ndarray, list of ndarray or xarray.DataArray
            As by `MotionKernel.transform`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As by `MotionKernel.transform`.
        sklearn.exceptions.NotFittedError
            It was not fitted.

        Examples
        --------
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernelCV
        >>> X = make_motion("walk", n_sequences=4, n_frames=100, noise=2.0, random_state=0).observed
        >>> search = MotionKernelCV(n_taps=(2, 9)).fit(X[:3])
        >>> bool((search.transform(X[3]) == search.best_estimator_.transform(X[3])).all())
        True
        """
        check_is_fitted(self)
        return self.best_estimator_.transform(X, confidence)

    def predict(self, X: ArrayLike, confidence: ArrayLike | None = None) -> Any:
        """Return what the chosen kernel predicts, at the frame from which it does.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            As for `fit`, with the same joints.
        confidence : like X without coordinates, or None, default=None
            As for `MotionKernel.transform`.

        Returns
        -------
        ndarray, list of ndarray or xarray.DataArray
            As by `MotionKernel.predict`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As by `MotionKernel.predict`.
        sklearn.exceptions.NotFittedError
            It was not fitted.

        Examples
        --------
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernelCV
        >>> X = make_motion("walk", n_sequences=4, n_frames=100, noise=2.0, random_state=0).observed
        >>> search = MotionKernelCV(n_taps=(2, 9)).fit(X[:3])
        >>> predicted = search.predict(X[3])
        >>> error = predicted[:-1] - X[3, 1:]  # mm; the step from frame to frame is larger
        >>> bool(error.std() < (X[3, 1:] - X[3, :-1]).std())
        True
        """
        return self.transform(X, confidence)

    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the coefficient of determination R² over all complete windows.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            As for `fit`, with the same joints.
        y, sample_weight : array_like or None, default=None
            As for `MotionKernel.fit`.

        Returns
        -------
        float
            1 for an exact kernel, 0 for a constant.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As by `MotionKernel.score`.
        sklearn.exceptions.NotFittedError
            It was not fitted.

        Examples
        --------
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.trajectory import MotionKernelCV
        >>> X = make_motion("walk", n_sequences=4, n_frames=100, noise=2.0, random_state=0).observed
        >>> search = MotionKernelCV(n_taps=(2, 9)).fit(X[:3])
        >>> search.score(X[3:])
        1.000
        """
        check_is_fitted(self)
        return self.best_estimator_.score(X, y, sample_weight)

    def _candidates(self) -> list[MotionKernel]:
        """Return an unfitted kernel for each choice of parameters."""
        base = MotionKernel() if self.estimator is None else self.estimator
        if base.loss != "squared" or base.fit_intercept or base.solver != "closed_form":
            raise ValueError(
                "estimator must have loss='squared', solver='closed_form' and fit_intercept=False, "
                f"got {base.loss!r}, {base.solver!r} and {base.fit_intercept}; fit a MotionKernel "
                "with best_params_ for those"
            )
        if base.window is not None:
            raise ValueError(
                f"estimator must have window=None, got {base.window}: n_taps are what is chosen"
            )
        choices = list(itertools.product(self.n_taps, self.alphas, self.sharing))
        if not choices:
            raise ValueError(
                f"n_taps, alphas and sharing must each hold at least one value, got {self.n_taps}, "
                f"{self.alphas} and {self.sharing}"
            )
        kernels = []
        for n_taps, alpha, sharing in choices:
            kernel = clone(base).set_params(n_taps=n_taps, alpha=alpha, sharing=sharing)
            kernel.check_parameters()
            kernels.append(kernel)
        return kernels

    def _splits(self, sequences: Sequences, groups: ArrayLike | None) -> list[NDArray[np.int64]]:
        """Return the numbers of the sequences that are left out together."""
        n = sequences.n_sequences
        labels = np.arange(n) if groups is None else np.asarray(groups)
        if labels.shape != (n,):
            raise ValueError(
                f"groups must have one label for each of {n} sequences, got shape {labels.shape}"
            )
        _, parts = np.unique(labels, return_inverse=True)
        if self.cv is not None:
            parts = parts % self.cv
        splits = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        if len(splits) < 2:
            raise ValueError(
                f"leaving sequences out needs at least two of them, or two groups, got {n} "
                "sequence(s); cut one into several, or fit a MotionKernel"
            )
        return splits

    def _choose(self, candidates: list[MotionKernel], losses: NDArray, counts: NDArray) -> None:
        """Keep the errors and the parameters with the least."""
        params = [{"n_taps": c.n_taps, "alpha": c.alpha, "sharing": c.sharing} for c in candidates]
        mean = losses.sum(axis=1) / counts.sum(axis=1)
        self.cv_results_ = {
            "params": params,
            "mean_test_loss": mean,
            "split_test_loss": np.divide(
                losses, counts, out=np.full(losses.shape, np.nan), where=counts > 0
            ),
        }
        best = int(np.argmin(mean))
        self.best_params_, self.best_loss_ = params[best], float(mean[best])

    def __sklearn_tags__(self) -> Any:
        tags = takes_sequences(super().__sklearn_tags__())
        tags.transformer_tags.preserves_dtype = ["float32", "float64"]
        return tags


def _labels(finest: str, sharing: str, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the group, in a way of sharing, of each group of the finest one."""
    groups = channel_groups(sharing, *size).ravel()
    if finest == sharing:
        return np.arange(int(groups.max()) + 1)
    return groups
