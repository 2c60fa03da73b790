"""Whether a statement answers a question with Yes, as far as a small model can tell.

Asked in words, a model of SmolLM2's size says Yes or No at random, whether or not the statement
stands before the question. But its middle layers hold what it can't say: after it has read both, a
linear read-out of one of them, with a count of common words, is right five times of six on people
it was never fitted on (docs/experiments.md, "Recite, then judge"). The read-out is fitted once for
a base model, on the shipped pairs.
"""

import hashlib
import logging
import os
import threading
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.learning.template import Message
from plum_langchain.models import Engine
from plum_langchain.models.gguf import cache_directory
from plum_langchain.verdicts.pairs import Pair, shipped_pairs
from plum_langchain.verdicts.words import overlap

if TYPE_CHECKING:
    import torch

    from plum_langchain.verdicts.head import Head

logger = logging.getLogger(__name__)

_LOWEST, _HIGHEST = 0.4, 0.8
"""Shares of the layers, from below, among which the one to read is looked for."""


class Judge:
    """Reads a statement and a question with the base model, and judges.

    Args:
        engine: Of the base model; adapters have no part in it.
        pairs: To fit the read-out on, every time; None for what comes with the package.
    """

    def __init__(self, engine: Engine, pairs: list[Pair] | None = None) -> None:
        self._engine = engine
        self._pairs = pairs
        self._lock = threading.Lock()
        self._head: Head | None = None

    def probability(self, statement: str, question: str) -> float:
        """That the answer is Yes, if the statement is all that is known; from 0 to 1.

        Raises:
            ChatTemplateError, InvalidInputError: the model can't read the two (`Engine.states`).
        """
        import torch

        head = self.head
        states = self._engine.states([_chat(statement, question)], [head.layer])[head.layer]
        words = torch.tensor([overlap(statement, question)])
        return float(head.logits(torch.cat([states, words], 1)).sigmoid())

    @property
    def head(self) -> "Head":
        """The read-out for this base model: shipped, from the cache, or fitted now."""
        with self._lock:
            if self._head is None:
                if self._pairs is not None:
                    self._head = fitted(self._engine, self._pairs)
                else:
                    self._head = self._found() or self._fitted()
            return self._head

    def _found(self) -> "Head | None":
        from plum_langchain.verdicts.head import Head

        name = self.name
        shipped = files("plum_langchain.verdicts").joinpath("heads", name)
        if shipped.is_file():
            with as_file(shipped) as path:
                return Head.load(path)
        cached = _cache() / name
        return Head.load(cached) if cached.is_file() else None

    def _fitted(self) -> "Head":
        logger.warning(
            "learning to judge with %s: it reads %d short texts, once",
            self._engine.base.resolved.id,
            len(pairs := shipped_pairs()),
        )
        head = fitted(self._engine, pairs)
        directory = _cache()
        directory.mkdir(parents=True, exist_ok=True)
        aside = directory / f".{self.name}-{os.getpid()}-{threading.get_native_id()}"
        try:
            head.save(aside)
            aside.replace(directory / self.name)
        finally:
            aside.unlink(missing_ok=True)
        return head

    @property
    def name(self) -> str:
        """Of the read-out's file: which model it reads, and which pairs it was fitted on."""
        pairs = files("plum_langchain.verdicts").joinpath("pairs.jsonl").read_bytes()
        digest = hashlib.sha256(pairs).hexdigest()[:8]
        return f"{self._engine.base.resolved.fingerprint}-{digest}.safetensors"


def fitted(engine: Engine, pairs: list[Pair]) -> "Head":
    """The read-out for a base model, of the layer that judges strangers best.

    Args:
        engine: Of the base model.
        pairs: About two statements at least.
    """
    from plum_langchain.verdicts.head import best_layer, fit

    features, yes = features_of(engine, pairs)
    layer, _ = best_layer(features, yes, _groups(pairs))
    return fit(layer, features[layer], yes)


def _groups(pairs: list[Pair]) -> list[str]:
    """Who each pair is of; of one person, which half of their statements it is about."""
    if len({pair.of for pair in pairs}) > 1:
        return [pair.of for pair in pairs]
    statements = list(dict.fromkeys(pair.statement for pair in pairs))
    first = set(statements[: len(statements) // 2])
    return ["first" if pair.statement in first else "second" for pair in pairs]


def features_of(
    engine: Engine, pairs: list[Pair]
) -> "tuple[dict[int, torch.Tensor], torch.Tensor]":
    """(n, D) for each layer that may be read, and (n,) whether the answer is Yes."""
    import torch

    layers = engine.base.model.config.get_text_config().num_hidden_layers
    looked_at = range(max(1, round(_LOWEST * layers)), max(1, round(_HIGHEST * layers)) + 1)
    states = engine.states([_chat(pair.statement, pair.question) for pair in pairs], looked_at)
    words = torch.tensor([overlap(pair.statement, pair.question) for pair in pairs])
    yes = torch.tensor([float(pair.yes) for pair in pairs])
    return {layer: torch.cat([found, words], 1) for layer, found in states.items()}, yes


def _chat(statement: str, question: str) -> list[Message]:
    return [
        {"role": "system", "content": statement},
        {"role": "user", "content": question},
    ]


def _cache() -> Path:
    return cache_directory() / "verdicts"
