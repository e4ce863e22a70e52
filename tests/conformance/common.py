"""What the checks of this folder share."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from tests.conformance.registry import CASES, Case


def each_case(*wanted: Any) -> Any:
    """Parametrise a check by the cases for which all predicates hold."""
    cases = [case for case in CASES if all(holds(case) for holds in wanted)]
    assert cases, "a check of nothing"
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def has_parameter(name: str) -> Any:
    """Return whether the constructor of a case has a parameter."""
    return lambda case: name in parameters_of(type(case.make()))


def has_method(name: str) -> Any:
    """Return whether the estimator of a case has a method."""
    return lambda case: hasattr(case.make(), name)


def parameters_of(estimator: type[BaseEstimator]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(estimator).parameters


def attributes(model: BaseEstimator) -> dict[str, Any]:
    """Return what a fit left: public names that end in an underscore, properties included."""
    names = {*vars(model), *(n for n, _ in inspect.getmembers(type(model), _is_computed))}
    public = sorted(n for n in names if n.endswith("_") and not n.startswith("_"))
    return {name: getattr(model, name) for name in public if hasattr(model, name)}


def _is_computed(member: Any) -> bool:
    return inspect.isdatadescriptor(member) or hasattr(member, "attrname")  # cached_property


def assert_same(actual: Any, desired: Any, name: str = "") -> None:
    """Assert that two results are equal bit by bit, whatever they are made of."""
    if actual is desired:
        return
    assert type(actual) is type(desired), name
    if isinstance(actual, np.ndarray) or np.isscalar(actual):
        if isinstance(actual, np.ndarray):
            assert actual.dtype == desired.dtype, name
        np.testing.assert_array_equal(actual, desired, err_msg=name)
    elif isinstance(actual, Mapping):
        assert list(actual) == list(desired), name
        for key in actual:
            assert_same(actual[key], desired[key], f"{name}[{key!r}]")
    elif isinstance(actual, BaseEstimator):
        settings = [model.get_params(deep=False) for model in (actual, desired)]
        for parameters in settings:
            parameters.pop("n_jobs", None)
        assert_same(*settings, name)
        assert_same(attributes(actual), attributes(desired), name)
    elif dataclasses.is_dataclass(actual) or hasattr(actual, "__dict__"):
        assert_same(vars(actual), vars(desired), name)
    elif isinstance(actual, Iterable):
        pairs = list(zip(actual, desired, strict=True))
        for i, (one, other) in enumerate(pairs):
            assert_same(one, other, f"{name}[{i}]")
    else:
        assert actual == desired, name


def assert_same_model(case: Case, actual: BaseEstimator, desired: BaseEstimator, X: Any) -> None:
    """Assert that two fitted estimators have the same attributes and return the same for X."""
    assert_same(attributes(actual), attributes(desired), case.name)
    assert_same(case.outputs(actual, X), case.outputs(desired, X), case.name)
