"""Question makers and chats that the tests of consolidation share."""

from collections.abc import Callable
from typing import Any

from plum_langchain import LearningSettings, Plum
from plum_langchain.adapters import AdapterRef
from plum_langchain.session import Question, Session
from tests.tiny import FixedQuestions, session

OpenPlum = Callable[..., Plum]
QUICK = LearningSettings(
    rank=4, alpha=8, epochs=2, learning_rate=5e-3, everyday_per_batch=0, gate=None
)


class Questions(FixedQuestions):
    """`FixedQuestions`, except for sessions with something of their own.

    That is what `make` returns for them, an error it raises, or a function it calls with them.
    """

    def __init__(self, **special: Any) -> None:
        self.special = special
        self.asked: list[str] = []

    def make(self, session: Session) -> list[Question]:
        self.asked.append(session.session_id)
        special = self.special.get(session.session_id)
        if isinstance(special, BaseException):
            raise special
        if callable(special):
            return special(session)  # type: ignore[no-any-return]
        return super().make(session) if special is None else special


def add(plum: Plum, user: str, *names: str) -> None:
    for name in names:
        plum.add_session(session(user, name, f"I told you about {name}.", "Thanks."))


def states(plum: Plum, user: str = "ana") -> dict[str, str]:
    return {s.session_id: s.state.value for s in plum.journal.sessions.all(user)}


def served(plum: Plum, user: str = "ana") -> int | None:
    head = plum.journal.generations.head(user)
    return head.number if head else None


def head_ref(plum: Plum, user: str = "ana") -> AdapterRef:
    head = plum.journal.generations.head(user)
    assert head is not None
    return plum.adapters.ref(plum.home.owner(user), head.number, head.manifest_sha256, head.seal)


def on_disk(plum: Plum, user: str = "ana") -> list[str]:
    """Everything in the user's directory, half-written things included."""
    directory = plum.home.adapters / plum.home.owner(user)
    return sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []


def says(plum: Plum, user: str = "ana") -> float:
    """What the served weights make of a question: tells generations apart to the last bit."""
    adapter = plum.memory_named("parametric").recall(user, "").adapter
    asked = [{"role": "user", "content": "Did I say it?"}]
    return plum.engine.yes_probability(asked, adapter)[0]
