"""Fisher vectors of bags of descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.random import sample_without_replacement
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.device import Device, is_cuda_array, resolve_device
from fastmotion.core.interop import as_device_array, like
from fastmotion.core.memory import memory_of
from fastmotion.core.validation import (
    Interval,
    StrOptions,
    as_real_array,
    fit_context,
    n_jobs_constraint,
    require_no_text,
)
from fastmotion.em.device_input import check_device_array
from fastmotion.em.device_samples import DeviceSamples, as_float64
from fastmotion.em.fitted import unchanged_by_errors
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.rows import has_missing, take_rows
from fastmotion.em.samples import check_range, is_in_range, moments_of_bags
from fastmotion.mixture import GaussianMixture

PARTS = ("weights", "means", "deviations")


class FisherVector(TransformerMixin, BaseEstimator):
    r"""Fisher vectors: what bags of descriptors would change in a Gaussian mixture.

    A mixture with diagonal covariances is fitted to descriptors of all bags. A bag, such as the
    blocks of a clip, becomes the gradient of the mean log-likelihood of its descriptors by the
    mixture's parameters, in units in which the Fisher information is the identity. However many
    descriptors there are, and in whatever order, this is one row of numbers for a linear
    classifier.

    Parameters
    ----------
    n_components : int or "auto", default=16
        Number of Gaussian components K. "auto" finds it by the Bayesian information criterion, up
        to 20; see `fastmotion.mixture.select_components`.
    parts : sequence of {"weights", "means", "deviations"}, default=("means", "deviations")
        By which parameters to differentiate. In the output, they come in the order given here. The
        weights add K numbers, and little to the accuracy.
    power : float, default=0.5
        Numbers z become ``sign(z) * abs(z)**power``, which spreads out the many near zero; 1 leaves
        them as they are.
    normalization : {"l2"} or None, default="l2"
        Whether rows are then divided by their Euclidean norm: so descriptors that are common to all
        bags, as the background is, matter less.
    max_samples : int or None, default=100_000
        Descriptors that the mixture is fitted to, drawn from all bags together without replacement;
        None for all.
    tol : float, default=1e-3
        EM ends when the mean log-likelihood of a descriptor changes by less in an iteration.
    reg_covar : float, default=1e-6
        Added to variances.
    max_iter : int, default=100
        Iterations of EM at most.
    random_state : int, RandomState instance or None, default=None
        For the draw of descriptors and the mixture's start.
    n_jobs : int or None, default=None
        Threads; they do not change the result.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; "auto" is where the descriptors lie. None takes what
        `fastmotion.config_context` is set to.

    Attributes
    ----------
    mixture_ : fastmotion.mixture.GaussianMixture
        Of covariance type "diag"; its parameters are on the host.
    n_features_in_ : int
        Numbers D of a descriptor.
    device_ : str
        Where the fit ran.

    See Also
    --------
    FlowHistogram : With ``block_shape`` it makes bags of descriptors of flow.
    fastmotion.mixture.GaussianMixture : The mixture.

    Notes
    -----
    With the posterior probabilities :math:`\gamma_t(k)` of the components of a bag of T descriptors
    :math:`x_t`, and weights w, means :math:`\mu` and standard deviations :math:`\sigma`, which are
    vectors here and are divided by number by number,

    .. math::

        G_{w_k} &= \frac{1}{T \sqrt{w_k}} \sum_t \left(\gamma_t(k) - w_k\right)

        G_{\mu_k} &= \frac{1}{T \sqrt{w_k}} \sum_t \gamma_t(k) \frac{x_t - \mu_k}{\sigma_k}

        G_{\sigma_k} &= \frac{1}{T \sqrt{2 w_k}} \sum_t \gamma_t(k)
            \left(\frac{(x_t - \mu_k)^2}{\sigma_k^2} - 1\right)

    (Sánchez et al. 2013, equations 16 to 18, over T; the weights are a softmax of what is
    differentiated by.) Power comes first, then the norm. The sums over t are those of an E-step:
    there is one pass over the descriptors, and no array of descriptors by components.

    Covariances are diagonal: decorrelate descriptors first where they are strongly correlated, with
    a PCA fitted to the descriptors of all bags. A bag without any descriptor is a row of zeros.
    Results have the dtype of the descriptors, float32 or float64.

    References
    ----------
    Perronnin, Sánchez and Mensink (2010), Improving the Fisher kernel for large-scale image
    classification: power and norm.
    Sánchez, Perronnin, Mensink and Verbeek (2013), Image classification with the Fisher vector:
    theory and practice.

    Examples
    --------
    Bags of unlike size, of one Gaussian or of two that have the same mean together:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from fastmotion.features import FisherVector
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> sizes = rng.integers(20, 40, len(y))
    >>> shifts = [2 * k * rng.choice([-1, 1], (n, 1)) for n, k in zip(sizes, y)]
    >>> X = [rng.normal(size=(len(shift), 3)) + shift for shift in shifts]
    >>> fisher = FisherVector(2, random_state=0)
    >>> fisher.fit_transform(X).shape
    (40, 12)
    >>> make_pipeline(fisher, LogisticRegression()).fit(X[:20], y[:20]).score(X[20:], y[20:])
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "parts": [list, tuple],
        "power": [Interval(Real, 0, 1, closed="right")],
        "normalization": [StrOptions({"l2"}), None],
        "max_samples": [Interval(Integral, 2, None, closed="left"), None],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": n_jobs_constraint(),
        "device": [str, Device, None],
    }

    def __init__(
        self,
        n_components: int | str = 16,
        *,
        parts: Sequence[str] = ("means", "deviations"),
        power: float = 0.5,
        normalization: str | None = "l2",
        max_samples: int | None = 100_000,
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str | Device | None = None,
    ) -> None:
        self.n_components = n_components
        self.parts = parts
        self.power = power
        self.normalization = normalization
        self.max_samples = max_samples
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike | Sequence[ArrayLike], y: object = None) -> Self:
        """Fit the mixture to descriptors of all bags.

        Parameters
        ----------
        X : array_like of shape (n_bags, n_descriptors, n_features), or list of array_like
            Bags of descriptors, each of shape (n_i, n_features) in a list, on the host or a CUDA
            device. Bags may be empty.
        y : object, default=None
            Ignored.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``X`` is a sparse matrix, or neither an array nor a list.
        ValueError
            ``X`` has another shape, holds NaN, infinity or values whose squares are beyond the
            range of float64, or fewer descriptors than there are components; or a parameter is out
            of range.
        RuntimeError
            The device is not available.

        Warns
        -----
        ConvergenceWarning
            EM did not converge in ``max_iter`` iterations.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.features import FisherVector
        >>> X = np.random.default_rng(0).normal(size=(10, 30, 4))
        >>> FisherVector(3, max_samples=200, random_state=0).fit(X).mixture_.means_.shape
        (3, 4)
        """
        self._check_parts()
        device = self._device(X)
        with unchanged_by_errors(self), memory_of(device).scope():
            bags = self._read_bags(X, device)
            random_state = check_random_state(self.random_state)
            pool = _draw(bags, self.max_samples, random_state)
            n_least = max(2, self.n_components if isinstance(self.n_components, Integral) else 1)
            if len(pool) < n_least:
                raise ValueError(
                    f"X must hold at least {n_least} descriptors for n_components="
                    f"{self.n_components!r}, got {len(pool)}; pass more, decrease n_components, "
                    "or raise max_samples"
                )
            self.mixture_ = GaussianMixture(
                self.n_components,
                covariance_type="diag",
                tol=self.tol,
                reg_covar=self.reg_covar,
                max_iter=self.max_iter,
                random_state=int(random_state.randint(np.iinfo(np.int32).max)),
                n_jobs=self.n_jobs,
                device=device,
            ).fit(pool)
            self.n_features_in_ = pool.shape[1]
            self.device_ = str(device)
        return self

    def transform(self, X: ArrayLike | Sequence[ArrayLike]) -> Any:
        """Return the Fisher vectors of bags.

        Parameters
        ----------
        X : array_like of shape (n_bags, n_descriptors, n_features), or list of array_like
            Bags of descriptors, as for `fit`.

        Returns
        -------
        ndarray of shape (n_bags, n_outputs)
            Of dtype float32 if all bags are, else float64. An array of the bags' library on the
            device where they lie there.

        Raises
        ------
        NotFittedError
            `fit` has not been called.
        TypeError, ValueError, RuntimeError
            As for `fit`; or descriptors have another number of features.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.features import FisherVector
        >>> X = np.random.default_rng(0).normal(size=(10, 30, 4)).astype(np.float32)
        >>> vectors = FisherVector(3, random_state=0).fit(X).transform(X)
        >>> vectors.shape, vectors.dtype
        ((10, 24), dtype('float32'))
        """
        check_is_fitted(self)
        self._check_parts()
        device = self._device(X)
        with memory_of(device).scope():
            bags = self._read_bags(X, device)
            if bags[0].shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {bags[0].shape[1]} features, but {type(self).__name__} is expecting "
                    f"{self.n_features_in_} features as input"
                )
            gradients = self._gradients(bags, device)
        gradients = np.sign(gradients) * np.abs(gradients) ** self.power
        if self.normalization is not None:
            norms = np.linalg.norm(gradients, axis=1, keepdims=True)
            gradients /= np.where(norms > 0, norms, 1)
        return like(gradients.astype(bags[0].dtype), _first(X))

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Return the names of the columns.

        Parameters
        ----------
        input_features : array_like of shape (n_features,) of str, default=None
            Names of a descriptor's numbers; None for "x0", "x1" and so on.

        Returns
        -------
        ndarray of str objects
            Such as "weight_0", "mean_0_x1" and "deviation_0_x1", for the first component.

        Raises
        ------
        ValueError
            There is another number of names.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.features import FisherVector
        >>> fisher = FisherVector(1).fit(np.random.default_rng(0).normal(size=(4, 9, 2)))
        >>> fisher.get_feature_names_out(["u", "v"])
        array(['mean_0_u', 'mean_0_v', 'deviation_0_u', 'deviation_0_v'],
              dtype=object)
        """
        check_is_fitted(self)
        if input_features is None:
            input_features = [f"x{j}" for j in range(self.n_features_in_)]
        names = list(np.asarray(input_features, dtype=object))
        if len(names) != self.n_features_in_:
            raise ValueError(
                f"input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(names)}"
            )
        components = range(self.mixture_.n_components_)
        columns: list[str] = []
        for part in self.parts:
            one = part.removesuffix("s")
            if part == "weights":
                columns += [f"{one}_{k}" for k in components]
            else:
                columns += [f"{one}_{k}_{name}" for k in components for name in names]
        return np.array(columns, dtype=object)

    def _check_parts(self) -> None:
        parts = list(self.parts)
        if not parts or any(part not in PARTS for part in parts) or len(set(parts)) < len(parts):
            raise ValueError(f"parts must be some of {list(PARTS)}, each once, got {parts}")

    def _device(self, X: Any) -> Device:
        return resolve_device(self.device, _first(X))

    def _read_bags(self, X: Any, device: Device) -> list[Any]:
        """Return bags, of one dtype, where they lie; at least one."""
        if is_cuda_array(X):
            return self._read_stack(_on_device(X, device), device)
        if not isinstance(X, (list, tuple)):
            if not hasattr(X, "shape"):
                raise TypeError(
                    "X must be an array of shape (n_bags, n_descriptors, n_features), or a list of "
                    f"arrays of shape (n_descriptors, n_features), got {type(X).__name__}; "
                    "make a list of what is iterated over"
                )
            X = check_array(
                X, dtype=None, ensure_2d=False, allow_nd=True, ensure_min_features=0,
                ensure_all_finite=False, input_name="X",
            )  # fmt: skip
            if X.dtype != object:
                return self._read_stack(X, device)
        if len(X) == 0:
            raise ValueError("X must hold at least one bag, got none")
        bags = [self._read_bag(bag, device) for bag in X]
        widths = sorted({bag.shape[1] for bag in bags})
        if len(widths) > 1:
            raise ValueError(f"all bags of X must have the same number of features, got {widths}")
        if len({bag.dtype for bag in bags}) > 1:
            bags = [as_float64(bag) for bag in bags]
        return bags

    def _read_stack(self, X: Any, device: Device) -> list[Any]:
        """Return the bags of one array, all checked at once."""
        shape = tuple(X.shape)
        if len(shape) != 3 or shape[0] < 1:
            raise ValueError(
                f"X must have shape (n_bags, n_descriptors, n_features), with at least one bag, "
                f"or be a list of arrays of shape (n_descriptors, n_features), got shape {shape}; "
                "for one bag pass bag[numpy.newaxis]"
            )
        rows = self._read_bag(X.reshape(shape[0] * shape[1], shape[2]), device)
        return [rows[k * shape[1] : (k + 1) * shape[1]] for k in range(shape[0])]

    def _read_bag(self, bag: Any, device: Device) -> Any:
        """Return the descriptors of a bag, checked."""

        def check(array: Any, **settings: Any) -> NDArray:
            return check_array(array, ensure_min_samples=0, input_name="X", **settings)

        if is_cuda_array(bag):
            bag = _on_device(bag, device)
            rows = check_device_array(bag, device, check, allow_nan=True, estimator=self)
        else:
            require_no_text(bag, "X")
            types = [np.float64, np.float32]
            rows = check(bag, dtype=types, order="C", ensure_all_finite="allow-nan")
        if has_missing(rows):
            raise ValueError(
                "X holds NaN; leave out such descriptors, for example "
                "[bag[~numpy.isnan(bag).any(axis=1)] for bag in X], or fill them first"
            )
        return rows

    def _gradients(self, bags: list[Any], device: Device) -> NDArray[np.float64]:
        """Return the gradients of bags, a row for each."""
        mixture = self.mixture_
        weights = np.asarray(mixture.weights_, np.float64)
        gaussians = Gaussians.from_factors(mixture.means_, mixture.precisions_cholesky_, "diag")
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights)
        if not all(is_in_range(bag) for bag in bags if len(bag)):
            bags = [as_float64(bag) for bag in bags]
            for bag in filter(len, bags):
                check_range(bag)
        moments = _expected_moments(bags, gaussians, log_weights, self.n_jobs, device)
        sizes = np.array([len(bag) for bag in bags])
        found = _scaled_gradients(moments, weights, gaussians, sizes)
        return np.concatenate([found[part].reshape(len(bags), -1) for part in self.parts], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _on_device(X: Any, device: Device) -> Any:
    """Return an array on a CUDA device as Numba's; an error tells what to do on another one."""
    if device.kind == "cpu":
        as_real_array(X, "X")
    return as_device_array(X, device)


def _first(X: Any) -> Any:
    """Return what tells where bags lie: an array of all of them, or the first one of a list."""
    return X[0] if isinstance(X, (list, tuple)) and len(X) else X


def _draw(bags: list[Any], max_samples: int | None, random_state: np.random.RandomState) -> NDArray:
    """Return descriptors of all bags, on the host; a draw of them if there are too many."""
    stops = np.cumsum([len(bag) for bag in bags])
    total = int(stops[-1])
    if max_samples is None or total <= max_samples:
        return np.concatenate([take_rows(bag, slice(None)) for bag in bags])
    drawn = np.sort(sample_without_replacement(total, max_samples, random_state=random_state))
    shares = np.split(drawn, np.searchsorted(drawn, stops[:-1]))
    rows = [share - stop + len(bag) for share, stop, bag in zip(shares, stops, bags)]
    return np.concatenate([take_rows(bag, own) for bag, own in zip(bags, rows)])


def _expected_moments(
    bags: list[Any],
    gaussians: Gaussians,
    log_weights: NDArray,
    n_jobs: int | None,
    device: Device,
) -> GaussianMoments:
    """Return the moments of bags, along a leading axis."""
    if device.kind == "cpu":
        return moments_of_bags(bags, gaussians, log_weights, n_jobs)
    n_components, n_features = gaussians.means.shape
    no_samples = GaussianMoments.empty(n_components, n_features, "diag")
    found = [no_samples] * len(bags)
    for k, bag in enumerate(bags):
        if len(bag):
            samples = DeviceSamples(bag, memory=memory_of(device), again=False)
            found[k], _ = samples.statistics(gaussians, log_weights)
    parts = ([getattr(one, name) for one in found] for name in ("counts", "means", "scatter"))
    return GaussianMoments(*map(np.stack, parts))


def _scaled_gradients(
    moments: GaussianMoments,
    weights: NDArray,
    gaussians: Gaussians,
    n_descriptors: NDArray[np.int64],
) -> dict[str, NDArray]:
    """Return gradients by weights, means and deviations over the roots of their information.

    A component without any weight, and a bag without descriptors, is in no gradient.
    """
    counts = moments.counts[..., np.newaxis]
    totals = n_descriptors[:, np.newaxis]
    scale = totals * np.sqrt(weights)
    scale = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    step = (moments.means - gaussians.means) * gaussians.precisions_cholesky
    squares = moments.scatter * gaussians.precisions_cholesky**2 + counts * step**2
    return {
        "weights": scale * (moments.counts - totals * weights),
        "means": scale[..., np.newaxis] * counts * step,
        "deviations": scale[..., np.newaxis] * (squares - counts) / np.sqrt(2),
    }
