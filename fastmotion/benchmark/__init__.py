"""Short comparisons with other libraries, and what all benchmarks time with.

``fastmotion bench`` prints what `compare` measures. The long form, with more peers, sizes and
goals, lies beside the package in ``bench``, and times by turns with the same functions.
"""

from fastmotion.benchmark.comparison import FAMILIES, Outcome, compare, outcome_table
from fastmotion.benchmark.tables import markdown_table
from fastmotion.benchmark.threads import OWN_POOLS, equal_threads
from fastmotion.benchmark.timing import time_by_turns, time_checked

__all__ = [
    "OWN_POOLS",
    "FAMILIES",
    "Outcome",
    "compare",
    "equal_threads",
    "markdown_table",
    "outcome_table",
    "time_by_turns",
    "time_checked",
]
