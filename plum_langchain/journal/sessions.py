"""What was said: sessions and their turns, durable when the call that saved them returns."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select

from plum_langchain.errors import SessionStateError, UnknownSessionError, UnknownUserError
from plum_langchain.journal import schema
from plum_langchain.journal.database import Database
from plum_langchain.journal.material import of_the_rest
from plum_langchain.journal.merging import lately_said, unrecorded
from plum_langchain.journal.rows import (
    append_turns,
    checked_turn,
    create_session,
    find_session,
    get_session,
    rewrite_turn,
    session_of,
    set_state,
    turns_of,
    turns_of_others,
    turns_of_thread,
)
from plum_langchain.journal.sealing import texts_of_user
from plum_langchain.session import Retention, Session, SessionState, Turn, check_id

_s = schema.sessions
Imported = Literal["added", "grown", "unchanged", "forgotten"]


class Sessions:
    """The chats of all users. Every method that changes something is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- writing -------------------------------------------------------------------------------

    def append(
        self,
        user_id: str,
        thread_id: str,
        turns: Sequence[Turn],
        *,
        idle_seconds: float,
        session_id: str | None = None,
        now: datetime | None = None,
    ) -> str:
        """Add turns to the thread's open session; begins one where there is none.

        After `idle_seconds` of silence the open session is finished and a new one begins, called
        `thread/2`, `thread/3`, ... Naming a `session_id` begins or goes on with that one, and
        finishes any other of the thread.

        Returns:
            The id of the session they went to.

        Raises:
            SessionStateError: the named session is there and takes no more turns.
        """
        now = now or datetime.now(UTC)
        turns = [checked_turn(turn) for turn in turns]
        with self._database.write() as connection:
            row = self._current(connection, user_id, thread_id, session_id, idle_seconds, now)
            append_turns(connection, row.id, turns, now)
            return str(row.session_id)

    def merge(
        self,
        user_id: str,
        thread_id: str,
        turns: Sequence[Turn],
        *,
        idle_seconds: float,
        now: datetime | None = None,
    ) -> int:
        """Like `append`, for what is new of a thread's messages: any stretch up to the latest.

        What is new is told by `message_id`: whatever comes after the last one known. Where none
        is known (a caller who passes the whole history anew), the longest overlap of the thread's
        recorded end with the beginning of `turns` tells (`merging.unrecorded`). The user's
        last message, or the reply to it, that is known with another text was edited, or had
        something taken out: while its session goes on it is put in the place of what it was, later
        the user's is new.

        Returns:
            How many turns were saved.
        """
        now = now or datetime.now(UTC)
        turns = [checked_turn(turn) for turn in turns]
        with self._database.write() as connection:
            since = now - timedelta(seconds=idle_seconds)
            for turn in lately_said(turns):
                rewrite_turn(connection, user_id, thread_id, turn, since=since, now=now)
            recorded = turns_of_thread(connection, user_id, thread_id)
            theirs = turns_of_others(connection, user_id, thread_id, turns)
            own = [turn for turn in turns if turn not in theirs]
            fresh = unrecorded(recorded, own)
            if fresh:
                row = self._current(connection, user_id, thread_id, None, idle_seconds, now)
                append_turns(connection, row.id, fresh, now)
            return len(fresh)

    def open_turns(
        self, user_id: str, thread_id: str, *, idle_seconds: float | None = None
    ) -> list[Turn]:
        """The turns of the thread's open session; empty when there is none.

        With `idle_seconds` the session that `append` would go on with: none after that silence,
        even if nobody has finished it yet.
        """
        query = select(_s.c.id).where(
            _s.c.user_id == user_id,
            _s.c.thread_id == thread_id,
            _s.c.state == SessionState.OPEN,
        )
        if idle_seconds is not None:
            since = datetime.now(UTC) - timedelta(seconds=idle_seconds)
            query = query.where(_s.c.updated_at > since)
        with self._database.read() as connection:
            key = connection.scalar(query.order_by(_s.c.id.desc()))
            return [] if key is None else turns_of(connection, key)

    def finish_thread(self, user_id: str, thread_id: str) -> None:
        """Finish the thread's open session, if there is one."""
        with self._database.write() as connection:
            keys = select(_s.c.id).where(
                _s.c.user_id == user_id,
                _s.c.thread_id == thread_id,
                _s.c.state == SessionState.OPEN,
            )
            set_state(connection, list(connection.scalars(keys)), SessionState.FINISHED)

    def add(self, session: Session) -> Imported:
        """Add a whole session at once (an import), finished and ready to be learned.

        Where the session is there already and the given one goes on behind it (a chat that was
        exported again), what is new becomes a session of its own, called `session/2`, `session/3`,
        ...

        Returns:
            "added", "grown", "unchanged" (the same session is already there) or "forgotten" (the
            user had it erased; it is not brought back).

        Raises:
            SessionStateError: a session of this id is there with other turns.
        """
        check_id(session.user_id, "user id")
        check_id(session.session_id, "session id")
        if session.thread_id is not None:
            check_id(session.thread_id, "thread id")
        turns = [checked_turn(turn) for turn in session.turns]
        with self._database.write() as connection:
            there: list[Turn] = []
            parts: list[Session] = []
            row, name, number = None, session.session_id, 1
            known = False  # whether the given turns end where one of the sessions there does
            while (found := find_session(connection, session.user_id, name)) is not None:
                if found.state == SessionState.FORGOTTEN:
                    return "forgotten"  # how far that went isn't known any more
                parts.append(session_of(connection, found))
                there += parts[-1].turns
                known = known or (len(there) == len(turns) and _goes_on(there, turns))
                row, number = found, number + 1
                name = f"{session.session_id}/{number}"
            if known:
                return "unchanged"
            if not _goes_on(there, turns):
                raise SessionStateError(
                    f"session {session.session_id!r} of user {session.user_id!r} is already in the "
                    f"journal with other turns ({len(there)} there, {len(turns)} given); "
                    "give this one another id, or forget the earlier one first"
                )
            new, now = turns[len(there) :], datetime.now(UTC)
            if row is not None and row.state == SessionState.OPEN:
                append_turns(connection, row.id, new, now)
                return "grown"
            part = (
                replace(session, session_id=name)
                if row is None
                else _grown(session, name, parts, new[0].at or now)
            )
            made = create_session(connection, part)
            said = min(part.started.astimezone(UTC), now)
            append_turns(connection, made.id, new, now, said=said)
            set_state(connection, [made.id], SessionState.FINISHED)
            return "added" if row is None else "grown"

    def finish(self, user_id: str, session_id: str) -> None:
        """Mark an open session as complete; finishing a finished one changes nothing."""
        with self._database.write() as connection:
            row = get_session(connection, user_id, session_id)
            if row.state == SessionState.OPEN:
                set_state(connection, [row.id], SessionState.FINISHED)

    def finish_idle(self, idle_seconds: float, *, user_id: str | None = None) -> int:
        """Finish every open session with no turn for `idle_seconds`; returns how many."""
        before = datetime.now(UTC) - timedelta(seconds=idle_seconds)
        with self._database.write() as connection:
            idle = select(_s.c.id).where(_s.c.state == SessionState.OPEN, _s.c.updated_at <= before)
            if user_id is not None:
                idle = idle.where(_s.c.user_id == user_id)
            keys = list(connection.scalars(idle))
            set_state(connection, keys, SessionState.FINISHED)
            return len(keys)

    def retry(self, user_id: str, session_id: str | None = None) -> int:
        """Put failed sessions (one, or all of the user) back in line; returns how many.

        Their tries are counted from 0 again.
        """
        with self._database.write() as connection:
            failed = select(_s.c.id).where(
                _s.c.user_id == user_id, _s.c.state == SessionState.FAILED
            )
            if session_id is not None:
                failed = failed.where(_s.c.session_id == session_id)
            keys = list(connection.scalars(failed))
            set_state(connection, keys, SessionState.FINISHED)
            return len(keys)

    # -- reading -------------------------------------------------------------------------------

    def get(self, user_id: str, session_id: str) -> Session:
        """One session with its turns.

        Raises:
            UnknownSessionError: no such session.
        """
        with self._database.read() as connection:
            row = get_session(connection, user_id, session_id)
            return session_of(connection, row)

    def by_key(self, key: int) -> Session:
        """The session of a journal key, as `Generation.learned` and questions name them.

        Raises:
            UnknownSessionError: no session has it.
        """
        with self._database.read() as connection:
            row = connection.execute(select(_s).where(_s.c.id == key)).first()
            if row is None:
                raise UnknownSessionError(f"no session has the key {key}")
            return session_of(connection, row)

    def ids(self, keys: Sequence[int]) -> set[str]:
        """What the sessions of these journal keys are called; nothing of one that isn't there."""
        with self._database.read() as connection:
            return set(connection.scalars(select(_s.c.session_id).where(_s.c.id.in_(keys))))

    def any_kept_as(self, retention: Retention, keys: Sequence[int]) -> bool:
        """Whether so much, or so little, was kept of any of the sessions of these journal keys."""
        query = select(_s.c.id).where(_s.c.id.in_(keys), _s.c.kept == retention).limit(1)
        with self._database.read() as connection:
            return connection.scalar(query) is not None

    def all(self, user_id: str | None = None, state: SessionState | None = None) -> list[Session]:
        """Sessions in the order they began, with their turns."""
        query = select(_s).order_by(_s.c.started_at, _s.c.id)
        if user_id is not None:
            query = query.where(_s.c.user_id == user_id)
        if state is not None:
            query = query.where(_s.c.state == state)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            return [session_of(connection, row) for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """For each user, how many sessions are in each state."""
        query = select(_s.c.user_id, _s.c.state, func.count()).group_by(_s.c.user_id, _s.c.state)
        found: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for user_id, state, number in connection.execute(query):
                found.setdefault(user_id, {})[state] = number
        return found

    def version(self, user_id: str) -> str:
        """Changes whenever the user's sessions do: what caches of retrieved text key on."""
        query = (
            select(_s.c.state, func.count(), func.max(_s.c.updated_at))
            .where(_s.c.user_id == user_id)
            .group_by(_s.c.state)
            .order_by(_s.c.state)
        )
        with self._database.read() as connection:
            return ";".join(f"{s}:{n}:{at}" for s, n, at in connection.execute(query))

    def key_name(self, user_id: str) -> str | None:
        """The key that the user's text is sealed with: another one once something was forgotten.

        None in a plain journal, which isn't asked, and of a user who has none.
        """
        if not self._database.encrypted:
            return None
        with self._database.read() as connection:
            return texts_of_user(connection, user_id).key_name

    def users_with(self, *states: SessionState) -> list[str]:
        """The users who have sessions in one of `states`, longest waiting first."""
        query = (
            select(_s.c.user_id)
            .where(_s.c.state.in_(states))
            .group_by(_s.c.user_id)
            .order_by(func.min(_s.c.updated_at))
        )
        with self._database.read() as connection:
            return list(connection.scalars(query))

    def require_user(self, user_id: str) -> str:
        """Return `user_id` if any session of theirs is here.

        Raises:
            UnknownUserError: none is.
        """
        check_id(user_id, "user id")
        with self._database.read() as connection:
            if connection.execute(select(_s.c.id).where(_s.c.user_id == user_id)).first():
                return user_id
            known = list(connection.scalars(select(_s.c.user_id).distinct().limit(6)))
        names = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
        raise UnknownUserError(
            f"user {user_id!r} has no chats in this home (known users: {names or 'none'}); "
            "check the name, or import or save a chat of theirs first"
        )

    # -- inside a transaction ------------------------------------------------------------------

    def _current(
        self,
        connection: Connection,
        user_id: str,
        thread_id: str,
        session_id: str | None,
        idle_seconds: float,
        now: datetime,
    ) -> Row[Any]:
        """The open session to write to; finishes those of the thread it takes over from."""
        check_id(user_id, "user id")
        check_id(thread_id, "thread id")
        open_ones = connection.execute(
            select(_s).where(
                _s.c.user_id == user_id,
                _s.c.thread_id == thread_id,
                _s.c.state == SessionState.OPEN,
            )
        ).all()
        since = now - timedelta(seconds=idle_seconds)
        if session_id is None:
            row = next((r for r in open_ones if r.updated_at > since), None)
            name, number = thread_id, 1
            while row is None and find_session(connection, user_id, name) is not None:
                number += 1
                name = f"{thread_id}/{number}"
        else:
            name = check_id(session_id, "session id")
            row = find_session(connection, user_id, name)
            if row is not None and row.state != SessionState.OPEN:
                raise SessionStateError(
                    f"session {name!r} of user {user_id!r} is {row.state} and takes no more turns; "
                    "begin one with another id"
                )
        if row is None:
            row = create_session(
                connection, Session(user_id, name, thread_id=thread_id, started=now)
            )
        others = [r.id for r in open_ones if r.id != row.id]
        set_state(connection, others, SessionState.FINISHED)
        return row


def _grown(session: Session, name: str, parts: Sequence[Session], started: datetime) -> Session:
    """The new part of a chat that was there: what came with it, but for what is of earlier parts.

    Its topic may be theirs, and so it has none.
    """
    first = sum(len(part.turns) for part in parts)
    return replace(
        session,
        session_id=name,
        thread_id=session.thread_id or session.session_id,
        started=started,
        topic="",
        material=of_the_rest(session.material, first, parts),
    )


def _goes_on(there: Sequence[Turn], given: Sequence[Turn]) -> bool:
    """Whether the given turns begin with those that are there; of one erased its role is known."""
    return len(there) <= len(given) and all(
        old.role == new.role and old.content in ("", new.content)
        for old, new in zip(there, given, strict=False)
    )
