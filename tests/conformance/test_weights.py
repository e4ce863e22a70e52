"""Weights of samples: any container, checked, untouched."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import has_fit_parameter

from tests.conformance.common import assert_same, assert_same_model, attributes, each_case

weighted = each_case(lambda case: has_fit_parameter(case.make(), "sample_weight"))


def weights_of(X):
    return np.arange(1.0, len(X) + 1)


@weighted
def test_the_container_of_weights_does_not_matter_and_is_not_changed(case):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = case.data(0)
    weight = weights_of(X)
    wanted = case.make().fit(X, y, sample_weight=weight)
    frozen = weight.copy()
    frozen.flags.writeable = False
    for given in (weight.tolist(), pandas.Series(weight), frozen, np.repeat(weight, 2)[::2]):
        assert_same_model(case, case.make().fit(X, y, sample_weight=given), wanted, X)
    np.testing.assert_array_equal(weight, weights_of(X))


@weighted
def test_equal_weights_are_none(case):
    X, y = case.data(0)
    model = case.make().fit(X, y, sample_weight=np.ones(len(X)))
    for method, result in case.outputs(model, X).items():
        wanted = getattr(case.fit(X, y), method)(X)
        if not isinstance(result, tuple):
            np.testing.assert_allclose(result, wanted, rtol=1e-6, atol=1e-9)


@weighted
def test_weights_count(case):
    X, y = case.data(0)
    model = case.make().fit(X, y, sample_weight=weights_of(X) ** 2)
    with pytest.raises(AssertionError):
        assert_same(attributes(model), attributes(case.fit(X, y)))


@weighted
@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_wrong_weights(case, wrong):
    X, y = case.data(0)
    weight = weights_of(X)
    weight[2] = wrong
    with pytest.raises(ValueError, match="(?i)weight"):
        case.make().fit(X, y, sample_weight=weight)


@weighted
def test_weights_that_are_all_zero_or_of_another_number(case):
    X, y = case.data(0)
    with pytest.raises(ValueError, match="(?i)weight"):
        case.make().fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match="(?i)weight"):
        case.make().fit(X, y, sample_weight=np.ones(len(X) + 1))


@weighted
def test_weights_are_routed(case):
    X, y = case.data(0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = case.make().set_fit_request(sample_weight=True)
        routed = make_pipeline(model).fit(X, y, sample_weight=weights_of(X))[0]
        requests = clone(routed).get_metadata_routing().fit.requests
    assert requests["sample_weight"] is True
    assert_same_model(case, routed, case.make().fit(X, y, sample_weight=weights_of(X)), X)
