"""The compiled kernels of features: `cpu` and `cuda` hold the same names over `scalar`."""

from types import ModuleType

from fastmotion.core.device import load_kernels


def kernels_for(kind: str) -> ModuleType:
    """Return the kernels of a kind of device, "cpu" or "cuda"."""
    return load_kernels(__name__, kind)
