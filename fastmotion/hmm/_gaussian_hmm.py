"""Hidden Markov models with Gaussian emissions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.device import CPU, Device, is_cuda_array, resolve_device
from fastmotion.core.interop import like
from fastmotion.core.memory import memory_of
from fastmotion.core.validation import (
    Interval,
    StrOptions,
    fit_context,
    n_jobs_constraint,
)
from fastmotion.em.driver import EMRun, best_of
from fastmotion.em.fitted import unchanged_by_errors
from fastmotion.em.gaussians import (
    COVARIANCE_TYPES,
    SingularCovarianceWarning,
    count_covariance_parameters,
)
from fastmotion.em.progress import CallbackSupportMixin, FitTasks, with_callbacks
from fastmotion.em.samples import check_range
from fastmotion.hmm import recursions
from fastmotion.hmm.covariances import check_covariances, name_covariances, regular_gaussians
from fastmotion.hmm.emissions import GaussianEmissions
from fastmotion.hmm.estimation import BaumWelch, Parameters, Priors
from fastmotion.hmm.monitor import ConvergenceMonitor
from fastmotion.hmm.recursions import Chain
from fastmotion.hmm.sequences import (
    FrameSequences,
    check_no_lengths,
    check_sequences,
    check_weights,
)
from fastmotion.hmm.sinks import MostProbable, Posteriors
from fastmotion.hmm.starting import initial_covariances, initial_means

_logger = logging.getLogger(__name__)

# Letters of ``params`` and the attributes that they stand for.
_LETTERS = {"s": "startprob_", "t": "transmat_", "m": "means_", "c": "_covars_"}

_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]
_ALGORITHMS = ("viterbi", "map")
_ADVICE = "pass fewer sequences at a time, lower n_components, or pass device='cpu'"


class _MonitorObserver:
    """Tells a monitor of the iterations of EM."""

    def __init__(self, monitor: ConvergenceMonitor) -> None:
        self._monitor = monitor

    def start_begins(self, start: int) -> None:
        self._monitor._reset()

    def iteration_begins(self, iteration: int) -> None:
        pass

    def iteration_ends(self, iteration: int, bound: float, change: float) -> bool:
        self._monitor.report(bound)
        return False

    def start_ends(self, run: EMRun) -> None:
        pass


class GaussianHMM(CallbackSupportMixin, DensityMixin, BaseEstimator):
    """Hidden Markov model with Gaussian emissions.

    A chain of hidden states, each of which emits frames of its own normal distribution. The
    parameters are those that Baum and Welch's algorithm, expectation-maximisation, finds [1]_.
    Interface and results are those of hmmlearn's class of that name, but that `lengths` is passed
    by keyword; the user guide lists what else differs.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    covariance_type : {"diag", "full", "spherical", "tied"}, default="diag"
        Variances of its own for each state and feature; a covariance matrix for each state; one
        variance for each state; one covariance matrix for all states.
    min_covar : float, default=1e-3
        Added to the variances that the fit begins with, and to those of a covariance that becomes
        singular.
    startprob_prior : float or array_like of shape (n_components,), default=1.0
        Concentrations of the Dirichlet prior of `startprob_`; 1 is no prior.
    transmat_prior : float or array_like of shape (n_components, n_components), default=1.0
        Those of the rows of `transmat_`.
    means_prior : float or array_like of shape (n_components, n_features), default=0
        Means of the normal prior of `means_`.
    means_weight : float or array_like of shape (n_components,), default=0
        How many frames the prior of the means counts for.
    covars_prior : float or array_like, default=1e-2
        Scale of the inverse gamma (diag, spherical) or inverse Wishart prior of the covariances,
        which is added to the sums of squares: a number, or of the shape of the covariances (for
        "spherical" also of shape (n_components, n_features)). A number is added to all entries of
        a matrix, as in hmmlearn.
    covars_weight : float or array_like of shape (n_components,), default=1
        How many frames that prior counts for, and 1 (diag, spherical) or `n_features` more. One
        number for "tied".
    algorithm : {"viterbi", "map"}, default="viterbi"
        What `decode` and `predict` find: the most probable path, or the most probable state of
        each frame.
    random_state : int, RandomState instance or None, default=None
        For the start of a fit, and for `sample`.
    n_iter : int, default=10
        Most iterations; 0 leaves the parameters as the fit begins.
    tol : float, default=1e-2
        Fitting ends when an iteration raises the log-likelihood by less.
    verbose : bool, default=False
        Whether iterations are reported on standard error.
    params, init_params : str, default="stmc"
        Which parameters `fit` changes, and which it sets up first: "s" for startprob, "t" for
        transmat, "m" for means, "c" for covars. Those that are not set up must be set, or are set
        up all the same.
    implementation : {"log", "scaling"}, default="log"
        Without effect: probabilities are scaled, and logarithms used for sequences that would
        underflow.
    n_jobs : int or None, default=None
        Threads; they do not change the result.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute. None takes that of `fastmotion.config_context`, "auto" follows the data.

    Attributes
    ----------
    startprob_ : ndarray of shape (n_components,), float64
        Probabilities of the state of the first frame.
    transmat_ : ndarray of shape (n_components, n_components), float64
        Row i holds the probabilities of the states that follow state i. What is 0 stays 0.
    means_ : ndarray of shape (n_components, n_features), float64
        Means of the states.
    covars_ : ndarray of shape (n_components, n_features, n_features), float64
        Covariances of the states. Set it in the shape of the type: (n_components,) spherical,
        (n_components, n_features) diag, (n_components, n_features, n_features) full,
        (n_features, n_features) tied.
    monitor_ : ConvergenceMonitor
        The log-likelihoods of the fit. Set one of a class of your own before `fit` to end it by
        another criterion.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if they are all strings.
    device_ : str
        What the fit ran on.

    See Also
    --------
    fastmotion.mixture.GaussianMixture : The same without an order of frames.

    Notes
    -----
    Sequences are passed as one array of shape (n_frames, n_features) with their `lengths`, as a
    list of arrays of any lengths, or as one array of shape (n_sequences, n_frames, n_features).
    What is returned for frames is one array in their order in all cases.

    On a CUDA device all sequences are run over at the same time, one by each block of threads:
    thousands of them keep it busy, and a single long one does not. Sequences that lie on the device
    are used there, and what is returned for their frames lies there as well, as an array of the
    same library. Attributes are NumPy arrays in any case.

    The attributes may be set by hand, in place of a fit or before one.

    A frame's density is that of the values observed; a frame of which all is missing tells nothing.

    A state that no frame belongs to keeps its parameters, and a row of `transmat_` without
    transitions stays what it was; hmmlearn gives NaN and zeros.

    References
    ----------
    .. [1] Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proceedings of the IEEE 77, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.hmm import GaussianHMM
    >>> rng = np.random.default_rng(0)
    >>> walk = [np.repeat([[0.0], [4.0]], 20, axis=0) + rng.normal(size=(40, 1)) for _ in range(5)]
    >>> model = GaussianHMM(2, random_state=0).fit(walk)
    >>> np.sort(model.means_.ravel())
    array([-0.0..., 4.0...])
    >>> states = model.predict(walk[0])
    >>> bool(states[0] != states[-1]), int((np.diff(states) != 0).sum())
    (True, 1)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "min_covar": _NOT_NEGATIVE,
        "startprob_prior": [*_NOT_NEGATIVE, "array-like"],
        "transmat_prior": [*_NOT_NEGATIVE, "array-like"],
        "means_prior": [Real, "array-like"],
        "means_weight": [*_NOT_NEGATIVE, "array-like"],
        "covars_prior": [*_NOT_NEGATIVE, "array-like"],
        "covars_weight": [*_NOT_NEGATIVE, "array-like"],
        "algorithm": [StrOptions(set(_ALGORITHMS))],
        "random_state": ["random_state"],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Real],
        "verbose": ["verbose"],
        "params": [str],
        "init_params": [str],
        "implementation": [StrOptions({"log", "scaling"})],
        "n_jobs": n_jobs_constraint(),
        "device": [str, Device, None],
    }

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "diag",
        min_covar: float = 1e-3,
        startprob_prior: ArrayLike = 1.0,
        transmat_prior: ArrayLike = 1.0,
        means_prior: ArrayLike = 0,
        means_weight: ArrayLike = 0,
        covars_prior: ArrayLike = 1e-2,
        covars_weight: ArrayLike = 1,
        algorithm: str = "viterbi",
        random_state: int | np.random.RandomState | None = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stmc",
        init_params: str = "stmc",
        implementation: str = "log",
        *,
        n_jobs: int | None = None,
        device: str | Device | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight
        self.algorithm = algorithm
        self.random_state = random_state
        self.n_iter = n_iter
        self.tol = tol
        self.verbose = verbose
        self.params = params
        self.init_params = init_params
        self.implementation = implementation
        self.n_jobs = n_jobs
        self.device = device

    @property
    def covars_(self) -> NDArray:
        """Covariance matrices of the states; they are set in the form of `covariance_type`.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2, covariance_type="spherical")
        >>> model.n_features = 2
        >>> model.covars_ = [1.0, 4.0]
        >>> model.covars_[1]
        array([[4., 0.],
               [0., 4.]])
        """
        # Whoever asks whether it is there gets an AttributeError until it is.
        covars = self._covars_
        if self.covariance_type == "full":
            return covars
        if self.covariance_type == "tied":
            return np.tile(covars, (self.n_components, 1, 1))
        if self.covariance_type == "spherical":
            covars = np.broadcast_to(covars[:, np.newaxis], (len(covars), self.n_features))
        return covars[:, :, np.newaxis] * np.eye(covars.shape[1])

    @covars_.setter
    def covars_(self, covars: ArrayLike) -> None:
        self._covars_ = check_covariances(covars, self.covariance_type, self.n_components)

    @property
    def n_features(self) -> int:
        """Number of features; may be set, as may the attributes.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.means_ = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
        >>> model.n_features
        3
        """
        if hasattr(self, "means_"):
            return np.shape(self.means_)[1]
        if hasattr(self, "n_features_in_"):
            return self.n_features_in_
        return self._n_features

    @n_features.setter
    def n_features(self, n_features: int) -> None:
        self._n_features = n_features

    @property
    def monitor_(self) -> ConvergenceMonitor:
        """What keeps the log-likelihoods of the fit; may be set before, for another criterion.

        Examples
        --------
        A criterion of one's own ends the fit:

        >>> import numpy as np
        >>> from fastmotion.hmm import ConvergenceMonitor, GaussianHMM
        >>> class Patient(ConvergenceMonitor):
        ...     @property
        ...     def converged(self):
        ...         return self.iter == 5
        >>> model = GaussianHMM(2, random_state=0)
        >>> model.monitor_ = Patient(tol=0.0, n_iter=5, verbose=False)
        >>> X = np.repeat([[0.0], [4.0]], 20, axis=0)
        >>> X += np.random.default_rng(0).normal(size=X.shape)
        >>> len(model.fit(X).monitor_.history)
        5
        """
        monitor = getattr(self, "_given_monitor", None) or getattr(self, "_monitor_", None)
        return monitor or ConvergenceMonitor(self.tol, self.n_iter, self.verbose)

    @monitor_.setter
    def monitor_(self, monitor: ConvergenceMonitor) -> None:
        self._given_monitor = monitor

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        lengths: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the parameters to sequences.

        Parameters
        ----------
        X : array_like or CUDA array of shape (n_frames, n_features), or list of such
            One sequence after the other; or a list of sequences, whose lengths may differ; or all
            in an array of shape (n_sequences, n_frames, n_features). NaN is missing. float32 and
            float64 are taken without a copy.
        y : object, default=None
            Ignored.
        lengths : array_like of shape (n_sequences,), default=None
            Numbers of frames of the sequences in an array of two dimensions, which is one sequence
            without.
        sample_weight : array_like of shape (n_sequences,) or (n_frames,), default=None
            Not negative. A sequence of weight 2 counts as two equal sequences. Frames cannot be
            repeated in a sequence, so their weights are exponents of their densities: a frame of
            weight 2 counts as two measurements of one hidden state, one of weight 0 as missing.
            What weighs nothing may hold any finite number.
            Where there are as many sequences as frames, the weights are those of sequences.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            An argument does not hold real numbers.
        ValueError
            A parameter is out of range, shapes do not match, a sequence is empty, a number is
            infinite or beyond 1e100 (1e16 in float32), or there are fewer frames than states; or a
            sequence is impossible under the parameters that the fit begins with; or a covariance
            is singular and `min_covar` is 0. The model stays as it was.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            No frame belongs to some state.
        fastmotion.mixture.SingularCovarianceWarning
            A covariance was or became singular.

        Examples
        --------
        Two sequences, one after the other:

        >>> import numpy as np
        >>> from fastmotion.hmm import GaussianHMM
        >>> X = np.repeat([[0.0], [4.0], [0.0]], [30, 40, 10], axis=0)
        >>> X += 0.1 * np.random.default_rng(0).normal(size=X.shape)
        >>> model = GaussianHMM(2, random_state=0).fit(X, lengths=[50, 30])
        >>> np.sort(model.means_.ravel()).round(1)
        array([0., 4.])
        """
        self._check_letters()
        device = self._resolve_device(X)
        memory = memory_of(device)
        with unchanged_by_errors(self), memory.scope(_ADVICE):
            sequences = check_sequences(self, X, lengths, reset=True, memory=memory)
            check_no_lengths(y, sequences)
            model = self._start(sequences, *check_weights(sample_weight, sequences))
            self._take(self._run(model, X))
            self.device_ = str(device)
        self._warn_of(model)
        return self

    def score(self, X: ArrayLike, y: Any = None, *, lengths: ArrayLike | None = None) -> float:
        """Return the log-likelihood of sequences.

        Parameters
        ----------
        X : array_like or list
            As for `fit`.
        y : object, default=None
            Ignored.
        lengths : array_like of shape (n_sequences,), default=None
            As for `fit`.

        Returns
        -------
        float
            The sum of their natural logarithms; minus infinity if a sequence is impossible.

        Raises
        ------
        TypeError, ValueError
            As by `fit`, or the attributes do not make a model.
        sklearn.exceptions.NotFittedError
            The model is neither fitted nor set.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
        >>> model.means_, model.covars_ = [[0.0], [4.0]], [[1.0], [1.0]]
        >>> likely = model.score([[0.0], [0.0], [4.0], [4.0]])
        >>> likely > model.score([[0.0], [4.0], [0.0], [4.0]])  # more jumps
        True
        """
        with self._prepared(X, lengths) as (sequences, chain, emissions):
            check_no_lengths(y, sequences)
            return float(self._score(sequences, chain, emissions).sum())

    def score_samples(
        self, X: ArrayLike, *, lengths: ArrayLike | None = None
    ) -> tuple[float, NDArray]:
        """Return the log-likelihood of sequences and the probabilities of their states.

        Parameters
        ----------
        X : array_like or list
            As for `fit`.
        lengths : array_like of shape (n_sequences,), default=None
            As for `fit`.

        Returns
        -------
        log_prob : float
            As of `score`.
        posteriors : ndarray of shape (n_frames, n_components)
            Probabilities of the states given all frames of a sequence; float32 where ``X`` is. NaN
            for an impossible sequence.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            As by `score`.

        Warns
        -----
        RuntimeWarning
            A sequence is impossible.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
        >>> model.means_, model.covars_ = [[0.0], [4.0]], [[1.0], [1.0]]
        >>> log_prob, posteriors = model.score_samples([[0.0], [2.0], [4.0]])
        >>> log_prob
        -7.162
        >>> posteriors.round(2)
        array([[1. , 0. ],
               [0.5, 0.5],
               [0. , 1. ]])
        """
        return self._posteriors(X, lengths)

    def _posteriors(self, X: ArrayLike, lengths: ArrayLike | None) -> tuple[float, NDArray]:
        with self._prepared(X, lengths) as (sequences, chain, emissions):
            given, memory = _part_of(X), sequences.memory
            target = memory if is_cuda_array(given) else memory_of(CPU)
            shape = len(sequences.frames), chain.n_states
            sink = Posteriors(shape, sequences.frames.dtype, memory, target)
            scores = self._smooth(sequences, chain, emissions, sink)
            return float(scores.sum()), like(sink.values, given)

    def predict_proba(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> NDArray:
        """Return the probabilities of the states given all frames of a sequence.

        Errors and warnings are those of `score_samples`, of whose results this is the
        second.

        Parameters
        ----------
        X : array_like or list
            As for `fit`.
        lengths : array_like of shape (n_sequences,), default=None
            As for `fit`.

        Returns
        -------
        ndarray of shape (n_frames, n_components)
            As of `score_samples`.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
        >>> model.means_, model.covars_ = [[0.0], [4.0]], [[1.0], [1.0]]
        >>> model.predict_proba([[0.0], [2.0], [0.0]]).round(2)  # the neighbours decide
        array([[1.  , 0.  ],
               [0.99, 0.01],
               [1.  , 0.  ]])
        """
        return self._posteriors(X, lengths)[1]

    def decode(
        self, X: ArrayLike, *, lengths: ArrayLike | None = None, algorithm: str | None = None
    ) -> tuple[float, NDArray[np.int64]]:
        """Find the states that sequences went through.

        Parameters
        ----------
        X : array_like or list
            As for `fit`.
        lengths : array_like of shape (n_sequences,), default=None
            As for `fit`.
        algorithm : {"viterbi", "map"} or None, default=None
            The most probable path, or the most probable state of each frame; None takes the
            parameter.

        Returns
        -------
        log_prob : float
            Log-probability of paths and frames together; with "map" the sum of the states'
            probabilities, as in hmmlearn.
        state_sequence : ndarray of shape (n_frames,), int64
            Indices of states, from 0 on.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            As by `score`; or the algorithm is another.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
        >>> model.means_, model.covars_ = [[0.0], [4.0]], [[1.0], [1.0]]
        >>> log_prob, states = model.decode([[0.0], [2.1], [0.0], [4.0]])
        >>> states.tolist(), round(log_prob, 2)
        ([0, 0, 0, 1], -9.09)
        """
        return self._decode(X, lengths, self.algorithm if algorithm is None else algorithm)

    def _decode(
        self, X: ArrayLike, lengths: ArrayLike | None, algorithm: str
    ) -> tuple[float, NDArray[np.int64]]:
        if algorithm not in _ALGORITHMS:
            raise ValueError(f"algorithm must be one of {_ALGORITHMS}, got {algorithm!r}")
        with self._prepared(X, lengths) as (sequences, chain, emissions):
            memory = sequences.memory
            if algorithm == "viterbi":
                scores, states = recursions.decode(
                    chain, emissions, sequences.stops, n_jobs=self.n_jobs, memory=memory
                )
                return float(scores.sum()), like(states, _part_of(X))
            sink = MostProbable(len(sequences.frames), memory)
            self._smooth(sequences, chain, emissions, sink)
            return sink.certainty, like(sink.states, _part_of(X))

    def predict(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> NDArray[np.int64]:
        """Return the states that sequences went through: the second result of `decode`.

        Parameters
        ----------
        X : array_like or list
            As for `fit`.
        lengths : array_like of shape (n_sequences,), default=None
            As for `fit`.

        Returns
        -------
        ndarray of shape (n_frames,), int64
            Indices of states, from 0 on.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            As by `score`.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
        >>> model.means_, model.covars_ = [[0.0], [4.0]], [[1.0], [1.0]]
        >>> model.predict([[[0.0], [2.1], [0.0]], [[4.0], [2.1], [4.0]]]).tolist()  # two sequences
        [0, 0, 0, 1, 1, 1]
        """
        return self._decode(X, lengths, self.algorithm)[1]

    def sample(
        self,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = None,
        currstate: int | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Draw a sequence from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of frames.
        random_state : int, RandomState instance or None, default=None
            None takes the parameter.
        currstate : int or None, default=None
            The state of the first frame; None draws it.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            The frames.
        state_sequence : ndarray of shape (n_samples,), int64
            Their states.

        Raises
        ------
        ValueError
            `n_samples` is less than 1, `currstate` is no state, or the attributes do not make a
            model.
        sklearn.exceptions.NotFittedError
            The model is neither fitted nor set.

        Examples
        --------
        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
        >>> model.means_, model.covars_ = [[0.0], [4.0]], [[1.0], [1.0]]
        >>> X, states = model.sample(200, random_state=0)
        >>> X.shape, float(X[states == 1].mean().round())
        ((200, 1), 4.0)
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        if currstate is not None and not 0 <= currstate < self.n_components:
            raise ValueError(
                f"currstate must be a state, from 0 to {self.n_components - 1}, got {currstate}"
            )
        model = self._parameters()
        random = check_random_state(self.random_state if random_state is None else random_state)
        draws = random.uniform(size=n_samples)
        cumulated = np.cumsum(model.chain.transmat, axis=1)
        states = np.empty(n_samples, np.int64)
        if currstate is None:
            currstate = _draw(np.cumsum(model.chain.startprob), draws[0])
        states[0] = currstate
        for t in range(1, n_samples):
            states[t] = _draw(cumulated[states[t - 1]], draws[t])
        noise = random.standard_normal((n_samples, model.gaussians.n_features))
        factors = np.linalg.cholesky(model.gaussians.full_covariances())
        for state in np.unique(states):
            here = states == state
            noise[here] = noise[here] @ factors[state].T
        return model.gaussians.means[states] + noise, states

    def aic(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> float:
        """Return Akaike's information criterion; the lower the better.

        Parameters
        ----------
        X : array_like or list
            As for `fit`.
        lengths : array_like of shape (n_sequences,), default=None
            As for `fit`.

        Returns
        -------
        float
            Twice the negative log-likelihood, plus twice the number of parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.hmm import GaussianHMM
        >>> X = np.repeat([[0.0], [4.0], [0.0]], 30, axis=0)
        >>> X += 0.1 * np.random.default_rng(0).normal(size=X.shape)
        >>> one, two = (GaussianHMM(n, random_state=0).fit(X) for n in (1, 2))
        >>> one.aic(X) > two.aic(X)
        True
        """
        return 2 * self._count_parameters() - 2 * self.score(X, lengths=lengths)

    def bic(self, X: ArrayLike, *, lengths: ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion, with the number of frames.

        Parameters
        ----------
        X : array_like or list
            As for `fit`.
        lengths : array_like of shape (n_sequences,), default=None
            As for `fit`.

        Returns
        -------
        float
            Twice the negative log-likelihood, plus the number of parameters times the logarithm of
            the number of frames. The lower the better.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.hmm import GaussianHMM
        >>> X = np.repeat([[0.0], [4.0], [0.0]], 30, axis=0)
        >>> X += 0.1 * np.random.default_rng(0).normal(size=X.shape)
        >>> one, two = (GaussianHMM(n, random_state=0).fit(X) for n in (1, 2))
        >>> one.bic(X) > two.bic(X)
        True
        """
        with self._prepared(X, lengths) as (sequences, chain, emissions):
            scores = self._score(sequences, chain, emissions)
            penalty = self._count_parameters() * np.log(len(sequences.frames))
            return float(penalty - 2 * scores.sum())

    def get_stationary_distribution(self) -> NDArray[np.float64]:
        """Return the probabilities of the states that a transition leaves as they are.

        Returns
        -------
        ndarray of shape (n_components,)
            If several distributions are stationary, one of them.

        Raises
        ------
        ValueError
            ``transmat_`` does not hold probabilities.
        sklearn.exceptions.NotFittedError
            ``transmat_`` is not set.

        Examples
        --------
        A state that is left half as often is taken twice as often:

        >>> from fastmotion.hmm import GaussianHMM
        >>> model = GaussianHMM(2)
        >>> model.transmat_ = [[0.9, 0.1], [0.2, 0.8]]
        >>> model.get_stationary_distribution().round(3)
        array([0.667, 0.333])
        """
        check_is_fitted(self, "transmat_")
        transmat = self._check_probabilities("transmat_", (self.n_components,) * 2)
        equations = np.vstack([transmat.T - np.eye(self.n_components), np.ones(self.n_components)])
        target = np.append(np.zeros(self.n_components), 1.0)
        return np.linalg.lstsq(equations, target, rcond=None)[0]

    def __sklearn_is_fitted__(self) -> bool:
        return all(hasattr(self, name) for name in _LETTERS.values())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags

    def _check_letters(self) -> None:
        for name in ("params", "init_params"):
            letters = getattr(self, name)
            if not set(letters) <= set(_LETTERS):
                raise ValueError(
                    f"{name} must be made of the letters {''.join(_LETTERS)!r}, got {letters!r}"
                )

    def _resolve_device(self, X: Any) -> Device:
        return resolve_device(self.device, *(X if isinstance(X, list | tuple) else (X,)))

    def _start(
        self,
        sequences: FrameSequences,
        sequence_weight: NDArray,
        frame_weight: NDArray | None,
    ) -> BaumWelch:
        """Return what a fit iterates."""
        row_weight = sequences.spread(sequence_weight) if frame_weight is None else frame_weight
        sequences = sequences.without_idle(row_weight)
        check_range(sequences.frames)
        n_features = sequences.frames.shape[1]
        priors = Priors(self, n_features)
        self._initialise(sequences, row_weight)
        start, singular = self._regular_parameters(n_features, self.min_covar)
        return BaumWelch(
            start,
            sequences,
            sequence_weight,
            frame_weight,
            priors=priors,
            learned=self.params,
            min_covar=self.min_covar,
            n_jobs=self.n_jobs,
            singular=singular,
        )

    def _warn_of(self, model: BaumWelch) -> None:
        # The caller of `fit`, which is wrapped twice.
        level = 5
        if model.singular:
            which = name_covariances(sorted(model.singular), self.covariance_type)
            warnings.warn(
                f"singular covariance of {which}: min_covar, {self.min_covar:g}, was added to the "
                "variances; decrease n_components or increase covars_prior",
                SingularCovarianceWarning,
                stacklevel=level,
            )
        if model.empty_states:
            warnings.warn(
                f"no frame belongs to states {model.empty_states}: they keep the means that they "
                "had; decrease n_components or set other means_",
                ConvergenceWarning,
                stacklevel=level,
            )

    def _initialise(self, sequences: FrameSequences, weight: NDArray | None = None) -> None:
        """Set the attributes that a fit begins with."""
        random = check_random_state(self.random_state)
        n_states = self.n_components
        flat = np.full(n_states, 1 / n_states)
        if self._needs_start("s"):
            self.startprob_ = random.dirichlet(flat)
        if self._needs_start("t"):
            self.transmat_ = random.dirichlet(flat, size=n_states)
        if self._needs_start("m"):
            self.means_ = initial_means(sequences, n_states, weight, random, self.n_jobs)
        if self._needs_start("c"):
            self._covars_ = initial_covariances(
                sequences, n_states, self.covariance_type, self.min_covar, weight
            )
        frames = sequences.frames
        n_scalars = sum(self._parameter_counts(frames.shape[1])[letter] for letter in self.params)
        if frames.size < n_scalars:
            _logger.warning(
                "Fitting a model with %d free scalar parameters with only %d data points will "
                "result in a degenerate solution.",
                n_scalars,
                frames.size,
            )

    def _needs_start(self, letter: str) -> bool:
        name = _LETTERS[letter]
        is_set = hasattr(self, name)
        was_fitted = is_set and getattr(self, name) is getattr(self, "_fitted_", {}).get(name)
        if is_set and not was_fitted and letter in self.init_params:
            _logger.warning(
                "The attribute %r is set, but will be overwritten during initialization because "
                "'init_params' contains %r",
                name.strip("_") + "_",
                letter,
            )
        return letter in self.init_params or not is_set

    def _run(self, model: BaumWelch, X: Any) -> Parameters:
        monitor = getattr(self, "_given_monitor", None)
        if monitor is None:
            monitor = self._monitor_ = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        tasks = FitTasks.of(self, X, 1, self.n_iter, lambda: _attributes(model.parameters()))
        run = best_of(
            [lambda: model],
            max_iter=self.n_iter,
            has_converged=lambda change: monitor.converged,
            observers=[_MonitorObserver(monitor), *tasks],
        )
        for task in tasks:
            task.fit_ends()
        return run.parameters

    def _take(self, parameters: Parameters) -> None:
        # Kept apart as well, to tell from them what is set by hand later.
        self._fitted_ = _attributes(parameters)
        for name, value in self._fitted_.items():
            setattr(self, name, value)

    @contextmanager
    def _prepared(
        self, X: ArrayLike, lengths: ArrayLike | None
    ) -> Iterator[tuple[FrameSequences, Chain, GaussianEmissions]]:
        """Have sequences, and the attributes as a model, on the device for the block."""
        check_is_fitted(self)
        memory = memory_of(self._resolve_device(X))
        with memory.scope(_ADVICE):
            sequences = check_sequences(self, X, lengths, reset=False, memory=memory)
            model = self._parameters(sequences.frames.shape[1])
            yield sequences, model.chain, GaussianEmissions(model.gaussians, sequences)

    def _score(
        self, sequences: FrameSequences, chain: Chain, emissions: GaussianEmissions
    ) -> NDArray[np.float64]:
        return recursions.score(
            chain, emissions, sequences.stops, n_jobs=self.n_jobs, memory=sequences.memory
        )

    def _smooth(
        self,
        sequences: FrameSequences,
        chain: Chain,
        emissions: GaussianEmissions,
        sink: recursions.Consume,
    ) -> NDArray[np.float64]:
        scores, _, _ = recursions.smooth(
            chain,
            emissions,
            sequences.stops,
            lambda: sink,
            n_jobs=self.n_jobs,
            memory=sequences.memory,
        )
        impossible = np.flatnonzero(~np.isfinite(scores))
        if impossible.size:
            warnings.warn(
                f"sequence {impossible[0]} of X (and {impossible.size - 1} more) is impossible "
                "under the model: its states have no probabilities",
                RuntimeWarning,
                stacklevel=4,  # the caller of a public method
            )
        return scores

    def _parameters(self, n_features: int | None = None) -> Parameters:
        """Return the attributes as a model.

        Raises
        ------
        ValueError
            They do not make one, or not one of so many features.
        """
        return self._regular_parameters(n_features, 0.0)[0]

    def _regular_parameters(
        self, n_features: int | None, min_covar: float
    ) -> tuple[Parameters, list[int]]:
        """Return the attributes as a model, and the states widened by `min_covar`."""
        n_states = self.n_components
        startprob = self._check_probabilities("startprob_", (n_states,))
        transmat = self._check_probabilities("transmat_", (n_states, n_states))
        means = np.array(self.means_, np.float64, ndmin=2)
        wanted = means.shape[-1] if n_features is None else n_features
        if means.shape != (n_states, wanted):
            raise ValueError(
                f"means_ must have shape (n_components, n_features), {(n_states, wanted)}, got "
                f"{means.shape}"
            )
        if not np.isfinite(means).all():
            raise ValueError(f"means_ must be finite, got {means[~np.isfinite(means)][0]}")
        covars = check_covariances(
            self._covars_, self.covariance_type, n_states, may_be_singular=min_covar > 0
        )
        if covars.ndim > 1 and covars.shape[-1] != wanted:
            raise ValueError(f"covars_ must be of {wanted} features, got {covars.shape[-1]}")
        gaussians, singular = regular_gaussians(means, covars, self.covariance_type, min_covar)
        return Parameters(Chain(startprob, transmat), gaussians), singular

    def _check_probabilities(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        array = np.array(getattr(self, name), np.float64, order="C")
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, for n_components, got {array.shape}")
        if not (array >= 0).all():
            raise ValueError(f"{name} must not be negative or NaN, got {array.min()}")
        sums = array.sum(axis=-1)
        if not np.allclose(sums, 1):
            rows = "rows " if array.ndim > 1 else ""
            raise ValueError(f"{name} {rows}must sum to 1, got {sums}")
        return array

    def _parameter_counts(self, n_features: int) -> dict[str, int]:
        n_states = self.n_components
        return {
            "s": n_states - 1,
            "t": n_states * (n_states - 1),
            "m": n_states * n_features,
            "c": count_covariance_parameters(self.covariance_type, n_states, n_features),
        }

    def _count_parameters(self) -> int:
        check_is_fitted(self)
        return sum(self._parameter_counts(self.n_features).values())


def _attributes(parameters: Parameters) -> dict[str, NDArray]:
    chain, gaussians = parameters.chain, parameters.gaussians
    values = (chain.startprob, chain.transmat, gaussians.means, gaussians.covariances)
    return dict(zip(_LETTERS.values(), values))


def _part_of(X: Any) -> Any:
    """Return an array that tells where sequences lie."""
    return next(filter(is_cuda_array, X), None) if isinstance(X, list | tuple) else X


def _draw(cumulated: NDArray, uniform: float) -> int:
    # Rounding may leave the last sum below 1.
    return min(int(np.searchsorted(cumulated, uniform, side="right")), len(cumulated) - 1)
