"""Writes questions about statements with the base model, and keeps those that fit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.models import Engine, LoadedModel, Sampling
from plum_langchain.models.taught import Taught
from plum_langchain.questions.maker import Wish
from plum_langchain.verdicts import Judge
from plum_langchain.verdicts.pairs import facts_file
from plum_langchain.writer.examples import Written, open_file, shipped_examples

if TYPE_CHECKING:
    from plum_langchain.models.lora import LoraWeights

DRAFTS = 4
"""Questions that are written for each wish, before they are judged."""

_SAMPLING = Sampling(max_new_tokens=28, temperature=0.8, top_p=0.95)
"""Warm enough for different words. Questions are of some ten tokens; what is cut off is none."""


class Writer(Taught[Written, "LoraWeights"]):
    """Writes as a user would ask, with the base model and an adapter that learned it.

    What it writes is read by the judge, and what doesn't fit is left out (as in doc2query--, arXiv
    2301.03266): a small model writes much that was never said.

    Args:
        engine: Of the base model; users' adapters have no part in it.
        judge: Of what is written.
        examples: To be taught with, anew; None for what comes with the package.
        progress: Told in a sentence that teaching begins, and how far it is.
    """

    package = "plum_langchain.writer"
    folder = "writers"
    task = "to write questions"
    takes = "a quarter of an hour"

    def __init__(
        self,
        engine: Engine,
        judge: Judge,
        examples: Sequence[Written] | None = None,
        *,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(engine, examples, progress=progress)
        self._judge = judge

    @property
    def shipped(self) -> bool:
        """Whether what it writes with ships with the package, and what it is judged with."""
        return super().shipped and self._judge.shipped

    def prepare(self, should_stop: Callable[[], bool] | None = None) -> None:
        """Be ready to write and to judge what is written, taught before if need be.

        Args:
            should_stop: Asked before every step of teaching.

        Raises:
            StoppedError, InvalidInputError, ChatTemplateError, DivergedError, CacheError: as
                `Taught.prepare`.
        """
        self._judge.prepare(should_stop)  # the sooner of the two, and the one that refuses more
        super().prepare(should_stop)

    def write(
        self,
        wishes: Sequence[Wish],
        *,
        seed: int,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[str]]:
        """For each wish up to `DRAFTS` different questions, in the user's voice; maybe none.

        Args:
            wishes: Statements, and what is to be asked about each.
            seed: Of what is drawn.
            should_stop: Asked before every batch that is written or judged.

        Raises:
            StoppedError: `should_stop` returned True.
            ChatTemplateError, InvalidInputError: the model can't read a statement, or can't be
                taught to write or to judge.
            DivergedError: teaching it ended in no numbers.
            CacheError: what it was taught can't be kept, or can't be read.
        """
        from plum_langchain.writer.train import chat_of

        if not wishes:
            return []
        drafts = self._engine.drafts(
            [chat_of(wish.statement, wish.wanted) for wish in wishes],
            self._prepared(should_stop),
            number=DRAFTS,
            sampling=_SAMPLING,
            seed=seed,
            should_stop=should_stop,
        )
        asked = [
            (number, text)
            for number, texts in enumerate(drafts)
            for text in dict.fromkeys(texts)
            if text.endswith("?")
        ]
        pairs = [(wishes[number].statement, text) for number, text in asked]
        read = self._judge.read(pairs, should_stop=should_stop) if pairs else []
        found: list[list[str]] = [[] for _ in wishes]
        for (number, text), (yes, fits) in zip(asked, read, strict=True):
            wanted = wishes[number].wanted
            if fits > 0.5 and (wanted == "open" or (yes > 0.5) == (wanted == "yes")):
                found[number].append(text)
        return found

    def _source(self) -> bytes:
        from plum_langchain.writer.train import VERSION

        return VERSION + facts_file() + open_file()

    def _shipped_examples(self) -> Sequence[Written]:
        return shipped_examples()

    def _train(
        self,
        base: LoadedModel,
        examples: Sequence[Written],
        directory: Path,
        step_done: Callable[[int, int], None],
        should_stop: Callable[[], bool],
    ) -> None:
        from plum_langchain.writer.train import train

        train(base, examples, directory, step_done=step_done, should_stop=should_stop)

    def _load(self, directory: Path) -> "LoraWeights":
        return self._engine.reader(directory)
