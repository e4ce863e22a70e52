import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from fastmotion.datasets import load_motorcycle

pytest.importorskip("skimage", reason="scikit-image is not installed")


def mean_difference(pair, sign):
    """Gray values between frame0 and frame1 taken back along the flow."""
    rows, columns = np.nonzero(pair.mask)
    u, v = sign * pair.flow[rows, columns].T.astype(float)
    frame0, frame1 = pair.frame0.mean(axis=2), pair.frame1.mean(axis=2)
    back = map_coordinates(frame1, [rows + v, columns + u], order=1, mode="nearest")
    return np.abs(back - frame0[rows, columns]).mean()


def test_motorcycle():
    pair = load_motorcycle()
    assert pair.frame0.shape == pair.frame1.shape == (500, 741, 3)
    assert pair.frame0.dtype == pair.frame1.dtype == np.uint8
    assert pair.flow.shape == (500, 741, 2) and pair.flow.dtype == np.float32
    np.testing.assert_array_equal(pair.mask, np.isfinite(pair.flow).all(axis=2))
    assert 0.9 < pair.mask.mean() < 1
    u, v = pair.flow[pair.mask].T
    assert (v == 0).all() and -60 < u.min() < u.max() < -7
    assert "Scharstein" in pair.DESCR


def test_the_flow_leads_from_left_to_right():
    pair = load_motorcycle()
    assert mean_difference(pair, sign=1) < 8
    assert mean_difference(pair, sign=-1) > 40
