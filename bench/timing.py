"""Measuring in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_fresh(code: str, cache: Path | str | None = None) -> Any:
    """Run Python code in a new process and return what it prints, as JSON.

    `cache` is the folder of compiled code; None leaves the caller's.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment["FASTMOTION_CACHE_DIR"] = str(cache)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr}")
    return json.loads(done.stdout)


# tracemalloc sees the arrays of NumPy, the high-water mark of the process also those that compiled
# code makes. Writing 5 to clear_refs sets that mark back to the present size.
_PEAK_MEMORY = """
import ctypes, gc, json, re, tracemalloc
from pathlib import Path

def status(key):
    found = re.search(rf"{{key}}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1])

{setup}

gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # freed memory counts as free (glibc)
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
result = {call}
resident = status("VmHWM") - before
del result

tracemalloc.start()
result = {call}
print(json.dumps({{"resident": resident, "traced": tracemalloc.get_traced_memory()[1]}}))
"""


def peak_memory(setup: str, call: str) -> dict[str, int]:
    """Return the bytes that an expression needs at its peak, its result among them (Linux only).

    `setup` has to warm up whatever `call` compiles. The figures are those of the process
    ("resident") and of the arrays that NumPy allocates ("traced").
    """
    return run_fresh(_PEAK_MEMORY.format(setup=setup, call=call))
