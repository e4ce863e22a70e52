"""The motion of the camera: found in flow, described, and taken away."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from fastmotion.core.device import is_cuda_array, resolve_device, to_host
from fastmotion.core.interop import like
from fastmotion.core.parallel import thread_map
from fastmotion.core.random import new_seed
from fastmotion.core.validation import (
    ArrayOutput,
    Interval,
    as_real_array,
    n_jobs_constraint,
    require_flow_clips_shape,
    takes_clips,
)
from fastmotion.epipolar import DegenerateMatchesWarning, Homography

__all__ = [
    "CameraCompensation",
    "CameraMotion",
    "CompensatedFlow",
    "camera_motion",
    "homography_flow",
]

# The fewest vectors along an axis of the frame that homographies are fitted to.
_LEAST_ALONG = 8

# The fewest vectors that make a homography known: any four obey one.
_LEAST_INLIERS = 8

# Of a seed's 64 bits; the other half is what scikit-learn takes.
_HALF = np.uint64(32)

# Rows that are worked on at a time, so that they stay in the cache.
_ROWS_AT_ONCE = 32


class CompensatedFlow(NamedTuple):
    """Flow without the camera's motion, and what that was.

    Parameters
    ----------
    flow : ndarray of shape (..., height, width, 2), float32
        Pixels.
    homographies : ndarray of shape (..., 3, 3), float64
        ``[x2 y2 1]ᵀ ∝ H [x1 y1 1]ᵀ`` for what moves with the background, of unit Frobenius norm and
        positive determinant; NaN where none was found.
    inlier_share : ndarray of shape (...), float64
        Share of the vectors looked at that obey the homography; NaN where none was found.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.video import CameraCompensation
    >>> pan = np.full((48, 64, 2), 1.5, dtype=np.float32)
    >>> found = CameraCompensation(random_state=0).estimate(pan)
    >>> found.flow.shape, found.homographies.shape, float(found.inlier_share)
    ((48, 64, 2), (3, 3), 1.0)
    """

    flow: Any
    homographies: NDArray[np.float64]
    inlier_share: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """What a homography does to the picture around its centre.

    Attributes
    ----------
    translation : ndarray of shape (..., 2), float64
        Motion (u, v) of the centre in pixels, right and down. A camera that turns to the left moves
        its picture to the right.
    rotation : ndarray of shape (...), float64
        Degrees that the picture turns by, from the right towards below: clockwise as one sees it.
    zoom : ndarray of shape (...), float64
        Factor by which lengths grow, 1 without zoom.

    Examples
    --------
    >>> from fastmotion.video import camera_motion
    >>> motion = camera_motion([[0, -1, 100], [1, 0, 0], [0, 0, 1]], (101, 101))
    >>> motion.translation, float(motion.rotation), float(motion.zoom)
    (array([0., 0.]), 90.0, 1.0)
    """

    translation: NDArray[np.float64]
    rotation: NDArray[np.float64]
    zoom: NDArray[np.float64]


def homography_flow(H: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the flow that homographies make.

    Parameters
    ----------
    H : array_like of shape (..., 3, 3)
        ``[x2 y2 1]ᵀ ∝ H [x1 y1 1]ᵀ``, pixels.
    shape : tuple of (height, width)
        Of the frames.

    Returns
    -------
    ndarray of shape (..., height, width, 2), float32
        ``flow[y, x] = x2 - x, y2 - y`` for the pixel at (x, y). Infinite or NaN where a pixel goes
        to infinity, and NaN for a homography that is.

    Raises
    ------
    TypeError
        ``H`` does not hold real numbers.
    ValueError
        ``H`` or ``shape`` has the wrong shape.

    Examples
    --------
    >>> from fastmotion.video import homography_flow
    >>> zoom = [[1.5, 0, 0], [0, 1.5, 0], [0, 0, 1]]
    >>> homography_flow(zoom, (20, 20))[10, 4]
    array([2., 5.], dtype=float32)
    """
    matrices = _check_homographies(H)
    height, width = _check_shape(shape)
    flow = np.empty((*matrices.shape[:-2], height, width, 2), np.float32)
    for field, matrix in zip(flow.reshape(-1, height, width, 2), matrices.reshape(-1, 3, 3)):
        for rows, u, v in _bands_of_flow(matrix, (height, width)):
            field[rows, :, 0], field[rows, :, 1] = u, v
    return flow


def camera_motion(H: ArrayLike, shape: tuple[int, int]) -> CameraMotion:
    r"""Describe homographies by translation, rotation and zoom at the centre of the picture.

    Parameters
    ----------
    H : array_like of shape (..., 3, 3)
        ``[x2 y2 1]ᵀ ∝ H [x1 y1 1]ᵀ``, pixels; for example those of `CameraCompensation.estimate`.
    shape : tuple of (height, width)
        Of the frames.

    Returns
    -------
    CameraMotion
        With `translation`, `rotation` and `zoom`; NaN for a homography that is NaN, or takes the
        centre to infinity. The zoom is NaN for one that mirrors, too.

    Raises
    ------
    TypeError
        ``H`` does not hold real numbers.
    ValueError
        ``H`` or ``shape`` has the wrong shape.

    Notes
    -----
    With J the derivative of the mapped point by the point, at the centre: the zoom is
    :math:`\sqrt{\det J}`, and the rotation that of the similarity nearest to J.

    Examples
    --------
    >>> from fastmotion.video import camera_motion
    >>> motion = camera_motion([[1.1, 0, 3], [0, 1.1, -2], [0, 0, 1]], (101, 201))
    >>> motion.translation, float(motion.zoom)
    (array([13.,  3.]), 1.1)
    """
    matrices = _check_homographies(H)
    height, width = _check_shape(shape)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    homogeneous = matrices @ [*centre, 1.0]
    depth = np.where(homogeneous[..., 2:] == 0, np.nan, homogeneous[..., 2:])
    with np.errstate(invalid="ignore"):
        moved = homogeneous[..., :2] / depth
        # The quotient rule, for both coordinates by both.
        changes = matrices[..., :2, :2] - moved[..., :, np.newaxis] * matrices[..., 2:, :2]
        jacobian = changes / depth[..., np.newaxis]
        (a, b), (c, d) = np.moveaxis(jacobian, (-2, -1), (0, 1))
        zoom = np.sqrt(a * d - b * c)
    return CameraMotion(moved - centre, np.degrees(np.arctan2(c - b, a + d)), zoom)


class CameraCompensation(ArrayOutput, TransformerMixin, BaseEstimator):
    """Takes the motion of the camera out of flow, by a homography for each pair of frames.

    A homography is what a camera that turns or zooms does to the whole picture, and one that moves
    does to a distant or flat background. It is fitted robustly to a grid of the flow's vectors:
    what moves by itself are outliers. What is left, the flow minus that of the homography, is zero
    on the background.

    Parameters
    ----------
    step : int, default=16
        Pixels from one vector of the grid to the next. In small frames they lie closer, at least 8
        along each axis.
    residual_threshold : float, default=1.0
        Sampson distance in pixels up to which a vector obeys a homography.
    min_inlier_share : float, default=0.2
        Share of the vectors that must obey it, and at least 8 of them. The flow is left as it is
        where fewer do.
    max_trials : int, default=2000
        The most random samples that are drawn for a pair: enough to find, all but certainly, what a
        quarter of the vectors obey.
    random_state : int, RandomState, Generator or None, default=None
        For the samples. With an integer, or after `fit`, a pair's result is always the same.
    n_jobs : int or None, default=None
        Threads; they do not change results.
    device : str or None, default=None
        Where homographies are fitted: "auto" (where the flow lies), "cpu", "cuda" or "cuda:N"; None
        for the setting of `fastmotion.config_context`. The flow of a homography is made and taken
        away on the host whatever the device: flow that lies on a CUDA device is copied to the host
        and the result back.

    Attributes
    ----------
    frame_shape_ : tuple of (height, width)
        Of the flow that `fit` saw.
    seed_ : int
        For the samples of each pair, drawn by `fit`. An estimator that is not fitted draws anew for
        each pair.

    See Also
    --------
    fastmotion.epipolar.Homography : The robust fit.
    camera_motion : Translation, rotation and zoom of a homography.

    Notes
    -----
    Where the camera moves through a scene with near and far things, no homography holds for all of
    it; what is left is then the parallax of what is off the dominant plane. And where something
    that moves by itself fills most of the picture, it is taken for the background.

    References
    ----------
    Wang and Schmid 2013, "Action recognition with improved trajectories", ICCV, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.video import CameraCompensation, homography_flow
    >>> camera = homography_flow([[1.01, 0, 2], [0, 1.01, -3], [0, 0, 1]], (96, 128))
    >>> flow = camera.copy()
    >>> flow[40:60, 30:70] += [4, 0]  # moves by itself
    >>> left = CameraCompensation(random_state=0).fit_transform(flow[np.newaxis, np.newaxis])
    >>> np.abs(left[0, 0, 50, 50]).round(2), np.abs(left[0, 0, 10, 10]).round(2)
    (array([4., 0.], dtype=float32), array([0., 0.], dtype=float32))
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "step": [Interval(Integral, 1, None, closed="left")],
        "residual_threshold": [Interval(Real, 0, None, closed="neither")],
        "min_inlier_share": [Interval(Real, 0, 1, closed="both")],
        "max_trials": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state", np.random.Generator],
        "n_jobs": n_jobs_constraint(),
        "device": [str, None],
    }

    def __init__(
        self,
        *,
        step: int = 16,
        residual_threshold: float = 1.0,
        min_inlier_share: float = 0.2,
        max_trials: int = 2000,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> None:
        self.step = step
        self.residual_threshold = residual_threshold
        self.min_inlier_share = min_inlier_share
        self.max_trials = max_trials
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Check the parameters and the shape of the flow, and draw a seed; nothing is learnt.

        Parameters
        ----------
        X : array_like of shape (n_clips, n_pairs, height, width, 2)
            Flow in pixels.
        y : object, default=None
            Ignored.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``X`` does not hold real numbers.
        ValueError
            A parameter is out of range, or ``X`` has another shape.
        RuntimeError
            The device is not available.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.video import CameraCompensation
        >>> CameraCompensation().fit(np.zeros((1, 3, 48, 64, 2))).frame_shape_
        (48, 64)
        """
        self._validate_params()
        resolve_device(self.device, X)
        self.frame_shape_ = _shape_of_clips(X)[2:4]
        if isinstance(self.random_state, int | np.integer):
            self.seed_ = int(self.random_state)
        else:
            self.seed_ = int(new_seed(self.random_state) >> _HALF)
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return flow without the motion of the camera.

        Parameters
        ----------
        X : array_like of shape (n_clips, n_pairs, height, width, 2)
            Flow in pixels, as estimators of flow return it; the shape may differ from that given to
            `fit`. Vectors that are NaN or infinite take no part, and stay so.

        Returns
        -------
        ndarray of shape (n_clips, n_pairs, height, width, 2), float32
            Pixels. An array of the flow's library on its device where it lies on one.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `fit`.

        Warns
        -----
        DegenerateMatchesWarning
            The flow of some pairs is left as it is, as too few of its vectors obey one homography.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.video import CameraCompensation
        >>> pan = np.full((1, 2, 48, 64, 2), 1.5, dtype=np.float32)
        >>> float(np.abs(CameraCompensation(random_state=0).transform(pan)).max().round(3))
        0.0
        """
        _shape_of_clips(X)
        found = self._compensate(X)
        _warn_of_unknown(found, stacklevel=4)  # beyond what scikit-learn wraps around transform
        return found.flow

    def estimate(self, flow: ArrayLike) -> CompensatedFlow:
        """Return flow without the motion of the camera, and the homographies that describe it.

        Parameters
        ----------
        flow : array_like of shape (..., height, width, 2)
            Flow of one pair of frames or of any number of them, pixels.

        Returns
        -------
        CompensatedFlow
            The tuple ``flow, homographies, inlier_share``.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `fit`.

        Warns
        -----
        DegenerateMatchesWarning
            As for `transform`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.video import CameraCompensation, camera_motion
        >>> pan = np.full((48, 64, 2), 1.5, dtype=np.float32)
        >>> left, H, share = CameraCompensation(random_state=0).estimate(pan)
        >>> camera_motion(H, (48, 64)).translation.round(3), float(share)
        (array([1.5, 1.5]), 1.0)
        """
        found = self._compensate(flow)
        _warn_of_unknown(found, stacklevel=3)
        return found

    def _compensate(self, flow: ArrayLike) -> CompensatedFlow:
        """Do as `estimate`, without a warning."""
        self._validate_params()
        device = resolve_device(self.device, flow)
        fields = as_real_array(to_host(flow) if is_cuda_array(flow) else flow, "flow")
        if fields.ndim < 3 or fields.shape[-1] != 2 or 0 in fields.shape:
            raise ValueError(f"flow must have shape (..., height, width, 2), got {fields.shape}")
        *lead, height, width, _ = fields.shape
        pairs = fields.reshape(-1, height, width, 2)
        matrices, shares = self._fit_homographies(pairs, str(device))
        result = np.empty(pairs.shape, np.float32)
        thread_map(lambda task: _subtract(*task), zip(pairs, matrices, result), n_jobs=self.n_jobs)
        return CompensatedFlow(
            like(result.reshape(fields.shape), flow),
            matrices.reshape(*lead, 3, 3),
            shares.reshape(lead)[()],
        )

    def _fit_homographies(
        self, pairs: NDArray, device: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return homographies and shares of inliers; NaN where too few vectors obey one."""
        model = Homography(
            residual_threshold=self.residual_threshold,
            max_trials=self.max_trials,
            random_state=getattr(self, "seed_", self.random_state),
            n_jobs=self.n_jobs,
            device=device,
        )
        matches = [_matches_on_grid(field, self.step) for field in pairs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateMatchesWarning)
            fits = model.fit_batch(matches)
        matrices = np.full((len(pairs), 3, 3), np.nan)
        shares = np.full(len(pairs), np.nan)
        for k, fit in enumerate(fits):
            if not isinstance(fit, Homography) or not _is_usable(fit, pairs.shape[1:3]):
                continue
            share = fit.n_inliers_ / len(matches[k])
            if fit.n_inliers_ >= _LEAST_INLIERS and share >= self.min_inlier_share:
                matrices[k], shares[k] = fit.H_, share
        return matrices, shares

    def __sklearn_tags__(self) -> Any:
        tags = takes_clips(super().__sklearn_tags__())
        tags.input_tags.allow_nan = True
        return tags


def _warn_of_unknown(found: CompensatedFlow, stacklevel: int) -> None:
    """Tell of pairs without a homography, by their number from the first clip's first one on."""
    unknown = np.flatnonzero(np.isnan(found.inlier_share))
    if unknown.size:
        warnings.warn(
            f"too few vectors of pairs {unknown.tolist()} obey one homography: their flow is left "
            "as it is. Raise residual_threshold if the flow is noisy, or lower min_inlier_share",
            DegenerateMatchesWarning,
            stacklevel=stacklevel,
        )


def _shape_of_clips(X: Any) -> tuple[int, ...]:
    """Return the shape of the flow of clips, or raise a ValueError if it is none."""
    shape = tuple((X if is_cuda_array(X) else as_real_array(X, "X")).shape)
    require_flow_clips_shape(shape, "X")
    return shape


def _check_homographies(H: ArrayLike) -> NDArray[np.float64]:
    matrices = as_real_array(H, "H").astype(np.float64)
    if matrices.shape[-2:] != (3, 3):
        raise ValueError(f"H must have shape (..., 3, 3), got {matrices.shape}")
    return matrices


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if np.shape(shape) != (2,) or not all(isinstance(n, Integral) and n >= 1 for n in shape):
        raise ValueError(f"shape must be (height, width) in pixels, got {shape!r}")
    return int(shape[0]), int(shape[1])


def _matches_on_grid(field: NDArray, step: int) -> NDArray[np.float64]:
    """Return rows ``x1 y1 x2 y2`` for a grid of the vectors of a flow that are finite."""
    rows, columns = (_along(size, step) for size in field.shape[:2])
    vectors = field[np.ix_(rows, columns)].reshape(-1, 2).astype(np.float64)
    starts = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    return np.hstack([starts, starts + vectors])[np.isfinite(vectors).all(axis=1)]


def _along(size: int, step: int) -> NDArray[np.intp]:
    """Return the grid's places along an axis, spread evenly."""
    n = min(size, max(size // step, _LEAST_ALONG))
    return ((np.arange(n) + 0.5) * size / n).astype(np.intp)


def _is_usable(fit: Homography, shape: tuple[int, ...]) -> bool:
    """Return whether a homography is determined, and takes no pixel to infinity."""
    height, width = shape
    corners = np.array([[x, y, 1.0] for x in (0, width - 1) for y in (0, height - 1)])
    # What a linear function is at the corners, positive or negative, it is between them.
    depths = corners @ fit.H_[2]
    return fit.degeneracy_ == "none" and bool((depths > 0).all() or (depths < 0).all())


def _bands_of_flow(
    H: NDArray[np.float64], shape: tuple[int, int]
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield rows of a homography's flow, as u and v.

    On a grid what depends on x and what depends on y are sums of a row and a column: this takes a
    quarter of the time that mapping each point by itself does.
    """
    height, width = shape
    x = np.arange(width, dtype=np.float64)
    for start in range(0, height, _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, height))
        y = np.arange(rows.start, rows.stop, dtype=np.float64)[:, np.newaxis]
        with np.errstate(all="ignore"):
            x2, y2, depth = (a * x + (b * y + c) for a, b, c in H)
            u, v = x2 / depth - x, y2 / depth - y
        yield rows, u, v


def _subtract(field: NDArray, H: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write a flow without that of a homography; as it is where there is none."""
    with np.errstate(over="ignore"):
        if np.isnan(H[0, 0]):
            out[...] = field
            return
        for rows, *motion in _bands_of_flow(H, field.shape[:2]):
            for axis, moved in enumerate(motion):
                np.subtract(field[rows, :, axis], moved, out=out[rows, :, axis], casting="unsafe")
