"""Which generation of a user's adapter is served, and which sessions it has learned.

Rows of generations that were pruned or destroyed stay as tombstones (`kept` is false), so that a
number is never used twice and no cache can take a new generation for an old one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from plum_langchain.errors import (
    InvalidInputError,
    SessionStateError,
    UnknownGenerationError,
    UnknownSessionError,
)
from plum_langchain.journal import schema
from plum_langchain.journal.database import Database
from plum_langchain.journal.jobs import Job, require_running
from plum_langchain.journal.rows import (
    erase,
    find_session,
    questions_of,
    replace_questions,
    set_state,
)
from plum_langchain.session import Question, SessionState

_g = schema.generations
_h = schema.heads
_s = schema.sessions
_j = schema.jobs
_q = schema.questions

_UNPUBLISHED = ""  # in place of a manifest's hash, while a number is taken but not published


@dataclass(frozen=True)
class Generation:
    """One published state of a user's adapter.

    `learned` are the journal keys of all sessions in its weights, in the order they were learned.
    """

    user_id: str
    number: int
    parent: int | None
    base_model: str
    manifest_sha256: str
    learned: tuple[int, ...]
    metrics: Mapping[str, Any]
    kept: bool
    at: datetime


class Generations:
    """Publishing, rolling back and forgetting. Every change is one fenced transaction."""

    def __init__(self, database: Database, *, max_tries: int) -> None:
        self._database = database
        self._max_tries = max_tries

    # -- reading -------------------------------------------------------------------------------

    def head(self, user_id: str) -> Generation | None:
        """The generation that is served for the user; None before the first."""
        with self._database.read() as connection:
            return _head(connection, user_id)

    def get(self, user_id: str, number: int) -> Generation:
        """A generation that is still on disk.

        Raises:
            UnknownGenerationError: never made, pruned or destroyed.
        """
        with self._database.read() as connection:
            return _kept(connection, user_id, number)

    def all(self, user_id: str | None = None, *, kept_only: bool = True) -> list[Generation]:
        """Generations, oldest first."""
        query = select(_g).order_by(_g.c.user_id, _g.c.number)
        if user_id is not None:
            query = query.where(_g.c.user_id == user_id)
        if kept_only:
            query = query.where(_g.c.kept)
        with self._database.read() as connection:
            return [_generation(row) for row in connection.execute(query)]

    def latest_base_model(self) -> str | None:
        """The base model of the newest generation in this home, whoever's it is."""
        with self._database.read() as connection:
            return connection.scalar(
                select(_g.c.base_model).where(_g.c.kept).order_by(_g.c.at.desc()).limit(1)
            )

    def replay_questions(
        self, user_id: str, number: int | None = None
    ) -> dict[int, list[Question]]:
        """The questions of every session in a generation's weights, by journal key.

        Args:
            user_id: Whose.
            number: Of the generation; None for the one that is served. There are none of one that
                was never made.
        """
        with self._database.read() as connection:
            if number is None:
                generation = _head(connection, user_id)
            else:
                generation = _find(connection, user_id, number)
            return questions_of(connection, generation.learned) if generation else {}

    # -- learning ------------------------------------------------------------------------------

    def next_number(self, user_id: str) -> int:
        """Take a number that no generation of the user has or ever had; numbers start at 1.

        It is the caller's alone: a worker that lost its lease without knowing it can't write into
        the directory of the one that took over. A number that is never published is a gap.
        """
        with self._database.write() as connection:
            last = connection.scalar(select(func.max(_g.c.number)).where(_g.c.user_id == user_id))
            number = (last or 0) + 1
            connection.execute(
                insert(_g).values(
                    user_id=user_id,
                    number=number,
                    parent=None,
                    base_model="",
                    manifest_sha256=_UNPUBLISHED,
                    learned=[],
                    metrics={},
                    kept=False,
                    at=datetime.now(UTC),
                )
            )
            return number

    def begin_learning(self, job: Job, session_id: str) -> int:
        """Mark a finished session as being learned; returns its journal key.

        Raises:
            LeaseLostError: another worker has taken over.
            UnknownSessionError: no such session.
            SessionStateError: it isn't waiting to be learned.
        """
        with self._database.write() as connection:
            require_running(connection, job)
            row = find_session(connection, job.user_id, session_id)
            if row is None:
                raise UnknownSessionError(f"user {job.user_id!r} has no session {session_id!r}")
            if row.state != SessionState.FINISHED:
                raise SessionStateError(
                    f"session {session_id!r} of user {job.user_id!r} is {row.state}; only a "
                    "finished one can be learned"
                )
            # Its tries, and why the last one failed, stay: a try that is cut off is none.
            connection.execute(
                update(_s).where(_s.c.id == row.id).values(state=SessionState.LEARNING)
            )
            return int(row.id)

    def fail(self, job: Job, key: int, reason: str) -> None:
        """Mark a session as one that can't be learned, with the reason."""
        with self._database.write() as connection:
            require_running(connection, job)
            set_state(connection, [key], SessionState.FAILED, reason=reason)

    def count_try(self, job: Job, key: int, why: str) -> str | None:
        """Count one try of a session that failed for a cause that may pass.

        The session goes back in line until its tries are used up; then it is failed.

        Args:
            job: The lease on the user.
            key: From `begin_learning`.
            why: What went wrong this time.

        Returns:
            The reason for which the session is failed now; None while tries are left.

        Raises:
            LeaseLostError: another worker has taken over.
        """
        with self._database.write() as connection:
            require_running(connection, job)
            tries = 1 + (connection.scalar(select(_s.c.tries).where(_s.c.id == key)) or 0)
            # More than `max_tries` when the setting was lowered in the meantime.
            of = max(tries, self._max_tries)
            reason = f"{tries} of {of} tries failed; the last: {why}"
            state = SessionState.FAILED if tries == of else SessionState.FINISHED
            set_state(connection, [key], state, reason=reason, tries=tries)
            return reason if state == SessionState.FAILED else None

    def publish(
        self,
        job: Job,
        *,
        number: int,
        session_key: int,
        questions: Sequence[Question],
        base_model: str,
        manifest_sha256: str,
        metrics: Mapping[str, Any],
    ) -> Generation:
        """Serve a generation that is complete on disk: the pointer flips here and nowhere else.

        One transaction records the generation, keeps its questions for replay, marks the session
        learned and moves the user's head.

        Args:
            job: The lease on the user.
            number: From `next_number`.
            session_key: From `begin_learning`.
            questions: What the session was learned from.
            base_model: Public id of the model the adapter belongs to.
            manifest_sha256: The hash that the manifest on disk must have at every load.
            metrics: What training measured.

        Raises:
            LeaseLostError: another worker has taken over.
            InvalidInputError: the number was published before.
        """
        with self._database.write() as connection:
            require_running(connection, job)
            taken = connection.scalar(
                select(_g.c.manifest_sha256).where(
                    _g.c.user_id == job.user_id, _g.c.number == number
                )
            )
            if taken not in (None, _UNPUBLISHED):
                raise InvalidInputError(
                    f"generation {number} of user {job.user_id!r} was published before, and no "
                    "number is used twice; take one with next_number"
                )
            connection.execute(delete(_g).where(_g.c.user_id == job.user_id, _g.c.number == number))
            parent = _head(connection, job.user_id)
            connection.execute(
                insert(_g).values(
                    user_id=job.user_id,
                    number=number,
                    parent=parent.number if parent else None,
                    base_model=base_model,
                    manifest_sha256=manifest_sha256,
                    learned=[*(parent.learned if parent else ()), session_key],
                    metrics=dict(metrics),
                    kept=True,
                    at=datetime.now(UTC),
                )
            )
            replace_questions(connection, session_key, questions)
            set_state(connection, [session_key], SessionState.LEARNED)
            _move_head(connection, job.user_id, number)
            return _kept(connection, job.user_id, number)

    def prune(self, job: Job, keep: int) -> list[int]:
        """Give up all but the newest `keep` generations and the head; returns their numbers."""
        with self._database.write() as connection:
            require_running(connection, job)
            head = _head(connection, job.user_id)
            numbers = _kept_numbers(connection, job.user_id)
            gone = [n for n in numbers[:-keep] if head is None or n != head.number]
            _give_up(connection, job.user_id, gone)
            return gone

    # -- going back ----------------------------------------------------------------------------

    def rollback(self, job: Job, number: int) -> list[int]:
        """Serve an earlier generation again; sessions learned since go back in line.

        Number 0 is the base model, before the first generation.

        Returns:
            The numbers of the generations given up (those after `number`).

        Raises:
            UnknownGenerationError: never made, or pruned.
        """
        with self._database.write() as connection:
            require_running(connection, job)
            target = _kept(connection, job.user_id, number) if number else None
            return _go_back(connection, job.user_id, target)

    def forget(self, job: Job, session_id: str | None) -> tuple[list[str], list[int]]:
        """Erase one session (or all, with None) and go back to weights that never knew it.

        The newest kept generation without the session becomes the head (none, if all are gone);
        sessions learned after it go back in line. Text and questions are deleted in the same
        transaction.

        Returns:
            The ids of the sessions erased and the numbers of the generations given up, whose
            directories the caller removes.

        Raises:
            UnknownSessionError: no such session, or forgotten already.
        """
        with self._database.write() as connection:
            require_running(connection, job)
            rows = connection.execute(
                select(_s.c.id, _s.c.session_id).where(
                    _s.c.user_id == job.user_id, _s.c.state != SessionState.FORGOTTEN
                )
            ).all()
            doomed = {r.id: r.session_id for r in rows if session_id in (None, r.session_id)}
            if session_id is not None and not doomed:
                raise UnknownSessionError(
                    f"user {job.user_id!r} has no session {session_id!r} to forget"
                )
            head = _head(connection, job.user_id)
            gone: list[int] = []
            if session_id is None or (head and doomed.keys() & set(head.learned)):
                clean = [
                    generation
                    for number in _kept_numbers(connection, job.user_id)
                    if not doomed.keys()
                    & set((generation := _kept(connection, job.user_id, number)).learned)
                ]
                gone = _go_back(connection, job.user_id, clean[-1] if clean else None)
            erase(connection, list(doomed))
            # Why an earlier job failed may quote the chat it failed on.
            connection.execute(update(_j).where(_j.c.user_id == job.user_id).values(reason=None))
            return list(doomed.values()), gone


def _go_back(connection: Connection, user_id: str, target: Generation | None) -> list[int]:
    head = _head(connection, user_id)
    kept = set(target.learned if target else ())
    later = [key for key in (head.learned if head else ()) if key not in kept]
    set_state(connection, later, SessionState.FINISHED)
    # They are made anew, and may hold what an earlier session told (a fact that changed).
    connection.execute(delete(_q).where(_q.c.session.in_(later)))
    gone = [n for n in _kept_numbers(connection, user_id) if target is None or n > target.number]
    _give_up(connection, user_id, gone)
    if target is None:
        connection.execute(delete(_h).where(_h.c.user_id == user_id))
    else:
        _move_head(connection, user_id, target.number)
    return gone


def _generation(row: Row[Any]) -> Generation:
    return Generation(
        user_id=row.user_id,
        number=row.number,
        parent=row.parent,
        base_model=row.base_model,
        manifest_sha256=row.manifest_sha256,
        learned=tuple(row.learned),
        metrics=row.metrics,
        kept=row.kept,
        at=row.at,
    )


def _head(connection: Connection, user_id: str) -> Generation | None:
    row = connection.execute(_HEAD, {"user": user_id}).first()
    return _generation(row) if row else None


# Built once: every reply asks for it several times.
_HEAD = (
    select(_g)
    .select_from(_g.join(_h, (_g.c.user_id == _h.c.user_id) & (_g.c.number == _h.c.number)))
    .where(_h.c.user_id == bindparam("user"))
)


def _kept_numbers(connection: Connection, user_id: str) -> list[int]:
    return list(
        connection.scalars(
            select(_g.c.number).where(_g.c.user_id == user_id, _g.c.kept).order_by(_g.c.number)
        )
    )


def _find(connection: Connection, user_id: str, number: int) -> Generation | None:
    row = connection.execute(
        select(_g).where(_g.c.user_id == user_id, _g.c.number == number)
    ).first()
    return _generation(row) if row else None


def _kept(connection: Connection, user_id: str, number: int) -> Generation:
    generation = _find(connection, user_id, number)
    if generation is None or not generation.kept:
        numbers = _kept_numbers(connection, user_id)
        raise UnknownGenerationError(
            f"user {user_id!r} has no generation {number} (kept: "
            f"{', '.join(map(str, numbers)) or 'none'}); choose one of those"
        )
    return generation


def _move_head(connection: Connection, user_id: str, number: int) -> None:
    connection.execute(delete(_h).where(_h.c.user_id == user_id))
    connection.execute(insert(_h).values(user_id=user_id, number=number))


def _give_up(connection: Connection, user_id: str, numbers: Sequence[int]) -> None:
    if numbers:
        # What a generation was trained on says something about the chats: it goes with it.
        connection.execute(
            update(_g)
            .where(_g.c.user_id == user_id, _g.c.number.in_(numbers))
            .values(kept=False, metrics={})
        )
