"""Pictures of Gaussian mixtures and of the states of hidden Markov models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import import_optional

__all__ = ["MixtureDisplay"]

_FIGURE_SIZE = 5.2, 4.2  # inches
_GRID_SIZE = 200  # points along each side of the background
_N_CONTOURS = 16  # one nat apart, below the highest
_CURVE = np.linspace(-5, 5, 101)  # standard deviations about each mean
_MOST_BINS = 200
_DOUBLINGS = 50  # of the time that a Markov chain has run


class MixtureDisplay:
    """Picture of a Gaussian mixture: data by component, ellipses and log-likelihood.

    Make one with `from_estimator`, which draws at once. All parameters are kept as attributes, so
    that `plot` can draw the same mixture in another way. Needs the extra ``plot``.

    Two columns of the data are drawn as a plane, with an ellipse for each component; one column as
    a line, with the densities of the components over a histogram. What is drawn of a mixture of
    more columns is its marginal: the density of those two whatever the others are.

    Parameters
    ----------
    weights : array-like of shape (n_components,)
        Share of each component.
    means : array-like of shape (n_components, n_columns)
        For one column or two.
    covariances : array-like of shape (n_components, n_columns, n_columns)
        Full matrices.
    X : array-like of shape (n_samples, n_columns), default=None
        Samples to draw. One with a missing (NaN) value in a column has no place and is left out.
    labels : array-like of int of shape (n_samples,), default=None
        Component of each sample, for its colour; without them samples are grey.
    feature_names : sequence of str, default=None
        Names of the columns, for the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    scatter_ : matplotlib PathCollection or None
        The samples, of two columns.
    ellipses_ : list of matplotlib Ellipse
        Component by component, in the order of the levels; empty for one column.
    contour_ : matplotlib QuadContourSet or None
        The background of ``log_likelihood=True``.
    lines_ : list of matplotlib Line2D
        For one column, the density of each component times its weight, and last their sum.
    histogram_ : matplotlib BarContainer or None
        The samples, of one column.

    See Also
    --------
    ConvergenceDisplay : How the fit's lower bound rose, and how the number of components was found.
    fastmotion.mixture.GaussianMixture : A mixture fitted to data.
    fastmotion.hmm.GaussianHMM : Its states can be drawn too.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from fastmotion.display import MixtureDisplay
    >>> display = MixtureDisplay(
    ...     [0.7, 0.3], [[0, 0], [4, 1]], [[[1, 0], [0, 1]], [[2, 1], [1, 1]]]
    ... ).plot(level=(0.5, 0.9), log_likelihood=True)
    >>> len(display.ellipses_)
    4
    """

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        *,
        X: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.weights = weights
        self.means = means
        self.covariances = covariances
        self.X = X
        self.labels = labels
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        columns: int | str | Sequence[int | str] | None = None,
        lengths: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> MixtureDisplay:
        """Draw a fitted mixture or the states of a fitted hidden Markov model.

        Parameters
        ----------
        estimator : GaussianMixture, GaussianHMM or other fitted object
            With ``means_``, and with ``weights_`` and ``covariances_`` or with ``transmat_``,
            ``startprob_`` and ``covars_``; those of scikit-learn and hmmlearn will do. Of a search
            such as scikit-learn's ``GridSearchCV``, the ``best_estimator_`` is drawn. The weight of
            a state is the share of time that the chain spends in it in the long run.
        X : array-like of shape (n_samples, n_features), default=None
            Samples, coloured by their most probable component; of a hidden Markov model, by the
            most probable sequence of states. A list of sequences, or an array of them with three
            dimensions, where the estimator takes it.
        columns : int, str or sequence of one or two of them, default=None
            Which features to draw: indices, or names if the estimator was fitted with them. None
            draws the first two, or the only one.
        lengths : array-like of int of shape (n_sequences,), default=None
            Lengths of the sequences in `X`, for a hidden Markov model.
        ax : matplotlib Axes, default=None
            As in `plot`.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : MixtureDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator is not fitted or is no Gaussian mixture, there is no such column, or as
            in `plot`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import numpy as np
        >>> from sklearn.mixture import GaussianMixture
        >>> from fastmotion.display import MixtureDisplay
        >>> X = np.random.default_rng(0).normal(size=(200, 3)) + [[0, 0, 9]]
        >>> mixture = GaussianMixture(2, covariance_type="diag", random_state=0).fit(X)
        >>> display = MixtureDisplay.from_estimator(mixture, X, columns=(2, 0))
        >>> display.ax_.get_xlabel()
        'feature 2'
        """
        estimator = getattr(estimator, "best_estimator_", estimator)
        weights, means, covariances = _mixture_of(estimator)
        indices = _indices(estimator, columns, means.shape[1])
        names = getattr(estimator, "feature_names_in_", None)
        labels = None
        if X is not None:
            sequences = {} if lengths is None else {"lengths": lengths}
            labels = estimator.predict(X, **sequences)
            X = _frames(X)[:, indices]
        return cls(
            weights,
            means[:, indices],
            covariances[:, indices][:, :, indices],
            X=X,
            labels=labels,
            feature_names=[f"feature {i}" if names is None else str(names[i]) for i in indices],
        ).plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        level: float | Sequence[float] = (0.5, 0.95),
        log_likelihood: bool = False,
        max_points: int = 10_000,
        scatter_kwargs: Mapping[str, Any] | None = None,
        ellipse_kwargs: Mapping[str, Any] | None = None,
    ) -> MixtureDisplay:
        """Draw the mixture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        level : float or sequence of float, default=(0.5, 0.95)
            Each ellipse contains this share of its component, by the chi-square distribution with
            two degrees of freedom; between 0 and 1. None are drawn of an empty sequence.
        log_likelihood : bool, default=False
            Whether to draw the log-likelihood of a sample, as filled contours one nat apart,
            beneath two columns.
        max_points : int, default=10000
            Of more samples, so many are drawn, evenly spaced in their order. A histogram counts
            all.
        scatter_kwargs : mapping, default=None
            Further arguments of matplotlib's ``scatter`` for the samples.
        ellipse_kwargs : mapping, default=None
            Further arguments of matplotlib's ``Ellipse``.

        Returns
        -------
        display : MixtureDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not fit, there are more than two columns, a level is not between 0 and 1,
            or `max_points` is less than 1.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import numpy as np
        >>> from fastmotion.display import MixtureDisplay
        >>> display = MixtureDisplay([0.7, 0.3], [[0, 0], [4, 1]], [np.eye(2), np.eye(2)])
        >>> display = display.plot(level=0.5)  # circles that hold half of their components
        >>> float(display.ellipses_[0].width)
        2.355
        """
        levels = np.atleast_1d(np.asarray(level, float))
        if not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"level must lie between 0 and 1, got {level}.")
        if max_points < 1:
            raise ValueError(f"max_points must be at least 1, got {max_points}.")
        weights, means, covariances = self._check_mixture()
        X, labels = self._check_samples(*means.shape)
        matplotlib = import_optional("matplotlib", extra="plot", purpose="drawing mixtures")
        if ax is None:
            plt = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing mixtures")
            _, ax = plt.subplots(figsize=_FIGURE_SIZE, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.scatter_ = self.contour_ = self.histogram_ = None
        self.ellipses_: list[Any] = []
        self.lines_: list[Any] = []
        colors = _colors(matplotlib.colormaps, len(means))
        if means.shape[1] == 1:
            self._draw_line(X, weights, means, covariances, colors)
            return self
        if X is not None:
            shown = np.linspace(0, len(X) - 1, min(max_points, len(X))).round().astype(int)
            color = "0.5" if labels is None else colors[labels[shown]]
            self._draw_samples(X[shown], color, scatter_kwargs)
        self._draw_ellipses(levels, means, covariances, colors, ellipse_kwargs)
        if log_likelihood:
            self._draw_background(weights, means, covariances)
        self._label_axes("xlabel", "ylabel")
        return self

    def _check_mixture(self) -> tuple[NDArray, NDArray, NDArray]:
        weights = np.asarray(self.weights, float)
        means = np.asarray(self.means, float)
        covariances = np.asarray(self.covariances, float)
        if means.ndim != 2 or means.shape[1] not in (1, 2):
            raise ValueError(
                f"means must have shape (n_components, 1) or (n_components, 2), got {means.shape}; "
                f"choose one column or two."
            )
        n_components, n_columns = means.shape
        for name, array, shape in (
            ("weights", weights, (n_components,)),
            ("covariances", covariances, (n_components, n_columns, n_columns)),
        ):
            if array.shape != shape:
                raise ValueError(
                    f"{name} must have shape {shape} beside means of shape {means.shape}, got "
                    f"{array.shape}."
                )
        return weights, means, covariances

    def _check_samples(
        self, n_components: int, n_columns: int
    ) -> tuple[NDArray | None, NDArray | None]:
        if self.X is None:
            return None, None
        X = np.asarray(self.X, float)
        if X.ndim != 2 or X.shape[1] != n_columns:
            raise ValueError(f"X must have shape (n_samples, {n_columns}), got {X.shape}.")
        if self.labels is None:
            return X, None
        labels = np.asarray(self.labels).astype(int)
        if labels.shape != X.shape[:1]:
            raise ValueError(f"labels must have shape ({len(X)},) like X, got {labels.shape}.")
        if len(labels) and not 0 <= labels.min() <= labels.max() < n_components:
            raise ValueError(
                f"labels must be components from 0 to {n_components - 1}, got {labels.min()} to "
                f"{labels.max()}."
            )
        return X, labels

    def _draw_samples(
        self, X: NDArray, color: str | NDArray, kwargs: Mapping[str, Any] | None
    ) -> None:
        collections = import_optional(
            "matplotlib.collections", extra="plot", purpose="drawing mixtures"
        )
        style = {"s": 6, "alpha": 0.6, "linewidth": 0, "color": color}
        style = _merge_styles(style, kwargs, collections.PathCollection)
        self.scatter_ = self.ax_.scatter(*X.T, **style)

    def _draw_ellipses(
        self,
        levels: NDArray,
        means: NDArray,
        covariances: NDArray,
        colors: NDArray,
        kwargs: Mapping[str, Any] | None,
    ) -> None:
        patches = import_optional("matplotlib.patches", extra="plot", purpose="drawing mixtures")
        # The square of the distance in standard deviations is exponential, with mean 2.
        radii = np.sqrt(-2 * np.log1p(-levels))
        for mean, covariance, color in zip(means, covariances, colors):
            variances, directions = np.linalg.eigh(covariance)
            minor, major = np.sqrt(variances.clip(0))
            angle = math.degrees(math.atan2(directions[1, 1], directions[0, 1]))
            style = {"angle": angle, "fill": False, "edgecolor": color, "linewidth": 1.5}
            style = _merge_styles(style, kwargs, patches.Ellipse)
            for radius in radii:
                ellipse = patches.Ellipse(mean, 2 * radius * major, 2 * radius * minor, **style)
                self.ellipses_.append(self.ax_.add_patch(ellipse))
        self.ax_.autoscale_view()

    def _draw_background(self, weights: NDArray, means: NDArray, covariances: NDArray) -> None:
        limits = self.ax_.get_xlim(), self.ax_.get_ylim()
        x, y = (np.linspace(low, high, _GRID_SIZE) for low, high in limits)
        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        values = np.logaddexp.reduce(_log_densities(grid, weights, means, covariances), axis=1)
        self.contour_ = self.ax_.contourf(
            x,
            y,
            values.reshape(_GRID_SIZE, _GRID_SIZE),
            levels=values.max() + np.arange(-_N_CONTOURS, 1),
            cmap="Greys",
            alpha=0.5,
            zorder=0,
        )
        self.ax_.set(xlim=limits[0], ylim=limits[1])

    def _draw_line(
        self,
        X: NDArray | None,
        weights: NDArray,
        means: NDArray,
        covariances: NDArray,
        colors: NDArray,
    ) -> None:
        x = np.unique(means + np.sqrt(covariances[:, 0].clip(0)) * _CURVE)
        values = np.empty(0) if X is None else X[~np.isnan(X)]
        if len(values):
            n_bins = min(max(10, math.isqrt(len(values))), _MOST_BINS)
            *_, self.histogram_ = self.ax_.hist(values, n_bins, density=True, color="0.85")
            x = np.union1d(x, np.linspace(values.min(), values.max(), _GRID_SIZE))
        densities = np.exp(_log_densities(x[:, np.newaxis], weights, means, covariances))
        for density, color in zip(densities.T, colors):
            self.lines_ += self.ax_.plot(x, density, color=color)
        self.lines_ += self.ax_.plot(x, densities.sum(axis=1), color="k", linewidth=0.8)
        self._label_axes("xlabel")
        self.ax_.set(ylabel="density")

    def _label_axes(self, *axes: str) -> None:
        if self.feature_names is not None:
            self.ax_.set(**dict(zip(axes, self.feature_names)))


def _log_densities(
    points: NDArray, weights: NDArray, means: NDArray, covariances: NDArray
) -> NDArray[np.float64]:
    """Return the logarithm of each component's share in the density, (n_points, n_components)."""
    tiny = np.finfo(float).tiny
    columns = []
    for weight, mean, covariance in zip(weights, means, covariances):
        variances, directions = np.linalg.eigh(covariance)
        # A singular one is drawn as a very narrow one.
        variances = np.maximum(variances, max(np.finfo(float).eps * variances.max(), tiny))
        scaled = (points - mean) @ directions / np.sqrt(variances)
        log_norm = np.log(2 * np.pi * variances).sum() - 2 * np.log(max(weight, tiny))
        columns.append(-0.5 * ((scaled**2).sum(axis=1) + log_norm))
    return np.stack(columns, axis=1)


def _colors(colormaps: Mapping[str, Any], n_components: int) -> NDArray:
    """Return one colour for each component, as different as they can be."""
    if n_components <= 10:
        return colormaps["tab10"](np.arange(n_components))
    if n_components <= 20:
        return colormaps["tab20"](np.arange(n_components))
    return colormaps["turbo"](np.linspace(0, 1, n_components))


def _mixture_of(estimator: Any) -> tuple[NDArray, NDArray, NDArray]:
    """Return weights, means and full covariances of a fitted estimator."""
    if hasattr(estimator, "weights_") and hasattr(estimator, "covariances_"):
        weights, covariances = np.asarray(estimator.weights_), estimator.covariances_
    elif hasattr(estimator, "transmat_") and hasattr(estimator, "covars_"):
        weights, covariances = _time_shares(estimator), estimator.covars_
    else:
        raise ValueError(
            f"{type(estimator).__name__} has neither weights_ and covariances_ nor transmat_ and "
            f"covars_; pass a Gaussian mixture or a Gaussian hidden Markov model, and fit it first."
        )
    means = np.asarray(estimator.means_, float)
    covariances = np.asarray(covariances, float)
    if covariances.ndim < 3:
        n_components, n_features = means.shape
        if estimator.covariance_type == "tied":
            shape = (n_components, n_features, n_features)
            covariances = np.broadcast_to(covariances, shape)
        else:
            # The diagonal, or the one variance of all columns.
            covariances = np.eye(n_features) * covariances.reshape(n_components, 1, -1)
    return weights, means, covariances


def _time_shares(model: Any) -> NDArray[np.float64]:
    """Return the share of time that a Markov chain spends in each state in the long run."""
    # That half of the steps stay in place changes no share, but lets a periodic chain settle. Other
    # than an eigenvector, powers are right for a chain that cannot return to each state, too.
    transitions = (np.asarray(model.transmat_, float) + np.eye(len(model.transmat_))) / 2
    for _ in range(_DOUBLINGS):
        transitions = transitions @ transitions
        transitions /= transitions.sum(axis=1, keepdims=True)
    return np.asarray(model.startprob_, float) @ transitions


def _merge_styles(
    style: Mapping[str, Any], kwargs: Mapping[str, Any] | None, artist: type
) -> dict[str, Any]:
    """Return a caller's keywords for an artist, and of `style` what they leave open."""
    cbook = import_optional("matplotlib.cbook", extra="plot", purpose="drawing mixtures")
    given = cbook.normalize_kwargs(dict(kwargs or {}), artist)
    settled = {"color", "edgecolor"} if given.keys() & {"c", "color"} else set()
    return {key: value for key, value in style.items() if key not in settled} | given


def _indices(
    estimator: Any, columns: int | str | Sequence[int | str] | None, n_features: int
) -> list[int]:
    """Return the indices of the columns to draw."""
    if columns is None:
        return list(range(min(2, n_features)))
    wanted = np.atleast_1d(np.asarray(columns, object)).tolist()
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    known: dict[int | str, int] = {i: i for i in range(n_features)}
    known |= {name: i for i, name in enumerate(names)}
    # True would be 1.
    if not all(column in known and not isinstance(column, bool) for column in wanted):
        raise ValueError(
            f"columns must be indices from 0 to {n_features - 1}"
            f"{f' or names of {names}' if names else ''}, got {columns!r}."
        )
    if len(wanted) not in (1, 2):
        raise ValueError(f"columns must name one or two features, got {len(wanted)}.")
    return [known[column] for column in wanted]


def _frames(X: Any) -> NDArray:
    """Return samples as one array, where they are several sequences."""
    is_list = isinstance(X, list | tuple) and len(X) > 0 and np.ndim(X[0]) == 2
    array = np.concatenate(X) if is_list else np.asarray(X)
    return array.reshape(-1, array.shape[-1])
