"""The journal's tables as queries name them; `migrations.py` holds the DDL that creates them.

A test compares the two, so that they can't drift apart.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Integer, String, TypeDecorator, column, table


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware datetime kept as ISO 8601 text in UTC: sorts as it reads."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:
        """Aware datetime to text of fixed width."""
        if value is None:
            return None
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        """Text to an aware datetime."""
        return None if value is None else datetime.fromisoformat(value)


sessions = table(
    "sessions",
    column("id", Integer),
    column("user_id", String),
    column("session_id", String),
    column("thread_id", String),
    column("topic", String),
    column("state", String),
    column("reason", String),
    column("material", JSON),
    column("started_at", UtcTime),
    column("updated_at", UtcTime),
    column("tries", Integer),
    column("kept", String),
)

turns = table(
    "turns",
    column("id", Integer),
    column("session", Integer),
    column("position", Integer),
    column("role", String),
    column("content", String),
    column("message_id", String),
    column("at", UtcTime),
)

questions = table(
    "questions",
    column("id", Integer),
    column("session", Integer),
    column("position", Integer),
    column("question", String),
    column("answer", String),
    column("kind", String),
    column("evidence", JSON),
    column("statement", String),
    column("again", Boolean),
)

generations = table(
    "generations",
    column("user_id", String),
    column("number", Integer),
    column("parent", Integer),
    column("base_model", String),
    column("manifest_sha256", String),
    column("learned", JSON),
    column("metrics", JSON),
    column("kept", Boolean),
    column("at", UtcTime),
    column("data_key", String),
)

heads = table("heads", column("user_id", String), column("number", Integer))

jobs = table(
    "jobs",
    column("id", Integer),
    column("user_id", String),
    column("kind", String),
    column("state", String),
    column("owner", String),
    column("lease_until", UtcTime),
    column("stop_requested", Boolean),
    column("reason", String),
    column("started_at", UtcTime),
    column("ended_at", UtcTime),
)

forgettings = table(
    "forgettings",
    column("id", Integer),
    column("user_id", String),
    column("generations", JSON),
    column("receipt", JSON),
    column("started_at", UtcTime),
    column("ended_at", UtcTime),
    column("retired_key", String),
)

encryption = table("encryption", column("proof", String))

user_keys = table("user_keys", column("user_id", String), column("name", String))

ALL = (
    sessions,
    turns,
    questions,
    generations,
    heads,
    jobs,
    forgettings,
    encryption,
    user_keys,
)
