"""Gaussian mixtures by expectation-maximisation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmotion.core.device import Device, is_cuda_array, resolve_device
from fastmotion.core.interop import like
from fastmotion.core.memory import Memory, memory_of
from fastmotion.core.validation import (
    Interval,
    StrOptions,
    as_real_array,
    fit_context,
    n_jobs_constraint,
    require_no_text,
)
from fastmotion.em.device_input import check_device_features, host_weights
from fastmotion.em.device_samples import (
    AnySamples,
    as_float64,
    rows_of_weight,
    samples_of,
)
from fastmotion.em.driver import EMRun, best_of
from fastmotion.em.fitted import unchanged_by_errors
from fastmotion.em.gaussians import (
    COVARIANCE_TYPES,
    ILL_DEFINED,
    GaussianMoments,
    Gaussians,
    SingularCovarianceWarning,
    count_covariance_parameters,
    covariance_shape,
)
from fastmotion.em.progress import (
    CallbackSupportMixin,
    FitTasks,
    Messages,
    messages_shown,
    with_callbacks,
)
from fastmotion.em.samples import check_range, is_in_range
from fastmotion.linear._normal_equations import check_weight
from fastmotion.mixture._model import (
    GivenStart,
    Mixture,
    MixtureModel,
    maximise_mixture,
    start_mixture,
)
from fastmotion.mixture.regression import ConditionalMixture, condition_mixture
from fastmotion.mixture.selection import CRITERIA, SelectionResult, select_components

_NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase "
    "max_iter, tol, or check for degenerate data."
)

_RESCUED = (
    "singular covariance of {}: small eigenvalues of their correlations were raised; "
    "decrease n_components, increase reg_covar, or scale the input"
)


class GaussianMixture(CallbackSupportMixin, DensityMixin, BaseEstimator):
    """A mixture of Gaussian components, fitted by expectation-maximisation.

    It can stand in the place of `sklearn.mixture.GaussianMixture`: parameters, attributes and
    results are those, and it adds weights of samples, missing values, fits by parts that merge, an
    unknown number of components, and regression.

    Parameters
    ----------
    n_components : int or "auto", default=1
        Number of components. "auto" finds it by `select_components`, and keeps the mixture found:
        ``max_components`` and ``criterion`` then count, while starts (``n_init``, ``init_params``),
        ``tol`` and ``max_iter`` are the search's own. It takes no missing values.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        Each component has its own covariance matrix, all share one, each has variances of its own
        features, or each has a single variance.
    tol : float, default=1e-3
        EM ends when the mean log-likelihood of a sample changes by less in an iteration.
    reg_covar : float, default=1e-6
        Added to the diagonal of covariances. Where a covariance is singular all the same, its small
        eigenvalues are raised and a `SingularCovarianceWarning` names the component; with 0 that is
        an error.
    max_iter : int, default=100
        Iterations at most.
    n_init : int, default=1
        Starts; the best result is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}, default="kmeans"
        Where EM starts: from clusters, from samples far apart, from random responsibilities, or
        from random samples.
    weights_init : array_like of shape (n_components,), default=None
        Weights to start from.
    means_init : array_like of shape (n_components, n_features), default=None
        Means to start from.
    precisions_init : array_like, default=None
        Inverse covariances to start from, in the shape of ``covariances_``.
    random_state : int, RandomState instance or None, default=None
        For starting points and `sample`.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit.
    verbose : int, default=0
        1 logs starts and iterations, 2 times and bounds too; to standard output where the logger
        "fastmotion" has no handler.
    verbose_interval : int, default=10
        Iterations from one message to the next.
    max_components : int, default=20
        The most components that "auto" considers.
    criterion : str, default="bic"
        What "auto" chooses by, see `select_components`.
    learning_decay : float, default=1.0
        In `partial_fit` the t-th part counts with t to the power of minus this. 1 gives all samples
        the same weight; less, but more than 0.5, forgets those that poor early parameters judged.
    n_jobs : int or None, default=None
        Threads; they do not change results.
    device : str or None, default=None
        Where to compute: "cpu", "cuda", "cuda:1" and so on, "auto" to follow the data, or None for
        the setting of `fastmotion.config_context`. Arrays that lie on a CUDA device are used there,
        and results for samples are such arrays, too; attributes are on the host in any case.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Weights of the components.
    means_ : ndarray of shape (n_components, n_features)
        Means of the components.
    covariances_ : ndarray
        Covariances, of shape (n_components, n_features, n_features) if full, (n_features,
        n_features) if tied, (n_components, n_features) if diag, (n_components,) if spherical.
    precisions_ : ndarray
        Inverse covariances, in that shape.
    precisions_cholesky_ : ndarray
        Upper triangular factors U of the precisions U Uᵀ, or inverse standard deviations.
    converged_ : bool
        Whether the best fit converged.
    n_iter_ : int
        Its number of iterations.
    lower_bound_ : float
        Its last lower bound on the mean log-likelihood of a sample; after `partial_fit` and `merge`
        the mean over the parts.
    lower_bounds_ : list of float
        The lower bound of each of its iterations.
    n_components_ : int
        Number of components.
    n_parts_ : int
        Number of parts that `partial_fit` and `merge` have taken in.
    moments_ : GaussianMoments or None
        The mergeable sums that the parameters were estimated from; None after ``max_iter=0``.
    criterion_path_ : dict of int to float
        Only of "auto": the criterion of each number of components considered; less is better.
    candidates_ : dict
        Only of "auto": the best mixture found for each number of components.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, where `X` had them.
    device_ : str
        Where the fit ran.

    See Also
    --------
    select_components : The search for the number of components by itself.
    fastmotion.hmm.GaussianHMM : Components that follow one another in time.

    Notes
    -----
    X may hold NaN where a value is missing at random: components are then fitted to what is known
    of each sample (Ghahramani and Jordan 1994). A sample of which nothing is known has a
    log-likelihood of 0 and no influence.

    No array of samples by components is made but for `predict_proba`. Parameters have the dtype of
    X, float32 or float64; sums are made in float64, relative to the middle of the data.

    References
    ----------
    Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm",
    Journal of the Royal Statistical Society B 39; its E-step and M-step for Gaussian components as
    in McLachlan and Peel 2000, "Finite mixture models", section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.mixture import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.means_[np.argsort(mixture.means_[:, 0])]
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> labels = mixture.predict([[0, 0], [12, 3]])
    >>> bool(labels[0] == labels[1])
    False
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions({"kmeans", "random", "random_from_data", "k-means++"})],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "max_components": [Interval(Integral, 1, None, closed="left")],
        "criterion": [StrOptions(set(CRITERIA))],
        "learning_decay": [Interval(Real, 0.5, 1.0, closed="right")],
        "n_jobs": n_jobs_constraint(),
        "device": [str, Device, None],
    }

    lower_bound_: float

    def __init__(
        self,
        n_components: int | str = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        max_components: int = 20,
        criterion: str = "bic",
        learning_decay: float = 1.0,
        n_jobs: int | None = None,
        device: str | Device | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.max_components = max_components
        self.criterion = criterion
        self.learning_decay = learning_decay
        self.n_jobs = n_jobs
        self.device = device

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: object = None, *, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Estimate the mixture.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN where a value is missing.
        y : object
            Ignored.
        sample_weight : array_like of shape (n_samples,), default=None
            How many times each sample counts; not negative.

        Returns
        -------
        self
            This object.

        Raises
        ------
        ValueError
            There are fewer samples than components, X holds infinity or a feature without any
            value, weights are negative or not finite, starting parameters are no mixture, or
            ``reg_covar`` is 0 and a covariance becomes singular.

        Warns
        -----
        ConvergenceWarning
            EM did not converge in ``max_iter`` iterations.
        SingularCovarianceWarning
            A covariance was singular and has been widened.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> weights = [1, 1, 1, 3, 3, 3]  # the samples on the right count three times
        >>> mixture = GaussianMixture(2, random_state=0).fit(X, sample_weight=weights)
        >>> np.sort(mixture.weights_)
        array([0.25, 0.75])
        """
        with unchanged_by_errors(self), self._memory(X).scope():
            self._fit(self._check_samples(X, sample_weight))
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit_predict(
        self, X: ArrayLike, y: object = None, *, sample_weight: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Estimate the mixture and return the most probable component of each sample.

        Errors and warnings are those of `fit`.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As for `fit`.

        Returns
        -------
        ndarray of shape (n_samples,), int64
            Indices of components, from 0 on.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> labels = GaussianMixture(2, random_state=0).fit_predict(X)
        >>> labels == labels[0]
        array([ True,  True,  True, False, False, False])
        """
        with unchanged_by_errors(self), self._memory(X).scope():
            self._fit(self._check_samples(X, sample_weight))
        return self.predict(X)

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: object = None, *, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Update the mixture by one EM step that takes in further samples.

        The first part is fitted as by `fit`. The moments expected of each later part under the
        mixture so far are added to those of the parts before (Cappé and Moulines 2009, "On-line
        expectation-maximization algorithm for latent data models", equations 3 and 12).

        Parameters
        ----------
        X, y, sample_weight : array_like
            As for `fit`; a later part may be a single sample.

        Returns
        -------
        self
            This object.

        Raises
        ------
        ValueError
            As by `fit`; or the features are not those of the parts before.

        Examples
        --------
        Samples that come in parts, of which none is kept:

        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> rng = np.random.default_rng(0)
        >>> mixture = GaussianMixture(2, random_state=0)
        >>> for _ in range(5):
        ...     part = np.concatenate([rng.normal(0, 1, 100), rng.normal(9, 1, 100)])
        ...     mixture = mixture.partial_fit(part[:, np.newaxis])
        >>> mixture.n_parts_, abs(np.sort(mixture.means_.ravel())).round(1)
        (5, array([0. , 8.9]))
        """
        with unchanged_by_errors(self), self._memory(X).scope():
            if hasattr(self, "weights_"):
                self._add_part(self._check_samples(X, sample_weight, reset=False))
            else:
                self._fit(self._check_samples(X, sample_weight))
        return self

    def merge(self, other: GaussianMixture) -> Self:
        """Take in the moments of a mixture that was fitted to other samples.

        Components are matched by their index, so both fits should have begun from the same
        mixture: one EM step of each, merged, is one step on the samples of both.

        Parameters
        ----------
        other : GaussianMixture
            Fitted, of the same features, covariance type and number of components.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``other`` is no `GaussianMixture`.
        ValueError
            The mixtures do not match, or one has no moments, as after ``max_iter=0``.

        Examples
        --------
        Halves of the data, fitted apart, as two processes would:

        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.random.default_rng(0).normal([[0], [9]], 1, (2, 100)).reshape(-1, 1)
        >>> whole, left, right = (
        ...     GaussianMixture(2, means_init=[[0], [9]]).fit(part) for part in (X, X[::2], X[1::2])
        ... )
        >>> left.merge(right).means_.round(3).ravel(), whole.means_.round(3).ravel()
        (array([0.081, 8.949]), array([0.081, 8.949]))
        """
        if not isinstance(other, GaussianMixture):
            raise TypeError(f"other must be a GaussianMixture of this package, got {type(other)}")
        check_is_fitted(self)
        check_is_fitted(other)
        for name in ("covariance_type", "n_components_", "n_features_in_"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(
                    f"only mixtures of the same {name} merge, got {getattr(self, name)!r} and "
                    f"{getattr(other, name)!r}"
                )
        if self.moments_ is None or other.moments_ is None:
            raise ValueError("a mixture without moments does not merge; fit with max_iter > 0")
        before, added = self.moments_.counts.sum(), other.moments_.counts.sum()
        moments = self.moments_.merge(other.moments_)
        mixture = maximise_mixture(moments, self.covariance_type, self.reg_covar)
        self._take_on(mixture, moments, self.means_.dtype)
        bounds = before * self.lower_bound_ + added * other.lower_bound_
        self.lower_bound_ = bounds / (before + added)
        self.n_parts_ += other.n_parts_
        return self

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Return the log-likelihood of each sample.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN where a value is missing.

        Returns
        -------
        ndarray of shape (n_samples,)
            Natural logarithms of densities; 0 for a sample of which nothing is known.

        Raises
        ------
        ValueError
            ``X`` does not have the features of `fit`, or holds infinity.
        sklearn.exceptions.NotFittedError
            The mixture was not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> near, far = mixture.score_samples([[1, 2], [5, 2]])
        >>> bool(near > far)
        True
        """
        return self._evaluate(X, "log_likelihoods")

    def score(
        self, X: ArrayLike, y: object = None, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the mean log-likelihood of the samples of which something is known.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN where a value is missing.
        y : object
            Ignored.
        sample_weight : array_like of shape (n_samples,), default=None
            How many times each sample counts; not negative.

        Returns
        -------
        float
            Natural logarithm.

        Raises
        ------
        ValueError
            ``X`` does not have the features of `fit`, or holds infinity.
        sklearn.exceptions.NotFittedError
            The mixture was not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> round(mixture.score(X), 3), float(mixture.score_samples(X).mean().round(3))
        (3.386, 3.386)
        """
        total, weight = self._log_likelihood(X, sample_weight)
        return total / weight

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the index of the most probable component of each sample.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN where a value is missing.

        Returns
        -------
        ndarray of shape (n_samples,), int64
            Indices of components, from 0 on.

        Raises
        ------
        ValueError
            ``X`` does not have the features of `fit`, or holds infinity.
        sklearn.exceptions.NotFittedError
            The mixture was not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> left, right = mixture.predict([[0, 0], [12, 3]])
        >>> mixture.means_[[left, right]].round(1)
        array([[ 1.,  2.],
               [10.,  2.]])
        """
        return self._evaluate(X, "labels")

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the probability of each component for each sample.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN where a value is missing.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Rows that add up to 1; of the dtype of ``X``, float32 or float64.

        Raises
        ------
        ValueError
            ``X`` does not have the features of `fit`, or holds infinity.
        sklearn.exceptions.NotFittedError
            The mixture was not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.array([[0.0], [2.0], [6.0], [8.0]])
        >>> mixture = GaussianMixture(2, means_init=[[1.0], [7.0]]).fit(X)
        >>> mixture.predict_proba([[1.0], [4.0], [np.nan]]).round(2)
        array([[1. , 0. ],
               [0.5, 0.5],
               [0.5, 0.5]])
        """
        check_is_fitted(self)
        return self._evaluate(X, "probabilities", self.weights_)

    def sample(self, n_samples: int = 1) -> tuple[NDArray, NDArray[np.int64]]:
        """Draw samples from the mixture.

        Parameters
        ----------
        n_samples : int, default=1
            At least 1.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples, sorted by component.
        y : ndarray of shape (n_samples,)
            Their components.

        Raises
        ------
        ValueError
            ``n_samples`` is less than 1.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> samples, components = mixture.sample(100)
        >>> samples[components == 0].mean(axis=0).round(), mixture.means_[0]
        (array([10.,  2.]), array([10.,  2.]))
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one "
                "sample."
            )
        generator = check_random_state(self.random_state)
        weights = np.asarray(self.weights_, np.float64)
        counts = generator.multinomial(n_samples, weights / weights.sum())
        X = np.vstack([self._draw(k, n, generator) for k, n in enumerate(counts)])
        labels = np.repeat(np.arange(len(counts)), counts)
        return X.astype(self.means_.dtype, copy=False), labels

    def condition(self, X_known: ArrayLike, columns: ArrayLike) -> ConditionalMixture:
        """Return the distribution of the other features where some are known.

        Its mean is Gaussian mixture regression (Ghahramani and Jordan 1994, "Supervised learning
        from incomplete data via an EM approach", section 4).

        Parameters
        ----------
        X_known : array_like of shape (n_samples, n_known)
            Values of the known features.
        columns : array_like of shape (n_known,)
            Which features they are: indices, or names if the mixture was fitted to named features;
            or a mask of shape (n_features,).

        Returns
        -------
        ConditionalMixture
            With the mean, the covariance and the density of the other features.

        Raises
        ------
        TypeError
            ``X_known`` does not hold real numbers.
        ValueError
            It has another shape, a value is NaN or infinite, or the columns are not among those of
            the mixture, or all of them.
        sklearn.exceptions.NotFittedError
            The mixture was not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> x = np.linspace(0, 1, 200)
        >>> X = np.column_stack([x, 2 * x + 1])
        >>> mixture = GaussianMixture().fit(X)
        >>> mixture.condition([[0.5]], columns=[0]).mean().round(3)
        array([[2.]])
        """
        check_is_fitted(self)
        mixture, indices = self._mixture(), self._column_indices(columns)
        return condition_mixture(
            mixture.weights,
            mixture.gaussians,
            self._in_order(X_known, indices),
            indices,
            device=self._device(X_known),
        )

    def bic(self, X: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion on samples; less is better.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN where a value is missing.
        sample_weight : array_like of shape (n_samples,), default=None
            How many times each sample counts.

        Returns
        -------
        float
            Twice the negative log-likelihood, plus the number of parameters times the logarithm of
            the number of samples, or of the sum of weights.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.random.default_rng(0).normal([[0], [9]], 1, (2, 100)).reshape(-1, 1)
        >>> one, two = (GaussianMixture(k, random_state=0).fit(X) for k in (1, 2))
        >>> one.bic(X) > two.bic(X)
        True
        """
        total, weight = self._log_likelihood(X, sample_weight)
        return -2 * total + self._n_parameters() * math.log(weight)

    def aic(self, X: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's information criterion on samples; less is better.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Samples; NaN where a value is missing.
        sample_weight : array_like of shape (n_samples,), default=None
            How many times each sample counts.

        Returns
        -------
        float
            Twice the negative log-likelihood, plus twice the number of parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> X = np.random.default_rng(0).normal([[0], [9]], 1, (2, 100)).reshape(-1, 1)
        >>> one, two = (GaussianMixture(k, random_state=0).fit(X) for k in (1, 2))
        >>> one.aic(X) > two.aic(X)
        True
        """
        return -2 * self._log_likelihood(X, sample_weight)[0] + 2 * self._n_parameters()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._allows_missing
        return tags

    def _check_samples(
        self, X: ArrayLike, sample_weight: ArrayLike | None, *, reset: bool = True
    ) -> AnySamples:
        """Return the samples that count, checked."""
        self.device_ = str(self._device(X))
        rows = self._check_features(X, reset=reset, ensure_min_samples=2 if reset else 1)
        check_range(rows)
        weight = None
        if sample_weight is not None:
            weight = check_weight(host_weights(sample_weight), len(rows), "sample_weight")
            if not weight.any():
                raise ValueError("sample_weight must not be zero for all samples")
            if not weight.all():
                rows, weight = rows_of_weight(rows, weight), weight[weight > 0]
        samples = samples_of(rows, weight, self.n_jobs, self._memory(X))
        if reset:
            self._check_enough(samples)
        return samples

    def _check_enough(self, samples: AnySamples) -> None:
        n_samples = samples.n_known
        n_components = self.n_components if isinstance(self.n_components, Integral) else 1
        if n_samples == 0:
            raise ValueError("all values of X are missing (NaN); nothing can be fitted to them")
        if n_samples < n_components:
            raise ValueError(
                "Expected n_samples >= n_components but got "
                f"n_components = {n_components}, n_samples = {n_samples}"
            )
        empty = samples.empty_features()
        if empty:
            raise ValueError(f"features {empty} of X have no value at all; leave them out")

    def _device(self, X: ArrayLike) -> Device:
        return resolve_device(self.device, X)

    def _memory(self, X: ArrayLike) -> Memory:
        return memory_of(self._device(X))

    def _check_query(self, X: ArrayLike, weight: NDArray | None = None) -> AnySamples:
        """Return samples to evaluate the mixture at, in a scope of the device's memory."""
        rows = self._check_features(X, reset=False)
        if not is_in_range(rows):  # their squares may overflow: densities are 0 there
            rows = as_float64(rows)
        return samples_of(rows, weight, self.n_jobs, self._memory(X), again=False)

    def _check_features(self, X: ArrayLike, **settings: Any) -> Any:
        device = self._device(X)
        if device.kind == "cuda" and is_cuda_array(X):
            return check_device_features(
                self, X, device, allow_nan=self._allows_missing, **settings
            )
        if is_cuda_array(X):
            as_real_array(X, "X")  # an error that tells what to do
        require_no_text(X, "X")
        return validate_data(
            self, X, dtype=[np.float64, np.float32], order="C",
            ensure_all_finite="allow-nan" if self._allows_missing else True, **settings,
        )  # fmt: skip

    @property
    def _allows_missing(self) -> bool:
        return self.n_components != "auto"

    def _fit(self, samples: AnySamples) -> None:
        goes_on = self.warm_start and hasattr(self, "converged_")
        for name in ("criterion_path_", "candidates_"):
            if hasattr(self, name):
                delattr(self, name)
        with messages_shown(self.verbose):
            if goes_on or isinstance(self.n_components, Integral):
                run = self._run(samples, self._starter(samples, goes_on), goes_on)
            else:
                run = self._select(samples)
        self._keep(run)
        mixture, moments, rescued = run.parameters
        self._take_on(mixture, moments, samples.X.dtype)
        self.n_parts_ = 1
        self._warn_of(rescued)
        if not run.converged and self.max_iter > 0:
            warnings.warn(_NOT_CONVERGED, ConvergenceWarning, stacklevel=5)

    def _add_part(self, samples: AnySamples) -> None:
        self._check_goes_on(samples)
        if not samples.total_weight:  # nothing is known of them
            return
        model = MixtureModel(samples, self._mixture(), self.reg_covar)
        moments, bound = model.expectation()
        self.n_parts_ += 1
        blended, share = self._blend(moments)
        model.maximisation(blended)
        self._take_on(model.mixture, blended, self.means_.dtype)
        before = self.lower_bound_
        self.lower_bound_ = bound if share == 1 else before + share * (bound - before)
        self._warn_of(model.rescued)

    def _warn_of(self, rescued: Collection[int]) -> None:
        if rescued:
            is_tied = self.covariance_type == "tied"
            what = "all components" if is_tied else f"components {sorted(rescued)}"
            warnings.warn(_RESCUED.format(what), SingularCovarianceWarning, stacklevel=6)

    def _starter(self, samples: AnySamples, goes_on: bool) -> Callable[[], Mixture]:
        """Return what makes a mixture to start from."""
        if goes_on:
            self._check_goes_on(samples)
            return self._mixture
        n_components, covariance_type = int(self.n_components), self.covariance_type
        given = GivenStart.check(
            self.weights_init, self.means_init, self.precisions_init,
            (n_components, samples.X.shape[1]), covariance_type,
        )  # fmt: skip
        if given.is_whole:
            return lambda: given.whole(covariance_type)
        random_state = check_random_state(self.random_state)

        def start() -> Mixture:
            drawn = start_mixture(
                samples,
                n_components,
                covariance_type=covariance_type,
                reg_covar=self.reg_covar,
                init_params=self.init_params,
                random_state=random_state,
            )
            return given.applied_to(drawn)

        return start

    def _check_goes_on(self, samples: AnySamples) -> None:
        is_known = isinstance(self.n_components, Integral)
        n_components = int(self.n_components) if is_known else self.n_components_
        shape = (n_components, samples.X.shape[1])
        wanted = covariance_shape(self.covariance_type, *shape)
        if self.means_.shape != shape or self.covariances_.shape != wanted:
            raise ValueError(
                f"fitting goes on from means of shape (n_components, n_features) = "
                f"{self.means_.shape} and covariances of shape {self.covariances_.shape}, but now "
                f"{shape} and {wanted} are asked for; set the parameters back, or begin anew with "
                "fit and warm_start=False"
            )

    def _select(self, samples: AnySamples) -> EMRun:
        """Return the mixture selected, with its moments from a single E-step."""
        given = [name for name in ("weights", "means", "precisions") if self._given(name)]
        if given:
            raise ValueError(
                f"n_components='auto' takes no {given[0]}_init: give n_components, or leave it out"
            )
        result: SelectionResult = select_components(
            samples.X,
            max_components=self.max_components,
            covariance_type=self.covariance_type,
            criterion=self.criterion,
            reg_covar=self.reg_covar,
            sample_weight=samples.sample_weight,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            device=samples.memory.device,
        )
        self.criterion_path_ = result.criterion_path
        self.candidates_ = result.candidates
        model = MixtureModel(samples, result.best, self.reg_covar)
        moments, bound = model.expectation()
        return EMRun((result.best, moments, frozenset()), [bound], converged=True)

    def _given(self, name: str) -> bool:
        return getattr(self, f"{name}_init") is not None

    def _run(self, samples: AnySamples, starter: Callable[[], Mixture], goes_on: bool) -> EMRun:
        n_starts = 1 if goes_on else self.n_init
        models: list[MixtureModel] = []

        def start() -> MixtureModel:
            models[:] = [MixtureModel(samples, starter(), self.reg_covar)]
            return models[0]

        def present() -> dict[str, NDArray]:
            return _attributes(models[0].mixture, samples.X.dtype)

        tasks = FitTasks.of(self, samples.X, n_starts, self.max_iter, present)
        messages = [Messages(self.verbose, self.verbose_interval)] if self.verbose else []
        run = best_of(
            [start] * n_starts,
            max_iter=self.max_iter,
            has_converged=lambda change: abs(change) < self.tol,
            previous=self.lower_bound_ if goes_on else -math.inf,
            observers=[*tasks, *messages],
        )
        models[0].mixture = run.parameters[0]
        for task in tasks:
            task.fit_ends()
        return run

    def _keep(self, run: EMRun) -> None:
        self.converged_ = run.converged
        self.n_iter_ = run.n_iter
        self.lower_bound_ = run.lower_bound
        self.lower_bounds_ = run.lower_bounds

    def _take_on(self, mixture: Mixture, moments: GaussianMoments | None, dtype: np.dtype) -> None:
        for name, value in _attributes(mixture, dtype).items():
            setattr(self, name, value)
        self.n_components_ = len(mixture.weights)
        self.moments_ = moments

    def _mixture(self) -> Mixture:
        """Return the fitted mixture, whoever set its attributes."""
        gaussians = Gaussians.from_factors(
            self.means_, self.precisions_cholesky_, self.covariance_type
        )
        return Mixture(np.asarray(self.weights_, np.float64), gaussians)

    def _evaluate(self, X: ArrayLike, what: str, *args: Any) -> Any:
        """Return what samples tell of themselves under the mixture, where X lies."""
        check_is_fitted(self)
        mixture = self._mixture()
        with self._memory(X).scope():
            samples = self._check_query(X)
            found = getattr(samples, what)(mixture.gaussians, mixture.log_weights, *args)
            return like(found, X)

    def _draw(self, component: int, n_samples: int, generator: np.random.RandomState) -> NDArray:
        """Draw from a component, by the draws that scikit-learn makes."""
        mean = self.means_[component]
        if self.covariance_type in ("full", "tied"):
            is_tied = self.covariance_type == "tied"
            covariance = self.covariances_ if is_tied else self.covariances_[component]
            return generator.multivariate_normal(mean, covariance, n_samples, check_valid="ignore")
        deviation = np.sqrt(self.covariances_[component])
        return mean + generator.standard_normal((n_samples, len(mean))) * deviation

    def _blend(self, moments: GaussianMoments) -> tuple[GaussianMoments, float]:
        """Return the moments of the parts so far and of one more, and the share of that one."""
        if self.moments_ is None:
            return moments, 1.0
        before, added = self.moments_.counts.sum(), moments.counts.sum()
        total = before + added
        if self.learning_decay == 1:
            return self.moments_.merge(moments), added / total
        share = self.n_parts_**-self.learning_decay
        kept = self.moments_.scaled((1 - share) * total / before)
        return kept.merge(moments.scaled(share * total / added)), share

    def _column_indices(self, columns: ArrayLike) -> NDArray:
        wanted = np.asarray(columns)
        if wanted.dtype.kind not in "OUS":
            return wanted
        names = list(getattr(self, "feature_names_in_", []))
        unknown = [name for name in wanted.tolist() if name not in names]
        if unknown:
            raise ValueError(f"columns {unknown} are not among the feature names {names}")
        return np.array([names.index(name) for name in wanted.tolist()])

    def _in_order(self, X_known: Any, indices: NDArray) -> Any:
        """Return a table's columns in the order of the features; anything else as it is."""
        if not hasattr(X_known, "columns") or not hasattr(self, "feature_names_in_"):
            return X_known
        wanted = self.feature_names_in_[indices].tolist()
        if set(X_known.columns) != set(wanted):
            raise ValueError(
                f"X_known has the columns {list(X_known.columns)}, but is to give {wanted}"
            )
        return X_known[wanted]

    def _log_likelihood(self, X: ArrayLike, sample_weight: ArrayLike | None) -> tuple[float, float]:
        """Return the log-likelihood of samples and the weight of those that are known."""
        check_is_fitted(self)
        mixture = self._mixture()
        with self._memory(X).scope():
            samples = self._check_query(X)
            weight = np.ones(len(samples))
            if sample_weight is not None:
                weight = check_weight(host_weights(sample_weight), len(samples), "sample_weight")
            weight = np.where(samples.is_known, weight, 0)
            if not weight.any():
                raise ValueError("nothing is known of any sample of positive weight")
            samples = samples.weighted(weight)
            total = samples.log_likelihood(mixture.gaussians, mixture.log_weights)
        return total, float(weight.sum())

    def _n_parameters(self) -> int:
        """Return the number of free parameters."""
        n_components, n_features = self.means_.shape
        covariances = count_covariance_parameters(self.covariance_type, n_components, n_features)
        return covariances + n_components * n_features + n_components - 1


def _attributes(mixture: Mixture, dtype: np.dtype) -> dict[str, NDArray]:
    """Return fitted attributes by name."""
    gaussians = mixture.gaussians
    values = {
        "weights_": mixture.weights,
        "means_": gaussians.means,
        "covariances_": gaussians.covariances,
        "precisions_cholesky_": gaussians.precisions_cholesky,
        "precisions_": gaussians.precisions(),
    }
    with np.errstate(over="ignore"):
        arrays = {name: np.array(value, dtype) for name, value in values.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(ILL_DEFINED)
    return arrays
