"""Schema migrations: numbered functions, applied in order, their names recorded in a table.

A function that has been released is never edited; a change of schema is a new function at the
end of `MIGRATIONS`. All of a migration happens in the transaction it is given.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)

from plum_langchain.errors import MigrationError


def m001_initial(connection: Connection) -> None:
    """Sessions, turns, questions, generations, heads and jobs."""
    meta = MetaData()
    Table(
        "sessions",
        meta,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("user_id", Text, nullable=False),
        Column("session_id", Text, nullable=False),
        Column("thread_id", Text, nullable=False),
        Column("topic", Text, nullable=False, default=""),
        Column("state", String(16), nullable=False),
        Column("reason", Text),
        Column("material", JSON, nullable=False),
        Column("started_at", String(40), nullable=False),
        Column("updated_at", String(40), nullable=False),
        UniqueConstraint("user_id", "session_id"),
        Index("sessions_by_thread", "user_id", "thread_id"),
        Index("sessions_by_state", "state", "updated_at"),
        # Without it SQLite gives a deleted row's id to the next row, and a tombstoned session's
        # vectors or questions could be taken for another's.
        sqlite_autoincrement=True,
    )
    session_key = "sessions.id"
    Table(
        "turns",
        meta,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("session", ForeignKey(session_key, ondelete="CASCADE"), nullable=False),
        Column("position", Integer, nullable=False),
        Column("role", String(16), nullable=False),
        Column("content", Text, nullable=False),
        Column("message_id", Text),
        Column("at", String(40), nullable=False),
        UniqueConstraint("session", "position"),
        Index("turns_by_message", "message_id"),
    )
    Table(
        "questions",
        meta,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("session", ForeignKey(session_key, ondelete="CASCADE"), nullable=False),
        Column("position", Integer, nullable=False),
        Column("question", Text, nullable=False),
        Column("answer", Text, nullable=False),
        Column("kind", String(16), nullable=False),
        Column("evidence", JSON, nullable=False),
        Column("statement", Text),
        UniqueConstraint("session", "position"),
    )
    Table(
        "generations",
        meta,
        Column("user_id", Text, primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("parent", Integer),
        Column("base_model", Text, nullable=False),
        Column("manifest_sha256", String(64), nullable=False),
        Column("learned", JSON, nullable=False),
        Column("metrics", JSON, nullable=False),
        Column("kept", Boolean, nullable=False),
        Column("at", String(40), nullable=False),
    )
    Table(
        "heads",
        meta,
        Column("user_id", Text, primary_key=True),
        Column("number", Integer, nullable=False),
    )
    jobs = Table(
        "jobs",
        meta,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("user_id", Text, nullable=False),
        Column("kind", String(16), nullable=False),
        Column("state", String(16), nullable=False),
        Column("owner", Text, nullable=False),
        Column("lease_until", String(40), nullable=False),
        Column("stop_requested", Boolean, nullable=False),
        Column("reason", Text),
        Column("started_at", String(40), nullable=False),
        Column("ended_at", String(40)),
        sqlite_autoincrement=True,
    )
    running = jobs.c.state == "running"
    Index(
        "one_running_job_per_user",
        jobs.c.user_id,
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    meta.create_all(connection)


def m002_tries(connection: Connection) -> None:
    """How often the questions of a session could not be made for no fault of its own."""
    connection.execute(text("ALTER TABLE sessions ADD COLUMN tries INTEGER NOT NULL DEFAULT 0"))


def m003_forgettings(connection: Connection) -> None:
    """What is kept of a session, which questions are asked again, and receipts of forgetting."""
    connection.execute(
        text("ALTER TABLE sessions ADD COLUMN kept TEXT NOT NULL DEFAULT 'transcript'")
    )
    connection.execute(
        text("ALTER TABLE questions ADD COLUMN again BOOLEAN NOT NULL DEFAULT FALSE")
    )
    meta = MetaData()
    Table(
        "forgettings",
        meta,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("user_id", Text, nullable=False),
        Column("generations", JSON, nullable=False),
        Column("receipt", JSON),
        Column("started_at", String(40), nullable=False),
        Column("ended_at", String(40)),
        Index("forgettings_by_user", "user_id"),
        sqlite_autoincrement=True,
    )
    meta.create_all(connection)


def m004_encryption(connection: Connection) -> None:
    """Whose key is called what, and which ones are to be destroyed."""
    connection.execute(text("ALTER TABLE generations ADD COLUMN data_key TEXT"))
    connection.execute(text("ALTER TABLE forgettings ADD COLUMN retired_key TEXT"))
    meta = MetaData()
    Table("encryption", meta, Column("proof", Text, nullable=False))
    Table(
        "user_keys",
        meta,
        Column("user_id", Text, primary_key=True),
        Column("name", Text, nullable=False),
    )
    meta.create_all(connection)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    m001_initial,
    m002_tries,
    m003_forgettings,
    m004_encryption,
)


def applied(connection: Connection) -> list[str]:
    """The names of the migrations this database has seen, oldest first."""
    if not inspect(connection).has_table("migrations"):
        return []
    return [row[0] for row in connection.execute(text("SELECT name FROM migrations ORDER BY name"))]


def migrate(connection: Connection) -> list[str]:
    """Apply what is missing and return the names applied.

    Raises:
        MigrationError: the database has seen migrations this version doesn't know.
    """
    connection.execute(
        text("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at TEXT NOT NULL)")
    )
    done = applied(connection)
    known = [migration.__name__ for migration in MIGRATIONS]
    strangers = [name for name in done if name not in known]
    if strangers:
        raise MigrationError(
            f"this journal was written by a newer plum-langchain (it has {', '.join(strangers)}, "
            f"this version ends at {known[-1]}); upgrade: pip install -U plum-langchain"
        )
    fresh = []
    for migration in MIGRATIONS:
        if migration.__name__ not in done:
            migration(connection)
            connection.execute(
                text("INSERT INTO migrations (name, at) VALUES (:name, :at)"),
                {"name": migration.__name__, "at": datetime.now(UTC).isoformat()},
            )
            fresh.append(migration.__name__)
    return fresh
