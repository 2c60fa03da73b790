"""What becomes of generations and heads inside a transaction: rows to nouns and back.

As in `rows.py` the functions take their caller's connection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from plum_langchain.encryption.box import Seal
from plum_langchain.errors import SessionStateError, UnknownGenerationError
from plum_langchain.journal import schema
from plum_langchain.journal.rows import erase, set_state, without_corrections
from plum_langchain.journal.sealing import seal_of
from plum_langchain.session import SessionState

_g = schema.generations
_h = schema.heads
_s = schema.sessions
_q = schema.questions


@dataclass(frozen=True)
class Generation:
    """One published state of a user's adapter.

    `learned` are the journal keys of all sessions in its weights, in the order they were learned.
    `seal` opens its weights, where those are encrypted.
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
    seal: Seal | None = field(default=None, repr=False, compare=False)


def generation_of(connection: Connection, row: Row[Any]) -> Generation:
    """A row as the noun."""
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
        seal=seal_of(connection, row.user_id, row.number, row.data_key),
    )


def head_of(connection: Connection, user_id: str) -> Generation | None:
    """The generation that is served for the user; None before the first."""
    row = connection.execute(_HEAD, {"user": user_id}).first()
    return generation_of(connection, row) if row else None


# Built once: every reply asks for it several times.
_HEAD = (
    select(_g)
    .select_from(_g.join(_h, (_g.c.user_id == _h.c.user_id) & (_g.c.number == _h.c.number)))
    .where(_h.c.user_id == bindparam("user"))
)


def kept_numbers(connection: Connection, user_id: str) -> list[int]:
    """The numbers of the generations on disk, in order."""
    return list(
        connection.scalars(
            select(_g.c.number).where(_g.c.user_id == user_id, _g.c.kept).order_by(_g.c.number)
        )
    )


def find_generation(connection: Connection, user_id: str, number: int) -> Generation | None:
    """A generation, kept or not; None if it was never made."""
    row = connection.execute(
        select(_g).where(_g.c.user_id == user_id, _g.c.number == number)
    ).first()
    return generation_of(connection, row) if row else None


def kept_generation(connection: Connection, user_id: str, number: int) -> Generation:
    """A generation that is still on disk.

    Raises:
        UnknownGenerationError: never made, pruned or destroyed.
    """
    generation = find_generation(connection, user_id, number)
    if generation is None or not generation.kept:
        numbers = kept_numbers(connection, user_id)
        raise UnknownGenerationError(
            f"user {user_id!r} has no generation {number} (kept: "
            f"{', '.join(map(str, numbers)) or 'none'}); choose one of those"
        )
    return generation


def move_head(connection: Connection, user_id: str, number: int) -> None:
    """Serve this one from now on."""
    connection.execute(delete(_h).where(_h.c.user_id == user_id))
    connection.execute(insert(_h).values(user_id=user_id, number=number))


def give_up(connection: Connection, user_id: str, numbers: Sequence[int]) -> None:
    """Leave tombstones of generations, whose directories the caller removes."""
    if numbers:
        # What a generation was trained on says something about the chats: it goes with it.
        connection.execute(
            update(_g)
            .where(_g.c.user_id == user_id, _g.c.number.in_(numbers))
            .values(kept=False, metrics={}, data_key=None)
        )


def go_back(
    connection: Connection, user_id: str, target: Generation | None, *, lose_later: bool = False
) -> tuple[list[int], list[str]]:
    """Serve an earlier generation (None: the base model); what was learned since is in line again.

    Args:
        connection: A write transaction.
        user_id: Whose.
        target: What is served then.
        lose_later: Give up sessions learned since of which nothing is kept to learn them again;
            they are forgotten with what is given up.

    Returns:
        The numbers of the generations given up, and the ids of the sessions that are lost.

    Raises:
        SessionStateError: without `lose_later`, where there are such sessions.
    """
    head = head_of(connection, user_id)
    kept = set(target.learned if target else ())
    later = [key for key in (head.learned if head else ()) if key not in kept]
    rows = connection.execute(
        select(_s.c.id, _s.c.session_id, _s.c.kept).where(
            _s.c.id.in_(later), _s.c.state != SessionState.FORGOTTEN
        )
    ).all()
    lost = {row.id: row.session_id for row in rows if row.kept == "nothing"}
    if lost and not lose_later:
        raise SessionStateError(
            f"going back gives up the weights that know {', '.join(map(repr, lost.values()))} of "
            f"user {user_id!r}, and nothing of them is kept to learn them again "
            "(retention='nothing'); nothing was changed. Say lose_later=True (--lose-later) to "
            "forget them as well"
        )
    erase(connection, list(lost))
    set_state(connection, [row.id for row in rows if row.id not in lost], SessionState.FINISHED)
    # Questions are made anew where the chat is kept. Where they are all that is kept, what an
    # earlier session told (a fact that changed) goes from them: it may be what is forgotten.
    made_anew = [row.id for row in rows if row.kept == "transcript"]
    connection.execute(delete(_q).where(_q.c.session.in_(made_anew)))
    without_corrections(connection, [row.id for row in rows if row.kept == "questions"])
    gone = [n for n in kept_numbers(connection, user_id) if target is None or n > target.number]
    give_up(connection, user_id, gone)
    if target is None:
        connection.execute(delete(_h).where(_h.c.user_id == user_id))
    else:
        move_head(connection, user_id, target.number)
    return gone, list(lost.values())
