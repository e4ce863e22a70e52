"""Fundamental matrices from seven and from eight matches."""

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from fastmotion.epipolar.estimation import (
    _determinants,
    _singular_members,
    design_rank,
    eight_point,
    nearest_rank2,
    normalise_fundamental,
    seven_point,
)
from tests.reference import epipolar as reference

ESTIMATORS = {8: eight_point, 7: seven_point}


def scene(name="general", n_matches=30, noise=0.0, seed=0):
    return make_two_view(
        name, n_matches=n_matches, inlier_ratio=1.0, noise=noise, random_state=seed
    )


def as_stack(F):
    return F[np.newaxis] if F.ndim == 2 else F


def assert_proper(F, matches, least=1e-9):
    assert F.shape == (3, 3) and F.dtype == np.float64
    assert np.isfinite(F).all()
    assert np.linalg.norm(F) == pytest.approx(1, abs=1e-12)
    assert F.max() > (1 - 1e-12) * np.abs(F).max()
    _, second, third = reference.balanced_values(F, matches)
    assert second > least and third < 1e-12


# Exact data


@pytest.mark.parametrize("name", ["general", "forward", "plane", "rotation"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_matches", [8, 9, 30, 256, 257, 1000])
def test_exact_matches_give_the_exact_matrix(name, seed, n_matches):
    # Of eight matches of the plane scene, six and more lie on it: seven are needed beside it.
    view = scene(name, max(n_matches, 30) if name == "plane" else n_matches, seed=seed)
    F = eight_point(view.matches)
    assert_proper(F, view.matches)
    assert reference.sampson(F, view.matches).max() < 1e-10
    assert np.abs(F - view.F).max() < 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_seven_exact_matches_have_the_exact_matrix_among_others(seed):
    view = scene(n_matches=7, seed=seed)
    found = seven_point(view.matches)
    assert found.shape in {(1, 3, 3), (3, 3, 3)}
    for F in found:
        assert_proper(F, view.matches)
        assert reference.sampson(F, view.matches).max() < 1e-10
    assert np.abs(found - view.F).max(axis=(1, 2)).min() < 1e-9


def test_large_scales_and_shifts_cost_no_more_than_their_digits():
    view = scene()
    for scale, shift in [(1e8, 0.0), (1e-6, 0.0), (1.0, 1e4), (1e-6, 1.0)]:
        matches = scale * view.matches + shift
        # What the matrix is for the matches as they were.
        move = np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
        F = normalise_fundamental(move.T @ eight_point(matches) @ move)
        assert np.abs(F - view.F).max() < (1e-9 if shift else 1e-14)


# Noise: the reference decomposes all equations at once


@pytest.mark.parametrize("n_matches", [8, 9, 50, 256, 300, 700])
@pytest.mark.parametrize("weighted", [False, True])
def test_eight_point_as_the_reference(n_matches, weighted, rng):
    matches = scene(n_matches=n_matches, noise=1.0).matches
    weight = rng.uniform(0.1, 3, n_matches) if weighted else None
    F = eight_point(matches, weight)
    assert_proper(F, matches)
    np.testing.assert_allclose(F, reference.eight_point(matches, weight), atol=1e-10)


@pytest.mark.parametrize("n_matches", [7, 8, 9, 50, 300])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_seven_point_as_the_reference(n_matches, weighted, seed, rng):
    matches = scene(n_matches=n_matches, noise=1.0, seed=seed).matches
    weight = rng.uniform(0.1, 3, n_matches) if weighted else None
    found, expected = seven_point(matches, weight), reference.seven_point(matches, weight)
    assert len(found) == len(expected)
    for F in found:
        assert_proper(F, matches)
        assert min(reference.distance(F, G) for G in expected) < 1e-8
    maps = reference.normalisations(matches, weight)
    rows = reference.design(matches, maps) * np.sqrt(1 if weight is None else weight[:, None])
    inner = [np.linalg.inv(maps[1]).T @ F @ np.linalg.inv(maps[0]) for F in found]
    errors = [np.linalg.norm(rows @ F.ravel()) / np.linalg.norm(F) for F in inner]
    assert n_matches == 7 or errors == sorted(errors)


def test_blocks_of_many_matches_are_as_all_at_once():
    matches = scene(n_matches=5000, noise=1.0).matches
    rows = reference.design(matches, reference.normalisations(matches))
    F = np.linalg.svd(rows, full_matrices=False)[2][-1].reshape(3, 3)
    map1, map2 = reference.normalisations(matches)
    expected = map2.T @ nearest_rank2(F) @ map1
    np.testing.assert_allclose(eight_point(matches), normalise_fundamental(expected), atol=1e-11)


def test_many_matches_come_close_to_the_truth():
    view = scene(n_matches=20_000, noise=0.5)
    assert np.sqrt(np.mean(reference.residuals(eight_point(view.matches), view.exact) ** 2)) < 0.05


# Weights


@pytest.mark.parametrize("n_points", [7, 8])
def test_weights_are_repetitions(n_points, rng):
    matches = scene(noise=1.0).matches
    weight = rng.integers(0, 4, len(matches)).astype(float)
    estimate = ESTIMATORS[n_points]
    repeated = as_stack(estimate(np.repeat(matches, weight.astype(int), axis=0)))
    weighted = as_stack(estimate(matches, weight))
    scaled = as_stack(estimate(matches, 1e-200 * weight))
    for found in (weighted, scaled):
        assert len(found) == len(repeated)
        for F in found:
            assert min(reference.distance(F, G) for G in repeated) < 1e-9


def test_what_weighs_nothing_has_no_say():
    matches = scene().matches
    weight = np.ones(len(matches))
    matches[::3], weight[::3] = 1e20, 0
    np.testing.assert_allclose(
        eight_point(matches, weight), eight_point(matches[weight > 0]), atol=1e-12
    )


# Data that many matrices fit


def line(rng, n=20):
    return np.column_stack([t := rng.uniform(0, 500, n), 2 * t + 3])


def degenerate(rng):
    points = rng.uniform(0, 500, (20, 2))
    few = rng.uniform(0, 500, (7, 4))
    return {
        "same": (np.tile(few[0], (20, 1)), 1),
        "zero": (np.zeros((20, 4)), 1),
        "two": (np.repeat(few[:2], 10, axis=0), 2),
        "three": (np.repeat(few[:3], 7, axis=0), 3),
        "six": (np.repeat(few[:6], 3, axis=0), 6),
        "seven": (np.repeat(few, 3, axis=0), 7),
        "no motion": (np.tile(points, 2), 6),
        "shift": (np.column_stack([points, points + [5, 7]]), 6),
        "plane": (scene("planar").matches, 6),
        "rotation": (scene("pure_rotation").matches, 6),
        "a line in space": (np.column_stack([ln := line(rng), ln / (1 + ln[:, :1] / 900)]), 3),
        "one point of image 1": (np.column_stack([np.ones((20, 2)), points]), 3),
        # Here all matrices that fit are of rank 1.
        "a line in image 1": (np.column_stack([line(rng), points]), 6),
        "a line in image 2": (np.column_stack([points, line(rng)]), 6),
    }


CASES = list(degenerate(np.random.default_rng(0)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n_points", [7, 8])
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (1e8, 0), (1e-6, 0), (1, 1e3)])
def test_data_that_many_matrices_fit(case, n_points, scale, shift, rng):
    matches, rank = degenerate(rng)[case]
    matches = scale * matches + shift
    before = matches.copy()
    assert design_rank(matches) == rank
    found = as_stack(ESTIMATORS[n_points](matches))
    assert 1 <= len(found) <= 3
    in_one_image = case.startswith("a line in image")
    for F in found:
        assert_proper(F, matches, least=0.99e-8 if in_one_image else 1e-6)
        error = reference.sampson(F, matches)
        assert error[np.isfinite(error)].max() < (1e-2 if in_one_image else 1e-8) * scale
    np.testing.assert_array_equal(matches, before)


@pytest.mark.parametrize("case", ["same", "six", "plane", "no motion"])
def test_the_choice_among_many_does_not_depend_on_the_order(case, rng):
    matches, _ = degenerate(rng)[case]
    expected = eight_point(matches)
    assert reference.distance(eight_point(rng.permutation(matches)), expected) < 1e-6


@pytest.mark.parametrize("n", range(8))
def test_few_matches(n, rng):
    matches = rng.uniform(0, 500, (n, 4))
    assert design_rank(matches) == n
    with pytest.raises(ValueError, match=f"at least 8 matches, got {n}"):
        eight_point(matches)
    if n < 7:
        with pytest.raises(ValueError, match=f"at least 7 matches, got {n}"):
            seven_point(matches)
    else:
        assert len(seven_point(matches)) in (1, 3)


def test_rank_in_single_precision():
    for name, rank in [("general", 8), ("planar", 6), ("pure_rotation", 6)]:
        matches = scene(name).matches.astype(np.float32)
        assert design_rank(matches) == rank
        # Taken for exact, the roundings of float32 are noise.
        assert design_rank(matches.astype(np.float64)) == 9


def test_noise_raises_the_rank():
    assert design_rank(scene("planar", noise=1e-3).matches) == 9


# The cubic


@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        ([1.0, 2.0, -3.0], [1.0, 2.0, -3.0]),
        ([1.0, 2.0, np.inf], [1.0, 2.0, np.inf]),
        ([0.0, 1e-9, 4.0], [0.0, 1e-9, 4.0]),
        ([1.0, 1j, -1j], [1.0]),
        ([2.0, 2.0, 5.0], [2.0, 5.0]),
        ([0.0, 1e9, -2.0], [0.0, 1e9, -2.0]),
    ],
)
def test_members_of_determinant_zero(roots, expected, rng):
    # det(t A + B) vanishes at the generalised eigenvalues, here the given ones negated; a is A in
    # the basis where both are diagonal, or blocks for a complex pair.
    left, right = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    if np.iscomplexobj(roots):
        A, B = np.eye(3), np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    else:
        A = np.diag([0.0 if np.isinf(r) else 1 / np.hypot(1, r) for r in roots])
        B = np.diag([1.0 if np.isinf(r) else -r / np.hypot(1, r) for r in roots])
    A, B = left @ A @ right, left @ B @ right
    members = _singular_members(np.array([A, B]))
    angles = {
        round(np.arctan2(*_combination(M, A, B)) % np.pi % (np.pi - 1e-7), 6) for M in members
    }
    assert angles == {round(np.arctan(r) % np.pi, 6) for r in expected}
    for M in members:
        assert np.linalg.svd(M, compute_uv=False)[2] < 1e-7


def _combination(M, A, B):
    return np.linalg.lstsq(np.column_stack([A.ravel(), B.ravel()]), M.ravel(), rcond=None)[0]


def test_determinants(rng):
    A, B = rng.normal(size=(2, 3, 3))
    cubic = _determinants(A, B)
    for t in (-2.0, 0.0, 0.7, 3.0):
        assert np.polyval(cubic, t) == pytest.approx(np.linalg.det(t * A + B), abs=1e-12)


# Conventions and errors


def test_nearest_rank2(rng):
    F = rng.normal(size=(3, 3))
    near = nearest_rank2(F)
    left, values, right = np.linalg.svd(F)
    assert np.linalg.matrix_rank(near) == 2
    assert np.linalg.norm(F - near) == pytest.approx(values[2])
    np.testing.assert_allclose(nearest_rank2(near), near, atol=1e-15)


@pytest.mark.parametrize("scale", [1.0, -1.0, 1e200, -1e200, 1e-200, 5e-324])
def test_norm_and_sign(scale):
    matrix = scale * np.array([[0, 1.0, 2], [-4, 0, 2], [1, 1, 1]])
    before = matrix.copy()
    F = normalise_fundamental(matrix)
    assert np.linalg.norm(F) == pytest.approx(1, abs=1e-15)
    assert F[1, 0] > 0
    if abs(scale) > 1e-300:
        np.testing.assert_allclose(F, -np.sign(scale) * matrix / np.abs(scale) / np.sqrt(28))
    np.testing.assert_array_equal(matrix, before)
    np.testing.assert_array_equal(normalise_fundamental(F), F)


def test_no_zero_is_negative():
    F = normalise_fundamental([[0, 0, 0], [0, 0, -8], [0, 8, 0]])
    assert not np.signbit(F[F == 0]).any()


@pytest.mark.parametrize("function", [nearest_rank2, normalise_fundamental])
@pytest.mark.parametrize(
    ("F", "error"),
    [
        (np.eye(4), "shape"),
        (np.full((3, 3), np.nan), "finite"),
        ([["a"] * 3] * 3, "real numbers"),
    ],
)
def test_what_is_no_matrix_is_an_error(function, F, error):
    with pytest.raises((ValueError, TypeError), match=error):
        function(F)


def test_zero_is_no_fundamental_matrix():
    with pytest.raises(ValueError, match="zero"):
        normalise_fundamental(np.zeros((3, 3)))


@pytest.mark.parametrize("function", [eight_point, seven_point, design_rank])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m[:, :3], r"shape \(n, 4\)"),
        (lambda m: m[0], r"shape \(n, 4\)"),
        (lambda m: np.where(m == m[3, 1], np.nan, m), "finite.*row 3"),
        (lambda m: np.where(m == m[3, 1], -np.inf, m), "finite.*row 3"),
        (lambda m: m.astype(str), "real numbers"),
        (lambda m: m + 1j, "real numbers"),
    ],
)
def test_what_are_no_matches_is_an_error(function, change, error):
    with pytest.raises((ValueError, TypeError), match=error):
        function(change(scene().matches))


@pytest.mark.parametrize("n_points", [7, 8])
@pytest.mark.parametrize(
    ("weight", "error"),
    [
        (np.ones(29), "30, got 29"),
        (np.full(30, -1.0), "negative"),
        (np.r_[np.nan, np.ones(29)], "finite"),
        (np.r_[np.ones(6), np.zeros(24)], "positive for at least"),
        (np.ones((30, 1)), "dimension"),
        (["a"] * 30, "real numbers"),
    ],
)
def test_wrong_weights_are_an_error(n_points, weight, error):
    with pytest.raises((ValueError, TypeError), match=error):
        ESTIMATORS[n_points](scene().matches, weight)


@pytest.mark.parametrize("n_points", [7, 8])
def test_any_kind_of_numbers(n_points):
    whole = np.round(scene(n_matches=12).matches).astype(int)
    expected = ESTIMATORS[n_points](whole.astype(float))
    read_only = whole.astype(float)
    read_only.flags.writeable = False
    for same in (
        whole,
        whole.tolist(),
        whole.astype(np.uint16),
        whole.astype(np.float32),
        np.asfortranarray(whole, dtype=float),
        np.repeat(whole, 2, axis=0)[::2],
        read_only,
    ):
        np.testing.assert_array_equal(ESTIMATORS[n_points](same), expected)
