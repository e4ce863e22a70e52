"""Pictures of two views: matches, epipolar lines and how sure they are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import import_optional

__all__ = ["EpipolarDisplay"]

_PURPOSE = "drawing epipolar lines"
_FIGURE_WIDTH = 9.6  # inches
_LEGEND_SPACE = 0.6
_HEIGHTS = 2.0, 8.0  # least and greatest, inches
_MARGIN = 0.05  # around matches without images, of their extent
_BAND_SAMPLES = 129  # along each edge
# Colours of Okabe and Ito, which people tell apart who see fewer colours.
_INLIER_COLOR = "#0072B2"
_OUTLIER_COLOR = "#D55E00"
_LINE_COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7")


class _Frame(NamedTuple):
    """The rectangle that an image takes, in pixels: borders of the outermost ones."""

    left: float
    right: float
    top: float
    bottom: float


class EpipolarDisplay:
    """Picture of two views side by side: matches, epipolar lines, bands and epipoles.

    Make one with `from_estimator` or `from_fundamental`; both draw at once. All parameters are kept
    as attributes, so that `plot` can draw the same views in another way. Needs the extra ``plot``.

    A point in one image restricts its partner in the other to a line, drawn in the point's colour.
    Around it lies the band that holds the line, or the partner, with a given probability, as the
    covariance of F and the noise of the points say. All lines of an image meet in its epipole.

    Parameters
    ----------
    F : array-like of shape (3, 3)
        Fundamental matrix: ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``.
    matches : array-like of shape (n, 4), default=None
        Rows ``x1 y1 x2 y2`` in pixels. One with a missing (NaN) value is left out.
    inliers : array-like of bool of shape (n,), default=None
        Which matches obey F; None takes them all as inliers.
    covariance : array-like of shape (9, 9), default=None
        Of ``F.ravel()`` at unit norm; without it, or where it is infinite because matches leave F
        undetermined, there are no bands.
    noise_scale : float, default=None
        What bands hold: with the standard deviation of a coordinate in pixels, the measured partner
        of a measured point; with 0.0, the true partner; with None, the whole true line.
    images : pair of array-like of shape (height, width) or (height, width, 3), default=None
        The pictures, drawn below all else.
    image_size : tuple of int or pair of such, default=None
        Width and height in pixels of blank frames where there are no images, of both or of each.
        None fits the frames to the matches.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes, shape (2,)
        Axes of image 1 and of image 2.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    inliers_, outliers_ : list of two matplotlib PathCollection
        The matches, image by image; empty without matches.
    points_ : list of two matplotlib PathCollection
        The points whose lines are drawn, image by image.
    lines_ : list of two lists of matplotlib Line2D
        The lines that cross the frame, image by image.
    bands_ : list of two lists of matplotlib Polygon
        The bands of these lines; empty without a covariance.
    epipoles_ : list of matplotlib Line2D
        The marks of the epipoles that lie inside their frame.

    See Also
    --------
    fastmotion.epipolar.FundamentalMatrix : Finds F from matches, of which some are wrong.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from fastmotion.display import EpipolarDisplay
    >>> F = [[0, 0, 0], [0, 0, -1], [0, 1, 0]]  # cameras side by side: y1 = y2
    >>> matches = [[10, 20, 5, 20], [30, 40, 22, 40]]
    >>> display = EpipolarDisplay.from_fundamental(F, matches, image_size=(80, 60))
    >>> display.lines_[0][1].get_ydata().tolist()
    [40.0, 40.0]
    """

    def __init__(
        self,
        F: ArrayLike,
        matches: ArrayLike | None = None,
        *,
        inliers: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        noise_scale: float | None = None,
        images: Sequence[ArrayLike] | None = None,
        image_size: ArrayLike | None = None,
    ) -> None:
        self.F = F
        self.matches = matches
        self.inliers = inliers
        self.covariance = covariance
        self.noise_scale = noise_scale
        self.images = images
        self.image_size = image_size

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        images: Sequence[ArrayLike] | None = None,
        image_size: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> EpipolarDisplay:
        """Draw matches as a fitted fundamental matrix sees them.

        Parameters
        ----------
        estimator : FundamentalMatrix or other fitted object
            With ``F_`` and ``predict``, which tells inliers. With ``covariance_`` bands are drawn;
            with ``noise_scale_`` they hold the partner as it would be measured.
        X : array-like of shape (n, 4) or (n, 2)
            Matches, or their points in image 1.
        y : array-like of shape (n, 2), default=None
            Their points in image 2, if `X` has those of image 1 alone.
        images : pair of array-like of shape (height, width) or (height, width, 3), default=None
            The pictures.
        image_size : tuple of int or pair of such, default=None
            Width and height of blank frames where there are no images.
        ax : matplotlib Axes or pair of such, default=None
            As in `plot`.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : EpipolarDisplay
            With the picture drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator has no ``F_``, or as in `plot`.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.display import EpipolarDisplay
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> view = make_two_view(n_matches=200, random_state=0)
        >>> estimator = FundamentalMatrix(random_state=0).fit(view.matches)
        >>> display = EpipolarDisplay.from_estimator(estimator, view.matches, image_size=(640, 480))
        >>> display.ax_[1].get_title()
        'image 2'
        """
        if not hasattr(estimator, "F_"):
            raise ValueError(
                f"{type(estimator).__name__} has no F_; pass a FundamentalMatrix, and fit it first."
            )
        inliers = estimator.predict(X) if y is None else estimator.predict(X, y)
        return cls(
            estimator.F_,
            X if y is None else np.hstack([X, y]),
            inliers=inliers,
            covariance=getattr(estimator, "covariance_", None),
            noise_scale=getattr(estimator, "noise_scale_", None),
            images=images,
            image_size=image_size,
        ).plot(ax, **kwargs)

    @classmethod
    def from_fundamental(
        cls,
        F: ArrayLike,
        matches: ArrayLike | None = None,
        *,
        inliers: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        noise_scale: float | None = None,
        images: Sequence[ArrayLike] | None = None,
        image_size: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> EpipolarDisplay:
        """Draw a fundamental matrix that is there already, from whichever source.

        Parameters
        ----------
        F : array-like of shape (3, 3)
            Fundamental matrix.
        matches : array-like of shape (n, 4), default=None
            Rows ``x1 y1 x2 y2`` in pixels.
        inliers : array-like of bool of shape (n,), default=None
            Which matches obey F; None takes them all as inliers.
        covariance : array-like of shape (9, 9), default=None
            Of ``F.ravel()`` at unit norm, for bands.
        noise_scale : float, default=None
            What bands hold, see above.
        images : pair of array-like of shape (height, width) or (height, width, 3), default=None
            The pictures.
        image_size : tuple of int or pair of such, default=None
            Width and height of blank frames where there are no images.
        ax : matplotlib Axes or pair of such, default=None
            As in `plot`.
        **kwargs
            Further arguments of `plot`.

        Returns
        -------
        display : EpipolarDisplay
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
        >>> from fastmotion.display import EpipolarDisplay
        >>> F = [[0, 0, 0], [0, 0, -1], [0, 1, 0]]  # cameras side by side: y1 = y2
        >>> matches = [[10, 20, 5, 20], [30, 40, 22, 47]]
        >>> display = EpipolarDisplay.from_fundamental(
        ...     F, matches, inliers=[True, False], image_size=(80, 60)
        ... )
        >>> [ax.get_title() for ax in display.ax_]
        ['image 1', 'image 2']
        """
        return cls(
            F,
            matches,
            inliers=inliers,
            covariance=covariance,
            noise_scale=noise_scale,
            images=images,
            image_size=image_size,
        ).plot(ax, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        points: int | ArrayLike = 5,
        image: int = 1,
        probability: float | None = 0.95,
        max_matches: int = 2000,
        legend: bool = True,
    ) -> EpipolarDisplay:
        """Draw both views.

        Parameters
        ----------
        ax : matplotlib Axes or pair of such, default=None
            Axes of image 1 and of image 2. One takes both side by side within its space, None makes
            a new figure.
        points : int or array-like of shape (m, 2) or (m, 4), default=5
            Whose epipolar lines to draw. A number chooses so many inliers, spread over image 1;
            matches have lines in both images; single points lie in `image` and have theirs in the
            other.
        image : {1, 2}, default=1
            Where `points` of shape (m, 2) lie.
        probability : float, default=0.95
            With which a band holds what it shall. None draws no bands.
        max_matches : int, default=2000
            Of more matches, so many are drawn, evenly spaced in their order.
        legend : bool, default=True
            Whether to tell below the images what the marks of the matches are.

        Returns
        -------
        display : EpipolarDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not fit, `image` is another one, `probability` is not between 0 and 1,
            `max_matches` is less than 1, or nothing tells the size of the frames.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from fastmotion.display import EpipolarDisplay
        >>> F = [[0, 0, 0], [0, 0, -1], [0, 1, 0]]  # cameras side by side: y1 = y2
        >>> display = EpipolarDisplay.from_fundamental(F, image_size=(80, 60))
        >>> display = display.plot(points=[[10, 20], [30, 40]], image=1)  # their lines in image 2
        >>> [line.get_ydata().tolist() for line in display.lines_[1]]
        [[20.0, 20.0], [40.0, 40.0]]
        """
        # Imported here and below: it brings Numba, which other displays can do without.
        from fastmotion.epipolar.checks import check_fundamental, check_image_number

        check_image_number(image)
        if probability is not None and not 0 < probability < 1:
            raise ValueError(f"probability must lie between 0 and 1, got {probability}.")
        if max_matches < 1:
            raise ValueError(f"max_matches must be at least 1, got {max_matches}.")
        matches, inliers = self._check_matches()
        frames = self._find_frames(matches)
        F = check_fundamental(self.F)
        chosen = _choose_points(points, image, matches[inliers])
        self.ax_ = _make_axes(ax, frames)
        self.figure_ = self.ax_[0].figure
        self._draw_frames(frames)
        self._draw_matches(matches, inliers, max_matches)
        self._draw_points(chosen)
        self._draw_lines(F, chosen, frames, probability)
        self._draw_epipoles(F, frames)
        if legend and self.inliers_:
            self._draw_legend(inliers)
        return self

    def _check_matches(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the matches without missing values, and which of them are inliers."""
        from fastmotion.epipolar.checks import check_matches

        if self.matches is None:
            return np.empty((0, 4)), np.empty(0, bool)
        matches, is_valid = check_matches(self.matches, nan_policy="omit", name="matches")
        if self.inliers is None:
            return matches, np.ones(len(matches), bool)
        inliers = np.asarray(self.inliers)
        if inliers.shape != is_valid.shape or inliers.dtype != bool:
            raise ValueError(
                f"inliers must be bool of shape {is_valid.shape}, one for each match, got "
                f"{inliers.dtype} of shape {inliers.shape}."
            )
        return matches, inliers[is_valid]

    def _find_frames(self, matches: NDArray[np.float64]) -> list[_Frame]:
        if self.images is not None:
            sizes = [np.shape(image)[1::-1] for image in self.images]
            if len(sizes) != 2 or not all(len(size) == 2 for size in sizes):
                raise ValueError(
                    "images must be two arrays of shape (height, width) or (height, width, 3), got "
                    f"{len(sizes)} of shapes {[np.shape(image) for image in self.images]}."
                )
        elif self.image_size is not None:
            given = np.asarray(self.image_size)
            if given.shape not in ((2,), (2, 2)) or not (given > 0).all():
                raise ValueError(
                    "image_size must be a positive width and height in pixels, or a pair of such, "
                    f"got {self.image_size!r}."
                )
            sizes = np.broadcast_to(given, (2, 2)).tolist()
        elif len(matches):
            return [_surround(matches[:, :2]), _surround(matches[:, 2:])]
        else:
            raise ValueError(
                "There is nothing to tell how large the frames are: pass images, image_size or "
                "matches."
            )
        # The centres of pixels are whole numbers.
        return [_Frame(-0.5, width - 0.5, -0.5, height - 0.5) for width, height in sizes]

    def _draw_frames(self, frames: list[_Frame]) -> None:
        for i, (ax, frame) in enumerate(zip(self.ax_, frames)):
            if self.images is not None:
                ax.imshow(self.images[i], cmap="gray")
            ax.set(
                title=f"image {i + 1}",
                aspect="equal",
                anchor="N",
                xlim=(frame.left, frame.right),
                ylim=(frame.bottom, frame.top),
                xticks=[],
                yticks=[],
            )

    def _draw_matches(
        self, matches: NDArray[np.float64], inliers: NDArray[np.bool_], max_matches: int
    ) -> None:
        self.inliers_: list[Any] = []
        self.outliers_: list[Any] = []
        if not len(matches):
            return
        shown = np.linspace(0, len(matches) - 1, min(max_matches, len(matches))).round().astype(int)
        matches, inliers = matches[shown], inliers[shown]
        for ax, views in zip(self.ax_, np.split(matches, 2, axis=1)):
            # Shapes differ too, for prints without colours.
            self.outliers_.append(
                ax.scatter(*views[~inliers].T, s=10, marker="x", linewidth=0.8, c=_OUTLIER_COLOR)
            )
            self.inliers_.append(
                ax.scatter(
                    *views[inliers].T, s=8, linewidth=0.3, edgecolor="white", c=_INLIER_COLOR
                )
            )

    def _draw_points(self, chosen: tuple[NDArray, NDArray]) -> None:
        self.points_ = [
            ax.scatter(*points.T, s=36, c=_line_colors(len(points)), edgecolor="black", zorder=4)
            for ax, points in zip(self.ax_, chosen)
        ]

    def _draw_lines(
        self,
        F: NDArray[np.float64],
        chosen: tuple[NDArray, NDArray],
        frames: list[_Frame],
        probability: float | None,
    ) -> None:
        path_effects = import_optional("matplotlib.patheffects", extra="plot", purpose=_PURPOSE)
        # Seen on white as well as on dark photographs.
        outline = [path_effects.withStroke(linewidth=2.4, foreground="black", alpha=0.4)]
        self.lines_: list[list[Any]] = [[], []]
        self.bands_: list[list[Any]] = [[], []]
        for target, ax, frame in zip((0, 1), self.ax_, frames):
            points, colors = chosen[1 - target], _line_colors(len(chosen[1 - target]))
            segments = _clip_lines(_find_lines(points, F, image=2 - target), frame)
            in_sight = np.flatnonzero(np.isfinite(segments).all(axis=(1, 2)))
            for i in in_sight:
                self.lines_[target] += ax.plot(
                    *segments[i].T, color=colors[i], linewidth=1.2, path_effects=outline
                )
            outlines = self._find_bands(points[in_sight], F, 2 - target, frame, probability)
            for i, polygon in zip(in_sight, outlines):
                self.bands_[target] += ax.fill(
                    *polygon.T, color=colors[i], alpha=0.35, linewidth=0, zorder=1.5
                )

    def _find_bands(
        self,
        points: NDArray[np.float64],
        F: NDArray[np.float64],
        image: int,
        frame: _Frame,
        probability: float | None,
    ) -> NDArray[np.float64]:
        """Return the outlines of the bands around the lines of points, (m, n, 2), if any."""
        from fastmotion.epipolar import EpipolarBand, epipolar_band

        if probability is None or self.covariance is None or np.isinf(self.covariance).any():
            return np.empty((0, 0, 2))
        band = epipolar_band(
            F=F,
            covariance=self.covariance,
            points=points,
            probability=probability,
            image=image,
            noise_scale=self.noise_scale,
        )
        # Edges are those of images that begin at the origin.
        origin = np.array([frame.left, frame.top])
        shift = np.array([[1, 0, origin[0]], [0, 1, origin[1]], [0, 0, 1]])
        shifted = EpipolarBand(band.lines @ shift, shift.T @ band.conics @ shift, probability)
        size = math.ceil(frame.right - frame.left), math.ceil(frame.bottom - frame.top)
        first, second = np.moveaxis(shifted.edges(size, _BAND_SAMPLES), 1, 0)
        return np.concatenate([first, second[:, ::-1]], axis=1) + origin

    def _draw_epipoles(self, F: NDArray[np.float64], frames: list[_Frame]) -> None:
        from fastmotion.epipolar import epipoles

        self.epipoles_: list[Any] = []
        for ax, frame, (x, y, w) in zip(self.ax_, frames, epipoles(F)):
            # Multiplied out, so that one at infinity, w = 0, needs no division.
            inside_x = frame.left * w <= x <= frame.right * w
            if w and inside_x and frame.top * w <= y <= frame.bottom * w:
                self.epipoles_ += ax.plot(
                    x / w, y / w, "*", ms=14, mfc="white", mec="black", zorder=5, ls="none"
                )

    def _draw_legend(self, inliers: NDArray[np.bool_]) -> None:
        counts = {
            self.inliers_[0]: f"{np.count_nonzero(inliers)} inliers",
            self.outliers_[0]: f"{np.count_nonzero(~inliers)} outliers",
        }
        self.ax_[0].legend(
            counts.keys(),
            counts.values(),
            loc="upper left",
            bbox_to_anchor=(0, 0),
            ncols=2,
            frameon=False,
        )


def _surround(points: NDArray[np.float64]) -> _Frame:
    """Return the frame of the points of one image, with a margin."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * max(float((high - low).max()), 1.0)
    return _Frame(low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin)


def _make_axes(ax: Any, frames: list[_Frame]) -> NDArray[np.object_]:
    """Return one axes for each image."""
    if ax is None:
        plt = import_optional("matplotlib.pyplot", extra="plot", purpose=_PURPOSE)
        tallest = max((f.bottom - f.top) / (f.right - f.left) for f in frames)
        height = np.clip(_FIGURE_WIDTH / 2 * tallest, *_HEIGHTS) + _LEGEND_SPACE
        return plt.subplots(1, 2, figsize=(_FIGURE_WIDTH, height), layout="constrained")[1]
    axes = np.ravel(ax)
    if len(axes) == 1:
        axes[0].set_axis_off()
        axes = np.array([axes[0].inset_axes((left, 0, 0.49, 1)) for left in (0, 0.51)])
    if len(axes) != 2:
        raise ValueError(f"ax must be one axes or two, got {len(axes)}.")
    return axes


def _choose_points(
    points: int | ArrayLike, image: int, inliers: NDArray[np.float64]
) -> tuple[NDArray, NDArray]:
    """Return the points of each image whose lines are drawn in the other."""
    from fastmotion.epipolar.checks import check_matches, check_points

    if np.ndim(points) == 0:
        if not isinstance(points, Integral) or points < 0:
            raise ValueError(
                f"points must be a number of inliers, or an array of shape (m, 2) or (m, 4), got "
                f"{points!r}."
            )
        chosen = inliers[_spread(inliers[:, :2], int(points))]
        return chosen[:, :2], chosen[:, 2:]
    if np.shape(points)[-1] == 4:
        chosen, _ = check_matches(points, name="points")
        return chosen[:, :2], chosen[:, 2:]
    chosen, none = check_points(points), np.empty((0, 2))
    return (chosen, none) if image == 1 else (none, chosen)


def _spread(points: NDArray[np.float64], n_points: int) -> list[int]:
    """Return indices of points far from one another, each the farthest from those before."""
    if not len(points):
        return []
    indices: list[int] = []
    # The first is the one farthest from the middle.
    distances = np.hypot(*(points - points.mean(axis=0)).T)
    while len(indices) < min(n_points, len(points)):
        indices.append(int(distances.argmax()))
        apart = np.hypot(*(points - points[indices[-1]]).T)
        distances = apart if len(indices) == 1 else np.minimum(distances, apart)
    return indices


def _line_colors(n_lines: int) -> list[str]:
    return [_LINE_COLORS[i % len(_LINE_COLORS)] for i in range(n_lines)]


def _find_lines(
    points: NDArray[np.float64], F: NDArray[np.float64], image: int
) -> NDArray[np.float64]:
    from fastmotion.epipolar import epipolar_lines

    with warnings.catch_warnings():
        # An epipole has no line, which the picture shows well enough.
        warnings.simplefilter("ignore", RuntimeWarning)
        return epipolar_lines(F=F, points=points, image=image)


def _clip_lines(lines: NDArray[np.float64], frame: _Frame) -> NDArray[np.float64]:
    """Return the ends of lines within a frame, (n, 2, 2); NaN for those that miss it.

    So does the line at infinity, and what is no line: both have a normal of zero.
    """
    normals, offsets = lines[:, :2], lines[:, 2:]
    corner = np.array([[frame.left, frame.top], [frame.right, frame.bottom]])
    middle = corner.mean(axis=0)
    # From the point of the line that is nearest to the middle, along it, to each side.
    nearest = middle - (normals @ middle[:, np.newaxis] + offsets) * normals
    along = normals[:, ::-1] * [-1, 1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = (corner[:, np.newaxis] - nearest) / along
    # What is parallel to sides is bounded by the other two alone.
    parallel = along == 0
    beside = (parallel & ((nearest < corner[0]) | (nearest > corner[1]))).any(axis=1)
    low = np.where(parallel, -np.inf, steps.min(axis=0)).max(axis=1)
    high = np.where(parallel, np.inf, steps.max(axis=0)).min(axis=1)
    ends = np.stack([low, high], axis=1)
    ends[beside | parallel.all(axis=1) | (low > high)] = np.nan
    return nearest[:, np.newaxis] + ends[:, :, np.newaxis] * along[:, np.newaxis]
