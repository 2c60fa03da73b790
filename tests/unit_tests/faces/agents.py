"""What the tests of agents share: somebody else's model, who asks what, and the journal's own."""

from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from pydantic import Field


class Listening(GenericFakeChatModel):
    """Somebody else's chat model: says what it is given, and keeps what it was sent."""

    sent: list[Any] = Field(default_factory=list)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.sent.append(messages)
        return super()._generate(messages, *args, **kwargs)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def foreign(*replies: Any) -> Listening:
    return Listening(messages=iter(replies or [f"reply {n}" for n in range(1, 20)]))


def to(user: str | None = "ana", thread: str | None = "t") -> dict[str, Any]:
    named = {"user_id": user, "thread_id": thread}
    return {"configurable": {name: value for name, value in named.items() if value is not None}}


def say(*texts: str) -> dict[str, Any]:
    return {"messages": [("user" if n % 2 == 0 else "ai", text) for n, text in enumerate(texts)]}


def recorded(plum: Any, user: str = "ana", skip: tuple[str, ...] = ()) -> list[str]:
    """Everything in the user's journal, in order, as "user: text"."""
    return [
        f"{turn.role}: {turn.content}"
        for found in plum.journal.sessions.all(user)
        if found.session_id not in skip
        for turn in found.turns
    ]


THREE = [
    f"{role}: {text} {n}"
    for n in (1, 2, 3)
    for role, text in (("user", "says"), ("assistant", "reply"))
]
"""What is recorded of three exchanges of `say` with a `foreign` model."""
