"""A database that is open when its process is forked.

SQLite keeps, for a whole process, which locks it holds on which file. A forked child inherits that
table and none of the locks: what it writes, by its parent's connections or by new ones of its own,
another process takes for abandoned and deletes
(https://sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork()").

So idle connections are closed before a fork, and the child may open the database anew; a connection
that is in use can't be closed, and the child is told that it must not. What was opened in another
process can't be used in any case.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from plum_langchain.errors import PlumError

_AFTER = (
    "open one in each process after the fork: in a server's lifespan or post-fork hook, not where "
    "it preloads its application"
)


class Forkable:
    """The connections of one database, as a fork concerns them.

    Args:
        engine: Makes the connections.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process = os.getpid()
        self._in_use = 0
        is_file = engine.dialect.name == "sqlite" and engine.url.database
        self._file = os.path.realpath(str(engine.url.database)) if is_file else None
        with _forking:
            _refuse_inherited(self._file)
            _all.add(self)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a connection is.

        Raises:
            PlumError: the database was opened in another process, of which this is a fork.
        """
        with _forking:
            if os.getpid() != self._process:
                raise PlumError(
                    f"this home was opened in process {self._process}, of which process "
                    f"{os.getpid()} is a fork; {_AFTER}"
                )
            self._in_use += 1
        try:
            yield
        finally:
            with _forking:
                self._in_use -= 1

    def close_idle(self) -> None:
        """Close the connections that nobody uses; they are opened again at need."""
        if self._file is not None:
            self._engine.dispose()

    def file_in_use(self) -> str | None:
        """The database's file, if a connection to it is in use."""
        return self._file if self._in_use else None


_forking = threading.RLock()
"""Held over a fork, so that no connection comes into use meanwhile."""

_all: "weakref.WeakSet[Forkable]" = weakref.WeakSet()

_inherited: set[str] = set()
"""Files of which this process, a fork, has inherited an open connection."""


def _refuse_inherited(file: str | None) -> None:
    if file in _inherited:
        raise PlumError(
            f"process {os.getpid()} was forked while {file} was in use, and can't open it any "
            "more: fork when nobody uses the home, or before it is opened; start the process by "
            "'spawn' otherwise"
        )


def _before() -> None:
    _forking.acquire()
    for one in list(_all):
        one.close_idle()


def _after_in_child() -> None:
    _inherited.update(file for one in list(_all) if (file := one.file_in_use()))
    _forking.release()


if hasattr(os, "register_at_fork"):  # where there is a fork
    os.register_at_fork(
        before=_before, after_in_parent=_forking.release, after_in_child=_after_in_child
    )
