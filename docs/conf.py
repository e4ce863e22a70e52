"""Sphinx configuration."""

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
