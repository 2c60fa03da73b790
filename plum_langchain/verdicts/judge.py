"""Whether a question is about a statement, and answered Yes by it, as far as a model can tell.

It reads both, with an adapter that was trained for that and nothing else (`train`), once for a base
model; the one for the default model comes with the package.
"""

import logging
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.models import Engine, load_model, release_memory
from plum_langchain.models.derived import derived, derived_name
from plum_langchain.verdicts.pairs import Pair, facts_file, shipped_pairs
from plum_langchain.verdicts.words import overlap

if TYPE_CHECKING:
    from plum_langchain.models.lora import LoraWeights
    from plum_langchain.verdicts.head import Head

logger = logging.getLogger(__name__)


class Judge:
    """Reads a statement and a question with the base model, and judges.

    Args:
        engine: Of the base model; users' adapters have no part in it.
        pairs: To be taught with, anew; None for what comes with the package.
    """

    def __init__(self, engine: Engine, pairs: Sequence[Pair] | None = None) -> None:
        self._engine = engine
        self._pairs = pairs
        self._lock = threading.Lock()
        self._reader: tuple[LoraWeights, Head] | None = None

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

    def read(self, asked: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        """For each statement and question, the probability of Yes and that they fit each other.

        They do if the question is about what the statement says, true or not.

        Raises:
            ChatTemplateError, InvalidInputError, CacheError: as `probability`.
        """
        import torch

        from plum_langchain.verdicts.train import chat_of

        lora, head = self._read_with()
        chats = [chat_of(statement, question) for statement, question in asked]
        states = self._engine.states(chats, head.layer, lora)
        words = torch.tensor([overlap(statement, question) for statement, question in asked])
        return [(yes, fits) for yes, fits in head.logits(states, words).sigmoid().tolist()]

    @property
    def name(self) -> str:
        """Of what it was taught: which model reads, and which pairs it was taught with."""
        from plum_langchain.verdicts.train import VERSION

        source = VERSION + facts_file()
        return derived_name(self._engine.base.resolved.fingerprint, source, "")

    def _read_with(self) -> "tuple[LoraWeights, Head]":
        with self._lock:
            if self._reader is None:
                if self._pairs is not None:
                    with tempfile.TemporaryDirectory() as directory:
                        self.teach(Path(directory), self._pairs)
                        self._reader = self._load(Path(directory))
                else:
                    self._reader = derived(
                        "plum_langchain.verdicts",
                        "judges",
                        self.name,
                        load=self._load,
                        make=self._teach_once,
                    )
            return self._reader

    def _load(self, directory: Path) -> "tuple[LoraWeights, Head]":
        from plum_langchain.verdicts.head import Head
        from plum_langchain.verdicts.train import HEAD

        return self._engine.reader(directory), Head.load(directory / HEAD)

    def _teach_once(self, directory: Path) -> None:
        pairs = shipped_pairs()
        logger.warning(
            "teaching %s to judge: it reads some %d short texts, once (minutes for a small model)",
            self._engine.base.resolved.id,
            round(1.5 * len(pairs), -2),  # with those that are put together (`mistaken`)
        )
        directory.mkdir()
        self.teach(directory, pairs)

    def teach(self, directory: Path, pairs: Sequence[Pair]) -> None:
        """Train what it reads with, into an existing directory.

        Raises:
            InvalidInputError, ChatTemplateError, DivergedError: as `train`.
        """
        from plum_langchain.verdicts.train import train

        served = self._engine.base
        train(load_model(served.resolved, device=served.device), pairs, directory)
        release_memory()
