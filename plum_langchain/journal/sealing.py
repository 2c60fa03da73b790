"""Text as an encrypted journal keeps it: sealed with its user's key, which is named in `user_keys`.

All text of one user is sealed with one key, so that to forget is to seal what is left with a new
one, and to destroy the old one, which opens every earlier copy of the database (`rotation`). The
weights of a generation have a data key of their own, and only that is sealed with the user's, since
a generation is never written again.

In a plain journal all of it does nothing, and asks the database nothing.
"""

import json
import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from plum_langchain.adapters.manifest import WEIGHTS
from plum_langchain.encryption.box import KEY_BYTES, Box, Seal
from plum_langchain.encryption.keys import Keys
from plum_langchain.errors import EncryptionError, MissingKeyError
from plum_langchain.journal import schema
from plum_langchain.journal.database import storable

_s = schema.sessions
_u = schema.user_keys


class Texts:
    """The text of a user's rows, as it was said and as it is kept.

    In one transaction the key is asked for once: another process that destroys it meanwhile doesn't
    keep a reader from the rest of what was there when it began.

    Args:
        connection: In whose transaction it is written.
        user_id: Whose.
        keys: None in a plain journal.
    """

    def __init__(self, connection: Connection, user_id: str, keys: Keys | None) -> None:
        self._connection = connection
        self._user_id = user_id
        self._keys = keys
        self._found: Box | None = None

    @cached_property
    def key_name(self) -> str | None:
        """The name of the user's key; None for one who has none."""
        if self._keys is None:
            return None
        query = select(_u.c.name).where(_u.c.user_id == self._user_id)
        return self._connection.scalar(query)

    def keep(self, text: str, column: str, *row: int) -> str:
        """Text as it is kept in a column ("turns.content") of the row of these keys."""
        if self._keys is None or not text:
            return text
        return self._box(new=True).seal_text(text, column, *row)

    def said(self, kept: str, column: str, *row: int) -> str:
        """What is kept there, as it was said.

        Raises:
            EncryptionError: it can't be opened.
        """
        if self._keys is None or not kept:
            return kept
        return self._box().open_text(kept, column, *row)

    def keep_json(self, value: Mapping[str, Any], column: str, *row: int) -> Any:
        """The same of what a column of JSON holds; what is empty stays so."""
        if self._keys is None or not value:
            return dict(value)
        text = storable(json.dumps(dict(value), ensure_ascii=False))
        return self.keep(text, column, *row)

    def said_json(self, kept: Any, column: str, *row: int) -> dict[str, Any]:
        """And back."""
        if self._keys is None or not kept:
            return dict(kept)
        if not isinstance(kept, str):
            raise EncryptionError(f"{column} {row} isn't sealed, as all text of the journal is")
        return dict(json.loads(self.said(kept, column, *row)))

    def _box(self, *, new: bool = False) -> Box:
        assert self._keys is not None
        if self._found is None:
            if self.key_name is not None:
                self._found = self._keys.of_user(self._user_id, self.key_name)
            elif new:
                self._found = self._keys.begin(self._user_id)
                self.key_name = self._found.name
                row = {"user_id": self._user_id, "name": self.key_name}
                self._connection.execute(insert(_u).values(row))
            else:
                raise MissingKeyError(
                    f"the journal names no key of user {self._user_id!r}, but has text of theirs; "
                    "it was changed. Restore the home from a backup"
                )
        return self._found


def keys_of(connection: Connection) -> Keys | None:
    """The keys that the database was opened with; None for a plain one."""
    keys: Keys | None = connection.get_execution_options().get("plum_keys")
    return keys


def texts_of_user(connection: Connection, user_id: str) -> Texts:
    """The text of a user's rows."""
    keys = keys_of(connection)
    if keys is None:
        return Texts(connection, user_id, None)
    known: dict[str, Texts] = connection.get_execution_options()["plum_texts"]
    if user_id not in known:
        known[user_id] = Texts(connection, user_id, keys)
    return known[user_id]


def texts_of_session(connection: Connection, key: int) -> Texts:
    """The same, of the user whose session it is."""
    if keys_of(connection) is None:
        return Texts(connection, "", None)
    user_id = connection.scalars(select(_s.c.user_id).where(_s.c.id == key)).one()
    return texts_of_user(connection, user_id)


def with_a_new_key(connection: Connection, user_id: str) -> Texts:
    """The text of a user who has no key from now on, until there is something to keep."""
    connection.execute(delete(_u).where(_u.c.user_id == user_id))
    del connection.get_execution_options()["plum_texts"][user_id]
    return texts_of_user(connection, user_id)


# -- weights -----------------------------------------------------------------------------------


def new_data_key(connection: Connection, user_id: str, number: int) -> str | None:
    """A key for the weights of one generation, as it is kept; None in a plain journal."""
    if keys_of(connection) is None:
        return None
    texts = texts_of_user(connection, user_id)
    return texts.keep(secrets.token_hex(KEY_BYTES), "generations.data_key", number)


def seal_of(connection: Connection, user_id: str, number: int, data_key: str | None) -> Seal | None:
    """What seals and opens the weights of a generation; None where they are in the clear.

    The key is unwrapped when it is needed: a reply whose adapter is loaded needs none.
    """
    keys = keys_of(connection)
    if keys is None or not data_key:
        return None
    name, kept = texts_of_user(connection, user_id).key_name, data_key

    def box() -> Box:
        if name is None:
            raise MissingKeyError(f"the journal names no key of user {user_id!r}; it was changed")
        users = keys.of_user(user_id, name)
        opened = users.open_text(kept, "generations.data_key", number)
        return Box(f"{keys.owner(user_id)}/{number}", bytes.fromhex(opened))

    return Seal(box, WEIGHTS)
