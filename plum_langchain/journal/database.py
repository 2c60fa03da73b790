"""The journal's database: connection settings, transactions, and what "busy" means."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from plum_langchain.errors import BusyError, PlumError
from plum_langchain.journal.migrations import MIGRATIONS, applied, migrate


class Database:
    """One SQL database opened for the journal: `read()` and `write()` transactions.

    SQLite runs in WAL mode with `synchronous=FULL`, so that a committed transaction survives a
    power cut (https://sqlite.org/pragma.html#pragma_synchronous), and with `secure_delete`, so
    that deleted text is overwritten. A write transaction takes its lock at once (BEGIN
    IMMEDIATE): two writers queue up instead of deadlocking half-way.
    """

    def __init__(self, url: str, *, busy_seconds: float) -> None:
        self.url = url
        self._busy_seconds = busy_seconds
        self._engine = create_engine(
            url,
            json_serializer=lambda value: json.dumps(value, ensure_ascii=False),
            **({"connect_args": {"timeout": busy_seconds}} if url.startswith("sqlite") else {}),
        )
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", self._configure_sqlite)
            event.listen(self._engine, "begin", self._begin_sqlite)
        with self.read() as connection:
            done = applied(connection)
        if done != [migration.__name__ for migration in MIGRATIONS]:
            with self.write() as connection:
                migrate(connection)

    def _configure_sqlite(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we send BEGIN ourselves, see _begin_sqlite
        for pragma in (
            f"busy_timeout = {int(self._busy_seconds * 1000)}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @staticmethod
    def _begin_sqlite(connection: Connection) -> None:
        writing = connection.get_execution_options().get("plum_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent snapshot."""
        with self._errors_named(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of it is durable when the block ends, or none of it happened."""
        engine = self._engine.execution_options(plum_write=True)
        with self._errors_named(), engine.begin() as connection:
            yield connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            if "locked" in str(error.orig) or "busy" in str(error.orig):
                raise BusyError(
                    f"the journal {self.url} is locked by another process and stayed so for "
                    f"{self._busy_seconds:.0f} s; nothing was changed. Try again, or stop the "
                    "process that holds it"
                ) from error
            raise PlumError(
                f"the journal {self.url} can't be used: {error.orig}; check that the disk has "
                "room and that you may write there"
            ) from error
        except DatabaseError as error:
            if "not a database" in str(error.orig) or "malformed" in str(error.orig):
                raise PlumError(
                    f"{self.url} is not a healthy journal: {error.orig}; restore it from a backup"
                ) from error
            raise

    def scrub(self) -> None:
        """Let nothing deleted linger: fold the write-ahead log back and rebuild the file."""
        if self._engine.dialect.name != "sqlite":
            return
        with self._errors_named(), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
