"""Fits: repeatable, forgetful, pickled whole."""

import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from tests.conformance.common import (
    assert_same,
    assert_same_model,
    attributes,
    each_case,
)


@each_case()
def test_a_fit_returns_itself_and_can_be_repeated(case):
    X, y = case.data(0)
    model = case.make()
    assert model.fit(X, y) is model
    check_is_fitted(model)
    assert_same_model(case, model.fit(X, y), case.fit(X, y), X)


@each_case()
def test_a_fit_forgets_what_was_before(case):
    X, y = case.data(0)
    assert_same_model(case, case.fit(seed=1).fit(X, y), case.fit(X, y), X)


@each_case()
def test_a_fit_leaves_names_that_end_in_an_underscore(case):
    model = case.fit()
    new = set(vars(model)) - set(model.get_params(deep=False))
    assert all(name.startswith("_") or name.endswith("_") for name in new), new


@each_case(lambda case: get_tags(case.make()).requires_fit)
def test_a_failed_fit_leaves_what_was_fitted(case):
    X, y = case.data(0)
    model, broken = case.fit(X, y), X.copy()
    broken.flat[-1] = np.inf
    before = case.outputs(model, X)
    with pytest.raises(ValueError):
        model.fit(broken, y)
    assert_same(case.outputs(model, X), before)


@each_case()
def test_methods_change_nothing(case):
    X, _ = case.data(0)
    model = case.fit()
    before = pickle.loads(pickle.dumps(attributes(model)))
    first = case.outputs(model, X)
    assert_same(case.outputs(model, X), first)
    assert_same(attributes(model), before)


@each_case()
def test_methods_need_a_fit_where_tags_say_so(case):
    X, _ = case.data(0)
    needs_fit = get_tags(case.make()).requires_fit
    for method in case.methods:
        if needs_fit:
            with pytest.raises(NotFittedError, match="not fitted"):
                getattr(case.make(), method)(X)
        else:
            assert_same(getattr(case.make(), method)(X), getattr(case.fit(), method)(X))


@each_case()
def test_pickles_give_the_same(case):
    X, _ = case.data(0)
    model, file = case.fit(), io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(file)):
        assert_same_model(case, copy, model, X)
    fresh = pickle.loads(pickle.dumps(case.make()))
    assert_same_model(case, fresh.fit(*case.data(0)), model, X)


@each_case()
def test_fit_transform_and_fit_predict_are_both_steps(case):
    X, y = case.data(0)
    for step in ("transform", "predict"):
        if step in case.methods and hasattr(case.make(), f"fit_{step}"):
            both = getattr(case.make(), f"fit_{step}")(X, y)
            assert_same(both, getattr(case.fit(X, y), step)(X))
