"""Settings of the calling thread; standard library only, so that they cost nothing to import."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_DEFAULTS: dict[str, Any] = {"device": "auto", "n_jobs": None}
_local = threading.local()


def _current() -> dict[str, Any]:
    if not hasattr(_local, "settings"):
        _local.settings = dict(_DEFAULTS)
    return _local.settings


def get_config() -> dict[str, Any]:
    """Return the settings of the calling thread.

    Returns
    -------
    dict
        A copy; changing it changes no setting. The keys are those of `set_config`.

    Examples
    --------
    >>> import fastmotion
    >>> fastmotion.get_config()
    {'device': 'auto', 'n_jobs': None}
    """
    return dict(_current())


def set_config(**settings: Any) -> None:
    """Change settings of the calling thread; a thread started later begins with the defaults.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        Where estimators compute whose own ``device`` is None. "auto" follows the input: arrays on
        a CUDA device are worked on there, host arrays on the CPU.
    n_jobs : int or None, default=None
        Threads of one call where the estimator's own ``n_jobs`` is None. None takes the number
        that Numba is set to.

    Raises
    ------
    TypeError
        A name is not one of the settings above.

    See Also
    --------
    config_context : Change settings for one block of code.

    Examples
    --------
    >>> import fastmotion
    >>> fastmotion.set_config(n_jobs=2)
    >>> fastmotion.get_config()["n_jobs"]
    2
    >>> fastmotion.set_config(n_jobs=None)
    """
    unknown = sorted(set(settings) - set(_DEFAULTS))
    if unknown:
        raise TypeError(
            f"unknown setting {', '.join(map(repr, unknown))}; "
            f"the settings are {', '.join(map(repr, _DEFAULTS))}"
        )
    _current().update(settings)


@contextmanager
def config_context(**settings: Any) -> Iterator[None]:
    """Change settings of the calling thread within a ``with`` block.

    Parameters
    ----------
    **settings
        As for `set_config`.

    Raises
    ------
    TypeError
        A name is not a setting.

    Examples
    --------
    >>> import fastmotion
    >>> with fastmotion.config_context(device="cpu"):
    ...     fastmotion.get_config()["device"]
    'cpu'
    >>> fastmotion.get_config()["device"]
    'auto'
    """
    before = get_config()
    set_config(**settings)
    try:
        yield
    finally:
        _local.settings = before
