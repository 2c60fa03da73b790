"""Whether a message asks for what the user told.

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

from plum_langchain.errors import DivergedError
from plum_langchain.learning.template import Message
from plum_langchain.models.derived import derived, derived_name
from plum_langchain.models.resolve import EMBEDDING_MODEL
from plum_langchain.scope.reader import REMEDY, Reader
from plum_langchain.verdicts.pairs import facts_file, shipped_pairs

if TYPE_CHECKING:
    from plum_langchain.scope.examples import Example
    from plum_langchain.scope.readout import Readout

logger = logging.getLogger(__name__)

_ALONE = 4
"""A message of so many words is read alone: what was said before would only hide what it asks. A
shorter one ("And when?") is read with the exchange before it."""

_CHARACTERS = 200
"""Of each message, as many whole sentences from the end: what is told or pasted before a question
would hide it."""

_LOOKED_AT = 10 * _CHARACTERS
"""Of a message, the last so many are cut into sentences at all."""

_SENTENCE_ENDS = re.compile(r"(?<=[.!?…])\s+|\n")

_CUE = re.compile(r"\n(?:AI|Assistant|Answer):\s*\Z")
_SAID = re.compile(r"(?:^|\n)(?:Human|User|Question): ")
"""How classic chains write a chat into one prompt, which ends where a reply is to begin."""


class Scope:
    """Reads the end of a chat, with a reader that has no part in replying.

    What is read off was fitted once, and comes with the package; for other weights of the reader
    than those it was fitted with, it is fitted at first use (a minute or two).

    Args:
        reader: What reads.
        readout: What is read off, if it isn't to be the one for the reader.
    """

    def __init__(self, reader: Reader | None = None, readout: "Readout | None" = None) -> None:
        self._reader = reader or Reader()
        self._lock = threading.Lock()
        self._fitted = readout

    def probability(self, messages: Sequence[Message]) -> float:
        """That the last message of the user asks for something the user told; from 0 to 1.

        0 without a message of the user. System messages play no part.

        Raises:
            ModelNotFoundError: the reader's weights are nowhere to be found, or can't be read.
            CacheError: what was fitted can't be kept, or can't be read.
            DivergedError: what the reader makes of the chat are no numbers.
        """
        chat = end_of(messages)
        if not chat:
            return 0.0
        states = self._reader.states([_text(self._reader, chat)])
        probability = float(self._readout()(*states).sigmoid())
        if math.isnan(probability):
            raise DivergedError(
                f"what {EMBEDDING_MODEL} makes of a message are no numbers, so it can't be told "
                "whether it asks for what the user told; install its weights anew, or "
                f"{REMEDY}"
            )
        return probability

    @property
    def name(self) -> str:
        """Of what is fitted: which weights read, and which chats it was fitted on.

        Raises:
            ModelNotFoundError: the reader's weights are nowhere to be found.
        """
        from plum_langchain.scope.examples import source

        return derived_name(self._reader.fingerprint, source() + facts_file(), ".safetensors")

    def fit_once(self, path: Path) -> None:
        """Fit on what comes with the package, and keep it as a file.

        Raises:
            ModelNotFoundError: the reader's weights are nowhere to be found, or can't be read.
        """
        from plum_langchain.scope.examples import examples, shipped_messages

        shown = examples(shipped_pairs(), *shipped_messages())
        logger.warning(
            "learning which messages ask for what the user told: %s reads %d short chats, once "
            "(a minute or two)",
            EMBEDDING_MODEL,
            len(shown),
        )
        fitted(self._reader, shown).save(path)

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


def fitted(reader: Reader, shown: "Sequence[Example]", *, seed: int = 0) -> "Readout":
    """A readout from what the reader makes of these chats.

    Raises:
        ModelNotFoundError: the reader's weights are nowhere to be found, or can't be read.
    """
    import torch

    from plum_langchain.scope.readout import Readout

    texts = [_text(reader, end_of(one.chat)) for one in shown]
    states: list[torch.Tensor] = []
    for start in range(0, len(texts), _BATCH):
        found, there = reader.states(texts[start : start + _BATCH])
        states += [one[mask] for one, mask in zip(found, there, strict=True)]
    asks = torch.tensor([float(one.asks) for one in shown])
    shares = torch.tensor([one.share for one in shown])
    return Readout.fitted(states, asks, shares, seed=seed)


_BATCH = 32
"""Chats read at once; more of them are no quicker on a CPU."""


def _text(reader: Reader, chat: Sequence[Message]) -> str:
    contents = [message["content"] for message in chat]
    return contents[0] if len(contents) == 1 else reader.together(contents)


def end_of(messages: Sequence[Message]) -> list[Message]:
    """What is read of a chat: the user's last message, after the exchange before it if it is short.

    Of a classic chain's prompt the last message in it.
    """
    chat = [message for message in messages if message["role"] != "system"]
    while chat and chat[-1]["role"] != "user":
        chat.pop()
    if not chat:
        return []
    said = last_said(chat[-1]["content"])
    before = chat[-3:-1] if len(said.split()) < _ALONE else []
    if [message["role"] for message in before] != ["user", "assistant"]:
        before = []
    read = [*before, {"role": "user", "content": said}]
    return [{**message, "content": _end(message["content"])} for message in read]


def _end(text: str) -> str:
    """Whole sentences from the end; of a longer one, its end."""
    kept = ""
    for sentence in reversed(_SENTENCE_ENDS.split(text.strip()[-_LOOKED_AT:])):
        longer = f"{sentence.strip()} {kept}".strip()
        if kept and len(longer) > _CHARACTERS:
            break
        kept = longer
    return kept[-_CHARACTERS:]


def last_said(content: str) -> str:
    """A message; of a classic chain's prompt the last one in it."""
    written, chained = _CUE.subn("", content)
    return _SAID.split(written)[-1] if chained else content
