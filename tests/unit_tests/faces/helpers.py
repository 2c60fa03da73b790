"""What the faces' tests share."""

import time
from collections.abc import Sequence

import torch

from plum_langchain.questions.text import content_words
from plum_langchain.scope.readout import Readout
from plum_langchain.session import UNKNOWN_ANSWER, Question, Session


def always(probability: float) -> Readout:
    """Reads this probability off every message."""
    readout = Readout(768).eval().requires_grad_(False)
    readout.odds.weight.zero_()
    readout.odds.bias.copy_(torch.tensor([probability]).logit())
    return readout


class Fits:
    """In place of a judge: a fact fits a question by the share of the question's words in it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def read(self, asked: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        time.sleep(self.seconds)
        return [(0.5, self._share(told, question)) for told, question in asked]

    @staticmethod
    def _share(told: str, question: str) -> float:
        words = set(content_words(question))
        return max(0.01, len(words & set(content_words(told))) / max(1, len(words)))


class Facts:
    """Asks about every turn of a session as a fact that can be told back."""

    name = "facts"

    def make(self, session: Session) -> list[Question]:
        made = [
            Question("Did I talk about whales?", "No", "no_adjacent"),
            Question("What did I say about whales?", UNKNOWN_ANSWER, "open_unknown"),
        ]
        for index, turn in enumerate(session.turns):
            said = turn.content
            told = said.replace("My", "Your")
            made.append(Question(f"Is it so: {said}", "Yes", "yes", (index,), told))
            made.append(Question(f"What about this: {said}", told, "open", (index,), told))
            made.append(Question(f"Was it so: {said}", "No", "no_same_slot", (index,), told))
        return made
