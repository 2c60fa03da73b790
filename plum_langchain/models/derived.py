"""What is worked out once for a base model: shipped with the package, or kept in the user's cache.

It depends on the model's weights and on what it was worked out from, so its name holds both:
another model's, or an older version's, is never taken for it.
"""

import hashlib
import shutil
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from plum_langchain.errors import CacheError
from plum_langchain.models.gguf import cache_directory

T = TypeVar("T")


def derived_name(fingerprint: str, source: bytes, suffix: str) -> str:
    """A file's name.

    Args:
        fingerprint: Of the base model.
        source: What else it was worked out from.
        suffix: With its dot.
    """
    return f"{fingerprint}-{hashlib.sha256(source).hexdigest()[:8]}{suffix}"


def derived(
    package: str,
    folder: str,
    name: str,
    *,
    load: Callable[[Path], T],
    make: Callable[[Path], None],
) -> T:
    """The shipped one, or the one in the cache, or a new one that is put there.

    Safe against a second process doing the same and against being killed half-way: one works it
    out, under a lock, aside, and it is renamed when complete.

    Args:
        package: Whose `folder` may ship it.
        folder: Its name there, and in the cache.
        name: Of the file or directory.
        load: Reads it.
        make: Works it out and writes it to a path where nothing is yet.

    Raises:
        CacheError: the cache can't be written, or what is in it can't be read.
    """
    shipped = files(package).joinpath(folder, name)
    if shipped.is_file() or shipped.is_dir():
        with as_file(shipped) as path:
            return load(path)
    kept = cache_directory() / folder / name
    if not kept.exists():
        _make_once(kept, make)
    try:
        return load(kept)
    except Exception as error:  # whatever a cut or changed file makes of its reader
        raise CacheError(
            f"{kept} can't be read ({type(error).__name__}: {error}); delete it, and it is worked "
            "out anew"
        ) from error


def _make_once(kept: Path, make: Callable[[Path], None]) -> None:
    lock = FileLock(f"{kept}.lock")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise CacheError(
            f"{kept.parent} can't be written ({error}), and {kept.name} has to be kept there; set "
            "PLUM_CACHE to a directory that can"
        ) from error
    writing = kept.with_name(f"{kept.name}.writing")
    try:
        if not kept.exists():
            _remove(writing)  # of one that was killed
            make(writing)
            writing.rename(kept)
    finally:
        _remove(writing)
        lock.release()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
