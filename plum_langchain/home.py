"""A home: the directory that holds everything, and how users are named inside it.

home/                mode 0700
key                32 random bytes; user ids are hashed with it
journal.db         what was said (SQLite)
adapters/          what was learned, one directory per user hash
retrieval/         the Chroma baseline's index
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from plum_langchain.errors import PlumError
from plum_langchain.session import check_id


class Home:
    """Paths of a home directory; creates it on first use.

    Raises:
        PlumError: the directory can't be created or read.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser().absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._key = self._read_key()
        except OSError as error:
            raise PlumError(
                f"{self.root} can't be used as a home: {error.strerror or error}; choose a "
                "directory you may write to"
            ) from error
        self.adapters = self.root / "adapters"
        self.retrieval = self.root / "retrieval"
        self.journal_url = f"sqlite:///{self.root / 'journal.db'}"

    def owner(self, user_id: str) -> str:
        """The user's name in paths and collections: a keyed hash, 32 hex digits.

        Keyed, so that a copy of the adapters alone doesn't tell whose they are.
        """
        check_id(user_id, "user id")
        return hmac.new(self._key, user_id.encode("utf-8"), hashlib.sha256).hexdigest()[:32]

    def _read_key(self) -> bytes:
        path = self.root / "key"
        if not path.exists():
            # Written aside and linked into place: two processes that open a new home at once
            # agree on one key, and no one ever reads half of it.
            aside = self.root / f".key-{os.getpid()}-{secrets.token_hex(4)}"
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                f.write(secrets.token_bytes(32))
                f.flush()
                os.fsync(f.fileno())
            try:
                os.link(aside, path)
            except FileExistsError:
                pass
            finally:
                aside.unlink()
        key = path.read_bytes()
        if len(key) != 32:
            raise PlumError(f"{path} has {len(key)} bytes instead of 32; restore it from a backup")
        return key
