"""The one protocol of everything that turns a session into questions."""

from typing import Protocol, runtime_checkable

from plum_langchain.session import Question, Session


@runtime_checkable
class QuestionMaker(Protocol):
    """Turns a finished session into balanced question-answer data.

    `name` is kept with the generation trained on the questions. `make` returns as many positive
    as negative questions, closed and open alike, and raises `QuestionError` with the reason when
    the session holds nothing to ask about.
    """

    name: str

    def make(self, session: Session) -> list[Question]:
        """The questions of `session`, balanced."""
        ...
