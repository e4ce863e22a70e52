"""Settings of the calling thread; standard library only, so that they cost nothing to import."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict, Unpack


class Settings(TypedDict, total=False):
    """What `set_config` takes."""

    device: str
    n_jobs: int | None


_DEFAULTS: Settings = {"device": "auto", "n_jobs": None}
_local = threading.local()


def _current() -> Settings:
    if not hasattr(_local, "settings"):
        _local.settings = _DEFAULTS.copy()
    settings: Settings = _local.settings
    return settings


def get_config() -> Settings:
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
    return _current().copy()


def set_config(**settings: Unpack[Settings]) -> None:
    """Change settings of the calling thread; a thread started later begins with the defaults.

    Parameters
    ----------
    **settings
        What to change:

        - ``device``, "auto" (at first), "cpu", "cuda" or "cuda:N": where estimators compute whose
          own ``device`` is None. "auto" follows the input: arrays on a CUDA device are worked on
          there, host arrays on the CPU.
        - ``n_jobs``, int or None (at first): threads of one call where the estimator's own
          ``n_jobs`` is None. None takes the number that Numba is set to.

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
def config_context(**settings: Unpack[Settings]) -> Iterator[None]:
    """Change settings of the calling thread within a ``with`` block.

    Parameters
    ----------
    **settings
        As for `set_config`.

    Yields
    ------
    None
        The settings before come back at the end of the block, also after an error.

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
