"""Dense optical flow and motion analysis through scikit-learn estimators."""

import importlib as _importlib

__version__ = "0.1.0"

# Public name -> module that defines it; a name is a module itself where the module ends in it.
_PUBLIC = {
    "cli": "fastmotion.cli",
    "config_context": "fastmotion.core.config",
    "datasets": "fastmotion.datasets",
    "display": "fastmotion.display",
    "flow": "fastmotion.flow",
    "get_config": "fastmotion.core.config",
    "io": "fastmotion.io",
    "metrics": "fastmotion.metrics",
    "set_config": "fastmotion.core.config",
    "show_versions": "fastmotion.core.info",
    "warmup": "fastmotion.core.info",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    try:
        path = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    module = _importlib.import_module(path)
    return module if path == f"{__name__}.{name}" else getattr(module, name)


def __dir__():
    return sorted(__all__)
