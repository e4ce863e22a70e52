"""From clips, poses and matches to results, by scikit-learn's own means alone."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.utils import estimator_html_repr

LOAD = """
import pickle, sys
import numpy as np
with open({path!r}, "rb") as file:
    pipeline, X = pickle.load(file)
np.save({out!r}, pipeline.predict(X))
"""


@pytest.fixture(scope="module")
def fitted(case):
    return clone(case.pipeline).fit(case.X, case.y)


@pytest.fixture
def data_frames(case):
    """Return the case's pipeline, set to data frames."""
    pytest.importorskip("pandas", reason="pandas is not installed")
    return clone(case.pipeline).set_output(transform="pandas")


def folds(case, n=3):
    return StratifiedKFold(n) if case.y is not None else n


def test_what_was_not_fitted_is_told_apart(case):
    scores = cross_val_score(case.pipeline, case.X, case.y, cv=folds(case))
    assert scores.shape == (3,)
    assert scores.mean() > case.floor


def test_grid_search_in_two_processes(case):
    search = GridSearchCV(case.pipeline, case.grid, cv=folds(case, 2), n_jobs=2)
    search.fit(case.X, case.y)
    alone = clone(search).set_params(n_jobs=1).fit(case.X, case.y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == alone.best_params_
    np.testing.assert_array_equal(search.predict(case.X), alone.predict(case.X))


def test_a_clone_is_not_fitted_and_fits_the_same(case, fitted):
    copy = clone(fitted)
    assert repr(copy) == repr(case.pipeline)
    assert not any(name.endswith("_") for step in copy for name in vars(step))
    np.testing.assert_array_equal(copy.fit(case.X, case.y).predict(case.X), fitted.predict(case.X))


def test_a_pickle_works_in_another_process(case, fitted, run_python, tmp_path):
    path, out = tmp_path / "pipeline.pickle", tmp_path / "predicted.npy"
    path.write_bytes(pickle.dumps((fitted, case.X)))
    run_python(LOAD.format(path=str(path), out=str(out)))
    np.testing.assert_array_equal(np.load(out), fitted.predict(case.X))


def test_what_is_in_the_cache_is_not_fitted_again(case, fitted, tmp_path, monkeypatch):
    cached = clone(case.pipeline).set_params(memory=str(tmp_path))
    np.testing.assert_array_equal(
        cached.fit(case.X, case.y).predict(case.X), fitted.predict(case.X)
    )
    first = type(case.pipeline[0])
    calls = []
    fit = first.fit_transform
    monkeypatch.setattr(
        first, "fit_transform", lambda self, *a, **k: calls.append(1) or fit(self, *a, **k)
    )
    again = clone(cached).fit(case.X, case.y)
    assert not calls
    np.testing.assert_array_equal(again.predict(case.X), fitted.predict(case.X))
    clone(cached).set_params(memory=None).fit(case.X, case.y)
    assert calls  # what is fitted is seen


def test_data_frames_change_no_result(case, fitted, data_frames):
    data_frames.fit(case.X, case.y)
    np.testing.assert_array_equal(data_frames.predict(case.X), fitted.predict(case.X))


def test_tables_have_names(case, data_frames):
    import pandas

    table = data_frames[:-1].fit_transform(case.X, case.y)
    assert isinstance(table, pandas.DataFrame)
    assert len(table) == len(case.X) and table.columns.is_unique
    assert all(isinstance(name, str) for name in table.columns)
    np.testing.assert_array_equal(
        table.to_numpy(), clone(case.pipeline)[:-1].fit_transform(case.X, case.y)
    )


def test_html_shows_all_steps(case, fitted):
    for pipeline in (case.pipeline, fitted):
        for html in (estimator_html_repr(pipeline), pipeline._repr_html_()):
            assert all(type(step).__name__ in html for step in pipeline)
    for step in case.pipeline:
        assert type(step).__name__ in step._repr_html_()


def test_a_part_of_the_input_gives_a_part_of_the_output(case, fitted):
    np.testing.assert_array_equal(fitted.predict(case.X[3:7]), fitted.predict(case.X)[3:7])
