"""Whether a journal is encrypted, and whether these are its keys: asked once, when it is opened."""

from sqlalchemy import Connection, insert, select

from plum_langchain.encryption.keys import Keys
from plum_langchain.errors import EncryptionError, MissingKeyError
from plum_langchain.journal import schema

_e = schema.encryption

_PROOF = "plum-langchain"
"""Sealed in the journal with the home's key: whoever opens it has the right keys."""


def proof_of(connection: Connection) -> str | None:
    """What an encrypted journal holds for its keys to open; None of a plain one."""
    return connection.scalar(select(_e.c.proof))


def check_keys(proof: str | None, keys: Keys | None, url: str) -> bool:
    """Whether keys and journal belong together; False where it may become encrypted.

    Raises:
        EncryptionError: it is encrypted and there are no keys, or other ones, or they can't be
            read.
    """
    if proof is None:
        return keys is None
    if keys is None:
        raise EncryptionError(
            f"the journal {url} is encrypted, and no keys were given; name the directory they are "
            "in: Plum(home, keys=...), plum --keys, or $PLUM_KEYS"
        )
    try:
        box = keys.box(keys.home)
    except MissingKeyError as error:
        raise _others(keys, url) from error
    try:
        box.open_text(proof, "encryption.proof")
    except EncryptionError as error:
        raise _others(keys, url) from error
    return True


def _others(keys: Keys, url: str) -> EncryptionError:
    return EncryptionError(
        f"the journal {url} is encrypted, and its keys are not in {keys} ({keys.home!r} is missing "
        "there or another one); name the directory it was made with"
    )


def encrypt(connection: Connection, keys: Keys, url: str) -> None:
    """Make a journal that holds nothing an encrypted one.

    Raises:
        EncryptionError: it holds chats in the clear.
    """
    if connection.execute(select(schema.sessions.c.id)).first():
        raise EncryptionError(
            f"the journal {url} isn't encrypted and holds chats, and keys were given; open it "
            "without, or bring its chats into a new home made with keys: for session in "
            "old.journal.sessions.all(): new.add_session(session)"
        )
    proof = keys.create(keys.home).seal_text(_PROOF, "encryption.proof")
    connection.execute(insert(_e).values(proof=proof))
