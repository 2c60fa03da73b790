"""The shipped example chats, as sessions."""

import json
from functools import cache
from pathlib import Path

from plum_langchain.session import Session, Turn

CHATS = Path(__file__).parents[3] / "examples" / "chats"


@cache
def example_sessions() -> tuple[Session, ...]:
    """All shipped sessions, without the questions they are examined with."""
    sessions = []
    for path in sorted(CHATS.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            sessions.append(
                Session(
                    user_id=record["user"],
                    session_id=record["session"],
                    turns=tuple(Turn(t["role"], t["content"]) for t in record["turns"]),
                    material={k: record[k] for k in ("facts", "not_discussed", "qa_train")},
                )
            )
    return tuple(sessions)


def pytest_generate_tests(metafunc) -> None:  # type: ignore[no-untyped-def]
    if "example" in metafunc.fixturenames:
        sessions = example_sessions()
        metafunc.parametrize("example", sessions, ids=[s.session_id for s in sessions])
