"""The compiled loops of homographies against NumPy and SciPy."""

import numpy as np
import pytest

from fastmotion.epipolar.kernels import planar, planar_algebra, planar_scalar
from tests.reference import homography as reference


def normalised(matches):
    """Return rows of coordinates, and what takes a pixel to their unit."""
    centred = matches - matches.mean(axis=0)
    scale = np.sqrt((centred**2).mean() * 2)
    return np.ascontiguousarray(centred.T) / scale, 1 / scale


def run_search(points, n_trials, *, threshold, first=0, kept=None, pools=None, seed=7):
    """Return how many samples had a model, and the best models and their gains."""
    n = points.shape[1]
    kept = (np.zeros((4, 9)), np.zeros(4)) if kept is None else kept
    pools = np.full(n_trials, n) if pools is None else pools
    shuffled = np.random.default_rng(0).permutation(n)
    solved = planar.search(
        points, points[:, shuffled].astype(np.float32), pools, np.uint64(seed), np.uint64(first),
        float(threshold), *kept,
    )  # fmt: skip
    return solved, *kept


def run_refine(points, model, *, threshold=1e3, max_steps=50, weight=None):
    """Return the model, the information on its tangent space, its cost and inliers."""
    model, normal = np.array(model, float).ravel(), np.zeros((9, 9))
    weight = np.ones(points.shape[1]) if weight is None else weight
    cost, plain_cost, count, total = planar.refine(
        points, weight, float(threshold), max_steps, 1e-3, model, normal
    )
    if (weight == 1).all():
        assert (plain_cost, total) == (pytest.approx(cost), count)
    else:
        assert total == pytest.approx(weight.sum())
        squares = np.minimum(reference.sampson(model, points.T) ** 2, threshold**2)
        assert plain_cost == pytest.approx(squares.sum())
    tangent = np.eye(9) - np.outer(model, model)
    return model, tangent @ normal @ tangent, cost, count


def test_sampson_distances():
    matches, _, H = reference.scene(200, inlier_ratio=0.5, noise=1.0)
    points, _ = normalised(matches)
    rng = np.random.default_rng(1)
    for model in (rng.standard_normal(9), H.ravel()):
        distances = np.empty(200)
        planar.sampson_distances(points, model, distances)
        np.testing.assert_allclose(distances, reference.sampson(model, points.T), rtol=1e-9)


def test_sampson_distance_is_that_to_the_nearest_match_that_obeys():
    matches, _, H = reference.scene(40, noise=0.2)
    distances = np.empty(40)
    planar.sampson_distances(np.ascontiguousarray(matches.T), H.ravel(), distances)
    np.testing.assert_allclose(distances, reference.distance_to_plane(H, matches), rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sampson_distance_is_never_negative(dtype):
    rng = np.random.default_rng(3)
    for _ in range(200):
        h = np.outer(rng.standard_normal(3), rng.standard_normal(3)).ravel()  # of rank 1
        match = rng.standard_normal(4)
        distance = planar_scalar.planar_sampson(*h.astype(dtype), *match.astype(dtype))
        assert not distance < 0


def test_undefined_distance_is_no_inlier():
    points = np.ascontiguousarray(np.zeros((4, 70)))
    h = np.zeros(9)
    h[0] = 1.0  # maps all points to infinity
    model, _, cost, count = run_refine(points, h, threshold=0.5, max_steps=0)
    assert count == 0
    assert cost == pytest.approx(70 * 0.25)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("n", [4, 5, 64, 65, 300])
def test_search_finds_exact_homographies(n, mirrored):
    H = np.array([[0.7, -0.5, 40.0], [0.6, 0.8, -30.0], [3e-4, 2e-4, 1.0]])
    H = H @ np.diag([-1, 1, 1]) if mirrored else H
    matches, _, H = reference.scene(n, H=H)
    points, _ = normalised(matches)
    solved, models, gains = run_search(points, 100, threshold=1e-2)
    assert solved == 100  # whatever the sample, no triple turns
    assert gains[0] == pytest.approx(n, rel=1e-4)
    assert reference.sampson(models[0], points.T).max() < 1e-9


def test_search_keeps_the_best_in_order():
    matches, is_inlier, _ = reference.scene(500, inlier_ratio=0.5, noise=1.0)
    points, unit = normalised(matches)
    threshold = 3 * unit
    _, models, gains = run_search(points, 400, threshold=threshold)
    assert (np.diff(gains) < 0).all()
    for model, gain in zip(models, gains):
        z = (reference.sampson(model, points.T) / threshold) ** 2
        assert gain == pytest.approx(np.maximum(0, 1 - z).sum(), rel=1e-4)
        assert np.linalg.norm(model) == pytest.approx(1)
    assert gains[0] > 0.3 * is_inlier.sum()


def test_search_loses_no_better_model_by_stopping_early():
    matches, _, _ = reference.scene(640, inlier_ratio=0.4, noise=1.0, seed=4)
    points, unit = normalised(matches)
    _, _, together = run_search(points, 600, threshold=3 * unit)
    alone = []
    for trial in range(600):
        solved, _, gains = run_search(points, 1, threshold=3 * unit, first=trial)
        alone += [gains[0]] * solved
    assert together[0] == max(alone)


def test_search_may_be_interrupted():
    matches, _, _ = reference.scene(200, inlier_ratio=0.4, noise=1.0)
    points, unit = normalised(matches)
    whole = run_search(points, 300, threshold=3 * unit, first=2**33)
    first, *kept = run_search(points, 90, threshold=3 * unit, first=2**33)
    second, *kept = run_search(points, 210, threshold=3 * unit, first=2**33 + 90, kept=kept)
    assert first + second == whole[0]
    for a, b in zip(whole[1:], kept):
        np.testing.assert_array_equal(a, b)


def test_search_keeps_nothing_that_is_no_better():
    matches, _, _ = reference.scene(200, inlier_ratio=0.4, noise=1.0)
    points, unit = normalised(matches)
    kept = np.zeros((2, 9)), np.full(2, 150.0)
    solved, models, gains = run_search(points, 300, threshold=3 * unit, kept=kept)
    assert solved > 0
    assert not models.any()
    assert (gains == 150).all()


def test_search_depends_on_the_seed():
    matches, _, _ = reference.scene(200, inlier_ratio=0.4, noise=1.0)
    points, unit = normalised(matches)
    found = {run_search(points, 50, threshold=3 * unit, seed=seed)[2][0] for seed in range(8)}
    assert len(found) > 1


def drawn(pool, n_trials, must_hold_last=False):
    """Return what the trials draw, as the plain Python function does it."""
    sample, rows = np.empty(4, np.int64), []
    for trial in range(n_trials):
        planar_algebra.draw_four.py_func(
            np.uint64(3), np.uint64(trial), pool, must_hold_last, sample
        )
        rows.append(sample.copy())
    return np.array(rows)


@pytest.mark.parametrize("must_hold_last", [False, True])
@pytest.mark.parametrize("pool", [4, 5, 9])
def test_draws_are_uniform_subsets(pool, must_hold_last):
    rows = drawn(pool, 2000, must_hold_last)
    assert (np.diff(rows, axis=1) > 0).all()
    assert rows.min() == 0
    assert rows.max() == pool - 1
    shares = np.bincount(rows.ravel(), minlength=pool) / len(rows)
    wanted = np.full(pool, 4 / pool)
    if must_hold_last:
        wanted[:] = 3 / (pool - 1)
        wanted[-1] = 1
    np.testing.assert_allclose(shares, wanted, atol=0.05)


def test_search_draws_from_its_pool():
    matches, is_inlier, _ = reference.scene(400, inlier_ratio=0.05, seed=2)
    points, unit = normalised(matches[np.argsort(~is_inlier, kind="stable")])
    pools = np.full(5, is_inlier.sum())
    solved, _, gains = run_search(points, 5, threshold=0.1 * unit, pools=pools)
    assert solved == 5
    assert gains[0] > is_inlier.sum() - 1


def test_samples_on_a_line_have_no_homography():
    points = np.zeros((4, 100))
    points[0] = points[2] = np.arange(100.0)
    solved, _, gains = run_search(points, 50, threshold=1.0)
    assert solved == 0
    assert not gains.any()


def test_refinement_reaches_the_gold_standard():
    matches, _, H = reference.scene(60, noise=0.5, seed=3)
    points, unit = normalised(matches)
    start = reference.unit(reference.direct_linear(points.T))
    model, information, _, count = run_refine(points, start)
    assert count == 60
    best, basis, jac = reference.maximum_likelihood(start.ravel(), points.T)
    best /= np.linalg.norm(best)
    normal = jac.T @ jac
    wanted = normal[:8, :8] - normal[:8, 8:] @ np.linalg.solve(normal[8:, 8:], normal[8:, :8])
    difference = basis.T @ (model - best)
    # A small share of a standard deviation, which is what one px of noise makes of it.
    assert difference @ wanted @ difference < (0.03 * 0.5 * unit) ** 2
    np.testing.assert_allclose(basis.T @ information @ basis, wanted, rtol=0.02, atol=0.02)


def test_weights_count_matches():
    matches, _, _ = reference.scene(70, noise=0.5, seed=5)
    points, _ = normalised(matches)
    start = reference.direct_linear(points.T)
    weight = np.arange(70) % 3.0
    repeated = np.ascontiguousarray(np.repeat(points, weight.astype(int), axis=1))
    by_weight = run_refine(points, start, weight=weight)
    by_count = run_refine(repeated, start)
    np.testing.assert_allclose(by_weight[0], by_count[0], rtol=1e-9)
    np.testing.assert_allclose(by_weight[1], by_count[1], rtol=1e-6, atol=1e-6)
    assert by_weight[2] == pytest.approx(by_count[2])


def test_refinement_ends_where_its_cost_is_least():
    matches, _, H = reference.scene(300, inlier_ratio=0.6, noise=1.0, seed=6)
    points, unit = normalised(matches)
    threshold = 4 * unit
    _, models, _ = run_search(points, 200, threshold=threshold)
    model, information, cost, _ = run_refine(points, models[0], threshold=threshold)

    def loss(h):
        z = np.minimum((reference.sampson(h, points.T) / threshold) ** 2, 1)
        return threshold**2 * z.sum()

    assert cost == pytest.approx(loss(model), rel=1e-9)
    assert cost <= loss(models[0])
    scales, axes = np.linalg.eigh(information)
    for scale, axis in zip(scales[1:], axes.T[1:]):
        step = 0.3 * unit / np.sqrt(scale) * axis  # a third of a standard deviation
        assert min(loss(model + step), loss(model - step)) > cost


def test_no_step_leaves_the_model():
    matches, _, H = reference.scene(80, noise=1.0)
    start = np.copy(H.ravel())
    model, _, cost, count = run_refine(
        np.ascontiguousarray(matches.T), start, threshold=2.0, max_steps=0
    )
    np.testing.assert_array_equal(model, start)
    distances = reference.sampson(H, matches)
    assert count == (distances < 2).sum()
    assert cost == pytest.approx(np.minimum(distances**2, 4).sum())
