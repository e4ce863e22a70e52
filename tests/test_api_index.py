"""The reference lists every public name, and no other."""

import importlib
import re
from pathlib import Path

import pytest

import fastmotion

PAGE = Path(__file__).parents[1] / "docs" / "api" / "index.rst"
# What is not listed by itself: the version, and subpackages, which have sections.
UNLISTED = {"__version__"}


def listed_names():
    """Return the names of each section of the page, by module."""
    sections = re.split(
        r"^\.\. currentmodule:: (\S+)$", PAGE.read_text(encoding="utf-8"), flags=re.M
    )
    return {
        module: re.findall(r"^   (\w+)$", text, flags=re.M)
        for module, text in zip(sections[1::2], sections[2::2], strict=True)
    }


LISTED = listed_names()
SUBPACKAGES = {
    f"fastmotion.{name}"
    for name in fastmotion.__all__
    if getattr(getattr(fastmotion, name), "__path__", None) is not None
}


def test_every_subpackage_has_a_section():
    assert set(LISTED) == {"fastmotion", *SUBPACKAGES}


@pytest.mark.parametrize("module", sorted(LISTED))
def test_names_are_those_of_the_module(module):
    public = set(importlib.import_module(module).__all__) - UNLISTED
    if module == "fastmotion":
        public -= {name.rpartition(".")[2] for name in SUBPACKAGES}
    assert sorted(LISTED[module]) == sorted(public)
