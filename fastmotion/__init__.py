"""Optical flow, motion kernels, mixtures, Markov models and two-view geometry as estimators.

Public names are imported when they are first used, so that ``import fastmotion`` costs next to
nothing. `fastmotion.flow` holds the estimators of optical flow, `fastmotion.trajectory` those of
temporal kernels over the trajectories of joints, `fastmotion.linear` their least squares,
`fastmotion.mixture` Gaussian mixtures, `fastmotion.hmm` hidden Markov models,
`fastmotion.epipolar` the geometry of two views, `fastmotion.features` what classifiers take,
`fastmotion.video` whole video files, and `fastmotion.metrics`, `fastmotion.io`,
`fastmotion.display` and `fastmotion.datasets` what goes with them.
"""

import functools as _functools
import importlib as _importlib
import logging as _logging
import time as _time

__version__ = "0.1.0"

# Public name -> module that it comes from. A name that its module is called is that module.
_LAZY = {
    "config_context": "fastmotion.core.config",
    "datasets": "fastmotion.datasets",
    "display": "fastmotion.display",
    "epipolar": "fastmotion.epipolar",
    "features": "fastmotion.features",
    "flow": "fastmotion.flow",
    "free_memory": "fastmotion.core.memory",
    "get_config": "fastmotion.core.config",
    "hmm": "fastmotion.hmm",
    "io": "fastmotion.io",
    "linear": "fastmotion.linear",
    "metrics": "fastmotion.metrics",
    "mixture": "fastmotion.mixture",
    "set_config": "fastmotion.core.config",
    "show_versions": "fastmotion.core.info",
    "trajectory": "fastmotion.trajectory",
    "video": "fastmotion.video",
}

# Subpackages that register warm-up calls, and those whose CUDA kernels they launch.
_FAMILIES = {
    "flow": ("core", "flow"),
    "trajectory": ("core", "trajectory"),
    "mixture": ("core", "em", "mixture"),
    "hmm": ("core", "em", "hmm"),
    "epipolar": ("core", "epipolar"),
    "features": ("core", "features", "em"),
}

__all__ = ["__version__", "warmup", *_LAZY]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _importlib.import_module(_LAZY[name])
    value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


def warmup(families=None, *, device="cpu"):
    """Compile ahead of the first call, or load from the cache, what estimators run on a device.

    The compiled code is kept on disk: after one call, for example while a container is built, no
    later process on that machine compiles. Progress is logged to "fastmotion" at level INFO.

    Parameters
    ----------
    families : str, iterable of str or None, default=None
        Which families to prepare, such as "flow"; None prepares all.
    device : {"cpu", "cuda", "cuda:N"}, default="cpu"
        What to compile for. CUDA kernels are compiled for the GPU that is there.

    Returns
    -------
    dict of str to float
        Seconds that each part took.

    Raises
    ------
    ValueError
        There is no family of a name, or no such device.
    RuntimeError
        The device is not available.

    Examples
    --------
    >>> import fastmotion
    >>> fastmotion.warmup([])
    {}
    """
    from fastmotion.core.device import resolve_device

    if families is None:
        families = _FAMILIES
    families = (families,) if isinstance(families, str) else tuple(families)
    unknown = [family for family in families if family not in _FAMILIES]
    if unknown:
        raise ValueError(f"families must be of {list(_FAMILIES)}, got {unknown}")
    device = resolve_device(device)
    cases = _cpu_cases(families) if device.kind == "cpu" else _cuda_cases(families, device)
    seconds = {}
    for name, case in cases:
        start = _time.perf_counter()
        case()
        seconds[name] = _time.perf_counter() - start
        _logging.getLogger(__name__).info("warmed up %s in %.2f s", name, seconds[name])
    return seconds


def _cpu_cases(families):
    from fastmotion.core.compile import warmup_cases

    for family in families:
        _importlib.import_module(f"{__name__}.{family}")
        for case in warmup_cases(family):
            yield f"{family}.{case.__name__}", case


def _cuda_cases(families, device):
    from fastmotion.core.compile import CudaKernel, registered_kernels
    from fastmotion.core.memory import memory_of

    def compile_all(package):
        with memory_of(device).current():
            for name, kernel in registered_kernels().items():
                if name.startswith(f"{package}.") and isinstance(kernel, CudaKernel):
                    kernel.compile()

    packages = dict.fromkeys(package for family in families for package in _FAMILIES[family])
    for part in packages:
        package = f"{__name__}.{part}.kernels"
        _importlib.import_module(f"{package}.cuda")
        yield f"{part}.kernels", _functools.partial(compile_all, package)
