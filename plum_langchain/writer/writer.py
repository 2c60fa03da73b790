"""Writes questions about statements with the base model, and keeps those that fit."""

import logging
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.models import Engine, Sampling, load_model, release_memory
from plum_langchain.models.derived import derived, derived_name
from plum_langchain.questions.maker import Wish
from plum_langchain.verdicts import Judge
from plum_langchain.verdicts.pairs import facts_file
from plum_langchain.writer.examples import Written, open_file, shipped_examples

if TYPE_CHECKING:
    from plum_langchain.models.lora import LoraWeights

logger = logging.getLogger(__name__)

DRAFTS = 4
"""Questions that are written for each wish, before they are judged."""

_SAMPLING = Sampling(max_new_tokens=28, temperature=0.8, top_p=0.95)
"""Warm enough for different words. Questions are of some ten tokens; what is cut off is none."""


class Writer:
    """Writes as a user would ask, with the base model and an adapter that learned it.

    What it writes is read by the judge, and what doesn't fit is left out (as in doc2query--, arXiv
    2301.03266): a small model writes much that was never said.

    Args:
        engine: Of the base model; users' adapters have no part in it.
        judge: Of what is written.
        examples: To be taught with, anew; None for what comes with the package.
    """

    def __init__(
        self, engine: Engine, judge: Judge, examples: Sequence[Written] | None = None
    ) -> None:
        self._engine = engine
        self._judge = judge
        self._examples = examples
        self._lock = threading.Lock()
        self._adapter: LoraWeights | None = None

    def write(self, wishes: Sequence[Wish], *, seed: int) -> list[list[str]]:
        """For each wish up to `DRAFTS` different questions, in the user's voice; maybe none.

        Args:
            wishes: Statements, and what is to be asked about each.
            seed: Of what is drawn.

        Raises:
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
            self._write_with(),
            number=DRAFTS,
            sampling=_SAMPLING,
            seed=seed,
        )
        asked = [
            (number, text)
            for number, texts in enumerate(drafts)
            for text in dict.fromkeys(texts)
            if text.endswith("?")
        ]
        pairs = [(wishes[number].statement, text) for number, text in asked]
        read = self._judge.read(pairs) if pairs else []
        found: list[list[str]] = [[] for _ in wishes]
        for (number, text), (yes, fits) in zip(asked, read, strict=True):
            wanted = wishes[number].wanted
            if fits > 0.5 and (wanted == "open" or (yes > 0.5) == (wanted == "yes")):
                found[number].append(text)
        return found

    @property
    def name(self) -> str:
        """Of what it was taught: which model writes, and which examples it was taught with."""
        from plum_langchain.writer.train import VERSION

        source = VERSION + facts_file() + open_file()
        return derived_name(self._engine.base.resolved.fingerprint, source, "")

    def _write_with(self) -> "LoraWeights":
        with self._lock:
            if self._adapter is None:
                if self._examples is not None:
                    with tempfile.TemporaryDirectory() as directory:
                        self.teach(Path(directory), self._examples)
                        self._adapter = self._engine.reader(Path(directory))
                else:
                    self._adapter = derived(
                        "plum_langchain.writer",
                        "writers",
                        self.name,
                        load=self._engine.reader,
                        make=self._teach_once,
                    )
            return self._adapter

    def _teach_once(self, directory: Path) -> None:
        examples = shipped_examples()
        logger.warning(
            "teaching %s to write questions: it reads %d of them twice, once and for all (a "
            "quarter of an hour for a small model)",
            self._engine.base.resolved.id,
            len(examples),
        )
        directory.mkdir()
        self.teach(directory, examples)

    def teach(self, directory: Path, examples: Sequence[Written]) -> None:
        """Train what it writes with, into an existing directory.

        Raises:
            InvalidInputError, ChatTemplateError, DivergedError: as `train`.
        """
        from plum_langchain.writer.train import train

        served = self._engine.base
        train(load_model(served.resolved, device=served.device), examples, directory)
        release_memory()
