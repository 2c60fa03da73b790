"""The durable steps of a process, counted; at one it is killed, or paused, or the step fails.

A durable step is what changes the disk: a file opened for writing, a write, fsync, rename, link,
unlink, mkdir, rmdir, and of SQLite each statement that writes, BEGIN IMMEDIATE, COMMIT, VACUUM and
checkpoint. (To list a directory changes nothing, but is where a process may be overtaken, and
counts as well.) `Steps.watch` wraps these for the rest of the process's life, so it is for
children.
"""

import builtins
import errno
import io
import os
import signal
import sqlite3
import sqlite3.dbapi2
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_PRIMITIVES = (
    *("fsync", "rename", "replace", "link", "unlink", "remove", "mkdir", "rmdir"),
    *("listdir", "scandir"),
)
_OPEN_FILES = Path("/proc/self/fd")
_SQL = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "VACUUM")
_CHANGES = tuple(f"sql {word}" for word in ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER"))
_LISTINGS = ("listdir ", "scandir ")
_PRAGMAS = ("PRAGMA WAL_CHECKPOINT", "PRAGMA JOURNAL_MODE")


@dataclass(frozen=True)
class Plan:
    """What happens at which step.

    "half" is for writes: half of it reaches the file. A fault that is `lasting` hits every later
    step too that isn't a listing, as on a disk that stays full.
    """

    at: int
    what: Literal["kill", "pause", "ENOSPC", "EIO"] = "kill"
    when: Literal["before", "half", "after"] = "before"
    lasting: bool = False

    def __str__(self) -> str:
        lasting = " and ever after" if self.lasting else ""
        return f"{self.what} {self.when} step {self.at}{lasting}"


def apart(steps: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The steps, by number and name, at which it makes a difference to be struck.

    Not at a listing, and of the statements of a transaction only at its BEGIN, its first and its
    COMMIT: between those the disk stays as it was.
    """
    before = ""
    for number, name in enumerate(steps, 1):
        inside = name.startswith(_CHANGES) and not before.startswith("sql BEGIN")
        if not inside and not name.startswith(_LISTINGS):
            yield number, name
        before = name


class Steps:
    """Counts the steps under `root` while `on`, and strikes as planned."""

    def __init__(self, root: Path, plan: Plan | None = None) -> None:
        self.seen: list[str] = []
        self.on = False
        self._root = str(root)
        self._plan = plan

    def watch(self) -> None:
        """Wrap the primitives."""
        for name in _PRIMITIVES:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        os.open = self._opening(os.open)  # type: ignore[assignment]
        io.open = builtins.open = self._file_opening(io.open)  # type: ignore[assignment]
        sqlite3.connect = sqlite3.dbapi2.connect = self._connecting(sqlite3.connect)  # type: ignore[assignment]

    def step(self, name: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do it, unless the plan is otherwise.

        What a heartbeat does is no step: it comes when it will.
        """
        if not self.on or threading.current_thread() is not threading.main_thread():
            return act()
        self.seen.append(name)
        plan, number = self._plan, len(self.seen)
        later = plan is not None and plan.lasting and not name.startswith(_LISTINGS)
        if plan is None or not (number == plan.at or (later and number > plan.at)):
            return act()
        done = act() if plan.when == "after" else None
        if plan.when == "half" and half is not None:
            half()
        if plan.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if plan.what == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
            return done if plan.when == "after" else act()
        if name.startswith("sql "):
            told = {"ENOSPC": "database or disk is full", "EIO": "disk I/O error"}
            raise sqlite3.OperationalError(told[plan.what])
        code = getattr(errno, plan.what)
        raise OSError(code, os.strerror(code))

    # -- the primitives --------------------------------------------------------------------------

    def _name(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path inside the home; None for one that isn't."""
        if isinstance(path, int):
            path = _OPEN_FILES.joinpath(str(path)).readlink()
        path = os.fsdecode(path)
        if dir_fd is not None:
            path = str(_OPEN_FILES.joinpath(str(dir_fd)).readlink() / path)
        return path[len(self._root) + 1 :] or "." if path.startswith(self._root) else None

    def _wrapped(self, what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, *rest: Any, **options: Any) -> Any:
            name = self._name(path, options.get("dir_fd"))
            if name is None:
                return real(path, *rest, **options)
            return self.step(f"{what} {name}", lambda: real(path, *rest, **options))

        return wrapped

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def opening(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            name = self._name(path, options.get("dir_fd"))
            if name is None or not flags & (os.O_CREAT | os.O_TRUNC):
                return real(path, flags, *rest, **options)
            return int(self.step(f"open {name}", lambda: real(path, flags, *rest, **options)))

        return opening

    def _file_opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opening(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, *rest, **options)
            name = self._name(file)
            if name is None:
                return real(file, mode, *rest, **options)
            if isinstance(file, int):  # `opening` has counted it
                return _File(real(file, mode, *rest, **options), name, self)
            opened = self.step(f"open {name}", lambda: real(file, mode, *rest, **options))
            return _File(opened, name, self)

        return opening

    def _connecting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        steps = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, *rest: Any) -> Any:
                if sql.startswith("BEGIN IMMEDIATE"):
                    self.connection.writing = True  # type: ignore[attr-defined]
                return steps.statement(sql, lambda: super(Cursor, self).execute(sql, *rest))

            def executemany(self, sql: str, *rest: Any) -> Any:
                return steps.statement(sql, lambda: super(Cursor, self).executemany(sql, *rest))

        class Connection(sqlite3.Connection):
            writing = False  # whether its transaction is one: to end a read is no durable step

            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

            def execute(self, sql: str, *rest: Any) -> Any:
                return self.cursor().execute(sql, *rest)

            def commit(self) -> None:
                if self.writing:
                    steps.step("sql COMMIT", super().commit)
                    self.writing = False
                else:
                    super().commit()

            def rollback(self) -> None:
                self.writing = False
                super().rollback()

        return lambda *args, **options: real(*args, **{**options, "factory": Connection})

    def statement(self, sql: str, act: Callable[[], Any]) -> Any:
        """A statement; a step if it writes."""
        told = " ".join(sql.upper().split())
        if not told.startswith(_SQL) and not told.startswith(_PRAGMAS):
            return act()
        return self.step(f"sql {' '.join(told.split()[:3])}", act)


class _File:
    """An open file whose writes are steps."""

    def __init__(self, file: Any, name: str, steps: Steps) -> None:
        self._file, self._name, self._steps = file, name, steps

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        return self._steps.step(f"write {self._name}", lambda: self._file.write(data), half)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
