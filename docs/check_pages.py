"""Walk built pages: every figure is there, every link leads somewhere, every formula is whole.

``python docs/check_pages.py FOLDER`` prints what is wrong and exits with 1 if anything is.
Links to other places are not followed; ``--external`` lists them.
"""

import argparse
import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

DOI = re.compile(r"https://doi\.org/10\.\d{4,9}/\S+")
# Pages that Sphinx makes itself, without content of ours.
GENERATED = {"genindex.html", "search.html", "py-modindex.html"}
PAIRS = {"{": "}", r"\begin": r"\end", r"\left": r"\right"}


@dataclass
class Page(HTMLParser):
    """What one page shows and refers to."""

    path: Path
    anchors: set = field(default_factory=set)
    links: list = field(default_factory=list)
    images: list = field(default_factory=list)
    formulae: list = field(default_factory=list)
    scripts: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self._math_tag = None
        self._depth = 0
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.update(filter(None, (attrs.get("id"), attrs.get("name"))))
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag == "img":
            self.images.append(attrs.get("src") or "")
        if tag in ("script", "link") and (attrs.get("src") or attrs.get("rel") == "stylesheet"):
            self.scripts.append(attrs.get("src") or attrs.get("href"))
        if self._math_tag is not None:
            self._depth += tag == self._math_tag
        elif "math" in (attrs.get("class") or "").split():
            self._math_tag, self._depth = tag, 1
            self.formulae.append("")

    def handle_endtag(self, tag):
        if tag == self._math_tag:
            self._depth -= 1
            if not self._depth:
                self._math_tag = None

    def handle_data(self, data):
        if self._math_tag is not None:
            self.formulae[-1] += data


def is_external(link):
    """Return whether a link leaves these pages."""
    parts = urlparse(link)
    return bool(parts.scheme or parts.netloc)


def formula_defects(text):
    """Yield what is wrong with a formula: delimiters, and pairs that do not match."""
    text = re.sub(r"^\(\d+\)[^\\]*", "", text.strip())  # the number of an equation, and its link
    if not re.fullmatch(r"\\\(.+\\\)|\\\[.+\\\]", text, flags=re.DOTALL):
        yield "has no delimiters"
    bare = text.replace("\\\\", "").replace(r"\{", "").replace(r"\}", "")
    for left, right in PAIRS.items():
        if left == "{":
            counts = bare.count("{"), bare.count("}")
        else:
            counts = tuple(
                len(re.findall(re.escape(p) + r"(?![a-zA-Z])", bare)) for p in (left, right)
            )
        if counts[0] != counts[1]:
            yield f"has {counts[0]} {left} and {counts[1]} {right}"
    if "\ufffd" in text or not text.strip("\\()[] \n"):
        yield "is empty or damaged"


def link_defects(page, link, pages):
    """Yield what is wrong with a link or the source of a picture or script."""
    if is_external(link):
        parts = urlparse(link)
        if parts.scheme not in ("http", "https", "mailto"):
            yield "has an unknown scheme"
        if "doi.org" in parts.netloc and not DOI.fullmatch(link):
            yield "is no DOI of the form https://doi.org/10.xxxx/..."
        return
    path, anchor = urldefrag(unquote(link))
    target = (page.path.parent / urlparse(path).path).resolve() if path else page.path
    if not target.is_file():
        yield "leads to no file"
    elif not target.stat().st_size:
        yield "leads to an empty file"
    elif anchor and target in pages and anchor not in pages[target].anchors:
        yield "leads to no such anchor"


def page_defects(page, pages, root):
    """Yield the defects of one page, as text."""
    for kind, links in (
        ("picture", page.images),
        ("link", page.links),
        ("script or style", page.scripts),
    ):
        for link in links:
            yield from (f"{kind} {link} {what}" for what in link_defects(page, link, pages))
            if kind != "link" and is_external(link):
                yield f"{kind} {link} needs a network"
    for formula in page.formulae:
        yield from (f"formula {formula[:60]!r} {what}" for what in formula_defects(formula))
    name = page.path.relative_to(root)
    is_example = name.parts[0] == "gallery" and name.name.startswith("plot_")
    if is_example and not any("sphx_glr_" in image for image in page.images):
        yield "the example has no figure"


def main(argv=None):
    """Check the pages of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--external", action="store_true", help="list links to other places")
    args = parser.parse_args(argv)
    root = args.folder.resolve()
    files = [path for path in root.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path) for path in files}
    if not pages:
        parser.error(f"there are no pages in {root}")
    defects = [
        f"{page.path.relative_to(root)}: {defect}"
        for page in pages.values()
        if page.path.name not in GENERATED
        for defect in page_defects(page, pages, root)
    ]
    if args.external:
        links = {link for page in pages.values() for link in page.links if is_external(link)}
        print(*sorted(links), sep="\n")
    print(*sorted(set(defects)), sep="\n", end="\n" if defects else "")
    n_images, n_links, n_formulae = (
        sum(len(getattr(page, name)) for page in pages.values())
        for name in ("images", "links", "formulae")
    )
    print(
        f"{len(pages)} pages, {n_images} pictures, {n_links} links, {n_formulae} formulae: "
        f"{len(set(defects))} defects"
    )
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
