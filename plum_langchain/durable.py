"""What is written survives a power cut."""

import contextlib
import os
import secrets
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file's bytes, or which names a directory holds, are on the disk.

    Raises:
        OSError: it isn't there, or the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory of mode 0700, and those it lies in, durably, unless it is there.

    Raises:
        OSError: the disk refuses, or something else has the name.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync(one.parent)
    path.mkdir(exist_ok=True)


def create(path: Path, content: bytes) -> None:
    """Create a file of mode 0600, durably, unless it is there.

    Written aside and linked into place: two processes that create it at once agree on one file,
    and no one ever reads half of it.

    Raises:
        OSError: the disk refuses.
    """
    aside = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
    sync(path.parent)
