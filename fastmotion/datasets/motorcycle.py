"""The motorcycle of the Middlebury stereo data, as scikit-image carries it."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from fastmotion.core.validation import import_optional

__all__ = ["load_motorcycle"]

_DESCR = """\
Motorcycle: two photographs of one scene from cameras side by side, with the true disparity.

D. Scharstein, H. Hirschmueller, Y. Kitajima, G. Krathwohl, N. Nesic, X. Wang, P. Westling,
"High-Resolution Stereo Datasets with Subpixel-Accurate Ground Truth", GCPR 2014. Reduced to a
quarter of its size and distributed by scikit-image (CC0).

Seen from left to right, a point at disparity d moves d pixels to the left, so the flow is (-d, 0).
It is 7 to 60 pixels long. The mask leaves out what the depth sensor could not measure; pixels that
one camera alone sees are counted as known.
"""


def load_motorcycle() -> Bunch:
    """Load the motorcycle pair: real photographs with a true, large, horizontal flow.

    Needs scikit-image, which carries the files; nothing is downloaded.

    Returns
    -------
    bunch : Bunch
        frame0, frame1 : ndarray of uint8, shape (500, 741, 3)
            The left and the right photograph, RGB.
        flow : ndarray of float32, shape (500, 741, 2)
            Motion from left to right in pixels, NaN where it is unknown.
        mask : ndarray of bool, shape (500, 741)
            True where the flow is known.
        DESCR : str
            Where the pair comes from.

    Raises
    ------
    ImportError
        If scikit-image is not installed.

    Examples
    --------
    >>> from fastmotion.datasets import load_motorcycle
    >>> pair = load_motorcycle()
    >>> pair.flow.shape
    (500, 741, 2)
    """
    skimage_data = import_optional(
        "skimage.data", extra="demo", purpose="loading the motorcycle pair"
    )
    left, right, disparity = skimage_data.stereo_motorcycle()
    mask = np.isfinite(disparity)
    flow = np.full((*disparity.shape, 2), np.nan, dtype=np.float32)
    flow[mask, 0] = -disparity[mask]
    flow[mask, 1] = 0
    return Bunch(frame0=left, frame1=right, flow=flow, mask=mask, DESCR=_DESCR)
