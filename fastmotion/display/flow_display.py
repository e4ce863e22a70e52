"""A picture of one flow field, in the manner of scikit-learn's displays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import import_optional
from fastmotion.display.color import check_magnitude, color_wheel, flow_to_color, robust_maximum
from fastmotion.metrics import endpoint_error, known_pixels

__all__ = ["FlowDisplay"]

_ARROWS_ALONG_LONG_SIDE = 32
_WHEEL_BOUNDS = (0.72, 0.02, 0.27, 0.27)  # left, bottom, width, height, of the picture's
_UNKNOWN_COLOR = "0.5"


class FlowDisplay:
    """Picture of a dense flow field: colours, arrows, speed or error.

    Make one with `from_estimator` or `from_flow`; both draw at once. All parameters are kept as
    attributes, so that `plot` can draw the same flow in another way. Needs the extra ``plot``.

    Parameters
    ----------
    flow : array-like of shape (height, width, 2)
        Motion in pixels; unknown pixels are NaN or above 1e9.
    image : array-like of shape (height, width) or (height, width, 3), default=None
        The frame that the motion starts from, drawn behind the arrows of ``kind="quiver"``.
    truth : array-like of shape (height, width, 2), default=None
        The true motion, for ``kind="error"``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    im_ : matplotlib AxesImage or None
        The picture, None for arrows without an image.
    quiver_ : matplotlib Quiver or None
        The arrows of ``kind="quiver"``.
    colorbar_ : matplotlib Colorbar or None
        The scale in pixels of ``kind="magnitude"`` and ``kind="error"``.
    legend_ax_ : matplotlib Axes or None
        The inset with the colour wheel of ``kind="color"``.

    See Also
    --------
    flow_to_color : The colours alone, without matplotlib.
    plot_flow_comparison : Several methods in one figure.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import numpy as np
    >>> from fastmotion.display import FlowDisplay
    >>> rows, columns = np.mgrid[-20:21, -30:31]
    >>> display = FlowDisplay.from_flow(np.dstack([-rows, columns]) / 10)
    >>> display.figure_.savefig("rotation.png")  # doctest: +SKIP
    >>> display.plot("quiver").quiver_ is None
    False
    """

    def __init__(
        self, flow: ArrayLike, *, image: ArrayLike | None = None, truth: ArrayLike | None = None
    ) -> None:
        self.flow = flow
        self.image = image
        self.truth = truth

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        frame0: ArrayLike,
        frame1: ArrayLike,
        *,
        truth: ArrayLike | None = None,
        kind: str = "color",
        ax: Any = None,
        **kwargs: Any,
    ) -> FlowDisplay:
        """Estimate the flow between two frames and draw it.

        Parameters
        ----------
        estimator : LucasKanade, HornSchunck or other object with `estimate(frame0, frame1)`
            What measures the flow. It need not be fitted.
        frame0, frame1 : array-like of shape (height, width) or (height, width, 3)
            The frames.
        truth : array-like of shape (height, width, 2), default=None
            The true motion, for ``kind="error"``.
        kind : {"color", "quiver", "magnitude", "error"}, default="color"
            As in `plot`.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : FlowDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            As in `plot`, or by the estimator.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from fastmotion.datasets import make_warped_photograph
        >>> from fastmotion.display import FlowDisplay
        >>> from fastmotion.flow import LucasKanade
        >>> pair = make_warped_photograph("china", motion=(2.0, -1.0), shape=(48, 64))
        >>> display = FlowDisplay.from_estimator(
        ...     LucasKanade(), pair.frame0, pair.frame1, truth=pair.flow, kind="error"
        ... )
        >>> bool(display.im_.get_array().mean() < 0.5)  # pixels
        True
        """
        flow = estimator.estimate(frame0, frame1)
        return cls(flow, image=frame0, truth=truth).plot(kind, ax=ax, **kwargs)

    @classmethod
    def from_flow(
        cls,
        flow: ArrayLike,
        *,
        image: ArrayLike | None = None,
        truth: ArrayLike | None = None,
        kind: str = "color",
        ax: Any = None,
        **kwargs: Any,
    ) -> FlowDisplay:
        """Draw a flow field that is there already.

        Parameters
        ----------
        flow : array-like of shape (height, width, 2)
            Motion in pixels.
        image : array-like of shape (height, width) or (height, width, 3), default=None
            The frame that the motion starts from.
        truth : array-like of shape (height, width, 2), default=None
            The true motion, for ``kind="error"``.
        kind : {"color", "quiver", "magnitude", "error"}, default="color"
            As in `plot`.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : FlowDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            As in `plot`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import numpy as np
        >>> from fastmotion.display import FlowDisplay
        >>> rows, columns = np.mgrid[-20:21, -30:31]
        >>> display = FlowDisplay.from_flow(np.dstack([-rows, columns]) / 10, kind="magnitude")
        >>> float(display.im_.get_array().max().round(2))  # pixels, in the corners
        3.61
        """
        return cls(flow, image=image, truth=truth).plot(kind, ax=ax, **kwargs)

    def plot(
        self,
        kind: str = "color",
        *,
        ax: Any = None,
        max_magnitude: float | None = None,
        legend: bool = True,
        **kwargs: Any,
    ) -> FlowDisplay:
        """Draw the flow.

        Parameters
        ----------
        kind : {"color", "quiver", "magnitude", "error"}, default="color"
            "color" is the Middlebury colour code, "quiver" arrows over the image, "magnitude" the
            speed, and "error" the end-point error against the truth.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        max_magnitude : float, default=None
            Upper end of the scale in pixels: the speed of the full colour, of an arrow that
            reaches to its neighbour, or the end of the colour bar. None takes the 99th
            percentile.
        legend : bool, default=True
            Whether to draw the colour wheel, the colour bar or the key of the arrows.
        **kwargs
            Further arguments of matplotlib's ``quiver`` (for "quiver") or ``imshow``.

        Returns
        -------
        display : FlowDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `kind` is another one, shapes do not fit, `max_magnitude` is not a positive number,
            or "error" is asked for without a truth.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from fastmotion.display import FlowDisplay
        >>> figure, ax = plt.subplots()
        >>> display = FlowDisplay(np.ones((20, 30, 2))).plot("quiver", ax=ax, max_magnitude=2.0)
        >>> display.ax_ is ax, len(display.quiver_.U) > 0
        (True, True)
        >>> plt.close(figure)
        """
        draw = {
            "color": self._draw_color,
            "quiver": self._draw_quiver,
            "magnitude": self._draw_magnitude,
            "error": self._draw_error,
        }.get(kind)
        if draw is None:
            raise ValueError(
                f'kind must be "color", "quiver", "magnitude" or "error", got {kind!r}.'
            )
        flow = self._check_flow()
        if max_magnitude is not None:
            check_magnitude(max_magnitude)
        if ax is None:
            plt = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing flow")
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.im_ = self.quiver_ = self.colorbar_ = self.legend_ax_ = None
        draw(flow, max_magnitude, legend, kwargs)
        ax.set(xticks=[], yticks=[])
        return self

    def _check_flow(self) -> NDArray[np.floating]:
        """Return the flow with NaN at unknown pixels."""
        flow = np.asarray(self.flow)
        known = known_pixels(flow)
        if flow.ndim != 3:
            raise ValueError(f"flow must have shape (height, width, 2), got {flow.shape}.")
        if self.image is not None and np.shape(self.image)[:2] != flow.shape[:2]:
            raise ValueError(
                f"image and flow must have the same size, got {np.shape(self.image)} and "
                f"{flow.shape}."
            )
        return np.where(known[..., np.newaxis], flow, np.nan)

    def _draw_color(self, flow: NDArray, top: float | None, legend: bool, kwargs: dict) -> None:
        top = robust_maximum(_speed(flow)) if top is None else top
        self.im_ = self.ax_.imshow(flow_to_color(flow, top), **kwargs)
        if legend:
            self.legend_ax_ = _draw_wheel(self.ax_, top)

    def _draw_quiver(self, flow: NDArray, top: float | None, legend: bool, kwargs: dict) -> None:
        height, width = flow.shape[:2]
        if self.image is not None:
            self.im_ = self.ax_.imshow(self.image, cmap="gray")
        step = max(1, max(height, width) // _ARROWS_ALONG_LONG_SIDE)
        rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
        known = known_pixels(flow[rows, columns])
        rows, columns = rows[known], columns[known]
        arrows = flow[rows, columns]
        top = robust_maximum(_speed(arrows)) if top is None else top
        settings = {
            "angles": "xy",
            "scale_units": "xy",
            "scale": top / step,
            "color": _direction_colors(arrows),
        } | kwargs
        self.quiver_ = self.ax_.quiver(columns, rows, arrows[:, 0], arrows[:, 1], **settings)
        self.ax_.set(aspect="equal", xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        if legend and len(arrows):
            self.ax_.quiverkey(
                self.quiver_, 0.88, -0.04, top, f"{top:.3g} px", labelpos="E", color="0.3"
            )

    def _draw_magnitude(self, flow: NDArray, top: float | None, legend: bool, kwargs: dict) -> None:
        self._draw_scale(_speed(flow), top, "speed (px)" if legend else None, kwargs)

    def _draw_error(self, flow: NDArray, top: float | None, legend: bool, kwargs: dict) -> None:
        if self.truth is None:
            raise ValueError('kind="error" needs the true motion: pass truth=.')
        errors = endpoint_error(self.truth, flow, mask=known_pixels(flow), reduction="none")
        self._draw_scale(errors, top, "end-point error (px)" if legend else None, kwargs)

    def _draw_scale(
        self, values: NDArray, top: float | None, label: str | None, kwargs: dict
    ) -> None:
        """Draw numbers from zero to `top`, with a colour bar if it has a label."""
        top = robust_maximum(values) if top is None else top
        self.ax_.set_facecolor(_UNKNOWN_COLOR)
        self.im_ = self.ax_.imshow(values, **({"cmap": "inferno", "vmin": 0, "vmax": top} | kwargs))
        if label is not None:
            self.colorbar_ = self.figure_.colorbar(
                self.im_, ax=self.ax_, label=label, extend="max", shrink=0.8
            )


def _speed(flow: NDArray) -> NDArray:
    return np.hypot(flow[..., 0], flow[..., 1])


def _direction_colors(vectors: NDArray) -> NDArray:
    """Return the pure hue of each direction, as matplotlib takes colours."""
    length = _speed(vectors)[:, np.newaxis]
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    # A little inside the range: rounding must not darken a vector as beyond it.
    return flow_to_color(unit[np.newaxis], max_magnitude=1.001)[0] / 255


def _draw_wheel(ax: Any, top: float) -> Any:
    """Put the colour wheel into the lower right corner, and the speed of its rim beside it."""
    inset = ax.inset_axes(_WHEEL_BOUNDS, anchor="SE")
    inset.imshow(color_wheel())
    inset.set_axis_off()
    inset.annotate(
        f"{top:.3g} px",
        xy=(0, 0.1),
        xycoords="axes fraction",
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        fontsize="small",
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
    )
    return inset
