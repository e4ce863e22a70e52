"""The textbook forms of both methods against solutions of the same equations by SciPy and NumPy."""

import numpy as np
import pytest

from fastmotion.flow import HornSchunck, LucasKanade
from tests.reference import flow as reference
from tests.reference.flow_cases import QUADRATIC, WINDOW_FUNCTIONAL, texture_pair

SHAPES = [(40, 33), (16, 16), (17, 48)]


def eight_bit_pair(shape, step):
    """Return a pair of uint8 frames, and what the estimators take them for."""
    frames = [np.uint8(np.rint(200 * frame)) for frame in texture_pair(shape, step=step)]
    return frames, [frame / 255 for frame in frames]


@pytest.mark.parametrize("estimator", [HornSchunck, LucasKanade])
def test_the_textbook_preset_runs(estimator):
    frames, _ = eight_bit_pair((20, 24), (0.3, 0.2))
    textbook = estimator.from_preset("textbook")
    assert textbook.max_update == np.inf
    assert np.isfinite(textbook.estimate(*frames)).all()


@pytest.mark.parametrize("alpha", [0.02, 0.06, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_horn_schunck_minimises_the_functional_of_1981(shape, alpha):
    frames, planes = eight_bit_pair(shape, (0.4, -0.3))
    textbook = HornSchunck.from_preset("textbook", alpha=alpha, n_sweeps=1500)
    still = np.zeros((2, *shape))
    expected = reference.solve(still, *planes, still, QUADRATIC._replace(smoothness=alpha**2))
    assert np.abs(expected).max() > 0.2
    flow = np.moveaxis(textbook.estimate(*frames), -1, 0)
    np.testing.assert_allclose(flow, expected, atol=2e-3 * np.abs(expected).max())


def test_horn_schunck_starts_from_the_initial_flow():
    # The data term is then linearised there: the frames are compared after a warp.
    shape = 30, 34
    frames, planes = eight_bit_pair(shape, (3.3, -2.2))
    start = np.tile(np.float32([3, -2]), (*shape, 1))
    textbook = HornSchunck.from_preset("textbook", alpha=0.05, n_sweeps=1500)
    base = np.moveaxis(start, -1, 0)
    warped = reference.warp(planes[1], base)
    functional = QUADRATIC._replace(smoothness=0.05**2)
    expected = reference.solve(base, planes[0], warped, base, functional)
    flow = np.moveaxis(textbook.estimate(*frames, initial_flow=start), -1, 0)
    np.testing.assert_allclose(flow, expected, atol=5e-3)


def lucas_kanade_reference(planes, window_size, regularization):
    shape = planes[0].shape
    functional = WINDOW_FUNCTIONAL._replace(
        gradient=0.0, epsilon2=np.inf, regularization=regularization, max_update=np.inf
    )
    line = np.full(window_size // 2 + 1, 1 / window_size)  # the weights of a window sum to one
    flow, eigenvalue = reference.solve_windows(*planes, np.zeros((2, *shape)), line, functional)
    return np.moveaxis(flow, 0, -1), eigenvalue


@pytest.mark.parametrize("window_size", [3, 5, 15, 41])
@pytest.mark.parametrize("shape", SHAPES)
def test_lucas_kanade_is_least_squares_in_each_window(shape, window_size):
    frames, planes = eight_bit_pair(shape, (0.8, -0.6))
    textbook = LucasKanade.from_preset(
        "textbook", window_size=window_size, window="uniform", regularization=1e-4
    )
    flow, confidence = textbook.estimate(*frames, return_confidence=True)
    expected, eigenvalue = lucas_kanade_reference(planes, window_size, 1e-4)
    np.testing.assert_allclose(flow, expected, atol=1e-3)
    np.testing.assert_allclose(confidence, eigenvalue, atol=1e-3 * eigenvalue.max())


def test_gaussian_windows_count_the_centre_more():
    frames, _ = eight_bit_pair((40, 33), (0.4, -0.3))
    kinds = [
        LucasKanade.from_preset("textbook", window_size=15, window=window)
        for window in ("gaussian", "uniform")
    ]
    local, even = (np.abs(np.diff(kind.estimate(*frames), axis=1)).mean() for kind in kinds)
    assert local > 1.2 * even  # a window that is narrower in effect follows the data more closely
