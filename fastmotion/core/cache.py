"""Where the machine code of kernels is kept on disk.

Numba stamps cached code with the kernel's own source file only: after an edit of a helper in
another file, or an upgrade that touches helpers alone, it runs the old code. Here the code lies in
a folder named by a hash of every source that compiled code can be made of: an edit starts afresh.

Layout: ``<root>/<hash of the sources>/<folder of the kernel's module>/<Numba's files>``.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import logging
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba

try:
    # Semi-private: without them there is no cache, which is slow but never wrong.
    from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
    from numba.core.dispatcher import Dispatcher
    from numba.core.sigutils import normalize_signature

    _HAS_HOOKS = True
except ImportError:  # pragma: no cover
    _HAS_HOOKS = False

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
# The import direction guarantees that compiled code comes from these folders alone, so that editing
# an estimator costs no recompilation.
_COMPILED_FOLDERS = {"core", "linear", "kernels"}
# Hash folders kept under one root, the latest used: a few environments and the latest edits.
_KEPT_FOLDERS = 8


def enable(dispatcher: Any) -> None:
    """Let a Numba dispatcher, of either target, keep its machine code on disk if it can be."""
    if not _HAS_HOOKS:
        logger.warning("this version of numba offers no cache hooks; every process compiles anew")
        return
    func = dispatcher.py_func
    if not Path(func.__code__.co_filename).resolve().is_relative_to(_PACKAGE):
        return  # its helpers may lie anywhere: no hash could tell when they change
    if cache_dir() is not None:
        kind = _PackageCache if isinstance(dispatcher, Dispatcher) else _cuda_cache()
        if kind is not None:
            dispatcher._cache = kind(func)


@functools.cache
def cache_dir() -> Path | None:
    """Return the folder for code made from the present sources, or None where there is none."""
    if os.environ.get("FASTMOTION_DISABLE_CACHE", "0") not in ("", "0"):
        return None
    if _SOURCE_STAMP is None:
        return None
    for root in _roots():
        folder = root / _SOURCE_STAMP
        try:
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            logger.info("no compiled code can be kept under %s: %s", root, error)
            continue
        with contextlib.suppress(OSError):  # read-only, filled beforehand: good to read from
            os.utime(folder)
        if is_new:
            _prune(root)
        return folder
    return None


def _roots() -> Iterator[Path]:
    """Yield the places to try, best first."""
    if chosen := os.environ.get("FASTMOTION_CACHE_DIR"):
        yield _expand(chosen).absolute()
    elif numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR).absolute() / "fastmotion"
    elif (user := _user_cache_dir()).is_absolute():
        yield user
    if (temporary := _private_temp_dir()) is not None:
        yield temporary


def _user_cache_dir() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
        return Path(base).expanduser() / "fastmotion" / "Cache"
    if sys.platform == "darwin":
        return _expand("~/Library/Caches/fastmotion")
    return _expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fastmotion"


def _expand(path: str) -> Path:
    # Path.expanduser raises where there is no home; os.path leaves the "~", which is not absolute.
    return Path(os.path.expanduser(path))


def _private_temp_dir() -> Path | None:
    """Return a folder in the temporary directory that nobody else could have filled.

    Loading cached code unpickles it, so a folder that another user owns or may write to is refused.
    """
    try:
        path = Path(tempfile.gettempdir()) / f"fastmotion-{getpass.getuser()}"
        path.mkdir(mode=0o700, exist_ok=True)
        info = path.lstat()
    except (OSError, KeyError):  # KeyError: a user id without a name
        return None
    if not stat.S_ISDIR(info.st_mode):
        return None
    if hasattr(os, "getuid") and (info.st_uid != os.getuid() or info.st_mode & 0o022):
        return None
    return path


def _source_stamp() -> str | None:
    """Return a hash of the sources of compiled code, or None for a package without source files."""
    sources = sorted(
        path
        for path in _PACKAGE.rglob("*.py")
        if _COMPILED_FOLDERS.intersection(path.relative_to(_PACKAGE).parts[:-1])
    )
    if not sources:
        return None
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sources:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


# Taken before a kernel is imported: code of sources that are edited while this process runs must
# not be filed under the edited ones.
_SOURCE_STAMP = _source_stamp()


def _prune(root: Path) -> None:
    """Remove the hash folders that have not been used for longest."""
    import shutil

    def last_use(folder: Path) -> float:
        with contextlib.suppress(OSError):
            return folder.stat().st_mtime
        return time.time()

    folders = [path for path in root.iterdir() if re.fullmatch(r"[0-9a-f]{16}", path.name)]
    for folder in sorted(folders, key=last_use, reverse=True)[_KEPT_FOLDERS:]:
        shutil.rmtree(folder, ignore_errors=True)


if _HAS_HOOKS:

    class _PackageLocator(_CacheLocator):
        """Puts the cache files of a function of this package under `cache_dir`."""

        def __init__(self, py_func: Any, py_file: str) -> None:
            root = cache_dir()
            assert root is not None
            self._py_file = py_file  # named by Numba's warning about code that cannot be cached
            self._line = py_func.__code__.co_firstlineno
            self._stamp = root.name
            self._folder = str(root / Path(py_file).resolve().relative_to(_PACKAGE).with_suffix(""))

        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> _PackageLocator:
            return cls(py_func, py_file)

        def ensure_cache_path(self) -> None:
            os.makedirs(self._folder, exist_ok=True)

        def get_cache_path(self) -> str:
            return self._folder

        def get_source_stamp(self) -> str:
            return self._stamp

        def get_disambiguator(self) -> str:
            return str(self._line)

    class _PackageCacheImpl(CompileResultCacheImpl):
        _locator_classes = [_PackageLocator]

    class _Forgiving:
        """A cache that can fail to help but never fails a call."""

        def load_overload(self: Any, sig: Any, target_context: Any) -> Any:
            try:
                result = super().load_overload(sig, target_context)  # type: ignore[misc]
            except Exception:
                logger.info("cached code of %s is unreadable; compiling", self._name, exc_info=True)
                with contextlib.suppress(OSError):
                    self.flush()
                return None
            # Two processes that save different signatures at once can swap each other's files.
            if result is not None and tuple(result.signature.args) != normalize_signature(sig)[0]:
                return None
            return result

        def save_overload(self: Any, sig: Any, data: Any) -> None:
            try:
                super().save_overload(sig, data)  # type: ignore[misc]
            except Exception:
                logger.info("the code of %s could not be cached", self._name, exc_info=True)

    class _PackageCache(_Forgiving, FunctionCache):
        _impl_class = _PackageCacheImpl

    @functools.cache
    def _cuda_cache() -> Any:
        """Return the kind of cache for CUDA kernels, or None where numba-cuda has no hooks."""
        try:
            from numba.cuda.dispatcher import CUDACache, CUDACacheImpl
        except ImportError:
            return None

        class PackageCudaCacheImpl(CUDACacheImpl):
            _locator_classes = [_PackageLocator]

        class PackageCudaCache(_Forgiving, CUDACache):
            _impl_class = PackageCudaCacheImpl

        return PackageCudaCache
