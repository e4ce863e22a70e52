"""Starting points: k-means against its spelt-out form and scikit-learn, and draws from the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from fastmotion.em import seeding
from fastmotion.em.seeding import (
    assign,
    kmeans,
    kmeans_plusplus,
    random_rows,
)
from tests.reference import kmeans as reference

DTYPES = [np.float32, np.float64]

some = settings(max_examples=50, deadline=None, derandomize=True, database=None)
# Few values, so that rows repeat; some far out, some next to each other.
values = st.sampled_from([0.0, 1.0, 1.0 + 1e-6, -3.0, 5e7, np.nan])
samples = st.tuples(st.integers(4, 12), st.integers(1, 3)).flatmap(
    lambda shape: arrays(st.sampled_from(DTYPES), shape, elements=values)
)


def state(seed=0):
    return np.random.RandomState(seed)


def blobs(rng, n_samples=600, n_features=3, n_clusters=5, spread=8.0, dtype=np.float64):
    """Return samples of separate clusters, and their labels."""
    centres = spread * rng.permutation(np.arange(n_clusters * n_features))
    labels = rng.permutation(np.arange(n_samples) % n_clusters)
    X = centres.reshape(n_clusters, n_features)[labels] + rng.normal(size=(n_samples, n_features))
    return X.astype(dtype), labels


def same_partition(a, b):
    """Return whether two labellings are equal but for the names of the labels."""
    pairs = len(np.unique(np.stack([a, b]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 2, 4, 7, 9])
def test_labels_are_those_of_the_least_distance(rng, dtype, n_features):
    X = rng.normal(size=(1000, n_features)).astype(dtype)
    centres = rng.normal(size=(6, n_features))
    distances = reference.squared_distances(X, centres)
    labels = assign(X, centres)
    assert labels.dtype == np.int32
    chosen = distances[np.arange(len(X)), labels]
    np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_observed_features_decide_on_rows_with_missing_values(rng, dtype):
    X = rng.normal(size=(700, 5)).astype(dtype)
    X[rng.random(X.shape) < 0.4] = np.nan
    X[3] = np.nan
    centres = rng.normal(size=(4, 5))
    distances = reference.squared_distances(X, centres)
    labels = assign(X, centres)
    chosen = distances[np.arange(len(X)), labels]
    np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=1e-5)
    assert labels[3] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_separate_clusters_are_found(rng, dtype):
    X, labels = blobs(rng, dtype=dtype)
    found = kmeans(X, 5, random_state=state(), n_init=3)
    assert same_partition(assign(X, found.centres), labels)
    assert found.centres.dtype == np.float64
    np.testing.assert_allclose(found.inertia, reference.inertia(X, found.centres), rtol=1e-4)


def test_centres_are_the_weighted_means_of_their_members(rng):
    X = rng.normal(size=(500, 2))
    weight = rng.random(500)
    found = kmeans(X, 4, sample_weight=weight, random_state=state(), max_iter=500, tol=0.0)
    assert reference.is_fixed_point(X, found.centres, weight, 1e-12)
    np.testing.assert_allclose(
        found.inertia, reference.inertia(X, found.centres, weight), rtol=1e-12
    )


def test_weights_count_as_repeated_samples(rng):
    X, _ = blobs(rng, n_samples=200)
    weight = rng.integers(0, 4, size=200)
    weighted = kmeans(X, 5, sample_weight=weight, random_state=state(), n_init=5, tol=0.0)
    repeated = kmeans(np.repeat(X, weight, axis=0), 5, random_state=state(), n_init=5, tol=0.0)
    np.testing.assert_allclose(
        np.sort(weighted.centres, axis=0), np.sort(repeated.centres, axis=0), rtol=1e-12
    )


def test_as_good_as_scikit_learn(rng):
    X = rng.normal(size=(1000, 3))
    ours = [kmeans(X, 12, random_state=state(seed)).inertia for seed in range(6)]
    with threadpool_limits(1):  # its threads take longer to meet than to work
        theirs = [KMeans(12, n_init=1, random_state=seed).fit(X).inertia_ for seed in range(6)]
    assert np.mean(ours) < 1.01 * np.mean(theirs)


def test_more_runs_are_never_worse(rng):
    X = rng.normal(size=(400, 3))
    one = kmeans(X, 8, random_state=state(), n_init=1)
    more = kmeans(X, 8, random_state=state(), n_init=10)
    assert more.inertia < one.inertia


@pytest.mark.parametrize("dtype", DTYPES)
def test_data_far_from_the_origin(rng, dtype):
    X, labels = blobs(rng, dtype=dtype)
    far = X + dtype(1e4)
    found = kmeans(far, 5, random_state=state(), n_init=3)
    assert same_partition(assign(far, found.centres), labels)
    near = kmeans(far - dtype(1e4), 5, random_state=state(), n_init=3)
    np.testing.assert_allclose(
        found.centres - 1e4, near.centres, atol=1e-3 if dtype == np.float32 else 1e-8
    )


@pytest.mark.parametrize("outlier", [1e8, -1e10, 1e15])
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_outlier_takes_no_digits_from_the_others(rng, dtype, offset, outlier):
    X, labels = blobs(rng, n_samples=400, n_features=2, n_clusters=2, dtype=dtype)
    X += dtype(offset)
    with_outlier = np.concatenate([X, np.full((1, 2), outlier, dtype)])
    found = kmeans(with_outlier, 3, random_state=state(), n_init=3)
    order = np.argsort(np.abs(found.centres[:, 0]))
    means = [X[labels == k].mean(axis=0, dtype=np.float64) for k in range(2)]
    centres = found.centres[order]
    expected = np.sort(means, axis=0)
    np.testing.assert_allclose(np.sort(centres[:2], axis=0), expected, rtol=1e-5)
    np.testing.assert_allclose(centres[2], outlier, rtol=1e-6)
    assert same_partition(assign(with_outlier, found.centres), np.append(labels, 2))


def test_labels_beside_more_far_centres_than_near_ones(rng):
    # Few samples are far off, so the others keep their digits though most centres are there.
    X = np.concatenate([np.repeat([[1.0], [3.0]], 50, axis=0), [[1e10], [2e10], [3e10]]])
    labels = assign(X.astype(np.float32), np.array([[1.0], [3.0], [1e10], [2e10], [3e10]]))
    np.testing.assert_array_equal(labels, np.repeat(np.arange(5), [50, 50, 1, 1, 1]))


@pytest.mark.parametrize(
    ("dtype", "unit"),
    [(np.float32, 1e30), (np.float32, 1e-30), (np.float32, 1e-40), (np.float64, 1e-300)],
)
def test_unit_of_the_data_does_not_matter(rng, dtype, unit):
    X, labels = blobs(rng, dtype=dtype)
    scaled = X * dtype(unit)
    assert same_partition(assign(scaled, kmeans(scaled, 5, random_state=state()).centres), labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_data_are_sampled_and_threads_change_nothing(rng, dtype, monkeypatch):
    monkeypatch.setattr(seeding, "worthwhile_threads", lambda most, work: most)
    X, labels = blobs(rng, n_samples=60_000, dtype=dtype)
    results = [kmeans(X, 5, random_state=state(), n_jobs=n_jobs) for n_jobs in (1, 2)]
    np.testing.assert_array_equal(results[0].centres, results[1].centres)
    assert results[0].inertia == results[1].inertia
    assert same_partition(assign(X, results[0].centres, n_jobs=2), labels)


def test_sample_follows_the_weights(rng):
    X = np.concatenate([rng.normal(size=(50_000, 2)), 50 + rng.normal(size=(100, 2))])
    weight = np.concatenate([np.full(50_000, 1e-9), np.ones(100)])
    found = kmeans(X, 2, sample_weight=weight, random_state=state())
    assert (found.centres > 40).all()


def test_one_row_may_have_nearly_all_the_weight(rng):
    X = rng.normal(size=(50_000, 2))
    weight = np.full(50_000, 1e-12)
    weight[17] = 1.0
    indices = kmeans_plusplus(X, 4, sample_weight=weight, random_state=state())
    assert 17 in indices
    assert len(np.unique(indices)) == 4


def test_empty_clusters_start_again_far_away():
    X = np.repeat([[0.0], [1.0], [10.0], [11.0]], 5, axis=0)
    points = seeding._Points(X, np.ones(20), np.arange(20), None)
    centres = points.local(np.array([0, 5, 10]))
    # The nearest centre of none: as far as the points themselves are concerned, it is empty.
    centres[1] = 100
    _, counts = points.update(centres)
    np.testing.assert_array_equal(counts, [10, 0, 10])
    seeding._restart(points, centres, np.array([1]))
    local = points.local(np.array([5, 15]))
    assert centres[1, 0] in local


@pytest.mark.parametrize("draw", [kmeans, kmeans_plusplus])
def test_fewer_distinct_rows_than_clusters(draw):
    X = np.repeat([[0.0, 1.0], [2.0, 3.0]], 4, axis=0)
    result = draw(X, 5, random_state=state())
    centres = result.centres if draw is kmeans else X[result]
    assert len(np.unique(centres, axis=0)) == 2
    assert np.isfinite(centres).all()
    if draw is kmeans_plusplus:
        assert len(np.unique(result)) == 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
def test_plusplus_draws_distinct_rows(rng, dtype, seed):
    X = rng.permutation(np.repeat(np.arange(12.0), 50))[:, None].astype(dtype)
    indices = kmeans_plusplus(X, 12, random_state=state(seed))
    np.testing.assert_array_equal(np.sort(X[indices], axis=0), np.arange(12.0)[:, None])


def test_plusplus_tells_rows_apart_that_differ_in_the_last_digits():
    X = np.array([[1.0], [1e-12], [2e-12], [0.5]], dtype=np.float32)
    indices = kmeans_plusplus(np.repeat(X, 3, axis=0), 4, random_state=state())
    assert len(np.unique(indices // 3)) == 4


def test_rows_without_weight_are_never_drawn(rng):
    X = rng.normal(size=(300, 2))
    weight = np.zeros(300)
    weight[rng.choice(300, size=10, replace=False)] = 1
    X[weight == 0] *= 1000
    indices = kmeans_plusplus(X, 10, sample_weight=weight, random_state=state())
    assert weight[indices].all()
    assert len(np.unique(indices)) == 10
    assert np.abs(kmeans(X, 3, sample_weight=weight, random_state=state()).centres).max() < 10


@pytest.mark.parametrize("draw", [kmeans, kmeans_plusplus])
def test_too_few_samples_are_an_error(draw):
    X = np.arange(8.0)[:, None]
    weight = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="n_clusters=3 needs at least .* got 2"):
        draw(X, 3, sample_weight=weight, random_state=state())


def test_complete_rows_are_preferred(rng):
    X, labels = blobs(rng)
    X[::3, 0] = np.nan
    found = kmeans(X, 5, random_state=state(), n_init=3)
    whole = kmeans(X[~np.isnan(X[:, 0])], 5, random_state=state(), n_init=3)
    np.testing.assert_allclose(
        np.sort(found.centres, axis=0), np.sort(whole.centres, axis=0), rtol=1e-12
    )
    is_complete = ~np.isnan(X[:, 0])
    assert same_partition(assign(X, found.centres)[is_complete], labels[is_complete])
    assert not np.isnan(X[kmeans_plusplus(X, 5, random_state=state())]).any()


def test_means_stand_in_where_no_row_is_complete(rng):
    X, _ = blobs(rng)
    X[::2, 0] = np.nan
    X[1::2, 1] = np.nan
    X[7] = np.nan
    X[:, 2] = np.nan
    found = kmeans(X, 5, random_state=state())
    assert np.isfinite(found.centres).all()
    assert 7 not in kmeans_plusplus(X, 599, random_state=state())


@some
@given(X=samples, n_clusters=st.integers(1, 4), seed=st.integers(0, 99))
def test_any_samples_give_finite_centres_or_an_error(X, n_clusters, seed):
    n_known = (~np.isnan(X).all(axis=1)).sum()
    if n_known < n_clusters:
        with pytest.raises(ValueError, match="n_clusters"):
            kmeans(X, n_clusters, random_state=state(seed))
        return
    indices = kmeans_plusplus(X, n_clusters, random_state=state(seed))
    assert len(np.unique(indices)) == n_clusters
    complete = np.unique(X[~np.isnan(X).any(axis=1)], axis=0)
    if len(complete) >= n_clusters:
        assert len(np.unique(X[indices], axis=0)) == n_clusters
    centres = kmeans(X, n_clusters, random_state=state(seed)).centres
    assert np.isfinite(centres).all()
    labels = assign(X, centres)
    assert ((labels >= 0) & (labels < n_clusters)).all()


def test_input_stays_as_it_is(rng):
    X = rng.normal(size=(100, 2))
    X[0, 0] = np.nan
    X.setflags(write=False)
    weight = np.ones(100)
    weight.setflags(write=False)
    assign(X, kmeans(X, 3, sample_weight=weight, random_state=state()).centres)


def test_random_rows_are_scikit_learns(rng):
    X = rng.normal(size=(50, 2))
    mixture = GaussianMixture(3, init_params="random_from_data", random_state=0, max_iter=1)
    mixture._initialize_parameters(X, state())
    np.testing.assert_allclose(mixture.means_, X[random_rows(50, 3, state())])
