"""What becomes of sessions, turns and questions inside a transaction: rows to nouns and back.

The functions take their caller's connection; whether anything of it is durable is the caller's to
say, who begins and ends the transaction.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from plum_langchain.errors import InvalidInputError, UnknownSessionError
from plum_langchain.journal import schema
from plum_langchain.journal.database import storable
from plum_langchain.journal.material import without_turns
from plum_langchain.journal.merging import is_unique
from plum_langchain.journal.sealing import Texts, texts_of_session, texts_of_user
from plum_langchain.session import (
    EARLIER,
    Question,
    Retention,
    Session,
    SessionState,
    Turn,
    Update,
)

_s = schema.sessions
_t = schema.turns
_q = schema.questions


# -- sessions ----------------------------------------------------------------------------------


def find_session(connection: Connection, user_id: str, session_id: str) -> Row[Any] | None:
    """The session's row; None if there is no such session."""
    return connection.execute(
        select(_s).where(_s.c.user_id == user_id, _s.c.session_id == session_id)
    ).first()


def get_session(connection: Connection, user_id: str, session_id: str) -> Row[Any]:
    """The session's row.

    Raises:
        UnknownSessionError: no such session.
    """
    row = find_session(connection, user_id, session_id)
    if row is None:
        raise UnknownSessionError(
            f"user {user_id!r} has no session {session_id!r}; `plum sessions --user {user_id}` "
            "lists them"
        )
    return row


def create_session(connection: Connection, session: Session) -> Row[Any]:
    """Insert an open session without its turns; returns its row."""
    connection.execute(
        insert(_s).values(
            user_id=session.user_id,
            session_id=session.session_id,
            thread_id=session.thread_id or session.session_id,
            topic="",
            state=SessionState.OPEN,
            material={},
            started_at=session.started,
            updated_at=session.started,
        )
    )
    row = get_session(connection, session.user_id, session.session_id)
    if not session.topic and not session.material:
        return row
    texts = texts_of_user(connection, session.user_id)
    connection.execute(  # where text is kept depends on the row's key
        update(_s)
        .where(_s.c.id == row.id)
        .values(
            topic=texts.keep(storable(session.topic), "sessions.topic", row.id),
            material=texts.keep_json(session.material, "sessions.material", row.id),
        )
    )
    return get_session(connection, session.user_id, session.session_id)


def session_of(connection: Connection, row: Row[Any]) -> Session:
    """A session's row as the noun, with its turns (none, if it was forgotten)."""
    forgotten = row.state == SessionState.FORGOTTEN
    texts = texts_of_user(connection, row.user_id)
    return Session(
        user_id=row.user_id,
        session_id=row.session_id,
        turns=() if forgotten else tuple(turns_of(connection, row.id, texts)),
        started=row.started_at,
        thread_id=row.thread_id,
        topic=texts.said(row.topic, "sessions.topic", row.id),
        state=SessionState(row.state),
        reason=row.reason and texts.said(row.reason, "sessions.reason", row.id),
        tries=row.tries,
        material=texts.said_json(row.material, "sessions.material", row.id),
        kept=row.kept,
    )


def set_state(
    connection: Connection,
    keys: Sequence[int],
    state: SessionState,
    *,
    reason: str | None = None,
    tries: int = 0,
) -> None:
    """Move sessions to a state; why they were in the last one, and how often, goes with it."""
    if keys:
        connection.execute(
            update(_s).where(_s.c.id.in_(keys)).values(state=state, reason=None, tries=tries)
        )
    if reason:
        for key in keys:
            texts = texts_of_session(connection, key)
            kept = texts.keep(storable(reason), "sessions.reason", key)
            connection.execute(update(_s).where(_s.c.id == key).values(reason=kept))


def erase(connection: Connection, keys: Sequence[int]) -> None:
    """Delete the text of sessions and leave their tombstones.

    Of a turn its role, time and message id are left: an agent's own checkpoint still holds the
    thread, and its next message must not bring the forgotten ones back.
    """
    connection.execute(update(_t).where(_t.c.session.in_(keys)).values(content=""))
    connection.execute(delete(_q).where(_q.c.session.in_(keys)))
    connection.execute(update(_s).where(_s.c.id.in_(keys)).values(topic="", material={}))
    set_state(connection, keys, SessionState.FORGOTTEN)


def erase_turns(connection: Connection, key: int, positions: Collection[int]) -> None:
    """Delete the text of some turns of a session, and whatever was made of it.

    It is to be learned anew from the rest, if it was learned or failed; where nothing is left that
    the user said, the session is erased.
    """
    of_session = _t.c.session == key
    connection.execute(
        update(_t).where(of_session, _t.c.position.in_(positions)).values(content="")
    )
    left = select(func.count()).where(of_session, _t.c.role == "user", _t.c.content != "")
    if not connection.scalar(left):
        erase(connection, [key])
        return
    connection.execute(delete(_q).where(_q.c.session == key))
    row = connection.execute(select(_s).where(_s.c.id == key)).one()
    texts = texts_of_user(connection, row.user_id)
    material = without_turns(texts.said_json(row.material, "sessions.material", key), positions)
    material = texts.keep_json(material, "sessions.material", key)
    connection.execute(update(_s).where(_s.c.id == key).values(topic="", material=material))
    if row.state != SessionState.OPEN:
        set_state(connection, [key], SessionState.FINISHED)
        # Caches of retrieved text key on it (`Sessions.version`).
        now = datetime.now(UTC)
        connection.execute(update(_s).where(_s.c.id == key).values(updated_at=now))


def erase_updates(connection: Connection, key: int, places: Collection[int]) -> None:
    """Delete what came with a session of these facts that it changes, and what was made of it.

    It is to be learned anew, if it was learned or failed.
    """
    row = connection.execute(select(_s).where(_s.c.id == key)).one()
    texts = texts_of_user(connection, row.user_id)
    material = texts.said_json(row.material, "sessions.material", key)
    updates = material.get("updates") or ()
    material["updates"] = [u for place, u in enumerate(updates) if place not in places]
    material = texts.keep_json(material, "sessions.material", key)
    connection.execute(update(_s).where(_s.c.id == key).values(material=material))
    without_corrections(connection, [key])
    if row.state == SessionState.FAILED:
        set_state(connection, [key], SessionState.FINISHED)


def dispose(
    connection: Connection, key: int, retention: Retention, updates: Sequence[Update] = ()
) -> None:
    """Delete of a session that was learned what is not to be kept.

    With its questions the facts that it changes are kept, to be corrected again when it is learned
    again.
    """
    if retention == "transcript":
        return
    material: dict[str, Any] = {}
    if retention == "questions" and updates:
        material = {"updates": [one.recorded() for one in updates]}
    texts = texts_of_session(connection, key)
    material = texts.keep_json(material, "sessions.material", key)
    connection.execute(update(_t).where(_t.c.session == key).values(content=""))
    connection.execute(
        update(_s).where(_s.c.id == key).values(topic="", material=material, kept=retention)
    )
    if retention == "nothing":
        connection.execute(delete(_q).where(_q.c.session == key))


# -- turns -------------------------------------------------------------------------------------


def checked_turn(turn: Turn) -> Turn:
    """The turn as it can be stored.

    Raises:
        InvalidInputError: a role that isn't user or assistant, or a content that isn't text.
    """
    if turn.role not in ("user", "assistant"):
        raise InvalidInputError(f"a turn's role is user or assistant, not {turn.role!r}")
    if not isinstance(turn.content, str):
        raise InvalidInputError(
            f"a turn's content is text, not {type(turn.content).__name__}: {turn.content!r:.80}"
        )
    return replace(turn, content=storable(turn.content))


def turns_of(connection: Connection, key: int, texts: Texts | None = None) -> list[Turn]:
    """The turns of a session, oldest first; `texts` are its user's, where they are at hand."""
    texts = texts or texts_of_session(connection, key)
    rows = connection.execute(select(_t).where(_t.c.session == key).order_by(_t.c.position))
    return [_turn(row, texts) for row in rows]


def turns_of_thread(connection: Connection, user_id: str, thread_id: str) -> list[Turn]:
    """The user's turns in all sessions of a thread, oldest first."""
    rows = connection.execute(
        select(_t)
        .select_from(_t.join(_s, _t.c.session == _s.c.id))
        .where(_s.c.user_id == user_id, _s.c.thread_id == thread_id)
        .order_by(_s.c.id, _t.c.position)
    )
    texts = texts_of_user(connection, user_id)
    return [_turn(row, texts) for row in rows]


def turns_of_others(
    connection: Connection, user_id: str, thread_id: str, turns: Sequence[Turn]
) -> list[Turn]:
    """Those of `turns` that another user of the same thread has: a checkpoint holds them all.

    The text must agree as well as the id: a client that numbers its messages gives the same ids to
    everyone, and nobody's message may be lost for that. An id that is no number tells by itself:
    the text may be forgotten, or a reply redacted since.
    """
    ids = [turn.message_id for turn in turns if turn.message_id is not None]
    rows = connection.execute(
        select(_t, _s.c.user_id)
        .select_from(_t.join(_s, _t.c.session == _s.c.id))
        .where(
            _t.c.message_id.in_(ids),
            _s.c.thread_id == thread_id,
            _s.c.user_id != user_id,
        )
    )
    there: set[tuple[str | None, ...]] = set()
    for row in rows:
        turn = _turn(row, texts_of_user(connection, row.user_id))
        there |= {(turn.message_id, turn.role, turn.content), (turn.message_id, turn.role)}
    return [
        turn
        for turn in turns
        if (turn.message_id, turn.role, turn.content) in there
        or (is_unique(turn.message_id) and (turn.message_id, turn.role) in there)
    ]


def rewrite_turn(
    connection: Connection,
    user_id: str,
    thread_id: str,
    turn: Turn,
    *,
    since: datetime,
    now: datetime,
) -> None:
    """Put a message's text as it is now in the place of what it was, in the thread's open session.

    The user edited it, or a middleware took something out of it, under the same id. Nothing is done
    where that is a number, as another message's may be, the turn was forgotten, or the session has
    been silent `since`, which ends it.
    """
    if not is_unique(turn.message_id):
        return
    rows = connection.execute(
        select(_t)
        .select_from(_t.join(_s, _t.c.session == _s.c.id))
        .where(
            _s.c.user_id == user_id,
            _s.c.thread_id == thread_id,
            _s.c.state == SessionState.OPEN,
            _s.c.updated_at > since,
            _t.c.message_id == turn.message_id,
            _t.c.role == turn.role,
        )
    ).all()
    for row in rows:
        texts = texts_of_session(connection, row.session)
        at = "turns.content", row.session, row.position
        if texts.said(row.content, *at) in ("", turn.content):
            continue
        kept = texts.keep(turn.content, *at)
        connection.execute(update(_t).where(_t.c.id == row.id).values(content=kept))
        connection.execute(update(_s).where(_s.c.id == row.session).values(updated_at=now))


def append_turns(
    connection: Connection,
    key: int,
    turns: Iterable[Turn],
    now: datetime,
    *,
    said: datetime | None = None,
) -> None:
    """Add turns at the end of a session; one without a time of its own is of `said`, or now."""
    last = connection.scalar(select(func.max(_t.c.position)).where(_t.c.session == key))
    start = 0 if last is None else last + 1
    texts = texts_of_session(connection, key)
    rows = [
        {
            "session": key,
            "position": position,
            "role": turn.role,
            "content": texts.keep(turn.content, "turns.content", key, position),
            "message_id": turn.message_id,
            "at": turn.at or said or now,
        }
        for position, turn in enumerate(turns, start)
    ]
    if rows:
        connection.execute(insert(_t), rows)
        connection.execute(update(_s).where(_s.c.id == key).values(updated_at=now))


def _turn(row: Row[Any], texts: Texts) -> Turn:
    content = texts.said(row.content, "turns.content", row.session, row.position)
    return Turn(row.role, content, row.message_id, row.at)


# -- questions ---------------------------------------------------------------------------------


def questions_of(connection: Connection, keys: Sequence[int]) -> dict[int, list[Question]]:
    """The questions that each of the sessions was learned from, in their order."""
    found: dict[int, list[Question]] = {key: [] for key in keys}
    rows = connection.execute(
        select(_q).where(_q.c.session.in_(keys)).order_by(_q.c.session, _q.c.position)
    )
    texts = {key: texts_of_session(connection, key) for key in keys}
    for row in rows:
        found[row.session].append(_question(row, texts[row.session]))
    return found


def _question(row: Row[Any], texts: Texts) -> Question:
    at = row.session, row.position
    return Question(
        texts.said(row.question, "questions.question", *at),
        texts.said(row.answer, "questions.answer", *at),
        row.kind,
        tuple(row.evidence),
        row.statement and texts.said(row.statement, "questions.statement", *at),
        again=row.again,
    )


def replace_questions(connection: Connection, key: int, questions: Sequence[Question]) -> None:
    """Keep these as the questions that the session was learned from."""
    connection.execute(delete(_q).where(_q.c.session == key))
    texts = texts_of_session(connection, key)
    rows = [
        {
            "session": key,
            "position": position,
            "question": texts.keep(question.question, "questions.question", key, position),
            "answer": texts.keep(question.answer, "questions.answer", key, position),
            "kind": question.kind,
            "evidence": list(question.evidence),
            "statement": question.statement
            and texts.keep(question.statement, "questions.statement", key, position),
            "again": question.again,
        }
        for position, question in enumerate(questions)
    ]
    if rows:
        connection.execute(insert(_q), rows)


def without_corrections(connection: Connection, keys: Sequence[int]) -> None:
    """Take from the questions of sessions what their earlier sessions told."""
    connection.execute(delete(_q).where(_q.c.session.in_(keys), _q.c.again))
    told = select(_q).where(_q.c.session.in_(keys), _q.c.statement.is_not(None))
    for row in connection.execute(told).all():
        texts = texts_of_session(connection, row.session)
        at = "questions.statement", row.session, row.position
        now, earlier, _ = texts.said(row.statement, *at).partition(EARLIER)
        if earlier:
            kept = texts.keep(now, *at)
            connection.execute(update(_q).where(_q.c.id == row.id).values(statement=kept))
