"""The compiled loops of fundamental matrices against NumPy and SciPy."""

import itertools

import numba
import numpy as np
import pytest
from scipy.stats import chi2

from fastmotion.datasets import make_two_view
from fastmotion.epipolar.kernels import cpu, minimal, refinement
from tests.reference import epipolar as reference

LANES = minimal.LANES


# Parts of kernels can be called from compiled code only.
@numba.njit
def _draw(seed, first_trial, pools, n_matches, indices):
    words = np.empty((8, LANES), np.uint64)
    minimal.draw_samples(seed, first_trial, pools, n_matches, words, indices)


@numba.njit(error_model="numpy")
def _solve_cubics(coefficients, roots):
    scratch, bits = np.empty((4, LANES)), np.empty(LANES, np.uint64)
    minimal._cubic_roots(coefficients, scratch, bits, roots)


def drawn(pools, n_matches, *, size=7, seed=5, first=0):
    """Return the samples of trials, of shape (n_trials, size)."""
    samples = []
    for start in range(0, len(pools), LANES):
        indices = np.empty((size, LANES), np.int64)
        block = np.ascontiguousarray(pools[start : start + LANES])
        _draw(np.uint64(seed), first + start, block, n_matches, indices)
        samples.append(indices.T[: len(block)])
    return np.concatenate(samples)


def cubic_roots(*cubics):
    """Return the roots of cubics c0 … c3, of shape (n_cubics, 3)."""
    coefficients, roots = np.ones((4, LANES)), np.empty((3, LANES))
    coefficients[:, : len(cubics)] = np.transpose(cubics)
    _solve_cubics(coefficients, roots)
    return roots.T[: len(cubics)]


def centred(matches):
    """Return matches in coordinates of the order of one, and what takes a pixel to their unit."""
    offsets = matches - np.median(matches, axis=0)
    unit = 1 / np.median(np.abs(offsets))
    return offsets * unit, unit


def scene(n, *, inlier_ratio=1.0, noise=0.5, seed=0, name="general"):
    view = make_two_view(
        name, n_matches=n, inlier_ratio=inlier_ratio, noise=noise, random_state=seed
    )
    return *centred(view.matches), view


def sampled_models(matches, n_trials, *, size=7, seed=5, first=0, oriented=True):
    pools = np.full(n_trials, len(matches))
    models = np.full((3 * n_trials, 9), np.nan)
    n = cpu.sample_models(np.uint64(seed), first, pools, size, matches, oriented, models)
    assert np.isnan(models[n:]).all()
    return models[:n]


def scored_points(matches):
    """Return points as `search` takes them, in random order."""
    n = len(matches)
    points = np.full((4, -(-n // cpu.BLOCK) * cpu.BLOCK), np.nan, np.float32)
    points[:, :n] = matches[np.random.default_rng(1).permutation(n)].T
    return points


def run_search(matches, n_trials, threshold, *, first=0, kept=None, n_kept=4, seed=5, size=7):
    models, gains = (np.zeros((n_kept, 9)), np.zeros(n_kept)) if kept is None else kept
    cpu.search(
        np.uint64(seed), first, np.full(n_trials, len(matches)), size, matches, True,
        scored_points(matches), len(matches), np.float32(1 / threshold**2), models, gains,
    )  # fmt: skip
    return models, gains


def gains_of(models, matches, threshold):
    models = models.reshape(-1, 3, 3)
    return len(matches) * np.array([reference.msac_score(F, matches, threshold) for F in models])


def is_oriented(F, matches):
    """Return whether all matches lie on the rays of their lines that face each other."""
    left, _, _ = np.linalg.svd(F)
    x1, x2 = reference.homogeneous(matches[:, :2]), reference.homogeneous(matches[:, 2:])
    sides = np.einsum("ni,ni->n", np.cross(left[:, 2], x2), x1 @ F.T)
    return (sides > 0).all() or (sides < 0).all()


def assert_same_models(models, others, tolerance):
    """Compare as sets: each has its own partner."""
    models, others = [m.reshape(3, 3) for m in models], [m.reshape(3, 3) for m in others]
    assert len(models) == len(others)
    for F in models:
        away = [reference.distance(F, G) for G in others]
        assert min(away) < tolerance
        others.pop(int(np.argmin(away)))


# Samples


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("pool, n_matches", [(8, 8), (9, 9), (9, 30), (9, 10), (300, 300)])
def test_samples_are_different_matches_of_their_pool(size, pool, n_matches):
    samples = np.sort(drawn(np.full(100, pool), n_matches, size=size))
    assert (np.diff(samples) > 0).all()
    assert samples.min() >= 0
    assert samples.max() < pool
    if pool < n_matches:
        assert (samples[:, -1] == pool - 1).all()


def test_smallest_pools():
    for n_matches in (7, 8, 50):
        samples = np.sort(drawn(np.full(5, 7), n_matches))
        np.testing.assert_array_equal(samples, np.tile(np.arange(7), (5, 1)))


@pytest.mark.parametrize("n_matches, n_free, n_drawn", [(10, 10, 7), (40, 9, 6)])
def test_every_subset_is_as_likely(n_matches, n_free, n_drawn):
    samples = np.sort(drawn(np.full(12_000, 10), n_matches))[:, :n_drawn]
    subsets = list(itertools.combinations(range(n_free), n_drawn))
    place = {subset: k for k, subset in enumerate(subsets)}
    counts = np.bincount([place[tuple(s)] for s in samples.tolist()], minlength=len(subsets))
    expected = len(samples) / len(subsets)
    statistic = ((counts - expected) ** 2 / expected).sum()
    low, high = chi2.ppf([0.001, 0.999], len(subsets) - 1)
    assert low < statistic < high  # too even is not random either


def test_samples_of_very_many_matches():
    n = 4_000_000_000
    samples = drawn(np.full(2000, n), n)
    assert len(np.unique(samples)) == samples.size
    shares = np.bincount((samples.ravel() / n * 8).astype(int), minlength=8) / samples.size
    np.testing.assert_allclose(shares, 1 / 8, atol=0.015)


@pytest.mark.parametrize("first", [0, 2**32 - 30])
def test_a_trial_is_the_same_in_any_chunk(first):
    pools = np.arange(10, 74)
    whole = drawn(pools, 80, first=first)
    for length in (1, 16, 33):
        parts = [drawn(pools[k : k + length], 80, first=first + k) for k in range(0, 64, length)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_samples_depend_on_seed_and_trial():
    pools = np.full(64, 1000)
    samples = [
        drawn(pools, 1000, seed=seed, first=first)
        for seed, first in [(5, 0), (6, 0), (5 + 2**32, 0), (5, 64), (5, 2**32)]
    ]
    for a, b in itertools.combinations(samples, 2):
        assert (a == b).mean() < 0.05


# Cubics


def test_cubic_roots_of_random_cubics(rng):
    for _ in range(20):
        cubics = rng.standard_normal((LANES, 4)) * 10 ** rng.uniform(-3, 3, (LANES, 1))
        for cubic, roots in zip(cubics, cubic_roots(*cubics)):
            expected = np.roots(cubic[::-1])
            expected = np.sort(expected[np.abs(expected.imag) < 1e-9].real)
            roots = np.sort(roots[np.isfinite(roots)])
            np.testing.assert_allclose(roots, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("leading", [1.0, -3.0, 1e-6, 1e6])
@pytest.mark.parametrize(
    "wanted",
    [(1, 2, 3), (-1, -1, 4), (2, 2, -5), (0, 0, 1), (-3, 0, 3), (0.5, 0.5, 0.5), (0, 0, 0),
     (1e-4, 1, 1e4), (7, 7.001, 9)],
)  # fmt: skip
def test_cubic_roots_are_those_that_made_the_cubic(wanted, leading):
    cubic = leading * np.poly(wanted)[::-1]
    (roots,) = cubic_roots(cubic)
    # Multiple roots move with the square or cube root of rounding, and may leave the real axis.
    multiplicity = max(wanted.count(root) for root in wanted)
    tolerance = max(map(abs, wanted)) * {1: 1e-8, 2: 1e-6, 3: 1e-4}[multiplicity] + 1e-12
    roots = roots[np.isfinite(roots)]
    for root in wanted:
        if wanted.count(root) != 2:
            assert np.abs(roots - root).min() < tolerance
    for root in roots:
        assert np.abs(np.subtract(wanted, root)).min() < tolerance


def test_one_real_root_leaves_the_others_missing():
    (roots,) = cubic_roots(np.poly([2, 1 + 1j, 1 - 1j])[::-1].real)
    assert np.isfinite(roots).tolist() == [True, False, False]
    assert roots[0] == pytest.approx(2)


# Models of samples


@pytest.mark.parametrize("noise, inlier_ratio", [(0.0, 1.0), (0.5, 1.0), (2.0, 0.8)])
def test_seven_matches_give_all_that_the_reference_finds(noise, inlier_ratio):
    matches, _, _ = scene(60, noise=noise, inlier_ratio=inlier_ratio)
    n_found, n_refused = [], 0
    for trial, sample in enumerate(drawn(np.full(75, 60), 60)):
        few = matches[sample]
        models = sampled_models(matches, 1, first=trial)
        every = reference.seven_point(few)
        assert_same_models(models, [F for F in every if is_oriented(F, few)], 1e-5)
        assert_same_models(sampled_models(matches, 1, first=trial, oriented=False), every, 1e-5)
        n_found.append(len(models))
        n_refused += len(every) - len(models)
    assert len(set(n_found)) > 2
    assert n_refused > 20


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("n_trials", [1, 31, 32, 33, 75])
def test_models_do_not_depend_on_the_block(size, n_trials):
    matches, _, _ = scene(60)
    alone = [sampled_models(matches, 1, size=size, first=trial) for trial in range(n_trials)]
    together = sampled_models(matches, n_trials, size=size)
    alone = np.concatenate(alone)
    assert len(together) == len(alone) > 0
    np.testing.assert_allclose(
        together[np.lexsort(together.T)], alone[np.lexsort(alone.T)], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("size", [7, 8])
def test_models_are_of_unit_norm_and_obey_their_sample(size):
    matches, _, _ = scene(40, noise=1.0)
    for trial, sample in enumerate(drawn(np.full(40, 40), 40, size=size)):
        for model in sampled_models(matches, 1, size=size, first=trial):
            F = model.reshape(3, 3)
            assert np.linalg.norm(F) == pytest.approx(1)
            assert reference.sampson(F, matches[sample]).max() < 1e-7
            if size == 7:
                assert abs(np.linalg.det(F)) < 1e-9


def test_eight_matches_give_the_null_vector():
    matches, _, _ = scene(50)
    n_models = 0
    for trial, sample in enumerate(drawn(np.full(40, 50), 50, size=8)):
        few = matches[sample]
        null = np.linalg.svd(reference.design(few, (np.eye(3), np.eye(3))))[2][-1].reshape(3, 3)
        for model in sampled_models(matches, 1, size=8, first=trial):
            assert reference.distance(model.reshape(3, 3), null) < 1e-6
            f, *_ = run_refine(model, few, max_steps=0)
            values = np.linalg.svd(f.reshape(3, 3), compute_uv=False)
            assert values[2] < 1e-12
            n_models += 1
    assert n_models > 5


def rectified(n, seed=0):
    """Return matches whose rows agree, as multiples of 1/64: no product of them is rounded."""
    rng = np.random.default_rng(seed)
    x1, y, shift = np.round(64 * rng.uniform([-2, -2, 0.05], [2, 2, 1], (n, 3))).T / 64
    return np.column_stack([x1, y, x1 - shift, y])


SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def swapped(matches):
    """Return matches of images turned by a quarter: columns agree, not rows."""
    return np.ascontiguousarray(matches[:, [1, 0, 3, 2]])


def looking_ahead(n, seed=0):
    """Return matches of a camera that moves where it looks: x2 ∝ x1, epipoles at the origin."""
    rng = np.random.default_rng(seed)
    points = np.round(16 * rng.uniform(-2, 2, (n, 2))) / 16
    return np.hstack([points, points * rng.integers(9, 16, (n, 1)) / 8])


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(
    "make, F",
    [
        (rectified, SIDEWAYS),
        (lambda n: swapped(rectified(n)), np.array([[0.0, 0, -1], [0, 0, 0], [1, 0, 0]])),
        (looking_ahead, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]])),
    ],
    ids=["rows agree", "columns agree", "ahead"],
)
def test_exact_data_whose_columns_depend_on_each_other(make, F, size):
    matches = make(40)
    for trial in range(45):
        models = sampled_models(matches, 1, size=size, first=trial, oriented=False)
        assert min(reference.distance(model.reshape(3, 3), F) for model in models) < 1e-5


def test_orientation_refuses_no_right_model_of_rectified_images():
    matches = rectified(40)
    for trial in range(45):
        models = sampled_models(matches, 1, first=trial)
        away = [reference.distance(model.reshape(3, 3), SIDEWAYS) for model in models]
        assert min(away, default=np.inf) < 1e-5


def test_samples_solved_alone_leave_their_neighbours_as_they_are():
    general, _, _ = scene(12)
    # Of eight matches, samples without the general ones' lanes are solved alone.
    matches = np.concatenate([rectified(7), general[:1]])
    samples = drawn(np.full(64, 8), 8)
    is_alone = np.array([7 not in sample for sample in samples])
    assert 0 < is_alone.sum() < 64
    together = sampled_models(matches, 64)
    expected = []
    for sample in samples:
        few = matches[sample]
        expected += [F for F in reference.seven_point(few) if is_oriented(F, few)]
    n_sideways = sum(reference.distance(m.reshape(3, 3), SIDEWAYS) < 1e-6 for m in together)
    assert n_sideways == is_alone.sum()
    for F in expected:
        assert min(reference.distance(F, m.reshape(3, 3)) for m in together) < 1e-5


@pytest.mark.parametrize("size", [7, 8])
def test_samples_of_equal_matches_are_finite_or_none(size):
    matches = np.ones((20, 4))
    for rows in (matches, 0 * matches, np.arange(20.0)[:, None] * matches):
        assert np.isfinite(sampled_models(rows, 40, size=size)).all()


# Search


def test_search_keeps_the_best_and_their_gains():
    matches, unit, _ = scene(60, inlier_ratio=0.7)  # one block: nothing stops early
    threshold = 2 * unit
    every = sampled_models(matches, 300)
    expected = gains_of(every, matches, threshold)
    models, gains = run_search(matches, 300, threshold)
    best = np.argsort(-expected)[:4]
    np.testing.assert_allclose(gains, expected[best], rtol=1e-4)
    np.testing.assert_array_equal(models, every[best])


def test_search_keeps_the_first_of_equals():
    matches, _, _ = scene(cpu.BLOCK)
    models, gains = run_search(matches, 32, 1e30)  # no distance counts
    np.testing.assert_array_equal(gains, cpu.BLOCK)
    np.testing.assert_array_equal(models, sampled_models(matches, 32)[:4])


@pytest.mark.parametrize("seed", range(3))
def test_search_loses_no_better_model_by_stopping_early(seed):
    matches, unit, _ = scene(640, inlier_ratio=0.5, seed=seed)
    threshold = 2 * unit
    expected = gains_of(sampled_models(matches, 700), matches, threshold)
    _, gains = run_search(matches, 700, threshold)
    np.testing.assert_allclose(gains[0], expected.max(), rtol=1e-4)


def test_search_keeps_nothing_that_is_no_better():
    matches, unit, _ = scene(100, inlier_ratio=0.6)
    models, gains = run_search(matches, 200, 2 * unit)
    bound = np.array([gains[0], gains[0]])
    kept = run_search(matches, 200, 2 * unit, kept=(np.zeros((2, 9)), bound.copy()))
    assert not kept[0].any()
    np.testing.assert_array_equal(kept[1], bound)
    bound[:] = gains[1]
    kept = run_search(matches, 200, 2 * unit, kept=(np.zeros((2, 9)), bound.copy()))
    np.testing.assert_array_equal(kept[0], [models[0], np.zeros(9)])
    np.testing.assert_array_equal(kept[1], gains[:2])


def test_search_may_be_interrupted():
    matches, unit, _ = scene(60, inlier_ratio=0.5)
    whole = run_search(matches, 150, 2 * unit, first=2**33)
    kept = run_search(matches, 32, 2 * unit, first=2**33)
    kept = run_search(matches, 41, 2 * unit, first=2**33 + 32, kept=kept)
    kept = run_search(matches, 77, 2 * unit, first=2**33 + 73, kept=kept)
    for a, b in zip(whole, kept):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_scores_are_gains_of_the_reference():
    matches, unit, _ = scene(640, inlier_ratio=0.5)
    threshold = 2 * unit
    models = sampled_models(matches, 200)
    gains = np.empty(len(models))
    points = scored_points(matches)
    cpu.score(models, points, 640, np.float32(1 / threshold**2), gains)
    expected = gains_of(models, matches, threshold)
    assert (gains <= expected * (1 + 1e-4)).all()
    best_before = np.maximum.accumulate(np.insert(expected, 0, 0.0))[:-1]
    is_good = expected > 0.5 * best_before
    np.testing.assert_allclose(gains[is_good], expected[is_good], rtol=1e-4)
    assert (gains < 0.9 * expected).any()  # that few matches told enough


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_padding_gains_nothing(n):
    matches, unit, view = scene(200)
    threshold = 2 * unit
    models = sampled_models(matches, 1000)[:1]
    gains = np.empty(1)
    cpu.score(models, scored_points(matches[:n]), n, np.float32(1 / threshold**2), gains)
    expected = gains_of(models, matches[:n], threshold)
    np.testing.assert_allclose(gains, expected, rtol=1e-4, atol=1e-6)


def test_squared_distances():
    matches, _, _ = scene(150, inlier_ratio=0.5)
    squares = np.empty(150)
    for model in sampled_models(matches, 20):
        cpu.squared_distances(model, matches, squares)
        expected = reference.residuals(model.reshape(3, 3), matches) ** 2
        np.testing.assert_allclose(squares, expected, rtol=1e-9, atol=1e-25)


def test_squared_distances_at_both_epipoles():
    matches, squares = np.array([[0, 0, 0, 0], [0, 0, 5.0, 5], [3, 4, 6, 8]]), np.empty(3)
    ahead = np.array([0.0, -1, 0, 1, 0, 0, 0, 0, 0])
    cpu.squared_distances(ahead, matches, squares)
    assert squares.tolist() == [0, 0, 0]
    ahead[8] = 1e-3  # no longer of rank two: the origin has no gradient, but a residual
    cpu.squared_distances(ahead, matches, squares)
    assert squares[0] == np.inf
    assert np.isfinite(squares[1:]).all()


# Refinement


def run_refine(f, matches, *, threshold=1.0, max_steps=50, tol=0.0, weight=None, padding=None):
    """Return the model, its gain with and without weights, its inliers, and the normal matrix."""
    n = len(matches)
    n_padded = -(-n // refinement.BLOCK) * refinement.BLOCK
    points, weights = np.zeros((4, n_padded)), np.zeros(n_padded)
    points[:, :n], weights[:n] = matches.T, 1.0 if weight is None else weight
    if padding is not None:
        points[:, n:] = padding
    f, normal = np.array(f, float).ravel(), np.empty((9, 9))
    sums = refinement.refine(f, points, weights, 1 / threshold**2, max_steps, tol, normal)
    return f, *sums, normal


def start_of(matches, seed=0):
    """Return a matrix near the best one, of rank two."""
    F = reference.eight_point(matches)
    F = F + 0.01 * np.random.default_rng(seed).standard_normal((3, 3)) * np.abs(F).max()
    left, values, right = np.linalg.svd(F)
    return (left * [*values[:2], 0] @ right) / np.linalg.norm(values[:2])


def assert_rank_two(f):
    values = np.linalg.svd(f.reshape(3, 3), compute_uv=False)
    assert values[2] < 1e-14
    assert np.linalg.norm(f) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["general", "forward", "rotation"])
@pytest.mark.parametrize("n", [9, 60, 300])
def test_refinement_is_as_good_as_scipys(n, name):
    matches, _, _ = scene(n, noise=1.0, name=name)
    start = start_of(matches)
    f, gain, plain_gain, n_inliers, _ = run_refine(start, matches)
    assert_rank_two(f)
    assert n_inliers == n
    squares = (reference.residuals(f.reshape(3, 3), matches) ** 2).sum()
    assert gain == pytest.approx(n - squares, rel=1e-12)
    assert plain_gain == gain
    expected = (reference.residuals(reference.refine(start, matches), matches) ** 2).sum()
    assert squares <= expected * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_truncated_refinement_is_as_good_as_scipys(seed):
    matches, unit, view = scene(200, inlier_ratio=0.6, noise=0.5, seed=seed)
    threshold = 2 * unit
    start = reference.refine(
        reference.eight_point(matches[view.inlier_mask]), matches[view.inlier_mask]
    )
    f, gain, _, n_inliers, _ = run_refine(start, matches, threshold=threshold)
    distances = reference.sampson(f.reshape(3, 3), matches)
    assert n_inliers == (distances < threshold).sum()
    assert gain == pytest.approx(gains_of(f, matches, threshold)[0])
    expected = reference.refine(start, matches, loss="truncated", scale=threshold)
    assert gain >= gains_of(expected, matches, threshold)[0] * (1 - 1e-6)


def test_the_gradient_vanishes():
    matches, _, _ = scene(100, noise=30.0)  # that its small terms count
    f, gain, _, _, normal = run_refine(start_of(matches), matches)
    step = 1e-5
    left, _, right = np.linalg.svd(f.reshape(3, 3))
    cofactors = np.outer(left[:, 2], right[2]).ravel()
    basis = np.linalg.svd(np.array([f, cofactors]))[2][2:]
    for direction in basis:
        ends = [
            (reference.residuals((f + sign * step * direction).reshape(3, 3), matches) ** 2).sum()
            for sign in (-1, 1)
        ]
        slope, curvature = np.diff(ends)[0] / (2 * step), direction @ normal @ direction
        # Which the nearest point without one is so far away from, in standard deviations.
        away = abs(slope) / 2 / curvature
        assert away * np.sqrt(curvature) < 1e-4 * np.sqrt((100 - gain) / 93)


@pytest.mark.parametrize("noise, tolerance", [(0.0, 1e-6), (1.0, 1e-3)])
def test_normal_matrix_is_that_of_the_derivatives(noise, tolerance):
    matches, _, _ = scene(150, noise=noise)
    weight = np.random.default_rng(0).uniform(0.1, 2, 150)
    f, *_, normal = run_refine(start_of(matches), matches, weight=weight)
    step = 1e-6
    J = np.transpose(
        [
            np.subtract(
                *(
                    reference.residuals((f + sign * step * axis).reshape(3, 3), matches)
                    for sign in (1, -1)
                )
            )
            / (2 * step)
            for axis in np.eye(9)
        ]
    )
    expected = J.T @ (weight[:, None] * J)
    np.testing.assert_allclose(normal, normal.T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(normal / scale, expected / scale, atol=tolerance)


def test_weights_count_matches():
    matches, _, _ = scene(70, noise=1.0)
    start = start_of(matches)
    weight = np.arange(70) % 3.0
    by_weight = run_refine(start, matches, weight=weight)
    by_count = run_refine(start, np.repeat(matches, weight.astype(int), axis=0))
    for k in (0, 1, 4):
        np.testing.assert_allclose(by_weight[k], by_count[k], rtol=1e-6, atol=1e-8)
    _, gain, plain_gain, n_inliers, _ = by_weight
    gains = 1 - reference.residuals(by_weight[0].reshape(3, 3), matches) ** 2
    assert gain == pytest.approx(weight @ gains)
    assert plain_gain == pytest.approx(gains[weight > 0].sum())
    assert n_inliers == (weight > 0).sum()


def test_no_steps_only_evaluate():
    matches, unit, _ = scene(90, inlier_ratio=0.7)
    threshold = 2 * unit
    start = start_of(matches)
    f, gain, _, n_inliers, normal = run_refine(start, matches, threshold=threshold, max_steps=0)
    np.testing.assert_allclose(f, start.ravel(), atol=1e-13)
    distances = reference.sampson(start, matches)
    assert gain == pytest.approx(gains_of(start, matches, threshold)[0])
    assert n_inliers == (distances < threshold).sum()
    assert np.isfinite(normal).all()


def test_no_steps_make_the_nearest_of_rank_two_nearly():
    rng = np.random.default_rng(0)
    matches, _, _ = scene(20)
    for _ in range(20):
        left, values, right = np.linalg.svd(rng.standard_normal((3, 3)))
        nearest = left * [*values[:2], 0] @ right
        start = nearest + 1e-3 * values[1] * np.outer(left[:, 2], right[2])
        f, *_ = run_refine(7 * start, matches, max_steps=0)
        assert_rank_two(f)
        assert reference.distance(f.reshape(3, 3), nearest) < 1e-5


def test_padding_has_no_effect():
    matches, unit, _ = scene(60, inlier_ratio=0.8)
    start = start_of(matches)
    results = [
        run_refine(start, matches, threshold=2 * unit, padding=padding) for padding in (None, 3.7)
    ]
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


def test_each_step_gains():
    matches, unit, _ = scene(200, inlier_ratio=0.6)
    start = sampled_models(matches, 200)
    gains = gains_of(start, matches, 2 * unit)
    start = start[np.argsort(-gains)[3]]
    trace = [run_refine(start, matches, threshold=2 * unit, max_steps=k)[1] for k in range(12)]
    assert (np.diff(trace) >= 0).all()
    assert trace[-1] > trace[0] + 1


def test_tolerance_ends_the_climb():
    matches, unit, _ = scene(200, inlier_ratio=0.6)
    start = sampled_models(matches, 200)
    start = start[np.argmax(gains_of(start, matches, 2 * unit))]
    exact, hasty = (
        run_refine(start, matches, threshold=2 * unit, tol=tol)[1] for tol in (0.0, 0.9)
    )
    one_step = run_refine(start, matches, threshold=2 * unit, max_steps=1)[1]
    assert hasty == one_step < exact


def test_a_match_at_both_epipoles_is_no_obstacle():
    matches = looking_ahead(40)
    matches[0] = 0
    ahead = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]) / np.sqrt(2)
    f, gain, _, n_inliers, normal = run_refine(ahead, matches)
    assert gain == n_inliers == 40
    assert reference.distance(f.reshape(3, 3), ahead) < 1e-9
    assert np.isfinite(normal).all()


def test_many_models_are_refined_one_after_the_other():
    matches, unit, _ = scene(100, inlier_ratio=0.6)
    models = sampled_models(matches, 60)[:5]
    points, weight = np.zeros((4, refinement.BLOCK)), np.zeros(refinement.BLOCK)
    points[:, :100], weight[:100] = matches.T, 1.0
    results, together = np.empty((5, 3)), models.copy()
    wide, narrow = 5 * unit, 2 * unit
    refinement.refine_all(together, points, weight, 1 / wide**2, 2, 1 / narrow**2, 4, 1e-3, results)
    for model, refined, result in zip(models, together, results):
        f, *_ = run_refine(model, matches, threshold=wide, max_steps=2, tol=1e-3)
        f, *sums, _ = run_refine(f, matches, threshold=narrow, max_steps=4, tol=1e-3)
        np.testing.assert_array_equal(refined, f)
        np.testing.assert_array_equal(result, sums)
