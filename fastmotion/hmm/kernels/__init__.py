"""The compiled recursions of hidden Markov models."""

from types import ModuleType

from fastmotion.core.device import load_kernels


def kernels_for(kind: str) -> ModuleType:
    """Return the kernels of a kind of device, "cpu" or "cuda", as `load_kernels` does."""
    return load_kernels(__name__, kind)
