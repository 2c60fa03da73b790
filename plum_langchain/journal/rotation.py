"""Sealing what is left of a user's with a new key, so that the old one can be destroyed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TableClause, bindparam, select, update

from plum_langchain.journal import schema
from plum_langchain.journal.sealing import Texts, texts_of_user, with_a_new_key

_s = schema.sessions
_g = schema.generations


@dataclass(frozen=True)
class _Texts:
    """A table that holds text: what tells its rows apart, and the columns of it."""

    table: TableClause
    identity: Sequence[str]
    columns: Sequence[str]


_ALL = (
    _Texts(schema.sessions, ("id",), ("topic", "reason", "material")),
    _Texts(schema.turns, ("session", "position"), ("content",)),
    _Texts(schema.questions, ("session", "position"), ("question", "answer", "statement")),
)


def rotate(connection: Connection, user_id: str) -> str | None:
    """Seal all that is left of a user's with a new key; with none, if nothing is left.

    The new key is durable before the transaction ends, and the caller destroys the old one after
    it: wherever that is cut off, one key opens all that the journal holds of the user.

    Returns:
        The name of the key to destroy; None in a plain journal, and of a user who has none.
    """
    texts = texts_of_user(connection, user_id)
    old = texts.key_name
    if old is None:
        return None
    # Weights that were given up, or never published, are not to be opened again.
    given_up = (_g.c.user_id == user_id, ~_g.c.kept)
    connection.execute(update(_g).where(*given_up).values(data_key=None))
    rows = [_opened(connection, texts, user_id, one) for one in _ALL]
    sealed = select(_g.c.number, _g.c.data_key).where(
        _g.c.user_id == user_id, _g.c.data_key.is_not(None)
    )
    data_keys = [
        (number, texts.said(kept, "generations.data_key", number))
        for number, kept in connection.execute(sealed).all()
    ]
    texts = with_a_new_key(connection, user_id)
    for one, opened in zip(_ALL, rows, strict=True):
        _reseal(connection, texts, one, opened)
    for number, data_key in data_keys:
        kept = texts.keep(data_key, "generations.data_key", number)
        at = (_g.c.user_id == user_id, _g.c.number == number)
        connection.execute(update(_g).where(*at).values(data_key=kept))
    return old


def _opened(
    connection: Connection, texts: Texts, user_id: str, one: _Texts
) -> list[dict[str, Any]]:
    """The rows of a user that hold text, opened; what is empty there is left out."""
    session = one.table.c.id if one.table is _s else one.table.c.session
    of_user = select(_s.c.id).where(_s.c.user_id == user_id)
    found = []
    for row in connection.execute(select(one.table).where(session.in_(of_user))).mappings():
        where = [row[name] for name in one.identity]
        opened = {
            name: texts.said(row[name], f"{one.table.name}.{name}", *where)
            for name in one.columns
            if row[name]
        }
        if opened:
            found.append({"id": row["id"], "where": where, "opened": opened})
    return found


def _reseal(
    connection: Connection, texts: Texts, one: _Texts, rows: Sequence[dict[str, Any]]
) -> None:
    # Of questions the statement is missing in some rows: one statement for each set of columns.
    changes: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kept = {
            name: texts.keep(text, f"{one.table.name}.{name}", *row["where"])
            for name, text in row["opened"].items()
        }
        changes.setdefault(tuple(kept), []).append({"row_id": row["id"], **kept})
    for names, values in changes.items():
        change = update(one.table).where(one.table.c.id == bindparam("row_id"))
        new = {one.table.c[name]: bindparam(name, type_=one.table.c[name].type) for name in names}
        connection.execute(change.values(new), values)
