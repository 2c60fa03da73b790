"""Whether a question is about a statement, and answered Yes by it, as far as a model can tell.

It reads both, with an adapter that was trained for that and nothing else (`train`), once for a base
model; the one for the default model comes with the package.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.models import LoadedModel
from plum_langchain.models.taught import Taught
from plum_langchain.verdicts.pairs import Pair, facts_file, shipped_pairs
from plum_langchain.verdicts.words import overlap

if TYPE_CHECKING:
    from plum_langchain.models.lora import LoraWeights
    from plum_langchain.verdicts.head import Head


class Judge(Taught[Pair, "tuple[LoraWeights, Head]"]):
    """Reads a statement and a question with the base model, and judges.

    Args:
        engine: Of the base model; users' adapters have no part in it.
        examples: To be taught with, anew; None for what comes with the package.
        progress: Told in a sentence that teaching begins, and how far it is.
    """

    package = "plum_langchain.verdicts"
    folder = "judges"
    task = "to judge Yes and No"
    takes = "some minutes"

    def probability(self, statement: str, question: str) -> float:
        """That the answer is Yes, if the statement is all that is known; from 0 to 1.

        Raises:
            ChatTemplateError, InvalidInputError: the model can't read the two (`Engine.states`), or
                can't be taught to.
            CacheError: what it was taught can't be kept, or can't be read.
        """
        return self.probabilities([(statement, question)])[0]

    def probabilities(self, asked: Sequence[tuple[str, str]]) -> list[float]:
        """`probability` for each statement and question, read in batches."""
        return [yes for yes, _ in self.read(asked)]

    def read(
        self,
        asked: Sequence[tuple[str, str]],
        *,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[tuple[float, float]]:
        """For each statement and question, the probability of Yes and that they fit each other.

        They do if the question is about what the statement says, true or not.

        Args:
            asked: Statements, each with a question.
            should_stop: Asked before every batch.

        Raises:
            StoppedError: `should_stop` returned True.
            ChatTemplateError, InvalidInputError, CacheError: as `probability`.
        """
        import torch

        from plum_langchain.verdicts.train import chat_of

        lora, head = self._prepared(should_stop)
        chats = [chat_of(statement, question) for statement, question in asked]
        states = self._engine.states(chats, head.layer, lora, should_stop)
        words = torch.tensor([overlap(statement, question) for statement, question in asked])
        return [(yes, fits) for yes, fits in head.logits(states, words).sigmoid().tolist()]

    def _source(self) -> bytes:
        from plum_langchain.verdicts.train import VERSION

        return VERSION + facts_file()

    def _shipped_examples(self) -> Sequence[Pair]:
        return shipped_pairs()

    def _train(
        self,
        base: LoadedModel,
        examples: Sequence[Pair],
        directory: Path,
        step_done: Callable[[int, int], None],
        should_stop: Callable[[], bool],
    ) -> None:
        from plum_langchain.verdicts.train import train

        train(base, examples, directory, step_done=step_done, should_stop=should_stop)

    def _load(self, directory: Path) -> "tuple[LoraWeights, Head]":
        from plum_langchain.verdicts.head import Head
        from plum_langchain.verdicts.train import HEAD

        return self._engine.reader(directory), Head.load(directory / HEAD)
