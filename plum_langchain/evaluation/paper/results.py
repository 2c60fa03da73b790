"""What was found, as JSON lines: written as it comes, so that a run of days may be interrupted.

A record belongs to a run: an experiment on these chats, questions, settings and weights. It is of
one of three kinds: "begun" (a stream starts, from its first session), "session" (a stream has
learned one more) and "result" (an experiment is through). Of a fourth kind, "questions", there is
one for each session: what all experiments learn of it, in this process and in the next.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from plum_langchain.errors import BrokenRecordError, BusyError, MissingFileError

if sys.platform != "win32":
    import fcntl

Record = Mapping[str, Any]

_KINDS = ("begun", "session", "result", "questions")

_HEAD = b'{"kind": "'
"""What every record begins with, by which a first line that was torn is told from another file."""


class Results:
    """A file of records, and what is in it. One process may write it at a time.

    `alone` keeps others away for as long as a run takes, where files can be locked; `add` notices
    them everywhere.

    Args:
        path: The file; made with the first record.

    Raises:
        MissingFileError: it can't be read.
        BrokenRecordError: it holds something else; the message names the line. A last line that
            was not written to its end is passed over, and cut off with the next record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records, self._whole, self._size = _read(path)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from writing the file meanwhile.

        Raises:
            BusyError: one of them does.
        """
        with self.path.open("ab") as file:
            if not _locked(file):
                raise BusyError(
                    f"{self.path} is being written by another process, and one at a time may; wait "
                    "until it ends, or name another file"
                )
            yield

    def experiments(self) -> set[str]:
        """The names of those that are through, with whatever chats, settings and weights."""
        return {r["experiment"] for r in self._records if r["kind"] == "result"}

    def result(self, run: str) -> Record | None:
        """What a run found, if it is through."""
        found = [r for r in self._records if r["run"] == run and r["kind"] == "result"]
        return found[-1] if found else None

    def sessions(self, run: str) -> list[Record]:
        """The sessions that a run has learned since it last began, in this order."""
        found: list[Record] = []
        for record in self._records:
            if record["run"] == run and record["kind"] == "begun":
                found = []
            elif record["run"] == run and record["kind"] == "session":
                found.append(record)
        return found

    def questions(self, run: str) -> Record | None:
        """What a session was asked, or why it can't be, if that is known already."""
        found = (r for r in self._records if r["run"] == run and r["kind"] == "questions")
        return next(found, None)

    def add(self, record: Record) -> None:
        """Write a record, so that it is there even if the power fails.

        Raises:
            BusyError: another process has written the file; it is left as it is.
        """
        line = (json.dumps(record, ensure_ascii=False, default=str) + "\n").encode()
        with self.path.open("ab") as file:
            size = os.fstat(file.fileno()).st_size
            if size != self._size:
                raise BusyError(
                    f"{self.path} has {size} bytes, where this process knows of {self._size}: "
                    "another one has changed it, and nothing was written over that; let only one "
                    "at a time write it, and start this one again"
                )
            if self._whole < size:  # a line that was not written to its end
                file.truncate(self._whole)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._whole = self._size = self._whole + len(line)
        self._records.append(json.loads(line))


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits that stand for all of this."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> tuple[list[Record], int, int]:
    """The records, how many bytes they take, and how many there are with a last line torn."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0, 0
    except OSError as error:
        raise MissingFileError(f"{path} can't be read: {error.strerror or error}") from error
    whole = data[: data.rfind(b"\n") + 1]
    if not whole and data[: len(_HEAD)] != _HEAD[: len(data)]:
        raise BrokenRecordError(_foreign(path, 1))
    lines: Sequence[bytes] = whole.splitlines()
    records = [_record(path, number, line) for number, line in enumerate(lines, start=1)]
    return records, len(whole), len(data)


def _locked(file: IO[bytes]) -> bool:
    """Whether no other process has it locked; it is locked until it is closed, where it can be."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # some network file systems have no locks; `add` looks all the same
            pass
    return True


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise BrokenRecordError(_foreign(path, number)) from error
    if not isinstance(record, dict) or record.get("kind") not in _KINDS or "run" not in record:
        raise BrokenRecordError(_foreign(path, number))
    return record


def _foreign(path: Path, number: int) -> str:
    return (
        f"{path}, line {number}: this is no result of `plum compare --paper`, to which others "
        "could be added; name another file, or remove the line"
    )
