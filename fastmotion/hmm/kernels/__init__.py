"""The compiled recursions of hidden Markov models."""

import importlib
from types import ModuleType


def kernels_for(kind: str) -> ModuleType:
    """Return the kernels of a kind of device, "cpu" or "cuda".

    Raises
    ------
    RuntimeError
        The kind is "cuda", which has no kernels yet.
    """
    if kind == "cuda":
        raise RuntimeError(
            "hidden Markov models run on the CPU in this version; pass device='cpu' and host arrays"
        )
    return importlib.import_module(f"{__name__}.{kind}")
