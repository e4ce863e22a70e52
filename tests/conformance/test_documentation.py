"""Docstrings: every parameter with its default, every attribute that a fit leaves."""

import inspect
import re

import numpy as np
import pytest

from tests.conformance.common import attributes, parameters_of
from tests.conformance.registry import CASES, public_estimators

each_estimator = pytest.mark.parametrize("name", sorted(public_estimators()))


def section(estimator, title):
    """Return the entries of a section of a docstring, by name: what follows the colon."""
    text = inspect.cleandoc(estimator.__doc__)
    found = re.search(rf"^{title}\n-+\n(.*?)(?=\n\n[A-Z][\w ]+\n-+\n|\Z)", text, re.S | re.M)
    assert found, f"no section {title}"
    entries = {}
    for names, kind in re.findall(r"^(\S.*?) : (.*(?:\\\n.*)*)", found[1], re.M):
        entries.update(dict.fromkeys(names.split(", "), kind))
    return entries


@each_estimator
def test_parameters_are_documented_with_their_defaults(name):
    estimator = public_estimators()[name]
    described = section(estimator, "Parameters")
    signature = parameters_of(estimator)
    assert list(described) == list(signature)
    for parameter in signature.values():
        default = re.search(r"default=(.*)$", described[parameter.name])
        assert default, f"{parameter.name}: no default"
        assert eval(default[1], {"np": np}) == parameter.default, parameter.name


@each_estimator
def test_attributes_are_those_of_a_fit(name):
    estimator = public_estimators()[name]
    described = set(section(estimator, "Attributes"))
    assert all(attribute.endswith("_") for attribute in described)
    fits = [case.fit() for case in CASES if type(case.make()) is estimator]
    found = set().union(*map(attributes, fits))
    assert found <= described, "not documented"
    assert described - found <= {"feature_names_in_"}, "never there"
