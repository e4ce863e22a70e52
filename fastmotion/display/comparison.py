"""Several flows of one image, beside the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import import_optional
from fastmotion.display.color import robust_maximum
from fastmotion.display.flow_display import FlowDisplay
from fastmotion.metrics import angular_error, endpoint_error, known_pixels

__all__ = ["plot_flow_comparison"]

_ERROR_PERCENTILE = 95
_PANEL_WIDTH = 4.2  # inches
_TITLE_SPACE = 0.5
_COLORBAR_SPACE = 0.5


def plot_flow_comparison(
    image: ArrayLike,
    flows: Mapping[str, ArrayLike],
    *,
    truth: ArrayLike | None = None,
    max_magnitude: float | None = None,
    max_error: float | None = None,
) -> Any:
    """Draw an image and the flows that methods found for it, all on one scale.

    The first row shows the image and the flows. With a truth, the second row shows it and the
    end-point errors. Needs the extra ``plot``.

    Parameters
    ----------
    image : array-like of shape (height, width) or (height, width, 3)
        The frame that the motion starts from.
    flows : mapping of str to array-like of shape (height, width, 2)
        Motion in pixels, by the name of the method.
    truth : array-like of shape (height, width, 2), default=None
        The true motion; unknown pixels are NaN or above 1e9.
    max_magnitude : float, default=None
        Speed in pixels of the full colour. None takes the largest of the truth, or the 99th
        percentile of all flows if there is none.
    max_error : float, default=None
        End of the error maps' scale in pixels. None takes the 95th percentile of the method that
        has the least.

    Returns
    -------
    figure : matplotlib Figure
        Made without pyplot, so it opens no window and need not be closed.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `flows` is empty or shapes do not fit.

    See Also
    --------
    FlowDisplay : One flow on one axes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.display import plot_flow_comparison
    >>> truth = np.ones((20, 30, 2))
    >>> figure = plot_flow_comparison(np.zeros((20, 30)), {"none": 0 * truth}, truth=truth)
    >>> figure.axes[0].get_title()
    'image'
    """
    if not flows:
        raise ValueError("flows is empty: pass at least one flow, by the name of its method.")
    fields = {name: np.asarray(flow) for name, flow in flows.items()}
    if max_magnitude is None:
        # A truth has no wild vectors to guard against.
        max_magnitude = (
            robust_maximum(_speeds(fields.values()))
            if truth is None
            else robust_maximum(_speeds([truth]), percentile=100)
        )
    axes = _make_panels(np.shape(image), n_columns=1 + len(fields), n_rows=1 + (truth is not None))
    _draw_image(axes[0, 0], image)
    for ax, (name, flow) in zip(axes[0, 1:], fields.items(), strict=True):
        FlowDisplay.from_flow(
            flow, image=image, ax=ax, max_magnitude=max_magnitude, legend=truth is None
        )
        ax.set_title(name)
    if truth is not None:
        FlowDisplay.from_flow(truth, image=image, ax=axes[1, 0], max_magnitude=max_magnitude)
        axes[1, 0].set_title("truth")
        _draw_errors(axes[1, 1:], fields, np.asarray(truth), max_error)
    return axes[0, 0].figure


def _make_panels(shape: tuple[int, ...], n_columns: int, n_rows: int) -> NDArray[np.object_]:
    matplotlib_figure = import_optional(
        "matplotlib.figure", extra="plot", purpose="drawing a comparison of flows"
    )
    panel_height = _PANEL_WIDTH * shape[0] / shape[1] + _TITLE_SPACE
    height = n_rows * panel_height + (n_rows - 1) * _COLORBAR_SPACE
    figure = matplotlib_figure.Figure(
        figsize=(n_columns * _PANEL_WIDTH, height), layout="constrained"
    )
    return figure.subplots(n_rows, n_columns, squeeze=False, subplot_kw={"anchor": "N"})


def _draw_image(ax: Any, image: ArrayLike) -> None:
    ax.imshow(image, cmap="gray")
    ax.set(title="image", xticks=[], yticks=[])


def _draw_errors(
    axes: NDArray[np.object_],
    fields: Mapping[str, NDArray],
    truth: NDArray,
    max_error: float | None,
) -> None:
    """Draw the error maps on one scale, with one colour bar for all."""
    masks = [known_pixels(flow) for flow in fields.values()]
    if max_error is None:
        error_maps = [
            endpoint_error(truth, flow, mask=known, reduction="none")
            for flow, known in zip(fields.values(), masks, strict=True)
        ]
        max_error = min(robust_maximum(errors, _ERROR_PERCENTILE) for errors in error_maps)
    for ax, flow, known in zip(axes, fields.values(), masks, strict=True):
        display = FlowDisplay.from_flow(
            flow, truth=truth, kind="error", ax=ax, max_magnitude=max_error, legend=False
        )
        endpoint = endpoint_error(truth, flow, mask=known)
        angular = angular_error(truth, flow, mask=known)
        ax.set_title(f"end-point error {endpoint:.2f} px, angle {angular:.1f}°")
    axes[0].figure.colorbar(
        display.im_,
        ax=list(axes),
        label="end-point error (px)",
        extend="max",
        location="bottom",
        shrink=0.6,
        aspect=40,
        panchor=False,  # keep the maps level with the truth
    )


def _speeds(flows: Iterable[ArrayLike]) -> NDArray:
    """Return the speeds of all known pixels."""
    return np.concatenate([np.hypot(*np.asarray(flow)[known_pixels(flow)].T) for flow in flows])
