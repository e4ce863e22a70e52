"""What a bug report should say about the machine and the installation."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

__all__ = ["get_versions", "show_versions"]

_PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "llvmlite", "numba-cuda")


def get_versions() -> dict[str, str]:
    """Return what `show_versions` prints, by name."""
    import numba

    from fastmotion import __version__
    from fastmotion.core.cache import cache_dir
    from fastmotion.core.device import cuda_unavailable_reason

    n_threads = numba.get_num_threads()  # settles the threading layer
    folder = cache_dir()
    reason = cuda_unavailable_reason()
    return {
        "fastmotion": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "executable": sys.executable,
        "CPU": _cpu_name(),
        "CPUs": str(os.cpu_count()),
        "threads": f"{n_threads} ({numba.threading_layer()})",
        "cache": str(folder) if folder is not None else "off",
        "CUDA": _cuda_devices() if reason is None else f"not available: {reason}",
    }


def show_versions() -> None:
    """Print the versions and settings that a bug report should name.

    Examples
    --------
    >>> import fastmotion
    >>> fastmotion.show_versions()
    fastmotion: 0.1.0
    python: ...
    """
    for name, value in get_versions().items():
        sys.stdout.write(f"{name}: {value}\n")


def _cuda_devices() -> str:
    """Return the names of the CUDA devices, and of what they are capable."""
    from numba import cuda

    found = []
    for index, gpu in enumerate(cuda.gpus):
        name = getattr(gpu, "name", "simulated")
        name = name.decode() if isinstance(name, bytes) else name
        major, minor = gpu.compute_capability
        found.append(f"cuda:{index} {name} (compute capability {major}.{minor})")
    return ", ".join(found)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_name() -> str:
    import llvmlite.binding

    return llvmlite.binding.get_host_cpu_name()
