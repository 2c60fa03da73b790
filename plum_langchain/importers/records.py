"""What importers share: broken records, times, and sessions."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from plum_langchain.errors import BrokenRecordError
from plum_langchain.session import Session, SessionState, Turn, check_id

OnBroken = Callable[[BrokenRecordError], None]
"""Told of each record that is left out."""


def leave_out(error: BrokenRecordError, on_broken: OnBroken | None) -> None:
    """Leave a record out, if that was asked for.

    Raises:
        BrokenRecordError: it wasn't.
    """
    if on_broken is None:
        raise error
    on_broken(error)


def session_of(
    user: str,
    session_id: object,
    turns: tuple[Turn, ...],
    started: datetime,
    *,
    topic: str = "",
    thread_id: str | None = None,
) -> Session:
    """A finished session.

    Raises:
        InvalidInputError: an id that can't be one.
    """
    return Session(
        user_id=check_id(user, "user id"),
        session_id=check_id(session_id, "session id"),
        turns=turns,
        started=started,
        thread_id=thread_id,
        topic=topic,
        state=SessionState.FINISHED,
    )


def time_of(value: Any, name: str) -> datetime:
    """A time of ISO 8601, in UTC.

    Raises:
        BrokenRecordError: it is none.
    """
    try:
        time = datetime.fromisoformat(str(value))
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # overflow: year 1 or 9999, beyond it in UTC
        raise BrokenRecordError(
            f"`{name}` is {value!r}, not a time like 2024-01-18T20:11:00Z"
        ) from error


def seconds_of(value: Any, name: str) -> datetime:
    """A time of seconds since 1970.

    Raises:
        BrokenRecordError: it is none.
    """
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise BrokenRecordError(f"`{name}` is {value!r}, not a number of seconds") from error
