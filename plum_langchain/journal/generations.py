"""Which generation of a user's adapter is served, and which sessions it has learned.

Rows of generations that were pruned or destroyed stay as tombstones (`kept` is false), so that a
number is never used twice and no cache can take a new generation for an old one.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from plum_langchain.encryption.box import Seal
from plum_langchain.errors import InvalidInputError, SessionStateError, UnknownSessionError
from plum_langchain.journal import schema
from plum_langchain.journal.database import Database
from plum_langchain.journal.forgettings import note_disposed
from plum_langchain.journal.generation_rows import (
    Generation,
    find_generation,
    generation_of,
    give_up,
    go_back,
    head_of,
    kept_generation,
    kept_numbers,
    move_head,
)
from plum_langchain.journal.jobs import Job, require_running
from plum_langchain.journal.rows import (
    dispose,
    find_session,
    get_session,
    questions_of,
    replace_questions,
    set_state,
)
from plum_langchain.journal.sealing import new_data_key
from plum_langchain.session import Question, Retention, SessionState, Update

_g = schema.generations
_s = schema.sessions

_UNPUBLISHED = ""  # in place of a manifest's hash, while a number is taken but not published


class Generations:
    """Publishing and rolling back. Every change is one fenced transaction."""

    def __init__(
        self, database: Database, *, max_tries: int, retention: Retention = "transcript"
    ) -> None:
        self._database = database
        self._max_tries = max_tries
        self._retention: Retention = retention

    # -- reading -------------------------------------------------------------------------------

    def head(self, user_id: str) -> Generation | None:
        """The generation that is served for the user; None before the first."""
        with self._database.read() as connection:
            return head_of(connection, user_id)

    def get(self, user_id: str, number: int) -> Generation:
        """A generation that is still on disk.

        Raises:
            UnknownGenerationError: never made, pruned or destroyed.
        """
        with self._database.read() as connection:
            return kept_generation(connection, user_id, number)

    def is_kept(self, user_id: str, number: int) -> bool:
        """Whether the generation is still on disk."""
        with self._database.read() as connection:
            found = find_generation(connection, user_id, number)
            return found is not None and found.kept

    def all(self, user_id: str | None = None, *, kept_only: bool = True) -> list[Generation]:
        """Generations, oldest first."""
        query = select(_g).order_by(_g.c.user_id, _g.c.number)
        if user_id is not None:
            query = query.where(_g.c.user_id == user_id)
        if kept_only:
            query = query.where(_g.c.kept)
        with self._database.read() as connection:
            return [generation_of(connection, row) for row in connection.execute(query)]

    def kept_under(self, job: Job) -> list[int]:
        """The numbers on disk, as long as the job holds its lease.

        Raises:
            LeaseLostError: another worker has taken over.
        """
        with self._database.read() as connection:
            require_running(connection, job)
            return kept_numbers(connection, job.user_id)

    def latest_base_model(self) -> str | None:
        """The base model of the newest generation in this home, whoever's it is."""
        with self._database.read() as connection:
            return connection.scalar(
                select(_g.c.base_model).where(_g.c.kept).order_by(_g.c.at.desc()).limit(1)
            )

    def questions_kept(self, user_id: str, session_id: str) -> list[Question]:
        """What a session was last learned from.

        Raises:
            UnknownSessionError: no such session.
        """
        with self._database.read() as connection:
            key = get_session(connection, user_id, session_id).id
            return questions_of(connection, [key])[key]

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
                generation = head_of(connection, user_id)
            else:
                generation = find_generation(connection, user_id, number)
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
                    data_key=new_data_key(connection, user_id, number),
                )
            )
            return number

    def seal(self, user_id: str, number: int) -> Seal | None:
        """What the weights of a number from `next_number` are sealed with; None if with nothing."""
        with self._database.read() as connection:
            found = find_generation(connection, user_id, number)
            return found.seal if found else None

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
        updates: Sequence[Update] = (),
    ) -> Generation:
        """Serve a generation that is complete on disk: the pointer flips here and nowhere else.

        One transaction records the generation, keeps its questions for replay, marks the session
        learned, disposes of what is not to be kept of it (`HomeSettings.retention`), notes that
        index and files are to be wiped of that (`Forgettings.disposed`), and moves the user's head.

        Args:
            job: The lease on the user.
            number: From `next_number`.
            session_key: From `begin_learning`.
            questions: What the session was learned from.
            base_model: Public id of the model the adapter belongs to.
            manifest_sha256: The hash that the manifest on disk must have at every load.
            metrics: What training measured.
            updates: The facts that the session changes, to be kept with its questions.

        Raises:
            LeaseLostError: another worker has taken over.
            InvalidInputError: the number was published before.
        """
        with self._database.write() as connection:
            require_running(connection, job)
            taken = connection.execute(
                select(_g.c.manifest_sha256, _g.c.data_key).where(
                    _g.c.user_id == job.user_id, _g.c.number == number
                )
            ).first()
            if taken is not None and taken.manifest_sha256 != _UNPUBLISHED:
                raise InvalidInputError(
                    f"generation {number} of user {job.user_id!r} was published before, and no "
                    "number is used twice; take one with next_number"
                )
            connection.execute(delete(_g).where(_g.c.user_id == job.user_id, _g.c.number == number))
            parent = head_of(connection, job.user_id)
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
                    data_key=taken.data_key if taken else None,
                )
            )
            replace_questions(connection, session_key, questions)
            set_state(connection, [session_key], SessionState.LEARNED)
            dispose(connection, session_key, self._retention, updates)
            if self._retention != "transcript":
                note_disposed(connection, job.user_id)
            move_head(connection, job.user_id, number)
            return kept_generation(connection, job.user_id, number)

    def prune(self, job: Job, keep: int) -> list[int]:
        """Give up all but the newest `keep` generations and the head; returns their numbers."""
        with self._database.write() as connection:
            require_running(connection, job)
            head = head_of(connection, job.user_id)
            numbers = kept_numbers(connection, job.user_id)
            gone = [n for n in numbers[:-keep] if head is None or n != head.number]
            give_up(connection, job.user_id, gone)
            return gone

    # -- going back ----------------------------------------------------------------------------

    def rollback(self, job: Job, number: int, *, lose_later: bool = False) -> list[int]:
        """Serve an earlier generation again; sessions learned since go back in line.

        Number 0 is the base model, before the first generation.

        Returns:
            The numbers of the generations given up (those after `number`).

        Raises:
            UnknownGenerationError: never made, or pruned.
            SessionStateError: as `go_back`.
        """
        with self._database.write() as connection:
            require_running(connection, job)
            target = kept_generation(connection, job.user_id, number) if number else None
            return go_back(connection, job.user_id, target, lose_later=lose_later)[0]
