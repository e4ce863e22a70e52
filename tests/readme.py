"""The examples of README.md, copied out."""

import re
import textwrap
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def python_blocks():
    """Return the Python examples by the title that stands before each in bold."""
    text = README.read_text("utf-8")
    blocks = {}
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
        title = re.findall(r"^\*\*(.+?)\*\*", text[: block.start()], re.M)[-1]
        blocks[title] = textwrap.dedent(block[1])
    assert len(blocks) == text.count("```python"), "two examples have one title"
    return blocks


def commands():
    """Return the lines of shell examples that call ``fastmotion``."""
    text = README.read_text("utf-8")
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    return [
        line for block in blocks for line in block.splitlines() if line.startswith("fastmotion")
    ]


def stated_output(code):
    """Return what the comment behind the last ``print`` of an example says, or None."""
    last = [line for line in code.splitlines() if line.startswith("print")][-1]
    return last.partition("  # ")[2] or None


def is_as_stated(printed, stated):
    """Return whether an example prints what it says; a unit or a comparison may follow."""
    return re.fullmatch(rf"{re.escape(printed)}([ ,].*)?", stated) is not None
