"""The compiled kernels of dense flow: `cpu` and `cuda` hold the same names over `scalar`."""

import importlib
from types import ModuleType


def kernels_for(kind: str) -> ModuleType:
    """Return the kernels of a kind of device, "cpu" or "cuda"."""
    return importlib.import_module(f"{__name__}.{kind}")
