"""What is worked out once for a model: shipped with the package, or kept in the user's cache.

It depends on the model's weights and on what it was worked out from, so its name holds both:
another model's, or an older version's, is never taken for it.
"""

import hashlib
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypeVar

from plum_langchain.errors import CacheError, PlumError
from plum_langchain.models.cache import cache_directory, make_once

T = TypeVar("T")


def derived_name(fingerprint: str, source: bytes, suffix: str) -> str:
    """A file's name.

    Args:
        fingerprint: Of the model.
        source: What else it was worked out from.
        suffix: With its dot.
    """
    return f"{fingerprint}-{hashlib.sha256(source).hexdigest()[:8]}{suffix}"


def is_shipped(package: str, folder: str, name: str) -> bool:
    """Whether a package ships it in this folder of its own."""
    shipped = files(package).joinpath(folder, name)
    return shipped.is_file() or shipped.is_dir()


def derived(
    package: str,
    folder: str,
    name: str,
    *,
    load: Callable[[Path], T],
    make: Callable[[Path], None],
    should_stop: Callable[[], bool] | None = None,
) -> T:
    """The shipped one, or the one in the cache, or a new one that is put there.

    Args:
        package: Whose `folder` may ship it.
        folder: Its name there, and in the cache.
        name: Of the file or directory.
        load: Reads it.
        make: Works it out and writes it to a path where nothing is yet.
        should_stop: Asked while another process works it out.

    Raises:
        StoppedError: `should_stop` returned True.
        CacheError: the cache can't be written, or what is in it can't be read.
    """
    if is_shipped(package, folder, name):
        with as_file(files(package).joinpath(folder, name)) as path:
            return load(path)
    kept = cache_directory() / folder / name
    make_once(kept, make, should_stop)
    try:
        return load(kept)
    except Exception as error:  # whatever a cut or changed file makes of its reader
        found = type(error).__name__
        if not isinstance(error, PlumError):  # whose remedy would be for something else
            found += f": {error}"
        raise CacheError(
            f"{kept} can't be read ({found}); delete it, and it is worked out anew"
        ) from error
