"""The protocols of everything that turns a session into questions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from plum_langchain.session import Question, Session

Wanted = Literal["yes", "no", "open"]
"""Questions that a statement answers Yes, such that it denies, or such that want what it tells."""


@dataclass(frozen=True)
class Wish:
    """Questions of a kind that are wanted about a statement, which is told to the user."""

    statement: str
    wanted: Wanted


@runtime_checkable
class QuestionMaker(Protocol):
    """Turns a finished session into balanced question-answer data.

    `name` is kept with the generation trained on the questions. `make` returns as many positive
    as negative questions, closed and open alike, and raises `QuestionError` with the reason when
    the session holds nothing to ask about.
    """

    @property
    def name(self) -> str:
        """What they are made by."""
        ...

    def make(self, session: Session) -> list[Question]:
        """The questions of `session`, balanced."""
        ...


class StoppableMaker(ABC):
    """To inherit for a `QuestionMaker` that may take long: both methods can be stopped.

    They raise `StoppedError` then.
    """

    @abstractmethod
    def prepare(self, should_stop: Callable[[], bool] | None = None) -> None:
        """Do beforehand what has nothing to do with any session."""

    @abstractmethod
    def make(
        self, session: Session, *, should_stop: Callable[[], bool] | None = None
    ) -> list[Question]:
        """The questions of `session`, balanced."""


class QuestionWriter(Protocol):
    """Writes questions about statements in words of its own (`plum_langchain.writer`)."""

    @property
    def shipped(self) -> bool:
        """Whether it can write at once; else its model has to be taught first."""
        ...

    def prepare(self, should_stop: Callable[[], bool] | None = None) -> None:
        """Have it taught, if need be."""
        ...

    def write(
        self,
        wishes: Sequence[Wish],
        *,
        seed: int,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[str]]:
        """For each wish any number of different questions, in the user's voice."""
        ...
