"""Fisher vectors: against numerical gradients and scikit-image, and as a transformer."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import mixture as sklearn_mixture
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from fastmotion.features import FisherVector
from fastmotion.mixture import GaussianMixture
from tests.reference import features as reference

ALL = ("weights", "means", "deviations")
PLAIN = {"power": 1.0, "normalization": None}
SIZES = (30, 1, 57, 20)


def make_bags(rng, sizes=SIZES, n_features=3, dtype=np.float64):
    return [
        (rng.normal(size=(n, n_features)) + 3 * rng.integers(0, 3, (n, 1))).astype(dtype)
        for n in sizes
    ]


def parameters(fisher):
    mixture = fisher.mixture_
    return mixture.weights_, mixture.means_, np.sqrt(mixture.covariances_)


# What it computes


def test_it_is_the_gradient_over_the_root_of_the_information(rng):
    bags = make_bags(rng)
    fisher = FisherVector(3, parts=ALL, random_state=0, **PLAIN).fit(bags)
    got = fisher.transform(bags)
    for row, bag in zip(got, bags):
        wanted = reference.fisher_vector(bag, *parameters(fisher))
        np.testing.assert_allclose(
            row, np.concatenate([w.ravel() for w in wanted]), rtol=1e-6, atol=1e-7
        )


def test_it_is_that_of_scikit_image(rng):
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    bags = make_bags(rng)
    fisher = FisherVector(4, parts=ALL, random_state=0, **PLAIN).fit(bags)
    theirs = sklearn_mixture.GaussianMixture(4, covariance_type="diag")
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(theirs, name, getattr(fisher.mixture_, name))
    for row, bag in zip(fisher.transform(bags), bags):
        wanted = feature.fisher_vector(bag, theirs)
        wanted[-12:] *= -1  # it takes the gradient by deviations downhill
        np.testing.assert_allclose(row, wanted, rtol=1e-9, atol=1e-12)


def test_power_comes_before_the_norm(rng):
    bags = make_bags(rng)
    plain = FisherVector(3, random_state=0, **PLAIN).fit_transform(bags)
    for power, normalization in ((0.5, "l2"), (0.3, "l2"), (0.5, None)):
        got = FisherVector(
            3, random_state=0, power=power, normalization=normalization
        ).fit_transform(bags)
        wanted = np.sign(plain) * np.abs(plain) ** power
        if normalization == "l2":
            wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
            np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1)
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_descriptors_of_the_mixture_itself_have_no_gradient(rng):
    bag = make_bags(rng, (20_000,))
    fisher = FisherVector(3, tol=0, max_iter=300, max_samples=None, random_state=0, **PLAIN)
    with pytest.warns(Warning, match="did not converge"):
        got = fisher.fit_transform(bag)
    assert np.abs(got).max() < 1e-3


def test_parts_come_in_the_order_given(rng):
    bags = make_bags(rng)
    whole = FisherVector(2, parts=ALL, random_state=0, **PLAIN).fit_transform(bags)
    found = FisherVector(2, parts=["deviations", "weights"], random_state=0, **PLAIN)
    np.testing.assert_array_equal(
        found.fit_transform(bags), np.hstack([whole[:, 8:], whole[:, :2]])
    )
    assert found.get_feature_names_out(["a", "b", "c"]).tolist() == [
        *(f"deviation_{k}_{name}" for k in (0, 1) for name in "abc"),
        "weight_0",
        "weight_1",
    ]


def test_float32_is_kept_and_near_float64(rng):
    bags = make_bags(rng)
    fisher = FisherVector(3, random_state=0, **PLAIN).fit(bags)
    narrow = [bag.astype(np.float32) for bag in bags]
    got = fisher.transform(narrow)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, fisher.transform(bags), rtol=1e-3, atol=1e-4)
    assert clone(fisher).fit(narrow).mixture_.means_.dtype == np.float32
    assert fisher.transform([narrow[0], bags[1]]).dtype == np.float64


# Bags


def test_an_array_of_bags_is_a_list_of_bags(rng):
    bags = make_bags(rng, (12, 12, 12))
    fisher = FisherVector(2, random_state=0)
    from_list = fisher.fit_transform(bags)
    np.testing.assert_array_equal(clone(fisher).fit_transform(np.stack(bags)), from_list)
    ragged = np.empty(3, object)
    ragged[:] = bags
    np.testing.assert_array_equal(clone(fisher).fit_transform(ragged), from_list)
    np.testing.assert_array_equal(clone(fisher).fit_transform(tuple(bags)), from_list)


@given(st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_order_and_repetition_of_descriptors_do_not_matter(random):
    rng = np.random.default_rng(random.getrandbits(32))
    bags = make_bags(rng)
    fisher = FisherVector(2, random_state=0).fit(bags)
    wanted = fisher.transform(bags)
    shuffled = [rng.permutation(np.concatenate([bag, bag])) for bag in bags]
    np.testing.assert_allclose(fisher.transform(shuffled), wanted, atol=1e-7)


def test_a_subset_of_bags_gives_the_same(rng):
    bags = make_bags(rng)
    fisher = FisherVector(2, random_state=0).fit(bags)
    whole = fisher.transform(bags)
    np.testing.assert_array_equal(fisher.transform(bags[1:3]), whole[1:3])
    np.testing.assert_array_equal(fisher.transform(bags[:1]), whole[:1])


def test_threads_do_not_change_a_bit(rng):
    bags = make_bags(rng, (70_000, 10, 300), n_features=5)
    found = [
        FisherVector(5, n_jobs=n_jobs, random_state=0).fit(bags[1:]).transform(part)
        for n_jobs in (1, 2)
        for part in (bags, bags[:1])
    ]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
    np.testing.assert_array_equal(found[0][:1], found[1])


def test_an_empty_bag_is_zeros(rng):
    bags = [*make_bags(rng), np.empty((0, 3))]
    got = FisherVector(2, random_state=0).fit_transform(bags)
    assert np.abs(got[:-1]).max(axis=1).min() > 0
    np.testing.assert_array_equal(got[-1], np.zeros(12))


def test_values_beyond_the_range_of_squares_are_no_nan(rng):
    bags = make_bags(rng, dtype=np.float32)
    fisher = FisherVector(2, random_state=0).fit(bags)
    far = [np.full((3, 3), 1e30, np.float32)]
    assert np.isfinite(fisher.transform(far)).all()
    with pytest.raises(ValueError, match="scale it so that none is beyond"):
        fisher.transform([bags[0], np.full((3, 3), 1e200)])


# The fit


def test_the_mixture_is_that_of_the_pooled_descriptors(rng):
    bags = make_bags(rng)
    fisher = FisherVector(3, random_state=0, tol=1e-5, reg_covar=1e-4).fit(bags)
    wanted = clone(fisher.mixture_).fit(np.concatenate(bags))
    assert isinstance(wanted, GaussianMixture) and wanted.covariance_type == "diag"
    assert (wanted.tol, wanted.reg_covar, wanted.max_iter) == (1e-5, 1e-4, 100)
    np.testing.assert_array_equal(fisher.mixture_.means_, wanted.means_)


def test_a_draw_takes_so_many_of_all_bags(rng, monkeypatch):
    pools = []
    fit = GaussianMixture.fit
    monkeypatch.setattr(GaussianMixture, "fit", lambda self, X: pools.append(X) or fit(self, X))
    bags = [np.column_stack([np.arange(n) + 100.0 * k, rng.normal(size=n)]) for k, n in
            enumerate((40, 0, 60, 7))]  # fmt: skip
    for seed in (0, 0, 1):
        FisherVector(2, max_samples=50, random_state=seed).fit(bags)
    drawn = [pool[:, 0].tolist() for pool in pools]
    assert drawn[0] == drawn[1] != drawn[2]
    for ids in drawn:
        assert len(set(ids)) == 50 and set(ids) <= set(np.concatenate(bags)[:, 0])
        assert {int(i // 100) for i in ids} >= {0, 2}
    rows = {tuple(row) for row in np.concatenate(bags)}
    assert all(tuple(row) in rows for row in pools[0])


def test_the_number_of_components_may_be_found(rng):
    bags = [rng.normal(size=(200, 2)) * 0.2 + [[5 * k, 0]] for k in range(3)]
    fisher = FisherVector("auto", random_state=0).fit(bags)
    assert fisher.mixture_.n_components_ == 3
    assert fisher.transform(bags).shape == (3, 12) == (3, len(fisher.get_feature_names_out()))


def test_a_fit_that_fails_leaves_the_last_one(rng):
    bags = make_bags(rng)
    fisher = FisherVector(2, random_state=0).fit(bags)
    wanted = fisher.transform(bags)
    with pytest.raises(ValueError, match="NaN"):
        fisher.fit([np.full((4, 2), np.nan)])
    np.testing.assert_array_equal(fisher.transform(bags), wanted)


# As a transformer


def test_it_keeps_the_rules_of_scikit_learn(rng):
    bags = make_bags(rng)
    for bag in bags:
        bag.setflags(write=False)
    parts = ["means", "weights"]
    fisher = FisherVector(2, parts=parts, random_state=0)
    before = fisher.get_params()
    assert fisher.fit(bags) is fisher and fisher.get_params() == before and fisher.parts is parts
    assert (fisher.n_features_in_, fisher.device_) == (3, "cpu")
    wanted = fisher.transform(bags)
    np.testing.assert_array_equal(fisher.fit(bags).transform(bags), wanted)
    np.testing.assert_array_equal(clone(fisher).fit_transform(bags), wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fisher)).transform(bags), wanted)
    columns = [np.asfortranarray(bag) for bag in bags]
    np.testing.assert_array_equal(fisher.transform(columns), wanted)
    tags = get_tags(fisher)
    assert tags.requires_fit and tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array and not tags.input_tags.allow_nan
    with pytest.raises(NotFittedError):
        FisherVector().transform(bags)


def test_data_frames(rng):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    bags = make_bags(rng)
    fisher = FisherVector(2, random_state=0).set_output(transform="pandas")
    table = fisher.fit_transform(bags)
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == fisher.get_feature_names_out().tolist()
    np.testing.assert_array_equal(fisher.transform([pandas.DataFrame(bag) for bag in bags]), table)


BAGS = [np.random.default_rng(0).normal(size=(20, 2)) for _ in range(2)]


def spoiled(value):
    bag = BAGS[0].copy()
    bag[3, 1] = value
    return [BAGS[1], bag]


@pytest.mark.parametrize(
    ("params", "X", "error", "message"),
    [
        ({}, BAGS[0], ValueError, "for one bag pass bag.numpy.newaxis."),
        ({}, [], ValueError, "at least one bag"),
        ({}, np.zeros((0, 4, 2)), ValueError, "0 sample"),
        ({}, spoiled(np.nan), ValueError, "X holds NaN; leave out such descriptors"),
        ({}, spoiled(np.inf), ValueError, "infinity"),
        ({}, [BAGS[0], np.zeros((4, 3))], ValueError, r"number of features, got \[2, 3\]"),
        ({}, [BAGS[0], np.zeros(3)], ValueError, "Expected 2D array"),
        ({}, [np.array([["a"]])], TypeError, "real numbers"),
        ({}, [np.zeros((0, 2))], ValueError, "at least 16 descriptors for n_components=16, got 0"),
        ({"max_samples": 5}, BAGS, ValueError, "got 5; .* or raise max_samples"),
        ({}, iter(BAGS), TypeError, "X must be an array of shape .* make a list"),
        ({}, None, TypeError, "X must be an array of shape .* got NoneType"),
        ({"n_components": 0}, BAGS, ValueError, "n_components"),
        ({"parts": ("means", "means")}, BAGS, ValueError, "parts must be some of"),
        ({"parts": [["means"]]}, BAGS, ValueError, "parts must be some of"),
        ({"parts": ()}, BAGS, ValueError, "parts must be some of"),
        ({"n_jobs": 0}, BAGS, ValueError, "The 'n_jobs' parameter of FisherVector"),
        ({"power": 0.0}, BAGS, ValueError, "power"),
        ({"normalization": "l1"}, BAGS, ValueError, "normalization"),
        ({"device": "tpu"}, BAGS, ValueError, "device must be"),
    ],
)
def test_errors_say_what_is_wrong(params, X, error, message):
    with pytest.raises(error, match=message):
        FisherVector(**params).fit(X)


def test_other_features_than_those_of_the_fit_are_an_error(rng):
    fisher = FisherVector(2, random_state=0).fit(BAGS)
    with pytest.raises(ValueError, match="X has 3 features, but FisherVector is expecting 2"):
        fisher.transform(make_bags(rng))
    with pytest.raises(ValueError, match="length equal to number of features"):
        fisher.get_feature_names_out(["u"])
    with pytest.raises(ValueError, match="leave out such descriptors"):
        fisher.transform(spoiled(np.nan))
