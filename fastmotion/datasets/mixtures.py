"""Samples of Gaussian mixtures and of hidden Markov models whose parameters are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.utils import Bunch, check_random_state

from fastmotion.core.validation import Interval, StrOptions, validate_parameter_constraints

__all__ = ["TrueMixture", "make_gaussian_mixture", "make_gaussian_set", "make_hmm"]

Random = int | np.random.RandomState | None

# Standard deviations along the axes of a component.
_NARROWEST, _WIDEST = 0.5, 2.0
# The heaviest component has at most three times the weight of the lightest.
_WEIGHTS = (0.5, 1.5)
# How fast the room for a mean grows while it meets others.
_GROWTH = 1.02

_COUNT = [Interval(Integral, 1, None, closed="left")]
_CONSTRAINTS: dict[str, Any] = {
    "n_samples": _COUNT,
    "n_components": _COUNT,
    "n_sequences": _COUNT,
    "n_states": _COUNT,
    "n_features": _COUNT,
    "n_frames": [*_COUNT, "array-like"],
    "covariance_type": [StrOptions({"full", "tied", "diag", "spherical"})],
    "separation": [Interval(Real, 0, None, closed="left")],
    "offset": [Interval(Real, None, None, closed="neither")],
    "stay": [Interval(Real, 0, 1, closed="left")],
    "random_state": ["random_state"],
}


@dataclass(frozen=True)
class TrueMixture:
    """A Gaussian mixture that is known exactly.

    Parameters
    ----------
    weights : ndarray of shape (n_components,), float64
        Probabilities of the components.
    means : ndarray of shape (n_components, n_features), float64
        Their means.
    covariances : ndarray of shape (n_components, n_features, n_features), float64
        Their covariances, as full matrices whatever their type.

    Examples
    --------
    >>> from fastmotion.datasets import make_gaussian_set
    >>> truth = make_gaussian_set("fj1", random_state=0).truth
    >>> X, y = truth.sample(500, random_state=1)
    >>> X.shape, y.shape, truth.score_samples(X).shape
    ((500, 2), (500,), (500,))
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]

    @property
    def n_components(self) -> int:
        """Number of components.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import TrueMixture
        >>> truth = TrueMixture(np.array([0.5, 0.5]), np.array([[0.0], [9.0]]), np.ones((2, 1, 1)))
        >>> truth.n_components
        2
        """
        return len(self.weights)

    @property
    def n_features(self) -> int:
        """Number of features.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import TrueMixture
        >>> truth = TrueMixture(np.array([0.5, 0.5]), np.array([[0.0], [9.0]]), np.ones((2, 1, 1)))
        >>> truth.n_features
        1
        """
        return self.means.shape[1]

    def sample(
        self, n_samples: int, random_state: Random = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Draw independent samples.

        Parameters
        ----------
        n_samples : int
            How many.
        random_state : int, RandomState instance or None, default=None
            Pass an int for the same samples in each call.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            The samples, in random order.
        y : ndarray of shape (n_samples,), int64
            The component that each one comes from.

        Raises
        ------
        ValueError
            If `n_samples` is no positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import TrueMixture
        >>> truth = TrueMixture(np.array([0.5, 0.5]), np.array([[0.0], [9.0]]), np.ones((2, 1, 1)))
        >>> X, y = truth.sample(1000, random_state=0)
        >>> float(X[y == 1].mean().round(1))
        8.9
        """
        _check("TrueMixture.sample", n_samples=n_samples)
        random = np.random.default_rng(_seed(random_state))
        y = random.choice(self.n_components, size=n_samples, p=self.weights)
        return self._draw(y, random), y

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithm of the density at samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), float64
            Natural logarithms.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import TrueMixture
        >>> truth = TrueMixture(np.array([0.5, 0.5]), np.array([[0.0], [9.0]]), np.ones((2, 1, 1)))
        >>> truth.score_samples([[0.0], [4.5]]).round(2)
        array([ -1.61, -11.04])
        """
        X = np.asarray(X, dtype=float)
        log_joint = np.empty((len(X), self.n_components))
        for k, root in enumerate(np.linalg.cholesky(self.covariances)):
            whitened = solve_triangular(root, (X - self.means[k]).T, lower=True)
            log_joint[:, k] = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(root)).sum()
        log_joint += np.log(self.weights) - 0.5 * self.n_features * np.log(2 * np.pi)
        return logsumexp(log_joint, axis=1)

    def divergence(
        self,
        score_samples: Callable[[NDArray[np.float64]], NDArray],
        *,
        n_samples: int = 20_000,
        random_state: Random = None,
    ) -> float:
        """Estimate the Kullback-Leibler divergence of another density from this one.

        Parameters
        ----------
        score_samples : callable
            The natural logarithm of the other density at samples of shape (n_samples, n_features),
            such as the method of that name of a fitted mixture.
        n_samples : int, default=20_000
            Fresh samples to take the mean over.
        random_state : int, RandomState instance or None, default=None
            Pass an int for the same samples in each call.

        Returns
        -------
        divergence : float
            Mean of log(true density / other density) over samples of the truth, in nats. An
            estimate: that of densities which hardly differ may be a little below zero.

        Examples
        --------
        >>> from sklearn.mixture import GaussianMixture
        >>> from fastmotion.datasets import make_gaussian_set
        >>> data = make_gaussian_set("fj1", random_state=0)
        >>> model = GaussianMixture(3, means_init=data.truth.means).fit(data.X)
        >>> data.truth.divergence(model.score_samples, random_state=1) < 0.05
        True
        """
        X, _ = self.sample(n_samples, random_state)
        return float(np.mean(self.score_samples(X) - score_samples(X)))

    def _draw(
        self, components: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return one sample of each of the given components."""
        X = random.standard_normal((len(components), self.n_features))
        for k, root in enumerate(np.linalg.cholesky(self.covariances)):
            members = components == k
            X[members] = X[members] @ root.T + self.means[k]
        return X


def make_gaussian_mixture(
    n_samples: int = 1000,
    *,
    n_components: int = 4,
    n_features: int = 2,
    covariance_type: str = "full",
    separation: float = 3.0,
    offset: float = 0.0,
    random_state: Random = None,
) -> Bunch:
    """Make samples of a random Gaussian mixture.

    The standard deviations along the axes of a component are between 0.5 and 2, its axes point
    anywhere, and no component has more than three times the weight of another. Means are put
    down one after another, close together but `separation` apart.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_components : int, default=4
        Number of components.
    n_features : int, default=2
        Number of features.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        What the covariances have in common, as in scikit-learn's `GaussianMixture`.
    separation : float, default=3.0
        Least Mahalanobis distance between two means, under the mean of both covariances. From 4 on
        components hardly overlap, below 2 most of them do.
    offset : float, default=0.0
        Added to all features: far from the origin, rounding errors are large.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same samples in each call; the mixture is then the same for any
        `n_samples`.

    Returns
    -------
    bunch : Bunch
        X : ndarray of shape (n_samples, n_features), float64
            The samples, in random order.
        y : ndarray of shape (n_samples,), int64
            The component that each one comes from.
        truth : TrueMixture
            The mixture.

    Raises
    ------
    ValueError
        If a parameter has an impossible value.

    Examples
    --------
    >>> from fastmotion.datasets import make_gaussian_mixture
    >>> data = make_gaussian_mixture(500, n_components=3, n_features=4, random_state=0)
    >>> data.X.shape, data.truth.covariances.shape
    ((500, 4), (3, 4, 4))
    """
    _check(
        "make_gaussian_mixture",
        n_samples=n_samples,
        n_components=n_components,
        n_features=n_features,
        covariance_type=covariance_type,
        separation=separation,
        offset=offset,
        random_state=random_state,
    )
    seed = _seed(random_state)
    random = np.random.default_rng(seed)
    covariances = _random_covariances(n_components, n_features, covariance_type, random)
    means = _separate_means(covariances, separation, random)
    weights = random.uniform(*_WEIGHTS, size=n_components)
    truth = TrueMixture(weights / weights.sum(), means + offset, covariances)
    # From a stream of its own, so that n_samples does not change the mixture.
    X, y = truth.sample(n_samples, seed + 1)
    return Bunch(X=X, y=y, truth=truth)


@dataclass(frozen=True)
class _RandomSet:
    n_samples: int
    n_components: int
    n_features: int
    separation: float


_RANDOM_SETS = {
    "random2d": _RandomSet(1500, 6, 2, 2.8),
    "random4d": _RandomSet(2000, 8, 4, 4.5),
    "random8d": _RandomSet(2000, 8, 8, 5.0),
}

# M. A. T. Figueiredo and A. K. Jain, section 6.
_FIXED_SETS = {
    "fj1": (
        900,
        TrueMixture(
            weights=np.full(3, 1 / 3),
            means=np.array([[0.0, -2.0], [0.0, 0.0], [0.0, 2.0]]),
            covariances=np.array([np.diag([2.0, 0.2])] * 3),
        ),
    ),
    "fj2": (
        1000,
        TrueMixture(
            weights=np.array([0.3, 0.3, 0.3, 0.1]),
            means=np.array([[-4.0, -4.0], [-4.0, -4.0], [2.0, 2.0], [-1.0, -6.0]]),
            covariances=np.array(
                [
                    [[1.0, 0.5], [0.5, 1.0]],
                    [[6.0, -2.0], [-2.0, 6.0]],
                    [[2.0, -1.0], [-1.0, 2.0]],
                    [[0.125, 0.0], [0.0, 0.125]],
                ]
            ),
        ),
    ),
}


def make_gaussian_set(
    name: str, *, n_samples: int | None = None, random_state: Random = None
) -> Bunch:
    """Make samples of one of five mixtures whose number of components is hard to find.

    ========== ========== ======== ======= ====================================================
    name       components features samples what it is
    ========== ========== ======== ======= ====================================================
    "fj1"      3          2        900     long components side by side [1]_
    "fj2"      4          2        1000    overlapping components, two with the same mean [1]_
    "random2d" 6          2        1500    another mixture of each `random_state`
    "random4d" 8          4        2000    another mixture of each `random_state`
    "random8d" 8          8        2000    another mixture of each `random_state`
    ========== ========== ======== ======= ====================================================

    Parameters
    ----------
    name : {"fj1", "fj2", "random2d", "random4d", "random8d"}
        Which one.
    n_samples : int or None, default=None
        Number of samples; None takes that of the table.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same samples in each call.

    Returns
    -------
    bunch : Bunch
        X : ndarray of shape (n_samples, n_features), float64
            The samples, in random order.
        y : ndarray of shape (n_samples,), int64
            The component that each one comes from.
        truth : TrueMixture
            The mixture.

    Raises
    ------
    ValueError
        If a parameter has an impossible value.

    See Also
    --------
    make_gaussian_mixture : Mixtures of any size.

    References
    ----------
    .. [1] M. A. T. Figueiredo and A. K. Jain, "Unsupervised learning of finite mixture models",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 24(3), 2002, section 6.

    Examples
    --------
    >>> from fastmotion.datasets import make_gaussian_set
    >>> data = make_gaussian_set("fj2", random_state=0)
    >>> data.X.shape, data.truth.n_components
    ((1000, 2), 4)
    """
    names = [*_FIXED_SETS, *_RANDOM_SETS]
    if name not in names:
        raise ValueError(f"name must be one of {names}, got {name!r}")
    if name in _RANDOM_SETS:
        size = _RANDOM_SETS[name]
        return make_gaussian_mixture(
            size.n_samples if n_samples is None else n_samples,
            n_components=size.n_components,
            n_features=size.n_features,
            separation=size.separation,
            random_state=random_state,
        )
    usual, truth = _FIXED_SETS[name]
    X, y = truth.sample(usual if n_samples is None else n_samples, random_state)
    return Bunch(X=X, y=y, truth=truth)


def make_hmm(
    n_sequences: int = 10,
    n_frames: int | Sequence[int] = 200,
    *,
    n_states: int = 4,
    n_features: int = 2,
    covariance_type: str = "diag",
    separation: float = 3.0,
    stay: float = 0.9,
    random_state: Random = None,
) -> Bunch:
    """Make sequences of a hidden Markov model with Gaussian emissions.

    Parameters
    ----------
    n_sequences : int, default=10
        Number of sequences.
    n_frames : int or sequence of int, default=200
        Number of frames of each, or of all alike.
    n_states : int, default=4
        Number of states.
    n_features : int, default=2
        Number of features of a frame.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="diag"
        What the covariances of the states have in common.
    separation : float, default=3.0
        Least distance between the means of two states, as in `make_gaussian_mixture`.
    stay : float, default=0.9
        Probability that the next frame has the same state, if there is another. The rest is shared
        out at random.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same sequences in each call; the model is then the same for any number
        of sequences and frames.

    Returns
    -------
    bunch : Bunch
        X : ndarray of shape (n_frames of all sequences, n_features), float64
            The sequences, one after another.
        lengths : ndarray of shape (n_sequences,), int64
            The number of frames of each.
        states : ndarray of shape (n_frames of all sequences,), int64
            The true state of each frame.
        startprob : ndarray of shape (n_states,), float64
            Probabilities of the first state.
        transmat : ndarray of shape (n_states, n_states), float64
            Probabilities of the next state, in the row of the one before.
        means : ndarray of shape (n_states, n_features), float64
            Means of the emissions.
        covariances : ndarray of shape (n_states, n_features, n_features), float64
            Their covariances, as full matrices whatever their type.

    Raises
    ------
    ValueError
        If a parameter has an impossible value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_hmm
    >>> data = make_hmm(3, (20, 30, 25), n_states=2, random_state=0)
    >>> sequences = np.split(data.X, np.cumsum(data.lengths)[:-1])
    >>> [x.shape for x in sequences]
    [(20, 2), (30, 2), (25, 2)]
    """
    _check(
        "make_hmm",
        n_sequences=n_sequences,
        n_frames=n_frames,
        n_states=n_states,
        n_features=n_features,
        covariance_type=covariance_type,
        separation=separation,
        stay=stay,
        random_state=random_state,
    )
    lengths = _lengths(n_sequences, n_frames)
    seed = _seed(random_state)
    mixture = make_gaussian_mixture(
        1,
        n_components=n_states,
        n_features=n_features,
        covariance_type=covariance_type,
        separation=separation,
        random_state=seed,
    ).truth
    random = np.random.default_rng([seed, 0])
    transmat = _random_transitions(n_states, stay, random)
    # A stream per sequence: neither their number nor their lengths change the others.
    streams = [np.random.default_rng([seed, 1, i]) for i in range(n_sequences)]
    states = [
        _walk(mixture.weights, transmat, length, stream) for length, stream in zip(lengths, streams)
    ]
    X = [mixture._draw(path, stream) for path, stream in zip(states, streams)]
    return Bunch(
        X=np.concatenate(X),
        lengths=lengths,
        states=np.concatenate(states),
        startprob=mixture.weights,
        transmat=transmat,
        means=mixture.means,
        covariances=mixture.covariances,
    )


def _check(caller: str, **parameters: Any) -> None:
    validate_parameter_constraints(_CONSTRAINTS, parameters, caller_name=caller)


def _seed(random_state: Random) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))


def _lengths(n_sequences: int, n_frames: int | Sequence[int]) -> NDArray[np.int64]:
    lengths = np.asarray(n_frames)
    if lengths.dtype.kind not in "iu" or (lengths < 1).any():
        raise ValueError(f"n_frames must be positive integers, got {n_frames!r}")
    if lengths.shape not in {(), (n_sequences,)}:
        raise ValueError(
            f"n_frames has shape {lengths.shape}, but there are {n_sequences} sequences; "
            "pass one integer, or one for each"
        )
    return np.broadcast_to(lengths, (n_sequences,)).astype(np.int64)


def _random_covariances(
    n_components: int, n_features: int, covariance_type: str, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return full matrices of shape (n_components, n_features, n_features)."""
    n_drawn = 1 if covariance_type == "tied" else n_components
    n_widths = 1 if covariance_type == "spherical" else n_features
    widths = _NARROWEST * (_WIDEST / _NARROWEST) ** random.random((n_drawn, n_widths))
    axes = np.eye(n_features)
    if covariance_type in ("full", "tied"):
        axes, _ = np.linalg.qr(random.standard_normal((n_drawn, n_features, n_features)))
    scaled = axes * widths[:, np.newaxis]
    covariances = scaled @ scaled.swapaxes(1, 2)
    return np.broadcast_to(covariances, (n_components, n_features, n_features)).copy()


def _separate_means(
    covariances: NDArray[np.float64], separation: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return means that lie close together, but no two of them closer than `separation`."""
    n_components, n_features, _ = covariances.shape
    means = np.empty((n_components, n_features))
    size = separation / np.sqrt(n_features)
    for k, covariance in enumerate(covariances):
        halfway = np.linalg.inv((covariances[:k] + covariance) / 2)
        while True:
            means[k] = size / 2 * random.standard_normal(n_features)
            away = means[:k] - means[k]
            squared = np.einsum("ki,kij,kj->k", away, halfway, away)
            if (squared >= separation**2).all():
                break
            size *= _GROWTH
    return means


def _random_transitions(
    n_states: int, stay: float, random: np.random.Generator
) -> NDArray[np.float64]:
    if n_states == 1:
        return np.ones((1, 1))
    leave = random.uniform(*_WEIGHTS, size=(n_states, n_states))
    np.fill_diagonal(leave, 0)
    return (1 - stay) * leave / leave.sum(axis=1, keepdims=True) + stay * np.eye(n_states)


def _walk(
    startprob: NDArray, transmat: NDArray, n_frames: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return a path of states."""
    # The last sum may be less than one by rounding, and no draw may lie beyond it.
    bounds = np.cumsum(np.vstack([startprob, transmat]), axis=1)[:, :-1]
    path = np.empty(n_frames, np.int64)
    row = 0
    for t, draw in enumerate(random.random(n_frames)):
        path[t] = np.searchsorted(bounds[row], draw, side="right")
        row = path[t] + 1
    return path
