"""select_components: the number of components, the path, weights, hard input."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

from fastmotion.core.device import CPU
from fastmotion.core.memory import memory_of
from fastmotion.datasets import TrueMixture, make_gaussian_mixture, make_gaussian_set
from fastmotion.em.gaussians import COVARIANCE_TYPES, Gaussians
from fastmotion.em.kernels import cpu
from fastmotion.em.samples import Samples
from fastmotion.mixture import selection
from fastmotion.mixture._model import Mixture
from fastmotion.mixture.kernels.search import (
    climb_diag,
    climb_full,
    losses_of_mergers,
    propose_mergers,
)
from fastmotion.mixture.selection import CRITERIA, select_components
from tests.reference import mixture as reference

SETS = ("fj1", "fj2", "random2d", "random4d", "random8d")
N_COVARIANCES = {
    "full": lambda k, d: k * d * (d + 1) / 2,
    "tied": lambda k, d: d * (d + 1) / 2,
    "diag": lambda k, d: k * d,
    "spherical": lambda k, d: k,
}


def matrices(mixture):
    gaussians = mixture.gaussians
    return reference.Mixture(mixture.weights, gaussians.means, gaussians.full_covariances())


def find_merger(X, weight, centre, kind, *parts):
    """Return the two components whose merger costs the least, and its mean and covariance."""
    pairs, *proposed = propose_mergers(kind, *parts)
    best = losses_of_mergers(X, weight, centre, kind, pairs, *proposed).argmin()
    _, means, covariances = (every[len(parts[0]) + best] for every in proposed)
    return tuple(pairs[best].tolist()), means, covariances


def labels(X, mixture):
    return reference.expectation(X, matrices(mixture))[1].argmax(1)


def assert_same(result, other):
    assert result.criterion_path == other.criterion_path
    assert result.log_likelihoods == other.log_likelihoods
    for k, mixture in result.candidates.items():
        np.testing.assert_array_equal(mixture.weights, other.candidates[k].weights)
        np.testing.assert_array_equal(mixture.gaussians.means, other.candidates[k].gaussians.means)
        np.testing.assert_array_equal(
            mixture.gaussians.covariances, other.candidates[k].gaussians.covariances
        )


@pytest.mark.parametrize("name", SETS)
def test_number_is_found_and_nothing_is_likelier(name):
    data = make_gaussian_set(name, random_state=3)
    result = select_components(data.X, max_components=12, random_state=0)
    k = data.truth.n_components
    assert result.n_components == k
    # EM from the truth ends at the optimum that a search is after.
    truth = reference.Mixture(data.truth.weights, data.truth.means, data.truth.covariances)
    _, bounds = reference.run(data.X, truth, "full", 40)
    assert result.log_likelihoods[k] > bounds[-1] * len(data.X) - 0.05
    found = reference.expectation(data.X, matrices(result.best))[0].sum()
    assert result.log_likelihoods[k] == pytest.approx(found, rel=1e-9)


def test_light_components_are_found_beside_heavy_ones():
    means = np.array([[0, 0], [9, 0], [0, 9], [20, 0], [24, 0], [20, 5], [24, 5], [22, 9.0]])
    weights = np.array([20, 20, 20, 1, 1, 1, 1, 1]) / 65
    truth = TrueMixture(weights, means, np.array([np.eye(2)] * 3 + [0.3 * np.eye(2)] * 5))
    X, y = truth.sample(4000, random_state=0)
    for seed in range(3):
        result = select_components(X, random_state=seed)
        assert result.n_components == 8
        assert adjusted_rand_score(y, labels(X, result.best)) > 0.99


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"evidence"}))
@pytest.mark.filterwarnings("ignore:the criterion is least at max_components")
def test_path_is_the_criterion_of_the_candidates(covariance_type, criterion):
    data = make_gaussian_mixture(
        400, n_components=3, n_features=3, covariance_type=covariance_type, separation=5,
        random_state=1,
    )  # fmt: skip
    weight = np.random.default_rng(0).uniform(0.5, 2, 400)
    result = select_components(
        data.X,
        max_components=6,
        covariance_type=covariance_type,
        criterion=criterion,
        sample_weight=weight,
        random_state=0,
    )
    assert result.criterion == criterion
    assert list(result.criterion_path) == list(result.candidates) == [1, 2, 3, 4, 5, 6]
    assert result.n_components == min(result.criterion_path, key=result.criterion_path.get)
    assert result.best is result.candidates[result.n_components]
    for k, mixture in result.candidates.items():
        assert mixture.gaussians.covariance_type == covariance_type
        assert mixture.gaussians.n_components == k
        assert mixture.weights.sum() == pytest.approx(1)
        likelihood, shares = reference.expectation(data.X, matrices(mixture))
        assert result.log_likelihoods[k] == pytest.approx(likelihood @ weight, rel=1e-9)
        n_parameters = k - 1 + 3 * k + N_COVARIANCES[covariance_type](k, 3)
        expected = -2 * likelihood @ weight
        expected += n_parameters * (2 if criterion == "aic" else np.log(weight.sum()))
        if criterion == "icl":
            doubts = -(shares * np.log(np.maximum(shares, 1e-300))).sum(1)
            expected += 2 * weight @ doubts
        assert result.criterion_path[k] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.filterwarnings("ignore:the criterion is least at max_components")
def test_path_is_the_criterion_of_rounded_samples(covariance_type):
    data = make_gaussian_set("fj1", n_samples=500, random_state=0)
    X = np.round(data.X)
    result = select_components(X, max_components=5, covariance_type=covariance_type, random_state=0)
    for k, mixture in result.candidates.items():
        likelihood = reference.expectation(X, matrices(mixture))[0].sum()
        n_parameters = k - 1 + 2 * k + N_COVARIANCES[covariance_type](k, 2)
        expected = -2 * likelihood + n_parameters * np.log(len(X))
        assert result.criterion_path[k] == pytest.approx(expected, rel=1e-9)
        # What rounding explains is in the variances.
        assert np.diagonal(mixture.gaussians.full_covariances(), axis1=1, axis2=2).min() > 1 / 13


@pytest.mark.parametrize("nobody", [0.0, 1e-320])
def test_a_component_that_nobody_is_of_puts_no_sample_in_doubt(nobody):
    X = np.random.default_rng(0).normal(size=(50, 2))
    gaussians = Gaussians.from_covariances([[0, 0], [1, 0], [9, 9]], np.ones(3), "spherical")
    samples = Samples(X, np.ones(50))
    mixture = Mixture(np.array([0.5, 0.5, nobody]), gaussians)
    doubt = samples.doubt(gaussians, mixture.log_weights)
    two = Gaussians.from_covariances([[0, 0], [1, 0]], np.ones(2), "spherical")
    assert doubt == pytest.approx(samples.doubt(two, np.log([0.5, 0.5])), rel=1e-12)


def log_predictive(X, scale, covariance_type):
    """Return the log probability of samples, their mean and covariance integrated out.

    Each sample but the first, which is where the mean may be anywhere, is predicted from those
    before it, by Student's distribution.
    """
    n_features = X.shape[1]
    if covariance_type == "diag":
        return sum(
            log_predictive(X[:, [j]], scale[j : j + 1, j : j + 1], "full")
            for j in range(n_features)
        )
    is_round = covariance_type == "spherical"
    mean, sums, degrees = X[0], scale.astype(float), 3 if is_round else n_features + 2
    total = 0.0
    for n, x in enumerate(X[1:], start=1):
        freedom = degrees if is_round else degrees - n_features + 1
        total += multivariate_t.logpdf(x, mean, sums * (n + 1) / (n * freedom), df=freedom)
        square = n / (n + 1) * np.outer(x - mean, x - mean)
        sums = sums + (np.eye(n_features) * np.trace(square) if is_round else square)
        mean = (n * mean + x) / (n + 1)
        degrees += n_features if is_round else 1
    return total


def of_type(covariance, covariance_type):
    if covariance_type == "full":
        return covariance
    variances = np.diag(covariance)
    return np.diag(variances if covariance_type == "diag" else np.full(2, variances.mean()))


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_evidence_is_exact_where_no_sample_is_in_doubt(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    if covariance_type != "spherical":
        X = X @ [[1, 0.5], [0, 2]]
    X[60:] += 100
    result = select_components(
        X,
        max_components=4,
        covariance_type=covariance_type,
        criterion="evidence",
        reg_covar=1e-12,
        random_state=0,
    )
    spread = of_type(np.cov(X.T, bias=True), covariance_type)
    prior_of_mean = multivariate_normal(X.mean(0), spread)
    expected = log_predictive(X, spread, covariance_type) + prior_of_mean.logpdf(X.mean(0))
    assert result.criterion_path[1] == pytest.approx(-2 * expected, rel=1e-6)
    assert result.n_components == 2
    # 60 and 30 of 90, in the order drawn, under a uniform prior; and either may come first.
    expected = -np.log(91) - np.log(float(comb(90, 30))) + np.log(2)
    parts = X[:60], X[60:]
    within = sum(len(part) / 90 * np.cov(part.T, bias=True) for part in parts)
    for part in parts:
        expected += log_predictive(part, of_type(within, covariance_type), covariance_type)
        expected += prior_of_mean.logpdf(part.mean(0))
    assert result.criterion_path[2] == pytest.approx(-2 * expected, rel=1e-6)


def test_evidence_of_one_tied_component_is_that_of_a_full_one():
    X = np.random.default_rng(0).normal(size=(200, 2))
    tied, full = (
        select_components(X, covariance_type=kind, criterion="evidence", random_state=0)
        for kind in ("tied", "full")
    )
    assert tied.n_components == full.n_components == 1
    assert tied.criterion_path[1] == pytest.approx(full.criterion_path[1], rel=1e-12)
    assert tied.criterion_path[2] != pytest.approx(full.criterion_path[2], rel=1e-3)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_evidence_finds_the_number(covariance_type):
    data = make_gaussian_mixture(
        900, n_components=5, n_features=3, covariance_type=covariance_type, separation=5,
        random_state=2,
    )  # fmt: skip
    result = select_components(
        data.X, covariance_type=covariance_type, criterion="evidence", random_state=0
    )
    assert result.n_components == 5


def test_evidence_sees_what_bic_does_not():
    # Ten features and little more samples than parameters.
    data = make_gaussian_mixture(600, n_components=5, n_features=10, separation=5, random_state=0)
    assert select_components(data.X, random_state=0).n_components < 5
    assert select_components(data.X, criterion="evidence", random_state=0).n_components == 5


def test_likelihood_grows_with_the_number():
    data = make_gaussian_set("fj2", random_state=0)
    result = select_components(data.X, max_components=8, random_state=0)
    likelihoods = [result.log_likelihoods[k] for k in range(1, result.n_components + 2)]
    assert np.all(np.diff(likelihoods) > 0)


def test_only_numbers_asked_for_are_considered():
    data = make_gaussian_set("fj1", random_state=0)
    result = select_components(data.X, min_components=4, max_components=6, random_state=0)
    assert set(result.candidates) == {4, 5, 6}
    only = select_components(data.X, min_components=5, max_components=5, random_state=0)
    assert set(only.candidates) == {5}
    assert only.log_likelihoods[5] == pytest.approx(result.log_likelihoods[5], abs=5)


def test_criterion_that_still_falls_at_the_end_is_warned_about():
    data = make_gaussian_set("fj1", random_state=0)
    with pytest.warns(UserWarning, match="max_components=2"):
        assert select_components(data.X, max_components=2, random_state=0).n_components == 2


def test_weights_count_samples():
    data = make_gaussian_set("fj1", n_samples=400, random_state=0)
    counts = np.random.default_rng(0).integers(1, 4, 400)
    weighted = select_components(data.X, max_components=5, sample_weight=counts, random_state=0)
    repeated = select_components(
        np.repeat(data.X, counts, axis=0), max_components=5, random_state=0
    )
    assert weighted.n_components == repeated.n_components
    # Their starts differ, their optima do not.
    for k in (1, 2, 3):
        assert weighted.criterion_path[k] == pytest.approx(repeated.criterion_path[k], abs=0.2)


def test_a_sample_of_weight_zero_does_not_exist():
    data = make_gaussian_set("fj1", n_samples=300, random_state=0)
    weight = np.ones(300)
    weight[::7] = 0
    X = data.X.copy()
    X[::7] = 1e6
    kept = select_components(X[weight > 0], max_components=5, random_state=0)
    assert_same(select_components(X, max_components=5, sample_weight=weight, random_state=0), kept)


def test_seeds_and_threads():
    data = make_gaussian_set("random2d", random_state=0)
    first = select_components(data.X, max_components=8, n_starts=3, random_state=7, n_jobs=1)
    again = select_components(data.X, max_components=8, n_starts=3, random_state=7, n_jobs=2)
    assert_same(first, again)
    state = np.random.RandomState(7)
    other = select_components(data.X, max_components=8, n_starts=3, random_state=state)
    assert_same(first, other)


def test_more_starts_are_never_worse():
    data = make_gaussian_mixture(300, n_components=8, separation=2, random_state=0)
    few = select_components(data.X, max_components=10, n_starts=1, random_state=0, max_iter=0)
    many = select_components(data.X, max_components=10, n_starts=4, random_state=0, max_iter=0)
    gains = [many.log_likelihoods[k] - few.log_likelihoods[k] for k in few.log_likelihoods]
    assert min(gains) >= 0
    assert max(gains) > 0.1


def test_samples_are_left_as_they_are():
    data = make_gaussian_set("fj1", n_samples=200, random_state=0)
    before = data.X.copy()
    data.X.flags.writeable = False
    from_list = select_components(before.tolist(), max_components=5, random_state=0)
    result = select_components(data.X, max_components=5, random_state=0)
    assert result.criterion_path == pytest.approx(from_list.criterion_path, rel=1e-12)
    np.testing.assert_array_equal(data.X, before)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_samples_and_weights_that_are_read_only_compile_nothing_again(covariance_type):
    data = make_gaussian_set("fj1", n_samples=200, random_state=0)
    X, weight = data.X.copy(), np.linspace(1, 2, 200)
    options = {"max_components": 5, "covariance_type": covariance_type, "random_state": 0}
    expected = select_components(X, sample_weight=weight, **options)
    kernels = (
        climb_full,
        climb_diag,
        losses_of_mergers,
        cpu.log_densities_full,
        cpu.log_densities_diag,
    )
    before = [len(kernel.dispatcher.signatures) for kernel in kernels]
    X.flags.writeable = weight.flags.writeable = False
    assert_same(select_components(X, sample_weight=weight, **options), expected)
    assert [len(kernel.dispatcher.signatures) for kernel in kernels] == before
    assert sum(before) > 0


def test_samples_that_all_count_are_not_copied():
    X, weight = np.arange(10.0).reshape(5, 2), np.arange(1.0, 6.0)
    assert np.shares_memory(selection._check_samples(X, weight, 1, memory_of(CPU))[0], X)
    weight[2] = 0
    np.testing.assert_array_equal(
        selection._check_samples(X, weight, 1, memory_of(CPU))[0], X[[0, 1, 3, 4]]
    )


def test_float32_and_an_offset_change_nothing_that_matters():
    data = make_gaussian_set("fj1", random_state=0)
    expected = select_components(data.X, max_components=5, random_state=0)
    rounded = select_components(data.X.astype(np.float32), max_components=5, random_state=0)
    shifted = select_components(data.X + 1e5, max_components=5, random_state=0)
    for result in (rounded, shifted):
        assert result.best.gaussians.means.dtype == np.float64
        for k in (1, 2, 3):
            assert result.criterion_path[k] == pytest.approx(expected.criterion_path[k], abs=0.05)


def test_descents_on_some_of_many_samples():
    X = np.random.default_rng(0).normal(size=(25_000, 1))
    X[:10_000] += 5
    result = select_components(X, max_components=3, n_starts=1, random_state=0)
    assert result.n_components == 2
    for k, mixture in result.candidates.items():
        expected = reference.expectation(X, matrices(mixture))[0].sum()
        assert result.log_likelihoods[k] == pytest.approx(expected, rel=1e-9)


# --- Steps


def components_of(covariance_type, seed=0):
    """Return overlapping samples, and a mixture of four on them."""
    X, _ = reference.samples(300, 4, 3, seed=seed, distance=2.0)
    start = reference.start(X, 4, covariance_type, seed=seed)
    return X, reference.run(X, start, covariance_type, 5)[0]


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_climb_is_em(covariance_type):
    X, start = components_of(covariance_type)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    floor = np.array([0.01, 0.02, 0.03] if covariance_type != "spherical" else [0.02] * 3)
    expected = start
    for _ in range(3):
        expected, _ = reference.step(X, expected, covariance_type, 0.0, weight)
        # Not the same for all features, as reg_covar is.
        expected.covariances[...] += np.diag(floor)
    centre = X.mean(0)
    parts = [start.weights.copy(), start.means - centre, start.covariances.copy()]
    climb = climb_full if covariance_type in ("full", "tied") else climb_diag
    kind = COVARIANCE_TYPES.index(covariance_type)
    found = climb(X, weight, centre, kind, floor, *parts, -np.inf, 3)
    assert found == pytest.approx(weight @ reference.expectation(X, expected)[0], rel=1e-10)
    np.testing.assert_allclose(parts[0], expected.weights, rtol=1e-8)
    np.testing.assert_allclose(parts[1] + centre, expected.means, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(parts[2], expected.covariances, rtol=1e-8, atol=1e-10)


def test_climb_stops_when_little_is_gained():
    X, start = components_of("full")
    weight, centre, floor = np.ones(len(X)), np.zeros(3), np.full(3, 1e-6)

    def after(tol, max_iter):
        parts = [part.copy() for part in (start.weights, start.means, start.covariances)]
        return climb_full(X, weight, centre, 0, floor, *parts, tol, max_iter)

    bounds = [after(-np.inf, n) for n in range(30)]
    gains = np.diff(bounds)
    assert (gains > 0).all()
    tol = 0.3
    assert gains[0] > tol > gains[-1]
    assert after(tol, 30) == bounds[np.flatnonzero(gains < tol)[0] + 1]


def merged(mixture, a, b, covariance_type):
    """Return a mixture with the component a in the place of a and b, and without b."""
    weight = mixture.weights[a] + mixture.weights[b]
    shares = mixture.weights[[a, b]] / weight
    mean = shares @ mixture.means[[a, b]]
    away = mixture.means[[a, b]] - mean
    covariance = np.einsum("k,kij->ij", shares, mixture.covariances[[a, b]])
    covariance += np.einsum("k,ki,kj->ij", shares, away, away)
    if covariance_type in ("diag", "spherical"):
        covariance = np.diag(np.diag(covariance))
    if covariance_type == "spherical":
        covariance = np.eye(len(mean)) * np.trace(covariance) / len(mean)
    parts = [mixture.weights.copy(), mixture.means.copy(), mixture.covariances.copy()]
    parts[0][a], parts[1][a], parts[2][a] = weight, mean, covariance
    return reference.Mixture(*(np.delete(part, b, axis=0) for part in parts)), mean, covariance


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_merger_of_least_loss(covariance_type, seed):
    # Of three components all pairs are tried.
    X, four = components_of(covariance_type, seed)
    weights = four.weights[:3] / four.weights[:3].sum()
    three = reference.Mixture(weights, four.means[:3], four.covariances[:3])
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    likelihoods = {
        pair: weight @ reference.expectation(X, merged(three, *pair, covariance_type)[0])[0]
        for pair in combinations(range(3), 2)
    }
    best = max(likelihoods, key=likelihoods.get)
    centre = X.mean(0)
    kind = COVARIANCE_TYPES.index(covariance_type)
    parts = [three.weights, three.means - centre, three.covariances]
    found, mean, covariance = find_merger(X, weight, centre, kind, *parts)
    assert found == best
    _, expected_mean, expected_covariance = merged(three, *best, covariance_type)
    np.testing.assert_allclose(mean + centre, expected_mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=1e-10, atol=1e-12)


def test_halves_of_one_component_merge_before_two_light_ones():
    # From the components alone a heavy one's halves look worth more than two that are apart.
    rng = np.random.default_rng(0)
    heavy, light = rng.normal(size=(5000, 2)), rng.normal(size=(60, 2)) * 0.5
    light[:30] += [20, 0]
    light[30:] += [20, 4]
    X = np.concatenate([heavy, light])
    start = (
        np.array([0.5, 0.488, 0.006, 0.006]),
        np.array([[-0.1, 0], [0.1, 0], [20, 0], [20, 4]]),
        np.array([[[1.0, 0.3], [0.3, 1]], [[1.0, -0.3], [-0.3, 1]], np.eye(2) / 4, np.eye(2) / 4]),
    )
    assert find_merger(X, np.ones(len(X)), np.zeros(2), 0, *start)[0] == (0, 1)


# --- Hard input


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize(
    "X",
    [
        np.ones((20, 2)),
        np.zeros((1, 3)),
        np.array([[0.0, 1], [2, 5]]),
        np.repeat(np.eye(3), 20, axis=0),
        np.random.default_rng(0).normal(size=(10, 20)),
        np.outer(np.random.default_rng(0).normal(size=200), [1, 2, 3]),
        np.r_[np.random.default_rng(0).normal(size=(200, 2)), [[1e8, -1e8]]],
        np.r_[np.random.default_rng(0).normal(size=(200, 2)), np.full((4, 2), 1e8)],
        np.c_[np.random.default_rng(0).normal(size=200), np.ones(200)],
        np.random.default_rng(0).integers(0, 2, size=(100, 3)),
    ],
    ids=["one point", "one", "two", "three points", "wide", "line", "outlier", "outliers",
         "constant", "binary"],
)  # fmt: skip
@pytest.mark.parametrize("criterion", ["bic", "evidence"])
@pytest.mark.filterwarnings("ignore:the criterion is least at max_components")
def test_hard_input_has_a_result(X, covariance_type, criterion):
    result = select_components(
        X, covariance_type=covariance_type, criterion=criterion, random_state=0
    )
    assert 1 in result.candidates
    assert np.isfinite(list(result.criterion_path.values())).all()
    for mixture in result.candidates.values():
        assert np.isfinite(mixture.weights).all()
        assert np.isfinite(mixture.gaussians.means).all()
        assert np.isfinite(mixture.gaussians.precisions_cholesky).all()


def test_far_outliers_do_not_widen_the_others():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    X[:4] = 1e8 * rng.normal(size=(4, 2))
    result = select_components(X, random_state=0)
    assert result.n_components == 2
    heavy = result.best.weights.argmax()
    np.testing.assert_allclose(result.best.gaussians.deviations()[heavy], 1, rtol=0.1)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_more_components_than_samples_allow(criterion):
    X = np.random.default_rng(0).normal(size=(6, 2))
    result = select_components(
        X, min_components=5, max_components=8, criterion=criterion, random_state=0
    )
    assert list(result.candidates) == [5]
    assert np.isfinite(result.criterion_path[5])


def test_one_point_has_one_component():
    assert select_components(np.ones((50, 2)), random_state=0).n_components == 1


def test_one_gaussian_is_one_component():
    rng = np.random.default_rng(0)
    for n_samples, n_features in ((500, 2), (200, 10), (60, 1)):
        X = rng.normal(size=(n_samples, n_features)) * 10.0 ** np.arange(n_features)
        assert select_components(X, max_components=8, random_state=0).n_components == 1


@pytest.mark.parametrize("step", [1.0, 0.1])
def test_ties_of_rounded_values_are_no_components(step):
    X = np.round(np.random.default_rng(0).normal(size=(600, 2)) * (2 if step == 1 else 1) / step)
    result = select_components(X * step, random_state=0)
    assert result.n_components == 1
    for mixture in result.candidates.values():
        assert mixture.gaussians.deviations().min() ** 2 > 0.9 * step**2 / 12


def test_iris():
    X, y = load_iris(return_X_y=True)
    result = select_components(X, max_components=8, random_state=0)
    # As Fraley and Raftery found, two are a little ahead of three.
    assert result.n_components == 2
    found = select_components(X, max_components=8, min_components=3, random_state=0)
    assert adjusted_rand_score(y, labels(X, found.candidates[3])) > 0.85


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        ([[1.0], [np.nan]], {}, "missing values"),
        ([[1.0], [np.inf]], {}, "infinity"),
        (np.zeros((0, 2)), {}, "0 sample"),
        ([1.0, 2.0], {}, "2D"),
        ([[1.0], [2.0]], {"min_components": 3}, "at least min_components = 3"),
        ([[1.0], [2.0]], {"min_components": 3, "max_components": 2}, "got 3 and 2"),
        ([[1.0], [2.0]], {"sample_weight": [0, 0]}, "zero for all"),
        ([[1.0], [2.0]], {"sample_weight": [1, -1]}, "negative"),
        ([[1.0], [2.0]], {"sample_weight": [1]}, "one entry per sample"),
        ([[1.0, 1], [2.0, 1]], {"reg_covar": 0}, "ill-defined"),
        ([[1e200], [-1e200]], {}, "overflow"),
        ([[1.0], [2.0]], {"criterion": "mdl"}, "criterion"),
        ([[1.0], [2.0]], {"covariance_type": "round"}, "covariance_type"),
        ([[1.0], [2.0]], {"n_starts": 0}, "n_starts"),
        ([[1.0], [2.0]], {"max_components": 0}, "max_components"),
        ([[1.0], [2.0]], {"tol": -1}, "tol"),
        ([[1.0], [2.0]], {"random_state": "x"}, "random_state"),
    ],
)
def test_errors_say_what_is_wrong(X, options, message):
    with pytest.raises(ValueError, match=message):
        select_components(X, **options)


# --- Recorded sets


@pytest.mark.parametrize(("name", "n_classes"), [("a1", 20), ("r15", 15), ("unbalance", 8)])
def test_recorded_classes_are_found(data_dir, name, n_classes):
    path = data_dir / "mixture" / f"{name}.data.gz"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    X = np.loadtxt(path)
    for criterion in ("bic", "evidence"):
        result = select_components(X, max_components=30, criterion=criterion, random_state=0)
        assert result.n_components == n_classes
