"""What the estimators of dense flow share: checks, clips, presets, devices."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from contextlib import AbstractContextManager
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin

from fastmotion.core.device import resolve_device
from fastmotion.core.interop import like
from fastmotion.core.validation import (
    MIN_SIZE,
    ArrayOutput,
    Interval,
    Options,
    n_jobs_constraint,
    takes_clips,
    validate_parameter_constraints,
)
from fastmotion.flow.frames import (
    first_on_device,
    map_pairs,
    read_clips,
    read_flow,
    read_pair,
    write_field,
)
from fastmotion.flow.pyramid import Engine, Pyramid, Solver, coarse_to_fine

# Limits keep what is made of the parameters within float32.
COMMON_CONSTRAINTS: dict[str, list] = {
    "n_levels": [Interval(Integral, 1, None, closed="left"), None],
    "pyramid_factor": [Interval(Real, 0.1, 0.95, closed="both")],
    "finest_scale": [Interval(Integral, 0, 16, closed="both")],
    "n_warps": [Interval(Integral, 1, None, closed="left")],
    "n_finest_warps": [Interval(Integral, 1, None, closed="left"), None],
    "prefilter_sigma": [Interval(Real, 0, 100, closed="both")],
    "median_filter": ["boolean"],
    "weighted_median": ["boolean"],
    "max_update": [Interval(Real, 0, 1e6, closed="right"), Options(Real, {math.inf})],
    "n_jobs": n_jobs_constraint(),
    "device": [str, None],
}


class DenseFlow(ArrayOutput, TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """Base of the estimators of dense flow; a subclass adds its parameters and its solver."""

    _presets: ClassVar[dict[str, dict[str, Any]]]

    @abstractmethod
    def _solver(self) -> Solver:
        """Return what refines a flow after each warp, set up from the parameters."""

    def _pyramid(self) -> Pyramid:
        return Pyramid(
            n_levels=self.n_levels,
            factor=self.pyramid_factor,
            finest_scale=self.finest_scale,
            min_size=MIN_SIZE,
            prefilter_sigma=self.prefilter_sigma,
            n_warps=self.n_warps,
            n_finest_warps=self.n_finest_warps,
            median_filter=self.median_filter,
            weighted_median=self.weighted_median,
        )

    @classmethod
    def from_preset(cls, name: str, **params: Any) -> Self:
        """Return an estimator set up for a balance of speed and accuracy.

        Parameters
        ----------
        name : {"fast", "medium", "default", "best", "textbook"}
            "fast" stops at a quarter of the resolution and "medium" at half of it, both upsampling
            the flow; "best" takes several times as long as the default; "textbook" is the method as
            first published, on one level with one warp.
        **params
            Parameters of the estimator; they override those of the preset.

        Returns
        -------
        estimator
            Not fitted, which it need not be.

        Raises
        ------
        ValueError
            There is no preset of that name.

        Examples
        --------
        >>> from fastmotion.flow import HornSchunck
        >>> HornSchunck.from_preset("fast", n_warps=2).get_params()["finest_scale"]
        2
        """
        if name not in cls._presets:
            raise ValueError(f"preset must be one of {list(cls._presets)}, got {name!r}")
        return cls(**{**cls._presets[name], **params})

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Check the parameters and the clips; nothing is learnt from them.

        Parameters
        ----------
        X : array of shape (n_clips, n_frames, height, width[, channels])
            Of uint8, uint16, bool or float, on the host or a CUDA device; see `estimate`.
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
        >>> from fastmotion.flow import LucasKanade
        >>> clips = np.zeros((2, 3, 32, 48), np.uint8)
        >>> LucasKanade().fit(clips).frame_shape_
        (32, 48)
        """
        self._check_parameters()
        device = resolve_device(self.device, X)
        with Engine.running(device, self.n_jobs) as engine:
            shape = read_clips(X, engine).shape
        self.device_ = str(device)
        self.frame_shape_ = tuple(shape[2:])
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return the flow between all successive frames of the clips.

        Parameters
        ----------
        X : array of shape (n_clips, n_frames, height, width[, channels])
            The clips may differ in size and length from those given to `fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_frames - 1, height, width, 2), float32
            Pixels per frame. An array of the clips' library on the device where they lie there.

        Raises
        ------
        TypeError, ValueError, RuntimeError, MemoryError
            As for `fit` and `estimate`.

        Examples
        --------
        Two clips of three frames each have two flows each:

        >>> import numpy as np
        >>> from fastmotion.datasets import make_warped_clip
        >>> from fastmotion.flow import LucasKanade
        >>> clip = make_warped_clip(3, motion=(1.5, -0.5), shape=(48, 64), gray=True)
        >>> flow = LucasKanade().transform(np.stack([clip.frames, clip.frames[::-1]]))
        >>> flow.shape
        (2, 2, 48, 64, 2)
        >>> np.median(flow, axis=(1, 2, 3)).round(1)
        array([[ 1.5, -0.5],
               [-1.5,  0.5]], dtype=float32)
        """
        self._check_parameters()
        solver, pyramid = self._solver(), self._pyramid()
        with self._engine(X) as engine:

            def estimate(frame0: Any, frame1: Any) -> Any:
                return coarse_to_fine(frame0, frame1, solver, pyramid, engine)

            return like(map_pairs(X, estimate, pyramid, engine), X)

    def estimate(
        self, frame0: ArrayLike, frame1: ArrayLike, *, initial_flow: ArrayLike | None = None
    ) -> Any:
        """Return the flow from one frame to the next.

        Parameters
        ----------
        frame0, frame1 : array of shape (height, width) or (height, width, channels)
            At least 16 x 16 pixels; 1 or 3 (RGB) channels, of which the luminance is used. uint8,
            uint16 and bool have their full range (10 or 12 bits in uint16: convert to float); the
            range of float frames is that of both frames together, so that their scale does not
            matter. On the host, or on the CUDA device that the estimator computes on.
        initial_flow : array_like of shape (height, width, 2) or None, default=None
            Where to start, in pixels; for example the flow of the previous pair of a video.

        Returns
        -------
        ndarray of shape (height, width, 2), float32
            Pixels. ``flow[y, x] = u, v`` means that ``frame1[y + v, x + u]`` shows what
            ``frame0[y, x]`` shows. An array on the device, of the library of the first one
            there, where one of the arguments is.

        Raises
        ------
        TypeError
            A frame does not hold real numbers.
        ValueError
            A shape, size or parameter is out of range, or a pixel NaN or infinite.
        RuntimeError
            The device is not available.
        MemoryError
            It has not enough memory.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import make_warped_photograph
        >>> from fastmotion.flow import HornSchunck
        >>> pair = make_warped_photograph("china", motion=(2.0, -1.0), shape=(48, 64))
        >>> flow = HornSchunck().estimate(pair.frame0, pair.frame1)
        >>> np.median(flow, axis=(0, 1)).round(1)
        array([ 2., -1.], dtype=float32)
        """
        self._check_parameters()
        solver = self._solver()
        with self._engine(frame0, frame1, initial_flow) as engine:
            planes = self._run(frame0, frame1, initial_flow, solver, engine)
            return like(write_field(planes, engine), first_on_device(frame0, frame1, initial_flow))

    def _engine(self, *arrays: Any) -> AbstractContextManager[Engine]:
        return Engine.running(resolve_device(self.device, *arrays), self.n_jobs)

    def _run(
        self,
        frame0: ArrayLike,
        frame1: ArrayLike,
        initial_flow: ArrayLike | None,
        solver: Solver,
        engine: Engine,
    ) -> Any:
        """Return the planes of the flow of one pair."""
        frames = read_pair(frame0, frame1, engine)
        if initial_flow is not None:
            *_, height, width = frames[0].shape
            initial_flow = read_flow(initial_flow, engine, (height, width), "initial_flow")
        return coarse_to_fine(frames[0], frames[1], solver, self._pyramid(), engine, initial_flow)

    def _check_parameters(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )

    def __sklearn_tags__(self) -> Any:
        return takes_clips(super().__sklearn_tags__())
