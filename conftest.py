"""Fixtures of all tests, and of the examples in docstrings."""

import sys

import pytest


@pytest.fixture(autouse=True)
def no_open_figures():
    """Close the figures that a test or an example leaves open."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
