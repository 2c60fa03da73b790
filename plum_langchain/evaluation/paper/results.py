"""What was found, as JSON lines: written as it comes, so that a night's run may be interrupted.

A record belongs to a run: an experiment on these chats, questions, settings and weights. It is of
one of three kinds: "begun" (a stream starts, from its first session), "session" (a stream has
learned one more) and "result" (an experiment is through).
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plum_langchain.errors import BrokenRecordError, MissingFileError

Record = Mapping[str, Any]

_KINDS = ("begun", "session", "result")


class Results:
    """A file of records, and what is in it. One process may write it at a time.

    Args:
        path: The file; made with the first record.

    Raises:
        MissingFileError: it can't be read.
        BrokenRecordError: it holds something else; the message names the line. A last line that
            was not written to its end is passed over, and cut off with the next record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records, self._size = _read(path)

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

    def add(self, record: Record) -> None:
        """Write a record, so that it is there even if the power fails."""
        line = (json.dumps(record, ensure_ascii=False, default=str) + "\n").encode()
        with self.path.open("ab") as file:
            file.truncate(self._size)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)
        self._records.append(json.loads(line))


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits that stand for all of this."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> tuple[list[Record], int]:
    """The records, and how many bytes they take."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise MissingFileError(f"{path} can't be read: {error.strerror or error}") from error
    whole = data[: data.rfind(b"\n") + 1]
    if data and not whole:
        raise BrokenRecordError(_foreign(path, 1))
    lines: Sequence[bytes] = whole.splitlines()
    return [_record(path, number, line) for number, line in enumerate(lines, start=1)], len(whole)


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
