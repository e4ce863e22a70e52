"""Gaussian mixture regression against numerical integration, samples and fits by least squares."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import multivariate_normal

from fastmotion.em.gaussians import COVARIANCE_TYPES, Gaussians
from fastmotion.mixture import GaussianMixture
from fastmotion.mixture.regression import condition_mixture
from tests.reference.missing import random_components

WEIGHTS = np.array([0.5, 0.3, 0.2])


def random_gaussians(rng, covariance_type, n_features=4):
    components = random_components(rng, covariance_type, n_features=n_features)
    return Gaussians.from_covariances(*components, covariance_type)


def joint_density(weights, gaussians, rows):
    """Return the density of the mixture over all features."""
    return sum(
        weight * multivariate_normal(mean, covariance).pdf(rows)
        for weight, mean, covariance in zip(weights, gaussians.means, gaussians.full_covariances())
    )


def integral(values, grid):
    return trapezoid(values, grid, axis=-1)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("columns", [[0, 2], [2, 0], [1, 2], [-1, 0]])
def test_moments_are_the_integrals_of_the_joint_density(rng, covariance_type, columns):
    gaussians = random_gaussians(rng, covariance_type, n_features=3)
    known = rng.normal(size=(5, 2))
    given = condition_mixture(WEIGHTS, gaussians, known, columns)
    (unknown,) = set(range(3)) - {column % 3 for column in columns}
    np.testing.assert_array_equal(given.columns, [unknown])
    grid = np.linspace(-40, 40, 8001)
    rows = np.empty((5, len(grid), 3))
    rows[..., unknown] = grid
    for value, column in zip(known.T, columns):
        rows[..., column] = value[:, None]
    joint = joint_density(WEIGHTS, gaussians, rows)
    density = joint / integral(joint, grid)[:, None]
    mean = integral(density * grid, grid)
    variance = integral(density * (grid - mean[:, None]) ** 2, grid)
    np.testing.assert_allclose(given.mean()[:, 0], mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(given.covariance()[:, 0, 0], variance, rtol=1e-9)
    scores = given.score_samples(np.full((5, 1), grid[4123]))
    np.testing.assert_allclose(scores, np.log(density[:, 4123]), rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_density_is_the_joint_over_the_known(rng, covariance_type):
    gaussians = random_gaussians(rng, covariance_type, n_features=5)
    rows = rng.normal(size=(20, 5))
    given = condition_mixture(WEIGHTS, gaussians, rows[:, [3, 1]], [3, 1])
    covariances = gaussians.full_covariances()[:, [3, 1]][:, :, [3, 1]]
    part = Gaussians.from_covariances(gaussians.means[:, [3, 1]], covariances, "full")
    expected = np.log(joint_density(WEIGHTS, gaussians, rows))
    expected -= np.log(joint_density(WEIGHTS, part, rows[:, [3, 1]]))
    np.testing.assert_allclose(given.score_samples(rows[:, [0, 2, 4]]), expected, rtol=1e-9)
    np.testing.assert_allclose(given.weights.sum(axis=1), 1, rtol=1e-12)


def test_samples_have_the_moments(rng):
    gaussians = random_gaussians(rng, "full")
    known = np.repeat(rng.normal(size=(1, 2)), 200_000, axis=0)
    given = condition_mixture(WEIGHTS, gaussians, known, [0, 1])
    drawn = given.sample(random_state=0)
    deviation = np.sqrt(np.diagonal(given.covariance()[0]))
    np.testing.assert_allclose(drawn.mean(axis=0), given.mean()[0], atol=0.01 * deviation.max())
    spread = np.cov(drawn.T)
    np.testing.assert_allclose(spread, given.covariance()[0], atol=0.02 * spread.max())
    np.testing.assert_array_equal(drawn, given.sample(random_state=0))


def test_one_component_is_linear_regression(rng):
    X = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + 5
    mixture = GaussianMixture(1, reg_covar=0).fit(X)
    design = np.column_stack([np.ones(500), X[:, [2, 0]]])
    fitted = design @ np.linalg.lstsq(design, X[:, 1], rcond=None)[0]
    given = mixture.condition(X[:, [2, 0]], [2, 0])
    np.testing.assert_allclose(given.mean()[:, 0], fitted, rtol=1e-9)
    residual = np.mean((X[:, 1] - fitted) ** 2)
    np.testing.assert_allclose(given.covariance()[:, 0, 0], residual, rtol=1e-9)


def test_regression_follows_a_curve(rng):
    x = rng.uniform(-3, 3, size=5000)
    y = np.sin(x) + 0.05 * rng.normal(size=5000)
    mixture = GaussianMixture(12, random_state=0, max_iter=200).fit(np.column_stack([x, y]))
    grid = np.linspace(-2.5, 2.5, 50)[:, None]
    given = mixture.condition(grid, [True, False])
    assert np.abs(given.mean() - np.sin(grid)).max() < 0.05


def test_columns_may_be_names():
    pandas = pytest.importorskip("pandas", reason="names of features need pandas")
    x = np.linspace(0, 1, 100)
    frame = pandas.DataFrame({"time": x, "x": 2 * x, "y": 1 - x})
    mixture = GaussianMixture(1).fit(frame)
    by_name = mixture.condition([[0.5, 0.3]], ["y", "time"])
    by_index = mixture.condition([[0.5, 0.3]], [2, 0])
    np.testing.assert_array_equal(by_name.mean(), by_index.mean())


@pytest.mark.parametrize("known", [np.array([[1]]), [[1]], np.array([[True]])])
def test_other_numbers_become_float64(rng, known):
    given = condition_mixture(WEIGHTS, random_gaussians(rng, "full"), known, [1])
    assert given.mean().dtype == np.float64


def test_float32_stays(rng):
    gaussians = random_gaussians(rng, "full")
    known = rng.normal(size=(30, 2)).astype(np.float32)
    known.setflags(write=False)
    given = condition_mixture(WEIGHTS, gaussians, known, [0, 1])
    exact = condition_mixture(WEIGHTS, gaussians, known.astype(np.float64), [0, 1])
    Y = rng.normal(size=(30, 2)).astype(np.float32)
    for name, arguments in (("mean", ()), ("covariance", ()), ("score_samples", (Y,))):
        got, want = (getattr(part, name)(*arguments) for part in (given, exact))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert given.sample(0).dtype == np.float32


def test_far_from_all_components(rng):
    gaussians = random_gaussians(rng, "full")
    given = condition_mixture(WEIGHTS, gaussians, [[1e6, -1e6], [1e200, 1e200]], [0, 1])
    np.testing.assert_allclose(given.weights.sum(axis=1), 1)
    assert np.isfinite(given.mean()).all()


def test_component_without_weight_has_none_in_any_row(rng):
    gaussians = random_gaussians(rng, "full")
    given = condition_mixture(np.array([0.6, 0.0, 0.4]), gaussians, np.zeros((3, 1)), [0])
    assert (given.weights[:, 1] == 0).all()
    components = condition_mixture(
        np.array([0.6, 0.4]), gaussians.take([0, 2]), np.zeros((3, 1)), [0]
    )
    np.testing.assert_allclose(given.mean(), components.mean(), rtol=1e-12)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ([], ValueError, "at least one of the 4 features"),
        ([0, 1, 2, 3], ValueError, "leave at least one out"),
        ([1, 1], ValueError, "once"),
        ([3, -1], ValueError, "once"),
        ([4], ValueError, "from -4 to 3"),
        ([0.5], TypeError, "indices or a mask"),
        (0, TypeError, "one-dimensional"),
        ([True, False], ValueError, r"shape \(4,\)"),
    ],
)
def test_wrong_columns_are_an_error(rng, columns, error, message):
    with pytest.raises(error, match=message):
        condition_mixture(WEIGHTS, random_gaussians(rng, "full"), [[0.0]], columns)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ([0.0, 1.0], r"X_known must have shape \(n_samples, 2\), got \(2,\)"),
        ([[0.0]], r"shape \(n_samples, 2\)"),
        ([[0.0, np.nan]], "fewer columns"),
        ([[0.0, np.inf]], "finite"),
    ],
)
def test_wrong_values_are_an_error(rng, known, message):
    with pytest.raises(ValueError, match=message):
        condition_mixture(WEIGHTS, random_gaussians(rng, "full"), known, [0, 1])


def test_density_of_other_rows_is_an_error(rng):
    given = condition_mixture(WEIGHTS, random_gaussians(rng, "full"), np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match=r"Y must have shape \(3, 2\), got \(1, 2\)"):
        given.score_samples(np.zeros((1, 2)))
