"""The user's cache: what is worked out once, whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from plum_langchain.durable import sync
from plum_langchain.errors import CacheError, StoppedError

_ASKED_EVERY = 0.5  # seconds

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Errors of writing; what is made may raise others of its own."""


def cache_directory() -> Path:
    """Where it is: `$PLUM_CACHE`, or the user's cache directory."""
    import platformdirs

    return Path(os.environ.get("PLUM_CACHE") or platformdirs.user_cache_dir("plum-langchain"))


def make_once(
    kept: Path, make: Callable[[Path], None], should_stop: Callable[[], bool] | None = None
) -> None:
    """Have a file or directory there; nothing is done if it is.

    Safe against a second process doing the same and against being killed half-way: one makes it,
    under a lock, aside, and it is renamed when complete.

    Args:
        kept: Where it is to be.
        make: Writes it to a path where nothing is yet. Whatever it raises leaves nothing behind;
            it is raised again, or as a CacheError where the disk refuses.
        should_stop: Asked while another process makes it.

    Raises:
        StoppedError: `should_stop` returned True.
        CacheError: the cache can't be written, or has no room left.
    """
    if kept.exists():
        return
    lock = FileLock(f"{kept}.lock")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, should_stop)
    except Timeout:
        raise StoppedError(
            f"asked to stop while another process works out {kept.name}; it goes on there"
        ) from None
    except OSError as error:
        raise CacheError(
            f"{kept.parent} can't be written ({error}), and {kept.name} has to be kept there; set "
            "PLUM_CACHE to a directory that can"
        ) from error
    writing = kept.with_name(f"{kept.name}.writing")
    try:
        if not kept.exists():
            _remove(writing)  # of one that was killed
            try:
                make(writing)
                _sync(writing)
                writing.rename(kept)
                sync(kept.parent)
            finally:
                _remove(writing)
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise CacheError(
            f"{kept.name} can't be written to {kept.parent} ({error}); make room there, or set "
            "PLUM_CACHE to a directory that can hold it"
        ) from error
    finally:
        lock.release()


def _acquire(lock: FileLock, should_stop: Callable[[], bool] | None) -> None:
    while True:
        try:
            lock.acquire(timeout=-1 if should_stop is None else _ASKED_EVERY)
        except Timeout:
            if should_stop is None or should_stop():
                raise
        else:
            return


def _sync(path: Path) -> None:
    """A name must not be seen, after a power cut, before what it stands for is on the disk."""
    if path.is_dir():
        for one in path.rglob("*"):
            sync(one)
    sync(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
