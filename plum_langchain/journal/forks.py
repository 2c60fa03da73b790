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
from sqlalchemy.pool import Pool, SingletonThreadPool

from plum_langchain.errors import PlumError

_AFTER = (
    "open one in each process after the fork: in a server's lifespan or post-fork hook, not where "
    "it preloads its application"
)


class Forkable:
    """The connections of one database, as a fork concerns them.

    Args:
        engine: Makes the connections.

    Raises:
        PlumError: this process is a fork, and has inherited an open connection to the same file.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process = os.getpid()
        self._in_use = 0
        self._left: list[Pool] = []
        # SQLAlchemy has this pool for what is in memory, which would be gone once it is closed.
        in_memory = isinstance(engine.pool, SingletonThreadPool)
        is_file = engine.dialect.name == "sqlite" and not in_memory
        self.file = os.path.realpath(str(engine.url.database)) if is_file else None
        with _forking:
            _refuse_inherited(self.file)
            _all.add(self)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While the caller uses a connection.

        Raises:
            PlumError: the database was opened in another process, of which this is a fork.
        """
        with _forking:
            if os.getpid() != self._process:
                raise PlumError(
                    f"this home was opened in process {self._process}, of which process "
                    f"{os.getpid()} is a fork; {_AFTER}"
                )
        counted = False
        try:
            with _forking:
                self._in_use += 1
                counted = True
            yield
        finally:
            with _forking:
                self._in_use -= counted
                while self._left and not self._in_use:
                    self._left.pop().dispose()

    def close(self) -> None:
        """Close all connections: those in use as soon as they no longer are."""
        with _forking:
            pool = self._engine.pool
            self._engine.dispose()
            if self._in_use:
                self._left.append(pool)

    def close_before_fork(self) -> None:
        """Close the connections to a file, if none of them is in use; they are made anew."""
        if self.file is not None and not self._in_use and self._process == os.getpid():
            self._engine.dispose()

    def open_file(self) -> str | None:
        """The database's file, if a connection to it is in use."""
        return self.file if self._in_use else None


_forking = threading.RLock()
"""Held over a fork, so that no connection comes into use meanwhile."""

_all: "weakref.WeakSet[Forkable]" = weakref.WeakSet()

_open: list[str] = []
"""Files to which a connection stays open over the fork that is under way."""

_inherited: set[str] = set()
"""Files to which this process, a fork, has inherited an open connection."""


def _refuse_inherited(file: str | None) -> None:
    if file in _inherited:
        raise PlumError(
            f"process {os.getpid()} was forked while {file} was in use, and can't open it any "
            "more: fork when nobody uses the home, or before it is opened; start the process by "
            "'spawn' otherwise"
        )


def _before() -> None:
    _forking.acquire()
    _open.clear()
    for one in list(_all):
        file = one.open_file()
        try:
            one.close_before_fork()
        except Exception:  # what a hook raises, Python prints and goes on
            file = one.file
        if file is not None:
            _open.append(file)


def _after_in_child() -> None:
    _inherited.update(_open)
    _forking.release()


if hasattr(os, "register_at_fork"):  # where there is a fork
    os.register_at_fork(
        before=_before, after_in_parent=_forking.release, after_in_child=_after_in_child
    )
