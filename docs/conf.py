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
    # MathJax beside the pages, so that formulae show without a network.
    "sphinx-mathjax-offline",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "examples"]
default_role = "autolink"

html_theme = "pydata_sphinx_theme"
html_title = f"fastmotion {release}"
html_static_path = ["_static"]
html_css_files = ["fastmotion.css"]
html_show_sourcelink = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "fastmotion"},
    "navbar_align": "left",
    "show_nav_level": 1,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say more
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "subsection_order": [
        "examples/flow",
        "examples/poses",
        "examples/mixtures",
        "examples/two_views",
    ],
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"plot_",
    # Pages of the reference show the examples that use what they describe.
    "doc_module": "fastmotion",
    "backreferences_dir": "gallery/backreferences",
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
    "show_signature": False,
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
