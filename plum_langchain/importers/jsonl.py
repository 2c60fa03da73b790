"""Chats from JSON lines: one session a line, as in `examples/chats`.

A line is an object with `user`, `session` and `turns` ([{role, content}, ...]), and optionally
`started` (ISO 8601), `topic`, `thread`, `updates`, and the recorded `facts`, `not_discussed` and
`qa_train` that `RecordedQuestions` reads. Anything else on the line, `qa_test` above all, stays
out of the journal: what a memory is examined with, it must never have seen.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plum_langchain.errors import BrokenRecordError, MissingFileError, PlumError
from plum_langchain.importers.records import OnBroken, leave_out, time_of
from plum_langchain.session import Session, SessionState, Turn, check_id

MATERIAL = ("facts", "not_discussed", "qa_train", "updates")


def read_records(
    path: str | os.PathLike[str], *, on_broken: OnBroken | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with their line numbers (from 1); blank lines are skipped.

    Args:
        path: The file.
        on_broken: Told of each broken line, which is left out then; None raises.

    Raises:
        MissingFileError: no such file, or it can't be read.
        BrokenRecordError: without `on_broken`: a line is not UTF-8 or not a JSON object.

    Example:
        ```python
        from plum_langchain.importers import read_records

        for number, record in read_records("chats.jsonl", on_broken=print):
            print(number, record["session"], len(record["turns"]))
        ```
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise MissingFileError(
            f"{path} can't be read ({error.strerror}); check the path"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _record(line, first=number == 1)
        except BrokenRecordError as error:
            leave_out(BrokenRecordError(f"{path}, line {number}: {error}"), on_broken)
            continue
        yield number, record


def _record(line: bytes, *, first: bool) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        raise BrokenRecordError(f"not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise BrokenRecordError(
            f"not JSON ({error.msg} at column {error.colno}); mend or remove the line"
        ) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond all bounds
        raise BrokenRecordError(
            f"can't be read as JSON ({error}); mend or remove the line"
        ) from error
    if not isinstance(record, dict):
        hint = (
            "; an export of ChatGPT or Claude is read with --from" if type(record) is list else ""
        )
        raise BrokenRecordError(
            f"a {type(record).__name__}, expected an object with user, session and turns{hint}"
        )
    return record


def read_sessions(
    path: str | os.PathLike[str], *, user: str | None = None, on_broken: OnBroken | None = None
) -> Iterator[tuple[Session, dict[str, Any]]]:
    """The sessions of a file, each with the record it was read from.

    Args:
        path: The file.
        user: Whose chats they are, instead of what each line says.
        on_broken: Told of each broken line, which is left out then; None raises.

    Raises:
        MissingFileError: as `read_records`.
        BrokenRecordError: without `on_broken`: as `read_records`; or a line is not a session.

    Example:
        ```python
        from plum_langchain import Plum
        from plum_langchain.importers import read_sessions

        plum = Plum("my-home")
        for session, record in read_sessions("chats.jsonl", user="ana", on_broken=print):
            plum.add_session(session)
        ```
    """
    for _, session, record in read_numbered(path, user=user, on_broken=on_broken):
        yield session, record


def read_numbered(
    path: str | os.PathLike[str], *, user: str | None = None, on_broken: OnBroken | None = None
) -> Iterator[tuple[int, Session, dict[str, Any]]]:
    """As `read_sessions`, each with the number of its line before it.

    Raises:
        MissingFileError, BrokenRecordError: as `read_sessions`.
    """
    for number, record in read_records(path, on_broken=on_broken):
        try:
            session = _session(record, user)
        except PlumError as error:
            leave_out(BrokenRecordError(f"{path}, line {number}: {error}"), on_broken)
            continue
        yield number, session, record


def _session(record: Mapping[str, Any], user: str | None) -> Session:
    turns = record.get("turns")
    if not isinstance(turns, list):
        raise BrokenRecordError("it has no list of `turns`")
    if not turns:
        raise BrokenRecordError("its `turns` are empty; a session has at least one")
    session_id = check_id(record.get("session"), "session id")
    started = record.get("started")
    thread_id = record.get("thread")
    if thread_id is not None:
        check_id(thread_id, "thread")
    topic = record.get("topic") or ""
    if not isinstance(topic, str):
        raise BrokenRecordError(f"its `topic` is a {type(topic).__name__}, not text")
    return Session(
        user_id=check_id(user if user is not None else record.get("user"), "user id"),
        session_id=session_id,
        turns=tuple(_turn(index, turn) for index, turn in enumerate(turns)),
        started=datetime.now(UTC) if started is None else time_of(started, "started"),
        thread_id=thread_id,
        topic=topic,
        state=SessionState.FINISHED,
        material={name: record[name] for name in MATERIAL if record.get(name)},
    )


def _turn(index: int, turn: Any) -> Turn:
    if not isinstance(turn, Mapping):
        raise BrokenRecordError(f"turn {index} is a {type(turn).__name__}, not an object")
    role, content = turn.get("role"), turn.get("content")
    if role not in ("user", "assistant"):
        raise BrokenRecordError(f"turn {index} has role {role!r}; it must be user or assistant")
    if not isinstance(content, str):
        raise BrokenRecordError(f"turn {index} has no text in `content`")
    return Turn(role, content)
