"""Question makers and chats that the tests of consolidation share."""

from collections.abc import Callable
from typing import Any

from plum_langchain import Plum
from plum_langchain.session import Question, Session
from tests.tiny import FixedQuestions, session

OpenPlum = Callable[..., Plum]


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
