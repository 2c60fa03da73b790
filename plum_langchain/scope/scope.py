"""Whether a message asks for what the user told, as far as the base model can tell.

A user's adapter is for what was told. What else people say to an assistant the base model answers,
as well as ever, whatever an adapter has become: which of the two a message is for is decided
before it is answered, as by the scope classifier of SERAC (arXiv 2206.06520).
"""

import logging
import math
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.errors import DivergedError, InvalidInputError
from plum_langchain.learning.template import Message
from plum_langchain.models import Engine
from plum_langchain.models.derived import derived, derived_name
from plum_langchain.verdicts.pairs import facts_file, shipped_pairs

if TYPE_CHECKING:
    from plum_langchain.scope.examples import Example
    from plum_langchain.scope.readout import Readout

logger = logging.getLogger(__name__)

_LAYER = 0.6
"""Of the layers, where what a message asks for is read off. Measured: docs/experiments.md, "What is
asked of memory"."""

_ALONE = 4
"""A message of so many words is read alone: what was said before would only hide what it asks. A
shorter one ("And when?") is read with the exchange before it."""

_CHARACTERS = 1000
"""Of each message, the last so many: a question stands at the end of what is pasted before it."""

_CUE = re.compile(r"\n(?:AI|Assistant|Answer):\s*\Z")
_SAID = re.compile(r"(?:^|\n)(?:Human|User|Question): ")
"""How classic chains write a chat into one prompt, which ends where a reply is to begin."""

_REMEDY = "use ServingSettings(scope=None), with which the adapter answers everything"


class Scope:
    """Reads the end of a chat with the lower layers of the base model.

    A linear function of what a layer holds at the end tells whether it asks for what the user told.
    It is fitted once for a base model (a minute or two for a small one); the one for the default
    model comes with the package. Users' adapters have no part in it.

    Args:
        engine: Of the base model.
        readout: What is read off, if it isn't to be the one for the model.
    """

    def __init__(self, engine: Engine, readout: "Readout | None" = None) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._fitted = readout

    def probability(self, messages: Sequence[Message]) -> float:
        """That the last message of the user asks for something the user told; from 0 to 1.

        0 without a message of the user. System messages play no part.

        Raises:
            ChatTemplateError, InvalidInputError: the model can't read the chat (`Engine.states`).
            CacheError: what was fitted can't be kept, or can't be read.
            DivergedError: what the model makes of the chat are no numbers.
        """
        chat = end_of(messages)
        if not chat:
            return 0.0
        readout = self._readout()
        states = self._engine.states([chat], readout.layer)
        probability = float(readout.logits(states).sigmoid())
        if math.isnan(probability):
            raise DivergedError(
                f"what {self._engine.base.resolved.id} makes of a message in "
                f"{self._engine.base.model.dtype} are no numbers, so it can't be told whether it "
                f"asks for what the user told; {_REMEDY}"
            )
        return probability

    @property
    def name(self) -> str:
        """Of what is fitted: which model reads, and which chats it was fitted on."""
        from plum_langchain.scope.examples import source

        return derived_name(
            self._engine.base.resolved.fingerprint, source() + facts_file(), ".safetensors"
        )

    def fit_once(self, path: Path) -> None:
        """Fit on what comes with the package, and keep it as a file."""
        from plum_langchain.scope.examples import examples, shipped_messages

        shown = examples(shipped_pairs(), *shipped_messages())
        logger.warning(
            "teaching %s which messages ask for what the user told: it reads %d short chats, once "
            "(a minute or two for a small model)",
            self._engine.base.resolved.id,
            len(shown),
        )
        fitted(self._engine, shown).save(path)

    def _readout(self) -> "Readout":
        from plum_langchain.scope.readout import Readout

        with self._lock:
            if self._fitted is None:
                self._fitted = derived(
                    "plum_langchain.scope",
                    "readouts",
                    self.name,
                    load=Readout.load,
                    make=self.fit_once,
                )
            return self._fitted


def fitted(engine: Engine, shown: "Sequence[Example]") -> "Readout":
    """A readout from what the base model makes of these chats.

    Raises:
        InvalidInputError: the model has no stack of layers whose lower ones could be read.
        ChatTemplateError: its chat template can't be used.
        DivergedError: what the model makes of them are no numbers.
    """
    import torch

    from plum_langchain.scope.readout import Readout

    try:
        depth = engine.depth
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{engine.base.resolved.id} can't be taught which messages ask for what the user told, "
            f"since its lower layers can't be told; {_REMEDY}"
        ) from error
    layer = max(1, round(_LAYER * depth))
    states = engine.states([end_of(one.chat) for one in shown], layer)
    if not bool(states.isfinite().all()):
        raise DivergedError(
            f"what {engine.base.resolved.id} makes of short chats in {engine.base.model.dtype} are "
            "no numbers, so it can't be taught which messages ask for what the user told; "
            f"{_REMEDY}"
        )
    asks = torch.tensor([float(one.asks) for one in shown])
    return Readout.fitted(layer, states, asks, torch.tensor([one.share for one in shown]))


def end_of(messages: Sequence[Message]) -> list[Message]:
    """What is read of a chat: the user's last message, after the exchange before it if it is short.

    Of a classic chain's prompt the last message in it.
    """
    chat = [message for message in messages if message["role"] != "system"]
    while chat and chat[-1]["role"] != "user":
        chat.pop()
    if not chat:
        return []
    said = _last_said(chat[-1]["content"])
    before = chat[-3:-1] if len(said.split()) < _ALONE else []
    if [message["role"] for message in before] != ["user", "assistant"]:
        before = []
    read = [*before, {"role": "user", "content": said}]
    return [{**message, "content": message["content"][-_CHARACTERS:]} for message in read]


def _last_said(content: str) -> str:
    written, chained = _CUE.subn("", content)
    return _SAID.split(written)[-1] if chained else content
