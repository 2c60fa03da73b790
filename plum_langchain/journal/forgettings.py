"""What users had erased: the transactions that erase it, and what is left to be done after them.

A row is written in the transaction that erases, and ended when the weights are off the disk as
well. One without an end was cut off in between; whoever opens the home next ends it.

A row is written as well where a session that was learned isn't kept (`HomeSettings.retention`): one
with an empty receipt, which goes once the retrieval index and the database's files are wiped.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    String,
    and_,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from plum_langchain.errors import InvalidInputError, UnknownSessionError
from plum_langchain.journal import schema
from plum_langchain.journal.database import Database
from plum_langchain.journal.generation_rows import (
    Generation,
    go_back,
    head_of,
    kept_generation,
    kept_numbers,
)
from plum_langchain.journal.jobs import Job, require_running
from plum_langchain.journal.rotation import rotate
from plum_langchain.journal.rows import erase, erase_turns, erase_updates
from plum_langchain.session import SessionState

_f = schema.forgettings
_s = schema.sessions
_t = schema.turns
_q = schema.questions
_j = schema.jobs


@dataclass(frozen=True)
class Erased:
    """What one transaction erased.

    Attributes:
        key: Of its row, for `Forgettings.end`.
        sessions: The ids of those that are tombstones now.
        lost: The ids of others that nothing was kept of to learn them again (`lose_later`); they
            are tombstones as well.
        turns: Of others, the positions of the turns that were erased.
        rows: How many turns and questions were erased, by table.
        generations: Those given up, whose directories the caller removes.
        retired_key: The key that opens copies of what was erased, which the caller destroys; None
            where nothing is encrypted.
    """

    key: int
    sessions: tuple[str, ...]
    lost: tuple[str, ...]
    turns: Mapping[str, tuple[int, ...]]
    rows: Mapping[str, int]
    generations: tuple[Generation, ...]
    retired_key: str | None = None


@dataclass(frozen=True)
class Unfinished:
    """A forgetting that was cut off after its transaction."""

    key: int
    user_id: str
    generations: tuple[int, ...]
    retired_key: str | None = None


@dataclass(frozen=True)
class Disposed:
    """Text of a user that is gone from the journal and may stand in the index and in files."""

    key: int
    user_id: str


class Forgettings:
    """Erasing, in one fenced transaction each, and the receipts of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def erase(
        self,
        job: Job,
        sessions: Collection[str] | None = (),
        *,
        turns: Mapping[str, Collection[int]] | None = None,
        updates: Mapping[str, Collection[int]] | None = None,
        lose_later: bool = False,
    ) -> Erased:
        """Erase sessions or turns, and go back to weights that never knew them.

        The newest kept generation without any of them becomes the head (none, if all are gone);
        sessions learned after it go back in line. Text and questions are deleted in the same
        transaction; where text is encrypted, what is left is sealed with another key.

        Args:
            job: The lease on the user.
            sessions: Ids of those to erase whole; None for all the user has.
            turns: Of others, the positions of the turns to erase.
            updates: Of others, the positions in `material["updates"]` of what quotes them.
            lose_later: As `go_back`.

        Raises:
            UnknownSessionError: no such session, or forgotten already.
            InvalidInputError: a session has no such turn.
            SessionStateError: as `go_back`.
            LeaseLostError: another worker has taken over.
        """
        turns, updates = turns or {}, updates or {}
        with self._database.write() as connection:
            require_running(connection, job)
            there = {
                row.session_id: row.id
                for row in connection.execute(
                    select(_s.c.id, _s.c.session_id)
                    .where(_s.c.user_id == job.user_id, _s.c.state != SessionState.FORGOTTEN)
                    .order_by(_s.c.started_at, _s.c.id)
                )
            }
            for name in (*(sessions or ()), *turns, *updates):
                if name not in there:
                    raise UnknownSessionError(
                        f"user {job.user_id!r} has no session {name!r} to forget"
                    )
            whole = [name for name in there if sessions is None or name in sessions]
            parts = {n: tuple(sorted(set(p))) for n, p in turns.items() if n not in whole and p}
            for name, positions in parts.items():
                _check_positions(connection, there[name], name, positions)
            quoting = {n: p for n, p in updates.items() if n not in whole and p}
            doomed = {there[name] for name in (*whole, *parts, *quoting)}
            rows = _count(
                connection, [there[n] for n in whole], {there[n]: p for n, p in parts.items()}
            )
            given_up, lost = _go_back_before(
                connection, job.user_id, doomed, everything=sessions is None, lose=lose_later
            )
            erase(connection, [there[name] for name in whole])
            for name, places in quoting.items():
                erase_updates(connection, there[name], places)
            for name, positions in parts.items():
                erase_turns(connection, there[name], positions)
            # Why an earlier job failed may quote the chat it failed on.
            connection.execute(update(_j).where(_j.c.user_id == job.user_id).values(reason=None))
            retired = rotate(connection, job.user_id)
            now = datetime.now(UTC)
            receipt = {
                "user": job.user_id,
                "sessions": whole,
                "lost": lost,
                "turns": {name: list(positions) for name, positions in parts.items()},
                "rows": rows,
                "generations_destroyed": [one.number for one in given_up],
                "manifests": {str(one.number): one.manifest_sha256 for one in given_up},
                "key_destroyed": False,
                "at": now.isoformat("T", "seconds"),
            }
            key = connection.execute(
                insert(_f)
                .values(
                    user_id=job.user_id,
                    generations=receipt["generations_destroyed"],
                    receipt=receipt,
                    started_at=now,
                    retired_key=retired,
                )
                .returning(_f.c.id)
            ).scalar_one()
            return Erased(key, tuple(whole), tuple(lost), parts, rows, tuple(given_up), retired)

    def unfinished(self, user_id: str | None = None) -> list[Unfinished]:
        """Those whose weights or key may still be there, oldest first."""
        return [
            Unfinished(row.id, row.user_id, tuple(row.generations), row.retired_key)
            for row in self._without_end(user_id)
            if row.receipt != _DISPOSED
        ]

    def disposed(self, user_id: str | None = None) -> list[Disposed]:
        """What wasn't kept once it was learned, and isn't wiped yet; oldest first."""
        rows = self._without_end(user_id)
        return [Disposed(row.id, row.user_id) for row in rows if row.receipt == _DISPOSED]

    def end_disposed(self, disposed: Collection[Disposed]) -> None:
        """Say that these are wiped."""
        keys = [one.key for one in disposed]
        with self._database.write() as connection:
            connection.execute(delete(_f).where(_f.c.id.in_(keys)))

    def _without_end(self, user_id: str | None) -> Sequence[Row[Any]]:
        query = select(_f).where(_f.c.ended_at.is_(None)).order_by(_f.c.id)
        if user_id is not None:
            query = query.where(_f.c.user_id == user_id)
        with self._database.read() as connection:
            return connection.execute(query).all()

    def note(self, key: int, receipt: Mapping[str, Any]) -> None:
        """Keep this receipt instead of what is known of it."""
        with self._database.write() as connection:
            connection.execute(update(_f).where(_f.c.id == key).values(receipt=dict(receipt)))

    def end(self, key: int) -> None:
        """Say that nothing of it is left to do."""
        with self._database.write() as connection:
            connection.execute(update(_f).where(_f.c.id == key).values(ended_at=datetime.now(UTC)))

    def receipts(self, user_id: str) -> list[dict[str, Any]]:
        """What was forgotten of a user, oldest first; `ended` tells whether all of it is done.

        A key is destroyed before a forgetting ends, whoever ends it.
        """
        query = select(_f).where(_f.c.user_id == user_id).order_by(_f.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [_receipt(row) for row in rows if row.receipt != _DISPOSED]

    def is_still_said(self, text: str) -> bool:
        """Whether any chat or question that is kept, of whichever user, has this text in it.

        In an encrypted journal none has: there, text in the clear is a trace, whoever's it is.
        """
        if self._database.encrypted:
            return False
        places = (
            (_t.c.id, (_t.c.content,)),
            (_q.c.id, (_q.c.question, _q.c.answer, _q.c.statement)),
            (_s.c.id, (_s.c.topic, cast(_s.c.material, String))),
        )
        with self._database.read() as connection:
            return any(
                connection.execute(
                    select(key)
                    .where(or_(*(column.contains(text, autoescape=True) for column in columns)))
                    .limit(1)
                ).first()
                for key, columns in places
            )


_DISPOSED: dict[str, Any] = {}
"""In place of a receipt: nobody asked for it, and there is nothing to tell."""


def note_disposed(connection: Connection, user_id: str) -> None:
    """Say, in the transaction that disposes of a session's text, that it is still to be wiped."""
    row = {"user_id": user_id, "generations": [], "receipt": _DISPOSED}
    connection.execute(insert(_f).values(**row, started_at=datetime.now(UTC)))


def _check_positions(
    connection: Connection, key: int, name: str, positions: tuple[int, ...]
) -> None:
    number = connection.scalar(select(func.count()).where(_t.c.session == key)) or 0
    beyond = [position for position in positions if not 0 <= position < number]
    if beyond:
        raise InvalidInputError(
            f"session {name!r} has turns 0 to {number - 1}, and no turn {beyond[0]}"
        )


def _count(
    connection: Connection, whole: list[int], parts: Mapping[int, tuple[int, ...]]
) -> dict[str, int]:
    """How many turns with text and how many questions are about to go."""
    of_turns: list[ColumnElement[bool]] = [_t.c.session.in_(whole)]
    of_turns += [and_(_t.c.session == key, _t.c.position.in_(p)) for key, p in parts.items()]
    turns = select(func.count()).where(_t.c.content != "", or_(*of_turns))
    questions = select(func.count()).where(_q.c.session.in_([*whole, *parts]))
    return {
        "turns": connection.scalar(turns) or 0,
        "questions": connection.scalar(questions) or 0,
    }


def _go_back_before(
    connection: Connection, user_id: str, doomed: set[int], *, everything: bool, lose: bool
) -> tuple[list[Generation], list[str]]:
    """Go back to the newest weights that never knew the doomed.

    Returns:
        The generations given up, and the ids of the sessions that are lost with them.
    """
    head = head_of(connection, user_id)
    kept = [kept_generation(connection, user_id, n) for n in kept_numbers(connection, user_id)]
    if not everything and not (head and doomed & set(head.learned)):
        return [], []
    clean = [generation for generation in kept if not doomed & set(generation.learned)]
    target = None if everything or not clean else clean[-1]
    # What is erased now is not lost by going back.
    erase(connection, [key for key in doomed if _kept_of(connection, key) == "nothing"])
    gone, lost = go_back(connection, user_id, target, lose_later=lose)
    return [generation for generation in kept if generation.number in gone], lost


def _kept_of(connection: Connection, key: int) -> str | None:
    return connection.scalar(select(_s.c.kept).where(_s.c.id == key))


def _receipt(row: Row[Any]) -> dict[str, Any]:
    """As it was kept, with what may have been done since."""
    receipt, ended = dict(row.receipt), row.ended_at is not None
    if ended and row.retired_key is not None:
        receipt["key_destroyed"] = True
    return {**receipt, "ended": ended}
