"""The compiled kernels of dense flow: `cpu` and `cuda` hold the same names over `scalar`."""

import importlib
from types import ModuleType


def kernels_for(kind: str) -> ModuleType:
    """Return the kernels of a kind of device, "cpu" or "cuda", for all steps of a method.

    Raises
    ------
    RuntimeError
        The kind is "cuda": of its kernels there are only the solvers yet.
    """
    if kind == "cuda":
        raise RuntimeError(
            "dense flow runs on the CPU in this version: warping, resampling and the median filter "
            "have no CUDA kernels yet; pass device='cpu' and arrays on the host"
        )
    return importlib.import_module(f"{__name__}.{kind}")
