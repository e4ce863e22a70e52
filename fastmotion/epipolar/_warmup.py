"""What `fastmotion.warmup` runs to compile the kernels of two-view geometry."""

import numpy as np

from fastmotion.core.compile import register_warmup
from fastmotion.epipolar._fundamental import FundamentalMatrix
from fastmotion.epipolar._homography import Homography

# A camera moved sideways: y stays, and x moves by what depth asks for, most points on one plane.
_X, _Y = (axis.ravel() for axis in np.meshgrid(np.arange(0.0, 800, 100), np.arange(0.0, 600, 100)))
_DISPARITY = np.where(np.arange(48) % 4 == 0, 7.0 * np.arange(48), 30.0)
_MATCHES = np.column_stack([_X, _Y, _X + _DISPARITY, _Y])


def _warm_up_fundamental_matrix() -> None:
    for method in ("ransac", "lmeds"):
        FundamentalMatrix(method, max_trials=64, random_state=0).fit(_MATCHES)


def _warm_up_homography() -> None:
    on_plane = _MATCHES[_DISPARITY == 30]
    for method in ("ransac", "lmeds"):
        Homography(method, max_trials=64, random_state=0).fit(on_plane)


register_warmup("epipolar", _warm_up_fundamental_matrix)
register_warmup("epipolar", _warm_up_homography)
