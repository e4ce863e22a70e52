"""Pictures of how expectation-maximisation rose, and of how it found the number of components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import import_optional

__all__ = ["ConvergenceDisplay"]

_FIGURE_SIZE = 5.2, 3.6  # inches
_MOST_MARKERS = 40
_KINDS = ("lower_bound", "gap", "criterion")


class ConvergenceDisplay:
    """Picture of a fit by expectation-maximisation: its lower bound, or the choice of components.

    Make one with `from_estimator` or `from_estimators`; both draw at once. All parameters are kept
    as attributes, so that `plot` can draw the same fits in another way. Needs the extra ``plot``.

    Parameters
    ----------
    lower_bounds : sequence of n_fits array-like of shape (n_iter,), default=None
        Lower bound on the log-likelihood in each iteration, fit by fit.
    criterion_paths : sequence of n_fits mappings of int to float, default=None
        Value of the criterion by number of components; the lower the better.
    n_components : sequence of n_fits int, default=None
        The numbers that were chosen; None stands for those with the least value.
    criterion : str, default="criterion"
        What the axis calls the criterion.
    names : sequence of n_fits str, default=None
        What the legend calls the fits; without names there is none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    lines_ : list of matplotlib Line2D
        One line for each fit.
    chosen_ : list of matplotlib Line2D
        The marks of the chosen numbers of components, for ``kind="criterion"``.

    See Also
    --------
    MixtureDisplay : The mixture itself.
    fastmotion.mixture.GaussianMixture : Has the lower bounds and the criterion's path.
    fastmotion.hmm.GaussianHMM : Its ``monitor_`` has the log-likelihoods.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from fastmotion.display import ConvergenceDisplay
    >>> display = ConvergenceDisplay([[-3.0, -2.1, -2.0], [-4.0, -2.2]]).plot()
    >>> display.ax_.get_ylabel()
    'lower bound'
    >>> path = {1: 310.0, 2: 250.5, 3: 258.2}
    >>> display = ConvergenceDisplay(criterion_paths=[path], criterion="BIC").plot(kind="criterion")
    >>> float(display.chosen_[0].get_xdata()[0])
    2.0
    """

    def __init__(
        self,
        lower_bounds: Sequence[ArrayLike] | None = None,
        *,
        criterion_paths: Sequence[Mapping[int, float]] | None = None,
        n_components: Sequence[int] | None = None,
        criterion: str = "criterion",
        names: Sequence[str] | None = None,
    ) -> None:
        self.lower_bounds = lower_bounds
        self.criterion_paths = criterion_paths
        self.n_components = n_components
        self.criterion = criterion
        self.names = names

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, kind: str = "lower_bound", **kwargs: Any
    ) -> ConvergenceDisplay:
        """Draw how a fitted estimator came about.

        Parameters
        ----------
        estimator : GaussianMixture, GaussianHMM or other fitted object
            With ``lower_bounds_`` or with ``monitor_.history``, such as those of scikit-learn and
            hmmlearn; for ``kind="criterion"``, with ``criterion_path_``, as a mixture with
            ``n_components="auto"`` has. Of a search such as scikit-learn's ``GridSearchCV``, the
            ``best_estimator_`` is drawn.
        ax : matplotlib Axes, default=None
            As in `plot`.
        kind : {"lower_bound", "gap", "criterion"}, default="lower_bound"
            As in `plot`.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : ConvergenceDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator is not fitted or holds no such record, or as in `plot`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import numpy as np
        >>> from sklearn.mixture import GaussianMixture
        >>> from fastmotion.display import ConvergenceDisplay
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> display = ConvergenceDisplay.from_estimator(mixture)
        >>> len(display.lines_[0].get_xdata()) == mixture.n_iter_
        True
        """
        return cls._of([estimator], names=None).plot(ax, kind=kind, **kwargs)

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any],
        *,
        ax: Any = None,
        kind: str = "lower_bound",
        **kwargs: Any,
    ) -> ConvergenceDisplay:
        """Compare how several fitted estimators came about, such as fits from other starts.

        Parameters
        ----------
        estimators : mapping of str to estimator
            Fitted, by the name in the legend; each as for `from_estimator`.
        ax : matplotlib Axes, default=None
            As in `plot`.
        kind : {"lower_bound", "gap", "criterion"}, default="lower_bound"
            As in `plot`.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : ConvergenceDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no estimator, one is not fitted or holds no such record, or as in `plot`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import numpy as np
        >>> from sklearn.mixture import GaussianMixture
        >>> from fastmotion.display import ConvergenceDisplay
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> fits = {
        ...     start: GaussianMixture(2, init_params=start, random_state=0).fit(X)
        ...     for start in ("kmeans", "k-means++")
        ... }
        >>> display = ConvergenceDisplay.from_estimators(fits, kind="gap")
        >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
        ['kmeans', 'k-means++']
        """
        if not estimators:
            raise ValueError("estimators is empty: pass at least one, by its name.")
        return cls._of(list(estimators.values()), list(estimators)).plot(ax, kind=kind, **kwargs)

    @classmethod
    def _of(cls, estimators: list[Any], names: list[str] | None) -> ConvergenceDisplay:
        fitted = [getattr(estimator, "best_estimator_", estimator) for estimator in estimators]
        criteria = {getattr(estimator, "criterion", None) for estimator in fitted}
        criterion = criteria.pop() if len(criteria) == 1 else None
        return cls(
            _all_or_none(_lower_bounds(estimator) for estimator in fitted),
            criterion_paths=_all_or_none(getattr(e, "criterion_path_", None) for e in fitted),
            n_components=_all_or_none(getattr(e, "n_components_", None) for e in fitted),
            criterion=criterion.upper() if isinstance(criterion, str) else "criterion",
            names=names,
        )

    def plot(
        self, ax: Any = None, *, kind: str = "lower_bound", legend: bool = True, **kwargs: Any
    ) -> ConvergenceDisplay:
        """Draw the fits.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        kind : {"lower_bound", "gap", "criterion"}, default="lower_bound"
            "lower_bound" draws it by iteration; "gap" how far it is below the largest of all fits
            drawn, on a logarithmic axis, which shows a rise that is slow but not over; "criterion"
            the criterion by number of components, with the choice marked.
        legend : bool, default=True
            Whether to draw the legend, if there are names.
        **kwargs
            Further arguments of matplotlib's ``plot`` for the lines of the fits.

        Returns
        -------
        display : ConvergenceDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `kind` is another one, what it needs is missing, numbers of fits differ, or a choice
            is not on its path.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from fastmotion.display import ConvergenceDisplay
        >>> display = ConvergenceDisplay([[-3.0, -2.1, -2.0], [-4.0, -2.2]]).plot(kind="gap")
        >>> display.ax_.get_yscale(), len(display.lines_)
        ('log', 2)
        """
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {list(_KINDS)}, got {kind!r}.")
        curves = self._check_paths() if kind == "criterion" else self._check_bounds(kind)
        names = self._one_for_each(curves, "names", self.names)
        choices = self._check_choices(curves) if kind == "criterion" else []
        if ax is None:
            plt = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing convergence")
            _, ax = plt.subplots(figsize=_FIGURE_SIZE, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_: list[Any] = []
        for (x, y), name in zip(curves, names):
            style = {"marker": "." if len(x) <= _MOST_MARKERS else None, "label": name}
            self.lines_ += ax.plot(x, y, **(style | kwargs))
        self.chosen_: list[Any] = []
        for (x, y), line, choice in zip(curves, self.lines_, choices):
            mark = {"color": line.get_color(), "marker": "*", "markersize": 14}
            self.chosen_ += ax.plot(choice, y[x == choice], linestyle="none", **mark)
        self._label_axes(kind)
        if legend and ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize="small")
        return self

    def _check_bounds(self, kind: str) -> list[tuple[NDArray, NDArray]]:
        """Return iterations and bounds, or gaps, of each fit."""
        given = [] if self.lower_bounds is None else self.lower_bounds
        bounds = [np.asarray(bound, float) for bound in given]
        if not bounds or any(bound.ndim != 1 or not len(bound) for bound in bounds):
            raise ValueError(
                f"kind={kind!r} needs lower_bounds of shape (n_iter,) of each fit, got shapes "
                f"{[bound.shape for bound in bounds]}; fit first."
            )
        if kind == "gap":
            largest = max(bound.max() for bound in bounds)
            # The largest itself has no logarithm.
            bounds = [np.where(bound < largest, largest - bound, np.nan) for bound in bounds]
        return [(np.arange(1, len(bound) + 1), bound) for bound in bounds]

    def _check_paths(self) -> list[tuple[NDArray, NDArray]]:
        """Return numbers of components and values of the criterion of each fit."""
        if not self.criterion_paths or not all(self.criterion_paths):
            raise ValueError(
                'kind="criterion" needs the criterion_path_ of each fit; fit with '
                'n_components="auto" to have it.'
            )
        return [
            (np.array(sorted(path)), np.array([path[k] for k in sorted(path)], float))
            for path in self.criterion_paths
        ]

    def _check_choices(self, curves: list) -> list[int]:
        """Return the number of components to mark on each path."""
        choices = self._one_for_each(curves, "n_components", self.n_components)
        choices = [x[np.nanargmin(y)] if c is None else c for c, (x, y) in zip(choices, curves)]
        for choice, (x, _) in zip(choices, curves):
            if choice not in x:
                raise ValueError(f"n_components must be one of {x.tolist()}, got {choice}.")
        return choices

    def _one_for_each(self, curves: list, name: str, values: Sequence | None) -> list:
        if values is None:
            return [None] * len(curves)
        if len(values) != len(curves):
            raise ValueError(
                f"{name} must have one value for each of {len(curves)} fits, got {len(values)}."
            )
        return list(values)

    def _label_axes(self, kind: str) -> None:
        if kind == "criterion":
            self.ax_.set(xlabel="number of components", ylabel=self.criterion)
        else:
            label = "lower bound" if kind == "lower_bound" else "lower bound below the largest"
            self.ax_.set(xlabel="iteration", ylabel=label)
        if kind == "gap":
            self.ax_.set_yscale("log")
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.grid(alpha=0.3)


def _lower_bounds(estimator: Any) -> Any:
    """Return what a fit rose through, or None if it left no record."""
    if hasattr(estimator, "lower_bounds_"):
        return estimator.lower_bounds_
    return getattr(getattr(estimator, "monitor_", None), "history", None)


def _all_or_none(records: Iterable[Any]) -> list[Any] | None:
    """Return the records of all fits, or None if any has none."""
    records = list(records)
    return None if any(record is None for record in records) else records
