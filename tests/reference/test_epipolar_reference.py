"""The references of two-view geometry hold what they are named after."""

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from tests.reference import epipolar as reference


@pytest.fixture
def view():
    return make_two_view(n_matches=60, inlier_ratio=0.7, noise=0.5, random_state=0)


def test_sampson_distance_is_of_first_order(view):
    """It is the length of the least move of both points that meets the constraint."""
    exact = view.exact[view.inlier_mask]
    assert reference.sampson(view.F, exact).max() < 1e-9
    x1, x2 = reference.homogeneous(exact[:, :2]), reference.homogeneous(exact[:, 2:])
    normals = np.column_stack([(x2 @ view.F)[:, :2], (x1 @ view.F.T)[:, :2]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    moved = exact + 1e-4 * normals
    np.testing.assert_allclose(reference.sampson(view.F, moved), 1e-4, rtol=1e-3)


@pytest.mark.parametrize("search", [reference.ransac, reference.lmeds])
def test_random_search_finds_the_right_matches(view, search):
    F = search(view.matches, n_trials=100)
    assert (reference.sampson(F, view.matches) < 2.5)[view.inlier_mask].mean() > 0.8
    assert reference.msac_score(F, view.matches, 2.0) > 0.3


@pytest.mark.parametrize("loss", ["linear", "cauchy", "truncated"])
def test_refinement_lowers_its_cost(view, loss):
    matches = view.matches[view.inlier_mask] if loss == "linear" else view.matches
    start = reference.ransac(matches, 2.0, n_trials=100)

    def cost(F):
        squares = (reference.sampson(F, matches) / 1.5) ** 2
        rho = {"linear": squares, "cauchy": np.log1p(squares), "truncated": np.minimum(squares, 1)}
        return rho[loss].sum()

    F = reference.refine(start, matches, loss, 1.5)
    assert cost(F) < cost(start)
    assert np.linalg.svd(F, compute_uv=False)[2] < 1e-12
    truth = reference.residuals(F, view.exact[view.inlier_mask])
    assert np.sqrt(np.mean(truth**2)) < 0.4
    # A minimum: small moves along the manifold do not lower it.
    rng = np.random.default_rng(0)
    map1, map2 = reference.normalisations(matches)
    G = np.linalg.inv(map2).T @ F @ np.linalg.inv(map1)
    for _ in range(20):
        left, values, right = np.linalg.svd(G + 1e-5 * np.linalg.norm(G) * rng.normal(size=(3, 3)))
        near = map2.T @ left @ np.diag([*values[:2], 0]) @ right @ map1
        assert cost(near) > cost(F) - 1e-9
