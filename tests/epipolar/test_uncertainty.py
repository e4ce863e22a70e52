"""Covariances of F, of lines and epipoles, and bands: derivatives, Monte Carlo, invariances."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from scipy.spatial.transform import Rotation

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import epipolar_lines, epipoles, sampson_distance
from fastmotion.epipolar.bands import (
    EpipolarBand,
    epipolar_band,
    epipole_covariance,
    line_covariance,
)
from fastmotion.epipolar.estimation import nearest_rank2, normalise_fundamental
from fastmotion.epipolar.uncertainty import (
    MatchSums,
    covariance_from_information,
    fundamental_covariance,
    sampson_jacobian,
    tangent_basis,
    transform_covariance,
)
from tests.reference import epipolar as reference

SIDEWAYS = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
# Both epipoles at (10, 20).
FORWARD = np.array([[0.0, -1.0, 20.0], [1.0, 0.0, -10.0], [-20.0, 10.0, 0.0]])


def make(n_matches=60, noise=1.0, scene="general", **options):
    return make_two_view(
        scene, n_matches=n_matches, inlier_ratio=1.0, noise=noise, random_state=5, **options
    )


@pytest.fixture(scope="module")
def view():
    return make()


@pytest.fixture(scope="module")
def covariance(view):
    return fundamental_covariance(view.F, view.matches, noise_scale=1.0)


def assert_covariances_close(actual, expected, rtol=1e-6):
    """Compare two covariances in units of standard deviations."""
    scale = np.sqrt(np.diagonal(expected, axis1=-2, axis2=-1))
    allowed = rtol * scale[..., :, np.newaxis] * scale[..., np.newaxis, :] + 1e-300
    assert (np.abs(actual - expected) <= allowed).all()


def change(function, F, direction, step):
    """Return the derivative of a function of fundamental matrices along a tangent direction."""
    # The nearest matrix of rank 2 is off by the square of the step only.
    moved = [
        function(normalise_fundamental(nearest_rank2(F + s * direction))) for s in (step, -step)
    ]
    return (moved[0] - moved[1]) / (2 * step)


def samples_of(F, covariance, rng, n_samples):
    """Return matrices of rank 2 around one."""
    values, vectors = np.linalg.eigh(covariance)
    parts = rng.normal(size=(n_samples, 7)) * np.sqrt(values[2:])
    return [nearest_rank2(F + (vectors[:, 2:] @ part).reshape(3, 3)) for part in parts]


def in_thousands(view):
    """Return F and matches in well-scaled coordinates: thousands of pixels from the middle."""
    to_pixels = np.array([[1000.0, 0, 500], [0, 1000, 375], [0, 0, 1]])
    F = normalise_fundamental(to_pixels.T @ view.F @ to_pixels)
    return F, (view.matches - [500, 375, 500, 375]) / 1000


# --- The tangent space and derivatives


def test_tangent_basis_keeps_norm_and_determinant(view):
    F, _ = in_thousands(view)
    basis = tangent_basis(F)
    assert_allclose(basis.T @ basis, np.eye(7), atol=1e-14)
    for direction in basis.T.reshape(7, 3, 3):
        moved = F + 1e-4 * direction
        assert abs(np.linalg.norm(moved) - 1) < 1e-8
        assert abs(np.linalg.det(moved)) < 1e-8


def test_tangent_basis_does_not_depend_on_scale(view):
    projectors = [b @ b.T for b in (tangent_basis(view.F), tangent_basis(-1e9 * view.F))]
    assert_allclose(projectors[0], projectors[1], atol=1e-12)


def test_distances_are_sampsons(view):
    distances, _ = sampson_jacobian(view.F, view.matches)
    assert_allclose(distances, reference.residuals(view.F, view.matches), rtol=1e-9, atol=1e-12)
    assert_allclose(np.abs(distances), sampson_distance(view.F, view.matches), atol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.3])
def test_jacobian_is_the_derivative(noise, rng):
    # Far matches make the derivative of the denominator as large as that of the error.
    F, matches = in_thousands(make(20, 0.0))
    matches = matches + rng.normal(0, noise, matches.shape)
    _, jacobian = sampson_jacobian(F, matches)
    for match, row in zip(matches, jacobian):
        numeric = approx_fprime(
            F.ravel(), lambda f, match=match: reference.residuals(f.reshape(3, 3), match[None])[0]
        )
        assert_allclose(row, numeric, rtol=1e-4, atol=1e-4 * np.abs(row).max())


# --- The covariance of F


def test_covariance_has_rank_seven_and_keeps_the_constraints(view, covariance):
    assert_allclose(covariance, covariance.T, rtol=1e-10, atol=0)
    assert_allclose(covariance @ view.F.ravel(), 0, atol=1e-12 * np.abs(covariance).max())
    F, matches = in_thousands(view)
    values = np.linalg.eigvalsh(fundamental_covariance(F, matches))
    assert values[2] > 0
    assert np.abs(values[:2]).max() < 1e-12 * values[2:].max()


def test_without_noise_in_the_information_it_is_the_pseudo_inverse(view):
    F, matches = in_thousands(view)
    _, jacobian = sampson_jacobian(F, matches)
    basis = tangent_basis(F)
    expected = 0.3 * basis @ np.linalg.inv((jacobian @ basis).T @ (jacobian @ basis)) @ basis.T
    actual = covariance_from_information(F, MatchSums(jacobian.T @ jacobian), 0.3)
    assert_covariances_close(actual, expected)


def test_little_noise_gives_the_textbook_covariance():
    view = make(200, noise=1e-4, scene="forward")
    F, matches = in_thousands(view)
    _, jacobian = sampson_jacobian(F, matches)
    expected = covariance_from_information(F, MatchSums(jacobian.T @ jacobian), 1e-14)
    actual = fundamental_covariance(F, matches, noise_scale=1e-7)
    assert_covariances_close(actual, expected, rtol=1e-3)


def test_noise_scale_is_estimated_with_the_degrees_of_freedom(view):
    distances, _ = sampson_jacobian(view.F, view.matches)
    noise_scale = np.sqrt((distances**2).sum() / (len(distances) - 7))
    assert_covariances_close(
        fundamental_covariance(view.F, view.matches),
        fundamental_covariance(view.F, view.matches, noise_scale=noise_scale),
    )


def test_order_of_matches_and_scale_of_f_do_not_matter(view, covariance, rng):
    mixed = rng.permutation(view.matches)
    assert_covariances_close(
        fundamental_covariance(-1e6 * view.F, mixed, noise_scale=1.0), covariance
    )


def test_weights_count_matches(view):
    weight = np.arange(len(view.matches)) % 3
    assert_covariances_close(
        fundamental_covariance(view.F, view.matches, sample_weight=weight),
        fundamental_covariance(view.F, np.repeat(view.matches, weight, axis=0)),
    )


def test_probabilities_of_zero_and_one_choose_matches(view):
    right = np.arange(len(view.matches)) % 4 > 0
    assert_covariances_close(
        fundamental_covariance(view.F, view.matches, probability=right.astype(float)),
        fundamental_covariance(view.F, view.matches[right]),
    )


def test_doubt_costs_more_than_the_weight_it_takes(view):
    # With probability one half each, a match counts for less than half of one.
    half = np.full(len(view.matches), 0.5)
    doubtful, light = (
        np.trace(fundamental_covariance(view.F, view.matches, noise_scale=1.0, **options))
        for options in ({"probability": half}, {"sample_weight": half})
    )
    assert light < 0.9 * doubtful


@pytest.mark.parametrize("shift", [(300.0, -200.0, 50.0, 1e4), (1e5, 0.0, 0.0, -1e5)])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_coordinates_do_not_matter(view, covariance, shift, scale):
    to1, to2 = (
        np.array([[1 / scale, 0, -dx / scale], [0, 1 / scale, -dy / scale], [0, 0, 1]])
        for dx, dy in (shift[:2], shift[2:])
    )
    moved = to2.T @ view.F @ to1
    expected = transform_covariance(view.F, covariance, to1, to2)
    np.testing.assert_array_equal(expected, expected.T)
    assert_covariances_close(
        fundamental_covariance(moved, view.matches * scale + shift, noise_scale=scale),
        expected,
        rtol=1e-3,  # a shift by 1e5 costs F that many digits
    )


def test_the_images_may_change_places(view, covariance):
    swapped = fundamental_covariance(view.F.T, view.matches[:, [2, 3, 0, 1]], noise_scale=1.0)
    order = np.arange(9).reshape(3, 3).T.ravel()
    assert_covariances_close(swapped[np.ix_(order, order)], covariance)


def least_squares(view, matches):
    """Fit rank-2 matrices by Gauss-Newton steps from the true one."""
    F = view
    for _ in range(5):
        distances, jacobian = sampson_jacobian(F, matches)
        basis = tangent_basis(F)
        step = np.linalg.lstsq(jacobian @ basis, distances)[0]
        F = normalise_fundamental(nearest_rank2(F - (basis @ step).reshape(3, 3)))
    return F * np.sign(np.vdot(F, view))


@pytest.mark.parametrize(("scene", "noise"), [("general", 1.0), ("forward", 0.5), ("forward", 2.0)])
def test_covariance_and_bands_hold_in_monte_carlo(scene, noise, rng):
    # 300 runs: the mean squared error is known to 8 % or so, coverages to 1.5 %.
    true, exact = in_thousands(make(100, 0.0, scene))
    assert np.abs(sampson_distance(true, exact)).max() < 1e-9
    errors, claims, held = [], [], []
    for run in range(300):
        matches = exact + rng.normal(0, noise / 1000, exact.shape)
        F = least_squares(true, matches)
        covariance = fundamental_covariance(F, matches)
        errors.append(np.sum((F - true) ** 2))
        claims.append(np.trace(covariance))
        held.append(bands_hold(exact[run % 100], matches[run % 100], F, true, covariance, noise))
    assert np.mean(claims) == pytest.approx(np.mean(errors), rel=0.25)
    for coverage in np.mean(held, axis=0):
        assert 0.91 < coverage < 0.985


def bands_hold(exact, measured, F, true, covariance, noise):
    """Return whether bands of 95 % hold the true line, the true point, and a measured match."""
    point, measured_point = exact[np.newaxis, :2], measured[np.newaxis, :2]
    whole = epipolar_band(F, covariance, point)
    exactly = epipolar_band(F, covariance, point, noise_scale=0.0)
    # The estimate knows this match, which its band therefore holds a little more often.
    noisy = epipolar_band(F, covariance, measured_point, noise_scale=noise / 1000)
    return (
        holds_line(whole, epipolar_lines(true, point)[0]),
        exactly.contains(exact[np.newaxis, 2:])[0],
        noisy.contains(measured[np.newaxis, 2:])[0],
    )


def holds_line(band, line):
    """Return whether a band holds a line, looking at points far along it."""
    angles = np.linspace(-1.57, 1.57, 1001)
    foot, along = -line[2] * line[:2], np.array([-line[1], line[0]])
    points = foot + np.tan(angles)[:, np.newaxis] * along
    many = EpipolarBand(
        np.repeat(band.lines, 1001, axis=0), np.repeat(band.conics, 1001, axis=0), band.probability
    )
    return many.contains(points).all()


def test_noise_in_the_matches_does_not_feign_information():
    """Where it would, the plain inverse is smaller than the covariance at the exact matches."""
    true, exact = in_thousands(make(200, 0.0, "forward"))
    rng = np.random.default_rng(0)
    exact_covariance = np.trace(fundamental_covariance(true, exact, noise_scale=1e-7)) * 1e14
    corrected, plain = [], []
    for _ in range(40):
        matches = exact + rng.normal(0, 0.003, exact.shape)
        _, jacobian = sampson_jacobian(true, matches)
        sums = MatchSums(jacobian.T @ jacobian)
        plain.append(np.trace(covariance_from_information(true, sums, 9e-6)))
        corrected.append(np.trace(fundamental_covariance(true, matches, noise_scale=0.003)))
    expected = 9e-6 * exact_covariance
    assert np.median(plain) < 0.9 * expected
    # Noise in the derivatives adds to the errors of F, too.
    assert expected < np.median(corrected) < 1.4 * expected


# --- Lines and epipoles


@pytest.mark.parametrize("image", [1, 2])
def test_line_covariance_is_propagated(view, image):
    F, matches = in_thousands(view)
    covariance = fundamental_covariance(F, matches)
    points = matches[:5, :2] if image == 1 else matches[:5, 2:]
    values, vectors = np.linalg.eigh(covariance)
    expected = np.zeros((5, 3, 3))
    for value, direction in zip(values[2:], vectors.T[2:]):
        by = change(
            lambda G: epipolar_lines(G, points, image), F, direction.reshape(3, 3), step=1e-6
        )
        expected += value * by[:, :, np.newaxis] * by[:, np.newaxis, :]
    assert_covariances_close(line_covariance(F, covariance, points, image), expected, rtol=1e-4)


def test_line_covariance_has_rank_two(view, covariance):
    lines = epipolar_lines(view.F, view.matches[:, :2])
    spread = line_covariance(view.F, covariance, view.matches[:, :2])
    normals = lines * [1, 1, 0]
    assert_allclose(np.einsum("mij,mj->mi", spread, normals), 0, atol=1e-9)


def test_epipole_covariance_is_propagated(view):
    F, matches = in_thousands(view)
    covariance = fundamental_covariance(F, matches)
    found = epipoles(F)

    def of(G):
        vectors = epipoles(G)
        return vectors * np.sign(np.sum(vectors * found, axis=1, keepdims=True))

    values, vectors = np.linalg.eigh(covariance)
    expected = np.zeros((2, 3, 3))
    for value, direction in zip(values[2:], vectors.T[2:]):
        by = change(of, F, direction.reshape(3, 3), step=1e-6)
        expected += value * by[:, :, np.newaxis] * by[:, np.newaxis, :]
    assert_covariances_close(epipole_covariance(F, covariance), expected, rtol=1e-4)


def test_epipole_covariance_in_pixels(rng):
    """Monte Carlo over matrices: epipoles inside the image, in pixels."""
    view = make(500, 0.2, "forward")
    covariance = fundamental_covariance(view.F, view.matches, noise_scale=0.2)
    x, y, w = epipoles(view.F)[0]
    to_pixels = np.array([[1, 0, -x / w], [0, 1, -y / w]]) / w
    expected = to_pixels @ epipole_covariance(view.F, covariance)[0] @ to_pixels.T
    found = np.array([epipoles(G)[0] for G in samples_of(view.F, covariance, rng, 1000)])
    assert_covariances_close(np.cov((found[:, :2] / found[:, 2:]).T), expected, rtol=0.2)


# --- Bands


@pytest.mark.parametrize("noise_scale", [None, 0.0, 1.0])
def test_band_does_not_depend_on_the_frame(view, noise_scale):
    """The band of a turned image is the turned band."""
    F, matches = in_thousands(view)
    covariance = fundamental_covariance(F, matches)
    points = matches[:10, :2]
    motion = np.eye(3)
    motion[:2, :2] = Rotation.from_euler("z", 0.7).as_matrix()[:2, :2]
    motion[:2, 2] = 0.3, -0.2
    back = np.linalg.inv(motion)
    turned = back.T @ F
    moved = epipolar_band(
        turned,
        transform_covariance(F, covariance, np.eye(3), back),
        points,
        noise_scale=noise_scale,
    )
    band = epipolar_band(F, covariance, points, noise_scale=noise_scale)
    assert_allclose(motion.T @ moved.conics @ motion, band.conics, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("noise_scale", [None, 2.0])
def test_edges_are_the_zeros_of_the_conic(view, covariance, noise_scale):
    band = epipolar_band(view.F, covariance, view.matches[:5, :2], noise_scale=noise_scale)
    edges = band.edges((1000, 750), n_samples=11)
    assert edges.shape == (5, 2, 11, 2)
    middle = edges.mean(axis=1)
    for k in range(11):
        assert band.contains(middle[:, k]).all()
        for side in (0, 1):
            outward = edges[:, side, k] - middle[:, k]
            assert band.contains(middle[:, k] + 0.999 * outward).all()
            assert not band.contains(middle[:, k] + 1.001 * outward).any()


def test_edges_span_the_image_however_steep_the_line():
    # y1 = y2 and x1 = x2: lines along both axes.
    for F, axis in ((SIDEWAYS, 0), (SIDEWAYS[[1, 0, 2]][:, [1, 0, 2]], 1)):
        edges = epipolar_band(F, 1e-6 * np.eye(9), [[30.0, 40.0]]).edges((200, 100))
        assert edges[..., axis].min() <= 0
        assert edges[..., axis].max() >= (200, 100)[axis] - 1


def test_bands_widen_with_probability_and_noise(view, covariance):
    points = view.matches[:, :2]

    def width(**options):
        first, second = epipolar_band(view.F, covariance, points, **options).edges((1000, 750), 2)[
            0
        ]
        return np.linalg.norm(first - second, axis=1).mean()

    assert width(probability=0.5) < width(probability=0.95) < width(probability=0.99)
    assert width(noise_scale=0.0) < width() < width(noise_scale=20.0)


def test_the_band_of_a_match_adds_the_noise_of_both_points(view):
    """Of an exact F, a measured match is off by the noise of both points, and no more."""
    nothing = np.zeros((9, 9))
    rng = np.random.default_rng(1)
    exact = np.repeat(view.exact, 100, axis=0)
    noisy = exact + rng.normal(0, 2.0, exact.shape)
    band = epipolar_band(view.F, nothing, noisy[:, :2], noise_scale=2.0, probability=0.9)
    assert band.contains(noisy[:, 2:]).mean() == pytest.approx(0.9, abs=0.015)
    other = epipolar_band(view.F, nothing, noisy[:, 2:], noise_scale=2.0, image=2, probability=0.9)
    assert other.contains(noisy[:, :2]).mean() == pytest.approx(0.9, abs=0.015)


# --- Hard input


def test_arguments_stay_as_they_are(view, covariance):
    arrays = view.F.copy(), view.matches.copy(), covariance.copy()
    for array in arrays:
        array.flags.writeable = False
    F, matches, spread = arrays
    sampson_jacobian(F, matches)
    fundamental_covariance(F, matches, sample_weight=np.ones(len(matches)))
    epipolar_band(F, spread, matches[:, :2], noise_scale=1.0).edges((10, 10))
    epipole_covariance(F, spread)


def test_no_points_have_no_bands(view, covariance):
    band = epipolar_band(view.F, covariance, np.empty((0, 2)))
    assert band.lines.shape == (0, 3)
    assert band.edges((10, 10)).shape == (0, 2, 101, 2)
    assert band.contains(np.empty((0, 2))).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, C: tangent_basis(np.ones((3, 3))), "rank 1"),
        (lambda m, C: tangent_basis(np.zeros((3, 3))), "must not be zero"),
        (lambda m, C: epipole_covariance(np.ones((3, 3)), C), "rank 1"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m[:7]), "at least 8"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m[:6], noise_scale=1.0), "at least 7"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m[[0] * 20]), "all coincide"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m[[0, 1] * 10]), "leave F undetermined"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m * np.nan), "finite"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m, noise_scale=-1.0), "at least 0"),
        (lambda m, C: fundamental_covariance(FORWARD, m, noise_scale=1e9), "rank 0"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m, sample_weight=[1.0]), "one entry per"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m, sample_weight=0 * m[:, 0]), "zero for"),
        (lambda m, C: fundamental_covariance(SIDEWAYS, m, probability=2 + 0 * m[:, 0]), "exceed 1"),
        (
            lambda m, C: fundamental_covariance(SIDEWAYS, m, probability=0.1 + 0 * m[:, 0]),
            "more than 7",
        ),
        (lambda m, C: line_covariance(SIDEWAYS, np.eye(3), m[:, :2]), r"shape \(9, 9\)"),
        (lambda m, C: line_covariance(SIDEWAYS, C, m), r"shape \(n, 2\)"),
        (lambda m, C: line_covariance(SIDEWAYS, C, m[:, :2], image=3), "1 or 2"),
        (lambda m, C: epipolar_band(SIDEWAYS, C, m[:, :2], probability=95), "between 0 and 1"),
        (lambda m, C: epipolar_band(SIDEWAYS, C, m[:, :2], noise_scale=-1.0), "at least 0"),
        (lambda m, C: epipolar_band(SIDEWAYS, C, m[:2, :2]).contains(m[:1, 2:]), "each of 2"),
        (lambda m, C: epipolar_band(SIDEWAYS, C, m[:2, :2]).edges((9, 9), 1), "at least 2"),
    ],
)
def test_what_is_wrong_is_said(view, covariance, call, message):
    with pytest.raises(ValueError, match=message):
        call(view.matches[:60], covariance)


def test_the_epipole_has_no_line():
    with pytest.raises(ValueError, match="point 1"):
        epipolar_band(FORWARD, np.eye(9), [[3.0, 4.0], [10.0, 20.0]])
    both = [[10.0, 20.0, 10.0, 20.0]]
    with pytest.raises(ValueError, match="match 0"):
        sampson_jacobian(FORWARD, both)
    # It says nothing about F, and does no harm.
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 100, (50, 2))
    second = [10, 20] + (first - [10, 20]) * rng.uniform(1.1, 1.5, (50, 1))
    matches = np.concatenate([first, second], axis=1) + rng.normal(0, 0.01, (50, 4))
    assert_covariances_close(
        fundamental_covariance(FORWARD, np.concatenate([matches, both]), noise_scale=0.01),
        fundamental_covariance(FORWARD, matches, noise_scale=0.01),
    )


def test_a_plane_says_that_it_does_not_determine_f():
    view = make(50, 0.0, "planar")
    with pytest.raises(ValueError, match="leave F undetermined"):
        fundamental_covariance(view.F, view.matches, noise_scale=0.1)
