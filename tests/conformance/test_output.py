"""Output: names of columns, data frames where there is a table, arrays where there is none."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from tests.conformance.common import assert_same, each_case, has_method


def is_transformer(case):
    return "transform" in case.methods


@each_case(is_transformer)
def test_tables_alone_have_names_of_columns(case):
    X, _ = case.data(0)
    model = case.fit()
    assert hasattr(model, "get_feature_names_out") == case.is_table
    if not case.is_table:
        return
    names = model.get_feature_names_out()
    assert names.dtype == object
    assert names.shape == (model.transform(X).shape[1],)
    assert len(set(names)) == len(names)
    assert all(isinstance(name, str) for name in names)


@each_case(has_method("transform"))
@pytest.mark.parametrize("nested", [False, True])
def test_pipelines_may_be_asked_for_data_frames(case, nested):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = case.data(0)
    model = make_pipeline("passthrough", case.make()) if nested else case.make()
    wanted = case.fit(X, y)
    model.set_output(transform="pandas")
    if not is_transformer(case):
        return
    for result in (model.fit_transform(X, y), model.fit(X, y).transform(X)):
        if case.is_table:
            assert isinstance(result, pandas.DataFrame)
            assert list(result.columns) == list(wanted.get_feature_names_out())
            result = result.to_numpy()
        assert_same(result, wanted.transform(X))
    model.set_output(transform="default")
    assert_same(model.transform(X), wanted.transform(X))


@each_case(is_transformer)
def test_other_containers_than_are_known_are_errors(case):
    X, y = case.data(0)
    model = case.make().set_output(transform="spreadsheet").fit(X, y)
    with pytest.raises(ValueError, match="spreadsheet"):
        model.transform(X)


@each_case(lambda case: case.data(0)[0].ndim == 2)
def test_names_of_columns_are_kept_and_compared(case):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = case.data(0)
    names = [f"column{i}" for i in range(X.shape[1])]
    table = pandas.DataFrame(X, columns=names)
    model = case.fit(table, y)
    assert list(model.feature_names_in_) == names
    assert_same(case.outputs(model, table), case.outputs(case.fit(X, y), X))
    for method in case.methods:
        with pytest.raises(ValueError, match="feature names"):
            getattr(model, method)(table[names[::-1]])


@each_case(lambda case: get_tags(case.make()).input_tags.two_d_array)
def test_numbers_of_features_are_kept(case):
    model = case.fit()
    assert model.n_features_in_ == case.data(0)[0].shape[1]
    assert not hasattr(case.make(), "n_features_in_")


@each_case()
def test_results_share_no_memory_with_what_is_given_or_kept(case):
    X, _ = case.data(0)
    model = case.fit()
    wanted = case.outputs(model, X)
    for result in case.outputs(model, X).values():
        if isinstance(result, np.ndarray):
            result[...] = 0
    assert_same(case.outputs(model, X), wanted)
