"""Pictures of temporal kernels: weights, frequency response, and how descent found them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import import_optional

__all__ = ["KernelDisplay"]

_PANELS = {"weights": 1, "response": 1, "both": 2, "trace": 2}
_PANEL_SIZE = 5.2, 3.6  # inches
_N_FREQUENCIES = 257
_DECIBELS = 80  # below the largest gain; what is zero has no logarithm
_MOST_STEMS = 4  # kernels; beyond, stems side by side hide each other
_STEM_SPREAD = 0.5  # of the distance between two taps


class KernelDisplay:
    """Picture of temporal kernels: weights over time, frequency response or descent.

    Make one with `from_estimator` or `from_estimators`; both draw at once. All parameters are kept
    as attributes, so that `plot` can draw the same kernels in another way. Needs the extra
    ``plot``.

    Parameters
    ----------
    offsets : array-like of shape (n_taps,), or a list of n_kernels such
        Frame that each weight multiplies, counted from the frame of the output.
    weights : array-like of shape (n_taps,) or (n_kernels, n_taps), or a list of n_kernels arrays
        One kernel or several.
    names : sequence of str, default=None
        What the legend calls the kernels; it leaves out those whose name is None.
    fps : float, default=None
        Frames per second: time is then drawn in seconds and frequency in hertz.
    errors : like `weights`, default=None
        Standard errors of the weights, drawn as bars of that length to both sides.
    trace : mapping, default=None
        The ``trace_`` of a fit by gradient descent, for ``kind="trace"``: ``epoch`` and ``loss`` of
        shape (n_records,), ``coef`` of shape (n_records, ..., n_taps).

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first of `axes_`.
    axes_ : ndarray of matplotlib Axes, shape (1,) or (2,)
        Axes of the panels, the second one for ``kind="both"`` and ``kind="trace"``.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    lines_ : list of matplotlib Line2D
        Weights, gains or losses, one line for each kernel, panel by panel.
    phase_ax_ : matplotlib Axes or None
        The axes of the phase, on the right of the response.

    See Also
    --------
    fastmotion.trajectory.MotionKernel : Kernels fitted to data.
    fastmotion.trajectory.frequency_response : What a kernel makes of sinusoids.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from fastmotion.display import KernelDisplay
    >>> from fastmotion.trajectory import fixed_kernel
    >>> offsets, weights = fixed_kernel("savgol_velocity", n_taps=7, causal=False, fps=60.0)
    >>> display = KernelDisplay(offsets, weights, fps=60.0).plot(kind="both", derivative=1)
    >>> [ax.get_xlabel() for ax in display.axes_]
    ['time (s)', 'frequency (Hz)']
    """

    def __init__(
        self,
        offsets: ArrayLike | Sequence[ArrayLike],
        weights: ArrayLike | Sequence[ArrayLike],
        *,
        names: Sequence[str | None] | None = None,
        fps: float | None = None,
        errors: ArrayLike | Sequence[ArrayLike] | None = None,
        trace: Mapping[str, Any] | None = None,
    ) -> None:
        self.offsets = offsets
        self.weights = weights
        self.names = names
        self.fps = fps
        self.errors = errors
        self.trace = trace

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Any = None,
        kind: str = "weights",
        max_kernels: int = 8,
        **kwargs: Any,
    ) -> KernelDisplay:
        """Draw the kernels of a fitted estimator.

        Parameters
        ----------
        estimator : MotionKernel, MotionKernelBank or other fitted object
            With ``offsets_`` and ``coef_``, or with ``kernels_`` and ``kernel_names_``. Its ``fps``
            and ``trace_`` are used if it has them. Of a search such as `MotionKernelCV`, the
            ``best_estimator_`` is drawn.
        ax : matplotlib Axes or sequence of two, default=None
            As in `plot`.
        kind : {"weights", "response", "both", "trace"}, default="weights"
            As in `plot`.
        max_kernels : int, default=8
            Of more kernels, such as one for each joint, the first so many are drawn; at least 1.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : KernelDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator is not fitted or has no kernels, `max_kernels` is less than 1, or as in
            `plot`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.display import KernelDisplay
        >>> from fastmotion.trajectory import MotionKernel
        >>> X = make_motion("walk", random_state=0).positions
        >>> display = KernelDisplay.from_estimator(MotionKernel(3).fit(X))
        >>> display.axes_[0].get_xlabel()
        'frame'
        """
        estimator = _best(estimator)
        kernels = _kernels_of(estimator, max_kernels)
        return cls(
            [offsets for _, offsets, _ in kernels],
            [weights for _, _, weights in kernels],
            names=[name for name, _, _ in kernels],
            fps=getattr(estimator, "fps", None),
            trace=getattr(estimator, "trace_", None),
        ).plot(ax, kind=kind, **kwargs)

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any],
        *,
        ax: Any = None,
        kind: str = "both",
        max_kernels: int = 8,
        **kwargs: Any,
    ) -> KernelDisplay:
        """Draw the kernels of several fitted estimators together, such as one for each activity.

        Parameters
        ----------
        estimators : mapping of str to estimator
            Fitted, by the name in the legend; each as for `from_estimator`.
        ax : matplotlib Axes or sequence of two, default=None
            As in `plot`.
        kind : {"weights", "response", "both"}, default="both"
            As in `plot`.
        max_kernels : int, default=8
            Of more kernels of an estimator, the first so many are drawn; at least 1.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : KernelDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no estimator, one is not fitted, they differ in ``fps``, `max_kernels` is
            less than 1, or as in `plot`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from fastmotion.datasets import make_motion
        >>> from fastmotion.display import KernelDisplay
        >>> from fastmotion.trajectory import MotionKernel
        >>> kernels = {
        ...     name: MotionKernel(3).fit(make_motion(name, random_state=0).positions)
        ...     for name in ("walk", "run")
        ... }
        >>> display = KernelDisplay.from_estimators(kernels, kind="response")
        >>> [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
        ['walk', 'run']
        """
        if not estimators:
            raise ValueError("estimators is empty: pass at least one, by its name.")
        fitted = {label: _best(estimator) for label, estimator in estimators.items()}
        rates = {getattr(estimator, "fps", None) for estimator in fitted.values()}
        if len(rates) > 1:
            raise ValueError(
                f"estimators must have the same fps to share an axis of time, got {list(rates)}."
            )
        kernels = [
            (f"{label}, {name}" if name else label, offsets, weights)
            for label, estimator in fitted.items()
            for name, offsets, weights in _kernels_of(estimator, max_kernels)
        ]
        names, offsets, weights = map(list, zip(*kernels))
        return cls(offsets, weights, names=names, fps=rates.pop()).plot(ax, kind=kind, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "weights",
        derivative: int | None = None,
        decibels: bool = False,
        phase: bool = False,
        legend: bool = True,
        **kwargs: Any,
    ) -> KernelDisplay:
        """Draw the kernels.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of two, default=None
            Axes to draw on, two of them for "both" and "trace"; None makes a new figure.
        kind : {"weights", "response", "both", "trace"}, default="weights"
            "weights" are stems over time, "response" is the gain by frequency, "both" draws the two
            side by side, and "trace" the loss and the weights over the epochs of gradient descent.
        derivative : int, default=None
            Order of the derivative whose ideal gain is drawn beside the response; 0 is the position
            itself.
        decibels : bool, default=False
            Whether the gain is drawn in decibels.
        phase : bool, default=False
            Whether to draw the phase, dashed, beside the gain.
        legend : bool, default=True
            Whether to draw the legend, if there are names.
        **kwargs
            Further arguments of matplotlib's ``plot`` for the lines of the kernels.

        Returns
        -------
        display : KernelDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `kind` is another one, shapes do not fit, `ax` holds another number of axes,
            `derivative` is negative, or "trace" is asked for without one.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from fastmotion.display import KernelDisplay
        >>> from fastmotion.trajectory import fixed_kernel
        >>> display = KernelDisplay(*fixed_kernel("moving_average", n_taps=4))
        >>> display.plot(kind="response", decibels=True).axes_[0].get_ylabel()
        'gain (dB)'
        """
        if kind not in _PANELS:
            raise ValueError(f"kind must be one of {list(_PANELS)}, got {kind!r}.")
        if kind == "trace" and self.trace is None:
            raise ValueError('kind="trace" needs a kernel fitted with solver="gradient".')
        if derivative is not None and derivative < 0:
            raise ValueError(f"derivative must be an order, 0 or more, or None, got {derivative}.")
        kernels = self._check_kernels()
        self.axes_ = _make_axes(ax, kind)
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self.lines_: list[Any] = []
        self.phase_ax_: Any = None
        if kind == "trace":
            self._draw_trace(kernels, kwargs)
        if kind in ("weights", "both"):
            self._draw_weights(self.axes_[0], kernels, kwargs)
        if kind in ("response", "both"):
            self._draw_response(self.axes_[-1], kernels, derivative, decibels, phase, kwargs)
        for panel in self.axes_:
            panel.grid(alpha=0.3)
            if legend and panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize="small")
        return self

    def _check_kernels(self) -> list[tuple[str | None, NDArray, NDArray, NDArray | None]]:
        """Return name, offsets, weights and errors of each kernel."""
        weights = _rows(self.weights)
        offsets = _rows(self.offsets)
        if len(offsets) == 1:
            offsets *= len(weights)
        errors = [None] * len(weights) if self.errors is None else _rows(self.errors)
        names = [None] * len(weights) if self.names is None else list(self.names)
        lengths = {
            "offsets": list(map(len, offsets)),
            "errors": [len(w if e is None else e) for w, e in zip(weights, errors)],
        }
        wanted = list(map(len, weights))
        for name, found in lengths.items():
            if found != wanted:
                raise ValueError(
                    f"{name} and weights must have as many taps in each kernel, got {found} and "
                    f"{wanted}."
                )
        if len(names) != len(weights):
            raise ValueError(
                f"names must have one name for each of {len(weights)} kernels, got {len(names)}."
            )
        return list(zip(names, offsets, weights, errors))

    def _draw_weights(self, ax: Any, kernels: list, kwargs: dict) -> None:
        seconds = 1.0 if self.fps is None else 1 / self.fps
        ax.axhline(0, color="0.6", linewidth=0.8)
        are_stems = len(kernels) <= _MOST_STEMS
        taps = np.unique(np.concatenate([offsets for _, offsets, _, _ in kernels]))
        step = np.diff(taps).min() if len(taps) > 1 else 1.0
        for i, (name, offsets, weights, errors) in enumerate(kernels):
            shift = are_stems * _STEM_SPREAD * step * ((i + 0.5) / len(kernels) - 0.5)
            times = seconds * (offsets + shift)
            style = {"marker": "o", "markersize": 4, "linestyle": "none" if are_stems else "-"}
            (line,) = ax.plot(times, weights, **({**style, "label": name} | kwargs))
            if are_stems:
                ax.vlines(times, 0, weights, colors=line.get_color(), linewidth=1.2)
            if errors is not None:
                ax.errorbar(times, weights, errors, fmt="none", ecolor=line.get_color(), capsize=2)
            self.lines_.append(line)
        ax.set(xlabel="frame" if self.fps is None else "time (s)", ylabel="weight")

    def _draw_response(
        self,
        ax: Any,
        kernels: list,
        derivative: int | None,
        decibels: bool,
        phase: bool,
        kwargs: dict,
    ) -> None:
        # The estimators' package brings scikit-learn, which pictures of flow do without.
        from fastmotion.trajectory.fixed import frequency_response

        rate = 1.0 if self.fps is None else self.fps
        frequencies = np.linspace(0, rate / 2, _N_FREQUENCIES)
        if phase:
            self.phase_ax_ = ax.twinx()
            self.phase_ax_.set(ylabel="phase (rad)", ylim=(-np.pi, np.pi))
        responses = [frequency_response(o, w, frequencies, rate) for _, o, w, _ in kernels]
        least = np.abs(responses).max() / 10 ** (_DECIBELS / 20)

        def scaled(gain: NDArray) -> NDArray:
            return 20 * np.log10(np.maximum(gain, least)) if decibels else gain

        for (name, *_), response in zip(kernels, responses):
            (line,) = ax.plot(frequencies, scaled(np.abs(response)), **({"label": name} | kwargs))
            self.lines_.append(line)
            if self.phase_ax_ is not None:
                self.phase_ax_.plot(
                    frequencies, np.angle(response), color=line.get_color(), linestyle="--", lw=0.8
                )
        if derivative is not None:
            ideal = (2 * np.pi * frequencies) ** derivative
            limits = ax.get_ylim()
            ax.plot(frequencies, scaled(ideal), color="0.4", linestyle=":", label="ideal")
            ax.set_ylim(limits)  # a derivative's own gain soon leaves all others at the bottom
        ax.set(
            xlabel="frequency (1/frame)" if self.fps is None else "frequency (Hz)",
            ylabel="gain (dB)" if decibels else "gain",
        )

    def _draw_trace(self, kernels: list, kwargs: dict) -> None:
        assert self.trace is not None
        epochs = np.asarray(self.trace["epoch"])
        loss = np.asarray(self.trace["loss"], float)
        path = np.asarray(self.trace["coef"], float)
        path = path.reshape(len(path), -1, path.shape[-1])
        excess = loss - loss.min()
        # The least one has no logarithm.
        (line,) = self.axes_[0].plot(epochs, np.where(excess > 0, excess, np.nan), **kwargs)
        self.axes_[0].set(yscale="log", ylabel="loss above the least")
        self.lines_.append(line)
        for i, (name, offsets, _, _) in enumerate(kernels[: path.shape[1]]):
            style = {} if len(kernels) == 1 else {"color": f"C{i % 10}"}
            lines = self.axes_[1].plot(epochs, path[:, i], **(style | kwargs))
            if len(kernels) == 1:
                for offset, tap in zip(offsets, lines):
                    tap.set_label(f"{offset:g}")
            elif name is not None:
                lines[0].set_label(name)
            self.lines_ += lines
        self.axes_[1].set(ylabel="weight")
        for ax in self.axes_:
            ax.set_xscale("symlog", linthresh=1)
            ax.set(xlabel="epoch", xlim=(0, None))


def _make_axes(ax: Any, kind: str) -> NDArray[np.object_]:
    """Return the axes of all panels, new ones if there are none yet."""
    n_panels = _PANELS[kind]
    if ax is None:
        plt = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing kernels")
        width, height = _PANEL_SIZE
        _, ax = plt.subplots(1, n_panels, figsize=(n_panels * width, height), layout="constrained")
    axes = np.atleast_1d(np.asarray(ax, object)).ravel()
    if len(axes) != n_panels:
        raise ValueError(f"kind={kind!r} needs {n_panels} axes, got {len(axes)}.")
    return axes


def _rows(values: Any) -> list[NDArray]:
    """Return one array or several as a list of rows."""
    if isinstance(values, list | tuple) and any(map(np.ndim, values)):
        return [np.asarray(row, float) for row in values]
    array = np.asarray(values, float)
    return list(array.reshape(-1, array.shape[-1])) if array.ndim else [array.reshape(1)]


def _best(estimator: Any) -> Any:
    """Return what a search found, which has the parameters and the axes of the kernels."""
    return getattr(estimator, "best_estimator_", estimator)


def _kernels_of(estimator: Any, n_most: int) -> list[tuple[str | None, NDArray, NDArray]]:
    """Return name, offsets and weights of the first kernels of a fitted estimator."""
    if n_most < 1:
        raise ValueError(f"max_kernels must be at least 1, got {n_most}.")
    if hasattr(estimator, "kernels_"):
        return [
            (name, offsets, weights)
            for name, (offsets, weights) in zip(estimator.kernel_names_, estimator.kernels_)
        ][:n_most]
    if not hasattr(estimator, "coef_") or not hasattr(estimator, "offsets_"):
        raise ValueError(
            f"{type(estimator).__name__} has neither coef_ and offsets_ nor kernels_; fit it first."
        )
    coef = np.asarray(estimator.coef_)
    axes = {"coordinate": ["coordinate"], "joint": ["joint"], "channel": ["joint", "coordinate"]}
    labels = axes.get(getattr(estimator, "sharing", ""), ["kernel"] + [""] * coef.ndim)
    return [
        (
            " ".join(f"{label} {i}".strip() for label, i in zip(labels, index)) or None,
            estimator.offsets_,
            coef[index],
        )
        for index in np.ndindex(coef.shape[:-1])
    ][:n_most]
