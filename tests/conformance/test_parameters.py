"""Parameters: kept as they are given, checked when they are used, shown and cloned."""

import copy
import re

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from tests.conformance.common import (
    assert_same,
    assert_same_model,
    attributes,
    each_case,
    has_method,
    has_parameter,
    parameters_of,
)


@each_case()
def test_parameters_are_kept_untouched(case):
    model = case.make()
    given = model.get_params(deep=False)
    before = copy.deepcopy(given)
    X, y = case.data(0)
    case.outputs(model.fit(X, y), X)
    after = model.get_params(deep=False)
    assert given.keys() == after.keys() == parameters_of(type(model)).keys()
    for name, value in given.items():
        assert after[name] is value, name
        assert_same(after[name], before[name], name)


@each_case()
def test_the_constructor_sets_parameters_alone(case):
    assert vars(type(case.make())()).keys() == parameters_of(type(case.make())).keys()


@each_case()
def test_parameters_are_set_by_name(case):
    model = case.make()
    changed = type(model)().set_params(**model.get_params(deep=False))
    for name, value in model.get_params(deep=False).items():
        assert getattr(changed, name) is value, name
    assert model.set_params() is model
    with pytest.raises(ValueError, match="Invalid parameter 'no_such_parameter'"):
        model.set_params(no_such_parameter=1)


@each_case(has_parameter("estimator"))
def test_parameters_of_an_inner_estimator_are_set_too(case):
    model = case.make()
    inner = model.get_params()["estimator__n_jobs"]
    assert inner is None
    model.set_params(estimator__n_jobs=1)
    assert model.estimator.n_jobs == 1


class _Strange:
    """No value of any parameter."""

    def __repr__(self):
        return "_Strange()"


@each_case()
def test_wrong_parameters_are_errors_of_the_fit(case):
    X, y = case.data(0)
    for name in parameters_of(type(case.make())):
        model = case.make().set_params(**{name: _Strange()})  # is none of the constructor
        with pytest.raises((ValueError, TypeError)) as error:
            model.fit(X, y)
        assert re.search(rf"\b{name}\b", str(error.value)), f"{name}: {error.value}"


@each_case()
def test_clones_are_not_fitted(case):
    X, _ = case.data(0)
    model = case.fit()
    again = clone(model)
    assert repr(again) == repr(model)
    assert vars(again).keys() == parameters_of(type(model)).keys()
    assert_same_model(case, again.fit(*case.data(0)), model, X)


@each_case()
def test_repr_is_short_and_can_be_read_back(case):
    model = case.make()
    assert repr(type(model)()) == f"{type(model).__name__}()"
    names = {type(model).__name__: type(model), "array": np.array, "nan": np.nan, "inf": np.inf}
    inner = getattr(model, "estimator", None)
    if inner is not None:
        names[type(inner).__name__] = type(inner)
    same = eval(repr(model), names)
    assert_same(same.get_params(deep=False), model.get_params(deep=False))
    with sklearn.config_context(print_changed_only=False):
        assert repr(model).count("=") >= len(parameters_of(type(model)))


@each_case()
def test_notebooks_show_it(case):
    for model in (case.make(), case.fit(), make_pipeline(case.make())):
        html = model._repr_html_()
        assert type(case.make()).__name__ in html
        assert ("Not fitted" in html) == (not _is_fitted(model)), "the badge tells"


def _is_fitted(model):
    try:
        check_is_fitted(model)
    except sklearn.exceptions.NotFittedError:
        return False
    return True


@each_case(has_parameter("random_state"))
def test_seeds_repeat(case):
    X, y = case.data(0)
    one, other = (case.fit(X, y, random_state=np.random.RandomState(5)) for _ in range(2))
    assert_same_model(case, one, other, X)
    results = []
    for _ in range(2):
        np.random.seed(3)  # noqa: NPY002
        model = case.fit(X, y, random_state=None)
        results.append((attributes(model), case.outputs(model, X)))
    assert_same(*results)


@each_case(has_parameter("random_state"))
def test_numpys_generator_is_left_alone_where_there_is_a_seed(case):
    X, y = case.data(0)
    fits = []
    for seed in range(2):
        np.random.seed(seed)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        fits.append(case.fit(X, y, random_state=4))
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert_same_model(case, *fits, X)


@each_case(has_parameter("n_jobs"))
def test_threads_change_nothing(case):
    X, y = case.data(0)
    assert_same_model(case, case.fit(X, y, n_jobs=1), case.fit(X, y, n_jobs=2), X)


@each_case(has_method("set_output"))
def test_clones_keep_what_output_is_asked_for(case):
    asked = case.make().set_output(transform="pandas")
    assert clone(asked)._sklearn_output_config == {"transform": "pandas"}
    assert asked.set_output(transform=None)._sklearn_output_config == {"transform": "pandas"}
    assert clone(asked).set_output(transform="default")._sklearn_output_config != (
        asked._sklearn_output_config
    )
