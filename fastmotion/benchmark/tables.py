"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["markdown_table"]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are figures.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : iterable of sequence of str
        Cells, as many in each row as there are columns.

    Returns
    -------
    str
        Lines without a last newline.

    Examples
    --------
    >>> from fastmotion.benchmark import markdown_table
    >>> print(markdown_table(["method", "ms"], [["ours", "1.5"]]))
    | method | ms |
    | --- | --: |
    | ours | 1.5 |
    """
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
