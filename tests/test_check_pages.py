"""The walk over built pages finds what is broken in them, and nothing in whole ones."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "check_pages.py"
WHOLE = r"""
<h1 id="top">T</h1><img src="a.png"><a href="#top">t</a><a href="other.html#there">o</a>
<a href="https://doi.org/10.1000/182">d</a>
<span class="math">\(\left( \frac{a}{b} \right)\)</span>
<div class="math"><span class="eqno">(1)<a href="#top">#</a></span>\[\{ x \\ y \}\]</div>
"""


@pytest.fixture(scope="module")
def check_pages():
    spec = importlib.util.spec_from_file_location("check_pages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    """Return a folder with two whole pages and a picture."""
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "page.html").write_text(WHOLE)
    (tmp_path / "other.html").write_text('<p id="there">')
    (tmp_path / "gallery").mkdir()
    return tmp_path


def test_whole_pages_pass(check_pages, site, capsys):
    assert check_pages.main([str(site)]) == 0
    assert "2 formulae: 0 defects" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ('<img src="b.png">', "picture b.png leads to no file"),
        ('<img src="empty.png">', "leads to an empty file"),
        ('<img src="https://example.org/a.png">', "needs a network"),
        ('<script src="https://example.org/a.js"></script>', "needs a network"),
        ('<a href="none.html">', "link none.html leads to no file"),
        ('<a href="other.html#nowhere">', "leads to no such anchor"),
        ('<a href="https://doi.org/182">', "is no DOI"),
        (r'<span class="math">\(\frac{a}{b\)</span>', r"has 2 { and 1 }"),
        (r'<span class="math">\(\left( a )\)</span>', r"has 1 \left and 0 \right"),
        (r'<span class="math">a</span>', "has no delimiters"),
        (r'<span class="math">\(\)</span>', "is empty or damaged"),
    ],
)
def test_defects_are_found(check_pages, site, capsys, html, message):
    (site / "empty.png").touch()
    (site / "broken.html").write_text(html)
    assert check_pages.main([str(site)]) == 1
    assert message in capsys.readouterr().out


def test_examples_have_figures(check_pages, site, capsys):
    (site / "gallery" / "plot_it.html").write_text("<p>")
    assert check_pages.main([str(site)]) == 1
    assert "the example has no figure" in capsys.readouterr().out
