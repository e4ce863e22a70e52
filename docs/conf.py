"""Sphinx configuration."""

import re

import fastmotion

project = "fastmotion"
author = "The fastmotion developers"
copyright = "The fastmotion developers"
release = version = fastmotion.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "examples"]
default_role = "autolink"

html_theme = "alabaster"
html_theme_options = {"description": "Motion in images, video and poses", "page_width": "1240px"}

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say more
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
    # Times of one machine are no documentation.
    "min_reported_time": 1e9,
    "write_computation_times": False,
}


def drop_foreign_references(app, what, name, obj, options, lines):
    """Leave the text alone of what inherited docstrings refer to in scikit-learn's own pages."""
    if (getattr(obj, "__module__", None) or "").startswith("sklearn."):
        lines[:] = [
            re.sub(r":(?:ref|term):`([^`<]*?)\s*(?:<[^`]*>)?`", r"\1", line) for line in lines
        ]


def setup(app):
    app.connect("autodoc-process-docstring", drop_foreign_references)
