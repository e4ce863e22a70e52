"""Docstrings of public names: complete, by numpydoc's rules, with an example that runs."""

import dataclasses
import functools
import inspect

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import fastmotion

# What numpydoc finds fault with, and is held to here.
ERRORS = {
    "GL03": "two blank lines",
    "GL05": "tabs",
    "GL06": "unknown section",
    "GL07": "sections in another order",
    "GL08": "no docstring",
    "SS01": "no summary",
    "SS03": "no full stop after the summary",
    "SS04": "spaces before the summary",
    "SS06": "summary of more than a line",
    "PR01": "parameter without documentation",
    "PR02": "documented parameter that does not exist",
    "PR03": "parameters in another order",
    "PR04": "parameter without type",
    "PR05": "full stop after a type",
    "PR07": "parameter without description",
    "PR10": "no space before the colon",
    "RT01": "no section Returns",
    "RT03": "no description of what is returned",
    "YD01": "no section Yields",
    "SA02": "See Also without a full stop",
    "SA03": "See Also without a capital letter",
    "EX01": "no section Examples",
}


def public_modules():
    """Yield the package and its public subpackages."""
    yield fastmotion
    for name in fastmotion.__all__:
        if inspect.ismodule(module := getattr(fastmotion, name)):
            yield module


def own_members(cls):
    """Yield public methods and properties of a class, those of our base classes included."""
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        if isinstance(member, functools.cached_property):
            function = member.func
        else:
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        function = inspect.unwrap(function)
        is_public = inspect.isfunction(function) and not name.startswith("_")
        if is_public and function.__module__.startswith("fastmotion"):
            yield function


def public_objects():
    """Return all that is public, functions of several classes once, by their full names."""
    found = {}
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value) or isinstance(value, str):
                continue
            parts = own_members(value) if inspect.isclass(value) else ()
            for part in (value, *parts):
                found[f"{part.__module__}.{part.__qualname__}"] = part
    return found


OBJECTS = public_objects()


@pytest.mark.parametrize("module", list(public_modules()), ids=lambda module: module.__name__)
def test_modules_say_what_they_are(module):
    assert module.__doc__ and module.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", OBJECTS)
def test_docstrings_are_complete(name):
    errors = [(code, text) for code, text in validate(name)["errors"] if code in ERRORS]
    if dataclasses.is_dataclass(OBJECTS[name]):
        # The fields of what functions return are attributes; see the test below.
        errors = [(code, text) for code, text in errors if code != "PR01"]
    assert not errors
    examples = NumpyDocString(inspect.getdoc(OBJECTS[name]))["Examples"]
    assert any(line.startswith(">>>") for line in examples)


@pytest.mark.parametrize(
    "name", [name for name, value in OBJECTS.items() if dataclasses.is_dataclass(value)]
)
def test_fields_are_documented(name):
    cls = OBJECTS[name]
    sections = NumpyDocString(inspect.getdoc(cls))
    entries = [*sections["Attributes"], *sections["Parameters"]]
    documented = {part for entry in entries for part in entry.name.split(", ")}
    assert documented >= {field.name for field in dataclasses.fields(cls)}
    assert all(entry.type and entry.desc for entry in entries)


def test_examples_use_public_modules():
    public = {module.__name__ for module in public_modules()}
    for name, value in OBJECTS.items():
        for line in (inspect.getdoc(value) or "").splitlines():
            words = line.split()
            if words[:2] == [">>>", "from"] and words[2].startswith("fastmotion"):
                assert words[2] in public, f"{name}: {line}"


def test_members_of_all_kinds_are_walked():
    assert OBJECTS.keys() >= {
        "fastmotion.flow._estimator.DenseFlow.fit",  # inherited
        "fastmotion.core.validation.ArrayOutput.set_output",
        "fastmotion.flow._estimator.DenseFlow.from_preset",  # a class method
        "fastmotion.trajectory._bank.MotionKernelBank.get_feature_names_out",  # if available
        "fastmotion.epipolar._fundamental.FundamentalMatrix.covariance_",  # a cached property
        "fastmotion.hmm._gaussian_hmm.GaussianHMM.fit",  # decorated
    }
