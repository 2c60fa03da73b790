"""The journal's database: connection settings, transactions, and what "busy" means."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from plum_langchain.encryption.keys import Keys
from plum_langchain.errors import BusyError, InvalidInputError, PlumError
from plum_langchain.journal.forks import Forkable
from plum_langchain.journal.migrations import MIGRATIONS, applied, migrate
from plum_langchain.journal.proof import check_keys, encrypt, proof_of


def storable(text: str) -> str:
    """The text with each lone surrogate (half an emoji, cut by a client) as U+FFFD.

    UTF-8, and so every database, has no bytes for a lone surrogate; all other text is unchanged.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Database:
    """One SQL database opened for the journal: `read()` and `write()` transactions.

    SQLite runs in WAL mode with `synchronous=FULL`, so that a committed transaction survives a
    power cut (https://sqlite.org/pragma.html#pragma_synchronous), and with `secure_delete`, so
    that deleted text is overwritten; temporary copies, a VACUUM's above all, are in memory, so that
    no text is left on the disk outside of the home. A write transaction takes its lock at once
    (BEGIN IMMEDIATE): two writers queue up instead of deadlocking half-way.

    Args:
        url: Any SQLAlchemy URL. For a file prefer `URL.create("sqlite", database=path)`: in a URL
            written by hand a path's "?" and "%" mean something else.
        busy_seconds: How long SQLite waits for another writer.
        keys: What text is sealed with; None for a plain journal.

    Raises:
        EncryptionError: it is encrypted with other keys, or isn't and holds chats.
        MigrationError: a newer version wrote it.
        BusyError: another process holds it for longer than `busy_seconds`.
        PlumError: it can't be opened, or is no database; or this process was forked while it was in
            use (`forks`).
    """

    def __init__(self, url: str | URL, *, busy_seconds: float, keys: Keys | None = None) -> None:
        self._busy_seconds = busy_seconds
        self._engine = create_engine(
            url,
            json_serializer=lambda value: storable(json.dumps(value, ensure_ascii=False)),
            execution_options={"plum_keys": keys},  # `sealing.keys_of`
        )
        self._forkable = Forkable(self._engine)
        self.encrypted = keys is not None
        self.url = self._engine.url.render_as_string(hide_password=True)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", self._configure_sqlite)
            event.listen(self._engine, "begin", self._begin_sqlite)
        try:
            with self.read() as connection:
                done = applied(connection)
            if done != [migration.__name__ for migration in MIGRATIONS]:
                with self.write() as connection:
                    migrate(connection)
            self._check_keys(keys)
        except BaseException:
            self.close()
            raise

    def _check_keys(self, keys: Keys | None) -> None:
        with self.read() as connection:
            proof = proof_of(connection)
        if not check_keys(proof, keys, self.url) and keys is not None:
            with self.write() as connection:
                # Asked again: another process may have opened it first.
                if not check_keys(proof_of(connection), keys, self.url):
                    encrypt(connection, keys, self.url)

    def _configure_sqlite(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we send BEGIN ourselves, see _begin_sqlite
        connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
        self._enter_wal(connection)
        for pragma in (
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _enter_wal(self, connection: Any) -> None:
        # SQLite doesn't always honour its busy timeout here: of several processes that open a
        # new database at once, one may be told "locked" at its first try.
        deadline = time.monotonic() + self._busy_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)

    @staticmethod
    def _begin_sqlite(connection: Connection) -> None:
        writing = connection.get_execution_options().get("plum_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent snapshot."""
        with self._forkable.in_use(), self._errors_named(), self._engine.begin() as connection:
            yield self._beginning(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of it is durable when the block ends, or none of it happened."""
        engine = self._engine.execution_options(plum_write=True)
        with self._forkable.in_use(), self._errors_named(), engine.begin() as connection:
            yield self._beginning(connection)

    def _beginning(self, connection: Connection) -> Connection:
        """What was unsealed in one transaction says nothing about the next (`sealing`)."""
        return connection.execution_options(plum_texts={}) if self.encrypted else connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"{error.object[:40]!r} holds half a character (a lone surrogate), which can't be "
                "stored; remove it"
            ) from error
        except (DatabaseError, sqlite3.DatabaseError) as error:
            named = self._named(error)
            if named is None:
                raise
            raise named from error

    def _named(self, error: DatabaseError | sqlite3.DatabaseError) -> PlumError | None:
        """What the user is to know of a database's error; None if it can only be a bug of ours."""
        found = str(getattr(error, "orig", error))
        # "locking protocol": somebody holds what each reader of the log needs for a moment.
        if any(word in found for word in ("locked", "busy", "locking protocol")):
            return BusyError(
                f"the journal {self.url} is locked by another process and stayed so for "
                f"{self._busy_seconds:.0f} s; nothing was changed. Try again, or stop the "
                "process that holds it"
            )
        if "not a database" in found or "malformed" in found:
            return PlumError(
                f"{self.url} is not a healthy journal: {found}; restore it from a backup"
            )
        if isinstance(error, OperationalError | sqlite3.OperationalError):
            return PlumError(
                f"the journal {self.url} can't be used: {found}; check that the disk has room and "
                "that you may write there"
            )
        return None

    def scrub(self) -> None:
        """Let nothing deleted linger: rebuild the file and empty the write-ahead log.

        Raises:
            BusyError: another process uses the journal, so that traces may be left in its files.
        """
        if self._engine.dialect.name != "sqlite":
            return
        with self._connected() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            try:
                raw.execute("VACUUM")
                busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                busy = True
            if busy:
                raise BusyError(
                    f"what was deleted is gone from the journal {self.url}, but traces of its text "
                    "may linger in the files, since another process is using them; call "
                    "Plum.journal.scrub() when it is done"
                )

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection outside of a transaction."""
        with self._forkable.in_use(), self._errors_named(), self._engine.connect() as connection:
            yield connection

    def content(self) -> bytes:
        """All pages of the database as SQLite reads them, free space too.

        Its files must not be opened beside it, not even to be read: by POSIX a process that closes
        a file gives up all its locks on it, SQLite's own among them. The next process to leave
        takes the write-ahead log for abandoned and deletes it, with all that is still written there
        (https://sqlite.org/howtocorrupt.html, "Posix advisory locks canceled").

        Raises:
            PlumError: they can't be had: it is no SQLite, or one without `serialize`; or there are
                more than go into memory.
        """
        with self._connected() as connection:
            serialize = getattr(connection.connection.driver_connection, "serialize", None)
            if serialize is None:
                raise PlumError(f"{self.url} has no `serialize` (Python's sqlite3 has, from 3.36)")
            try:
                content: bytes = serialize()
            except (sqlite3.Error, MemoryError) as error:
                raise PlumError(
                    f"{self.url} can't be read as a whole ({error}); search its file when no "
                    "process has it open"
                ) from error
            return content

    def close(self) -> None:
        """Close all connections."""
        self._forkable.close()
