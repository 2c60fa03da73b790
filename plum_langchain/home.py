"""A home: the directory that holds everything, and how users are named inside it.

home/                mode 0700
  key                32 random bytes; user ids are hashed with it
  journal.db         what was said (SQLite)
  adapters/          what was learned, one directory per user hash
  retrieval/         the Chroma baseline's index

Of an encrypted home text and weights are sealed, there is no index, and the users' keys are
elsewhere (`encryption`).
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from sqlalchemy import URL

from plum_langchain.durable import create
from plum_langchain.errors import PlumError
from plum_langchain.session import check_id

_KEY_BYTES = 32
_SQLITE_FILES = ("", "-wal", "-shm", "-journal")


class Home:
    """Paths of a home directory; creates it on first use.

    A directory that is already there keeps its mode; the key and the journal in it can be read by
    their owner alone.

    Raises:
        PlumError: the directory can't be created or read, or its key is lost.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        try:
            self.root = Path(root).expanduser().absolute()
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._journal = self.root / "journal.db"
            self._key = self._read_key(self._journal)
            if not self._journal.exists():
                create(self._journal, b"")  # SQLite takes an empty file for a new database
        # RuntimeError: no such user in ~user; ValueError: a NUL in the path.
        except (OSError, RuntimeError, ValueError) as error:
            raise PlumError(
                f"{os.fspath(root)!r} can't be used as a home: "
                f"{getattr(error, 'strerror', None) or error}; choose a directory you may write to"
            ) from error
        self.adapters = self.root / "adapters"
        self.retrieval = self.root / "retrieval"
        self.journal_url = URL.create("sqlite", database=str(self._journal))

    def is_journal(self, path: Path) -> bool:
        """Whether this is the journal's file or one that SQLite keeps beside it, by any name.

        While the journal is open, nobody but SQLite may open them (`Database.content`).
        """
        for end in _SQLITE_FILES:
            beside = self._journal.with_name(self._journal.name + end)
            with contextlib.suppress(FileNotFoundError):
                if path == beside or beside.samefile(path):
                    return True
        return False

    def owner(self, user_id: str) -> str:
        """The user's name in paths and collections: a keyed hash, 32 hex digits.

        Keyed, so that a copy of the adapters alone doesn't tell whose they are.
        """
        check_id(user_id, "user id")
        return hmac.new(self._key, user_id.encode("utf-8"), hashlib.sha256).hexdigest()[:32]

    def _read_key(self, journal: Path) -> bytes:
        path = self.root / "key"
        used = journal.exists()  # asked first: whoever makes a journal has made the key before
        if not path.exists():
            if used:
                raise PlumError(
                    f"{path} is missing, and without it the adapters in {self.root} can't be told "
                    "apart; restore it from a backup, or import the chats into a new home"
                )
            create(path, secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise PlumError(
                f"{path} has {len(key)} bytes instead of {_KEY_BYTES}; restore it from a backup"
            )
        return key
