"""Optical flow, motion kernels, mixtures, Markov models and two-view geometry as estimators.

Public names are imported when they are first used, so that ``import fastmotion`` costs next to
nothing. `fastmotion.flow` holds the estimators of optical flow, `fastmotion.trajectory` those of
temporal kernels over the trajectories of joints, `fastmotion.linear` their least squares,
`fastmotion.mixture` Gaussian mixtures, `fastmotion.hmm` hidden Markov models,
`fastmotion.epipolar` the geometry of two views, and `fastmotion.metrics`, `fastmotion.io`,
`fastmotion.display` and `fastmotion.datasets` what goes with them.
"""

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
}

# Subpackages that register warm-up calls.
_FAMILIES = ("flow", "trajectory", "mixture", "hmm", "epipolar")

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


def warmup(families=None):
    """Compile ahead of the first call, or load from the cache, what estimators run on the CPU.

    The compiled code is kept on disk: after one call, for example while a container is built, no
    later process on that machine compiles. Progress is logged to "fastmotion" at level INFO.

    Parameters
    ----------
    families : str, iterable of str or None, default=None
        Which families to prepare, such as "flow"; None prepares all.

    Returns
    -------
    dict of str to float
        Seconds that each part took.

    Raises
    ------
    ValueError
        There is no family of a name.

    Examples
    --------
    >>> import fastmotion
    >>> fastmotion.warmup([])
    {}
    """
    if families is None:
        families = _FAMILIES
    families = (families,) if isinstance(families, str) else tuple(families)
    unknown = [family for family in families if family not in _FAMILIES]
    if unknown:
        raise ValueError(f"families must be of {list(_FAMILIES)}, got {unknown}")
    seconds = {}
    for family in families:
        _importlib.import_module(f"{__name__}.{family}")
        from fastmotion.core.compile import warmup_cases

        for case in warmup_cases(family):
            name = f"{family}.{case.__name__}"
            start = _time.perf_counter()
            case()
            seconds[name] = _time.perf_counter() - start
            _logging.getLogger(__name__).info("warmed up %s in %.2f s", name, seconds[name])
    return seconds
