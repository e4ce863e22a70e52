import numpy as np
import pytest
from scipy.stats import multivariate_normal

from fastmotion.datasets import TrueMixture, make_gaussian_mixture, make_gaussian_set, make_hmm

SETS = {"fj1": (3, 2), "fj2": (4, 2), "random2d": (6, 2), "random4d": (8, 4), "random8d": (8, 8)}
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


def distances(means, covariances):
    """Return the Mahalanobis distances of all pairs of means under their mean covariance."""
    found = []
    for i in range(len(means)):
        for j in range(i):
            away = means[i] - means[j]
            found.append(away @ np.linalg.solve((covariances[i] + covariances[j]) / 2, away))
    return np.sqrt(found)


def assert_moments(X, labels, weights, means, covariances):
    """Each component has the share, the mean and the covariance that it should."""
    for k in range(len(weights)):
        members = X[labels == k]
        n = len(members)
        assert n / len(X) == pytest.approx(weights[k], abs=5 * np.sqrt(weights[k] / len(X)))
        error = members.mean(axis=0) - means[k]
        assert (abs(error) < 5 * np.sqrt(np.diag(covariances[k]) / n)).all()
        widths = np.sqrt(np.diag(covariances[k]))
        error = (np.cov(members.T) - covariances[k]) / np.outer(widths, widths)
        assert (abs(error) < 5 * np.sqrt(2 / n)).all()


@pytest.mark.parametrize("name", SETS)
def test_sets(name):
    data = make_gaussian_set(name, n_samples=30_000, random_state=3)
    truth = data.truth
    assert (truth.n_components, truth.n_features) == SETS[name]
    assert data.X.shape == (30_000, truth.n_features) and data.X.dtype == np.float64
    assert truth.weights.sum() == pytest.approx(1)
    assert_moments(data.X, data.y, truth.weights, truth.means, truth.covariances)
    # In random order: neighbours have nothing to do with each other.
    same = np.mean(data.y[1:] == data.y[:-1])
    assert same == pytest.approx((truth.weights**2).sum(), abs=0.02)


@pytest.mark.parametrize(
    ("name", "n_samples"),
    [("fj1", 900), ("fj2", 1000), ("random2d", 1500), ("random4d", 2000), ("random8d", 2000)],
)
def test_usual_size_and_seeds(name, n_samples):
    first, same, other = (make_gaussian_set(name, random_state=seed) for seed in (0, 0, 1))
    assert first.X.shape[0] == first.y.shape[0] == n_samples
    np.testing.assert_array_equal(first.X, same.X)
    np.testing.assert_array_equal(first.y, same.y)
    assert not np.array_equal(first.X, other.X)
    is_random = name.startswith("random")
    assert np.array_equal(first.truth.means, other.truth.means) != is_random


def test_two_components_of_the_second_set_share_their_mean():
    truth = make_gaussian_set("fj2", random_state=0).truth
    assert np.count_nonzero(distances(truth.means, truth.covariances) == 0) == 1


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_covariance_types(covariance_type):
    data = make_gaussian_mixture(
        20_000, n_components=3, n_features=4, covariance_type=covariance_type, random_state=0
    )
    truth = data.truth
    covariances = truth.covariances
    assert covariances.shape == (3, 4, 4)
    widths = np.sqrt(np.linalg.eigvalsh(covariances))
    assert widths.min() >= 0.5 - 1e-9 and widths.max() <= 2 + 1e-9
    assert (covariances == covariances[:1]).all() == (covariance_type == "tied")
    is_diagonal = (covariances[:, ~np.eye(4, dtype=bool)] == 0).all()
    assert is_diagonal == (covariance_type in ("diag", "spherical"))
    is_round = np.allclose(widths, widths[:, :1])
    assert is_round == (covariance_type == "spherical")
    assert_moments(data.X, data.y, truth.weights, truth.means, covariances)


@pytest.mark.parametrize("separation", [0.0, 2.0, 6.0])
@pytest.mark.parametrize(("n_components", "n_features"), [(2, 1), (12, 2), (8, 8), (64, 32)])
def test_separation(n_components, n_features, separation):
    truth = make_gaussian_mixture(
        1,
        n_components=n_components,
        n_features=n_features,
        separation=separation,
        random_state=5,
    ).truth
    found = distances(truth.means, truth.covariances)
    assert found.min() >= separation
    # Not farther away than is needed: some two are neighbours.
    if n_features <= 2 and separation:
        assert found.min() < 2 * separation
    assert truth.weights.max() <= 3 * truth.weights.min()


def test_number_of_samples_leaves_the_mixture():
    small, large = (make_gaussian_mixture(n, random_state=0) for n in (10, 1000))
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(small.truth, name), getattr(large.truth, name))


def test_offset():
    near, far = (make_gaussian_mixture(50, offset=o, random_state=0) for o in (0.0, 1e4))
    np.testing.assert_allclose(far.X, near.X + 1e4, rtol=1e-12)
    np.testing.assert_allclose(far.truth.means, near.truth.means + 1e4, rtol=1e-12)
    np.testing.assert_array_equal(far.y, near.y)


def test_density_is_that_of_scipy():
    data = make_gaussian_mixture(40, n_components=3, n_features=3, random_state=1)
    truth = data.truth
    density = sum(
        weight * multivariate_normal(mean, covariance).pdf(data.X)
        for weight, mean, covariance in zip(truth.weights, truth.means, truth.covariances)
    )
    np.testing.assert_allclose(truth.score_samples(data.X), np.log(density), rtol=1e-12)
    far = truth.score_samples(np.full((1, 3), 1e4))
    assert np.isfinite(far).all() and far < -1e6


def test_divergence_of_two_gaussians():
    a = TrueMixture(np.ones(1), np.zeros((1, 2)), np.array([[[1.0, 0.3], [0.3, 2.0]]]))
    b = TrueMixture(np.ones(1), np.array([[0.5, -1.0]]), np.array([[[2.0, 0.0], [0.0, 1.0]]]))
    inverse, away = np.linalg.inv(b.covariances[0]), b.means[0] - a.means[0]
    expected = 0.5 * (
        np.trace(inverse @ a.covariances[0])
        - 2
        + away @ inverse @ away
        + np.log(np.linalg.det(b.covariances[0]) / np.linalg.det(a.covariances[0]))
    )
    found = a.divergence(b.score_samples, n_samples=200_000, random_state=0)
    assert found == pytest.approx(expected, rel=0.02)
    assert a.divergence(a.score_samples, random_state=0) == 0
    assert found != a.divergence(b.score_samples, n_samples=200_000, random_state=1)


def split(data):
    return np.split(data.X, np.cumsum(data.lengths)[:-1])


def test_hmm():
    data = make_hmm(40, 500, n_states=3, n_features=2, stay=0.8, random_state=0)
    assert data.X.shape == (20_000, 2) and data.states.shape == (20_000,)
    assert data.lengths.tolist() == [500] * 40
    states = data.states.reshape(40, 500)
    counts = np.zeros((3, 3))
    np.add.at(counts, (states[:, :-1], states[:, 1:]), 1)
    np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), data.transmat, atol=0.02)
    np.testing.assert_allclose(np.diag(data.transmat), 0.8)
    np.testing.assert_allclose(data.transmat.sum(axis=1), 1)
    shares = np.bincount(data.states) / len(data.states)
    assert_moments(data.X, data.states, shares, data.means, data.covariances)
    assert distances(data.means, data.covariances).min() >= 3


def test_hmm_starts_as_it_says():
    data = make_hmm(3000, 1, n_states=3, random_state=2)
    shares = np.bincount(data.states) / 3000
    np.testing.assert_allclose(shares, data.startprob, atol=0.04)
    assert np.ptp(data.startprob) > 0.08


def test_hmm_sequences_do_not_depend_on_each_other():
    one, many = make_hmm(2, (30, 40), random_state=0), make_hmm(3, (30, 50, 60), random_state=0)
    np.testing.assert_array_equal(split(one)[0], split(many)[0])
    # States are drawn before frames, so that a longer sequence is another.
    np.testing.assert_array_equal(one.states[30:70], many.states[30:70])
    for name in ("startprob", "transmat", "means", "covariances"):
        np.testing.assert_array_equal(one[name], many[name])
    assert [len(x) for x in split(many)] == [30, 50, 60]


def test_hmm_of_one_state():
    data = make_hmm(2, 10, n_states=1, random_state=0)
    assert data.transmat.tolist() == [[1.0]] and not data.states.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_gaussian_set("fj3"), "name must be one of"),
        (lambda: make_gaussian_set("fj1", n_samples=0), "n_samples"),
        (lambda: make_gaussian_set("random2d", n_samples=1.5), "n_samples"),
        (lambda: make_gaussian_mixture(n_components=0), "n_components"),
        (lambda: make_gaussian_mixture(n_features=0), "n_features"),
        (lambda: make_gaussian_mixture(covariance_type="round"), "covariance_type"),
        (lambda: make_gaussian_mixture(separation=-1), "separation"),
        (lambda: make_gaussian_mixture(offset=np.inf), "offset"),
        (lambda: make_gaussian_mixture(random_state="a"), "random_state"),
        (lambda: make_hmm(0), "n_sequences"),
        (lambda: make_hmm(2, (10, 0)), "n_frames must be positive integers"),
        (lambda: make_hmm(2, (10, 2.5)), "n_frames must be positive integers"),
        (lambda: make_hmm(2, (10, 20, 30)), "there are 2 sequences"),
        (lambda: make_hmm(n_states=0), "n_states"),
        (lambda: make_hmm(stay=1.0), "stay"),
    ],
)
def test_impossible_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()
