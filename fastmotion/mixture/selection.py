"""How many components a Gaussian mixture has."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state

from fastmotion.core.compile import as_kernel_input
from fastmotion.core.device import Device, is_cuda_array, resolve_device
from fastmotion.core.memory import Memory, memory_of
from fastmotion.core.validation import (
    Interval,
    StrOptions,
    as_real_array,
    n_jobs_constraint,
    require_no_text,
    validate_parameter_constraints,
)
from fastmotion.em.device_input import check_device_array, host_weights
from fastmotion.em.device_samples import AnySamples, rows_of_weight, samples_of
from fastmotion.em.gaussians import COVARIANCE_TYPES
from fastmotion.em.rows import has_missing
from fastmotion.linear._normal_equations import check_weight
from fastmotion.mixture._model import Mixture
from fastmotion.mixture._search import Candidate, Search
from fastmotion.mixture._search_criteria import CRITERIA, criterion_of
from fastmotion.mixture._search_data import DeviceSearchData, HostSearchData, SearchData

__all__ = ["CRITERIA", "SelectionResult", "select_components"]

# Candidates whose criterion is at most so much above the least are polished: it is more than EM
# gains on what a descent leaves. So are those of one component more and less than the best.
_CLOSE = 60.0

_CONSTRAINTS: dict[str, Any] = {
    "max_components": [Interval(Integral, 1, None, closed="left")],
    "min_components": [Interval(Integral, 1, None, closed="left")],
    "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
    "criterion": [StrOptions(set(CRITERIA))],
    "reg_covar": [Interval(Real, 0.0, None, closed="left")],
    "tol": [Interval(Real, 0.0, None, closed="left")],
    "max_iter": [Interval(Integral, 0, None, closed="left")],
    "n_starts": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
    "n_jobs": n_jobs_constraint(),
}


@dataclass(frozen=True, eq=False)
class SelectionResult:
    """What `select_components` found.

    Attributes
    ----------
    criterion : str
        Name of the criterion.
    criterion_path : dict of int to float
        The criterion of the best mixture found for each number of components; less is better.
    log_likelihoods : dict of int to float
        Its log-likelihood, summed over samples times their weights.
    candidates : dict of int to Mixture
        The mixture itself, of which the criterion and the log-likelihood are: ``weights``, and
        ``gaussians`` with ``means`` and ``covariances``.

    Examples
    --------
    >>> from fastmotion.datasets import make_gaussian_set
    >>> from fastmotion.mixture import select_components
    >>> data = make_gaussian_set("fj1", random_state=0)
    >>> result = select_components(data.X, max_components=5, random_state=0)
    >>> result.criterion, sorted(result.criterion_path)
    ('bic', [1, 2, 3, 4, 5])
    >>> result.n_components, result.best is result.candidates[3]
    (3, True)
    """

    criterion: str
    criterion_path: dict[int, float]
    log_likelihoods: dict[int, float]
    candidates: dict[int, Mixture]

    @property
    def n_components(self) -> int:
        """Number of components of least criterion.

        Examples
        --------
        >>> from fastmotion.mixture import SelectionResult
        >>> result = SelectionResult("bic", {1: 310.0, 2: 250.5, 3: 258.2}, {}, {2: "the mixture"})
        >>> result.n_components
        2
        """
        return min(self.criterion_path, key=self.criterion_path.__getitem__)

    @property
    def best(self) -> Mixture:
        """The mixture of least criterion.

        Examples
        --------
        >>> from fastmotion.mixture import SelectionResult
        >>> result = SelectionResult("bic", {1: 310.0, 2: 250.5, 3: 258.2}, {}, {2: "the mixture"})
        >>> result.best
        'the mixture'
        """
        return self.candidates[self.n_components]


def select_components(
    X: ArrayLike,
    *,
    max_components: int = 20,
    min_components: int = 1,
    covariance_type: str = "full",
    criterion: str = "bic",
    reg_covar: float = 1e-6,
    tol: float = 1e-3,
    max_iter: int = 200,
    n_starts: int = 2,
    sample_weight: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    device: str | Device | None = None,
) -> SelectionResult:
    """Find the number of components of a Gaussian mixture, and a good mixture of each number.

    EM starts from twice `max_components` components at samples, and time and again two components
    are merged and EM goes on, down to `min_components`. The pair to merge is the one that costs the
    least likelihood on the data, of those that look best from their parameters alone. So there is a
    mixture of each number, and each has grown from a better one: it seldom ends in a poor local
    optimum, as EM from so few components often does. Of several descents the best mixture of each
    number is kept, and EM converges on those whose criterion comes near the least.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Samples, without missing values.
    max_components : int, default=20
        The most components considered.
    min_components : int, default=1
        The fewest.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        Covariances, as of `GaussianMixture`.
    criterion : {"bic", "evidence", "icl", "aic"}, default="bic"
        What the number of least value is chosen by:

        - "bic", the Bayesian information criterion: the number that the data give evidence of. Its
          mixture is as a rule the best density for other samples, too. With few samples for each
          parameter it errs on the side of few components.
        - "evidence", minus twice the log probability of the samples with all parameters integrated
          out, as Cheeseman and Stutz approximate it: what BIC stands for where samples are many,
          and closer to it where they are few or features many.
        - "icl", the integrated completed likelihood: fewer, for clusters that are apart, each of
          which may have any shape.
        - "aic", Akaike's: more, for the details of a density that is no mixture of Gaussians.
    reg_covar : float, default=1e-6
        Added to the diagonal of covariances, with what rounding of the values explains: where
        values tie, a component of ties alone would otherwise have any density.
    tol : float, default=1e-3
        EM ends when the log-likelihood, summed over samples, grows by less in an iteration.
    max_iter : int, default=200
        Iterations at most, of candidates close to the best.
    n_starts : int, default=2
        Descents: in turn from samples that lie far apart, and from any.
    sample_weight : array_like of shape (n_samples,), default=None
        How many times each sample counts; not negative. All criteria depend on the sum: it is the
        number of samples that the data are worth.
    random_state : int, RandomState instance or None, default=None
        Draws the samples to start from.
    n_jobs : int or None, default=None
        Threads; they do not change the result.
    device : str or None, default=None
        Where to compute, as of `GaussianMixture`. The result is on the host in any case.

    Returns
    -------
    SelectionResult
        With ``n_components`` and ``best``, and all that was considered.

    Raises
    ------
    ValueError
        A parameter has an impossible value, there are fewer samples than `min_components`, X holds
        NaN or infinity, or a feature is constant and `reg_covar` is 0.

    Warns
    -----
    UserWarning
        The criterion is least at `max_components`, so that more may be better.

    See Also
    --------
    GaussianMixture : ``n_components="auto"`` fits the mixture found.

    Notes
    -----
    A component has at least as many samples as its covariance needs, n_features + 1 if full or tied
    and 2 if not; numbers for which no such mixture was found are left out of the result. Descents
    look at 20 000 samples; what they found is evaluated, and polished, on all.

    Merging two components of a mixture rather than starting again is due to Ueda et al.; the
    measure by which pairs are listed is the loss of the bound that EM raises. McLachlan and Peel,
    chapter 6, compare the criteria.

    References
    ----------
    N. Ueda, R. Nakano, Z. Ghahramani and G. E. Hinton 2000, "SMEM algorithm for mixture models",
    Neural Computation 12(9).

    G. McLachlan and D. Peel 2000, "Finite mixture models", chapter 6.

    P. Cheeseman and J. Stutz 1996, "Bayesian classification (AutoClass): theory and results", in
    "Advances in knowledge discovery and data mining"; conjugate priors of covariances as in C.
    Fraley and A. E. Raftery 2007, "Bayesian regularization for normal mixture estimation and
    model-based clustering", Journal of Classification 24(2), but of the scale within components.

    C. Biernacki, G. Celeux and G. Govaert 2000, "Assessing a mixture model for clustering with the
    integrated completed likelihood", IEEE Transactions on Pattern Analysis and Machine
    Intelligence 22(7).

    Examples
    --------
    >>> from fastmotion.datasets import make_gaussian_set
    >>> from fastmotion.mixture import select_components
    >>> data = make_gaussian_set("fj1", random_state=0)
    >>> result = select_components(data.X, max_components=8, random_state=0)
    >>> result.n_components
    3
    >>> result.criterion_path[3] < result.criterion_path[4]
    True
    """
    _check_parameters(
        max_components=max_components,
        min_components=min_components,
        covariance_type=covariance_type,
        criterion=criterion,
        reg_covar=reg_covar,
        tol=tol,
        max_iter=max_iter,
        n_starts=n_starts,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    memory = memory_of(resolve_device(device, X))
    with memory.scope():
        X, weight = _check_samples(X, sample_weight, min_components, memory)
        search = Search(
            _search_data(X, weight, memory),
            covariance_type=covariance_type,
            reg_covar=reg_covar,
            n_jobs=n_jobs,
        )
        found = search.descend(
            min_components, max_components, n_starts, check_random_state(random_state)
        )
        samples = samples_of(X, weight, n_jobs, memory)
        path = _polish(search, found, samples, criterion, tol, max_iter)
    result = SelectionResult(
        criterion,
        path,
        {k: found[k].log_likelihood for k in path},
        {k: search.mixture(found[k]) for k in path},
    )
    if min_components < max_components == result.n_components:
        warnings.warn(
            f"the criterion is least at max_components={max_components}, the most considered; "
            "raise max_components",
            UserWarning,
            stacklevel=2,
        )
    return result


def _check_parameters(**parameters: Any) -> None:
    validate_parameter_constraints(_CONSTRAINTS, parameters, caller_name="select_components")
    least, most = parameters["min_components"], parameters["max_components"]
    if least > most:
        raise ValueError(f"min_components must not exceed max_components, got {least} and {most}")


def _check_samples(
    X: Any, sample_weight: ArrayLike | None, min_components: int, memory: Memory
) -> tuple[Any, NDArray[np.float64]]:
    """Return the samples that count, in the memory given, and their weights, on the host."""
    if memory.device.kind == "cuda" and is_cuda_array(X):
        samples = check_device_array(X, memory.device, check_array, allow_nan=True)
    elif is_cuda_array(X):
        samples = as_real_array(X, "X")  # an error that tells what to do
    else:
        require_no_text(X, "X")
        samples = check_array(X, dtype=np.float64, order="C", ensure_all_finite="allow-nan")
    if has_missing(samples):
        raise ValueError(
            "X holds missing values (NaN), with which the number of components cannot be selected; "
            "give n_components, or leave out or fill in what is missing"
        )
    weight = np.ones(len(samples))
    if sample_weight is not None:
        weight = check_weight(host_weights(sample_weight), len(samples), "sample_weight")
        if not weight.any():
            raise ValueError("sample_weight must not be zero for all samples")
        if not weight.all():
            samples, weight = rows_of_weight(samples, weight), weight[weight > 0]
    if len(samples) < min_components:
        raise ValueError(
            f"there must be at least min_components = {min_components} samples, got {len(samples)}"
        )
    if not is_cuda_array(samples):
        samples = memory.put(as_kernel_input(samples))
    return samples, as_kernel_input(weight)


def _search_data(X: Any, weight: NDArray[np.float64], memory: Memory) -> SearchData:
    if memory.device.kind == "cuda":
        return DeviceSearchData(X, weight, memory)
    return HostSearchData(X, weight)


def _polish(
    search: Search,
    found: dict[int, Candidate],
    samples: AnySamples,
    criterion: str,
    tol: float,
    max_iter: int,
) -> dict[int, float]:
    """Polish, in place, the candidates that may be the best, and return the criterion of each."""

    def value(candidate: Candidate) -> float:
        mixture = search.mixture(candidate)
        return criterion_of(criterion, candidate, mixture, samples, search.spread)

    path = {k: value(candidate) for k, candidate in sorted(found.items())}
    close = _close_to_the_best(path)
    for candidate in search.polish([found[k] for k in close], tol=tol, max_iter=max_iter):
        found[candidate.n_components] = candidate
        path[candidate.n_components] = value(candidate)
    return path


def _close_to_the_best(path: dict[int, float]) -> list[int]:
    """Return the numbers of components that may turn out to be the best, the largest first."""
    best = min(path, key=path.__getitem__)
    return [
        k
        for k in sorted(path, reverse=True)
        if abs(k - best) <= 1 or path[k] <= path[best] + _CLOSE
    ]
