"""What reads a message: the lower layers of a small sentence encoder."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plum_langchain.errors import ModelNotFoundError
from plum_langchain.journal.database import storable
from plum_langchain.models.load import load_encoder
from plum_langchain.models.resolve import (
    EMBEDDING_MODEL,
    PACKAGED,
    ResolvedModel,
    resolve_model,
)

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from plum_langchain.scope.layers import LowerLayers

LAYERS = (2, 4)
"""Whose outputs are read, of six; those above them hold what a text is about, and less of how it is
put. Measured: docs/experiments.md, "A reader of its own"."""

REMEDY = "use ServingSettings(scope=None), with which the adapter answers everything"

_INSTALL = PACKAGED[EMBEDDING_MODEL].install

_TOKENS = 256
"""Of a text, the last so many; the encoder is meant for no more."""


@dataclass(frozen=True)
class _Loaded:
    tokenizer: "Tokenizer"
    layers: "LowerLayers"
    between: str
    """What the encoder has between texts."""


class Reader:
    """The lower layers of all-MiniLM-L6-v2, on the CPU; loaded at first use.

    The same whatever the base model is, and a few milliseconds a message
    (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._resolved: ResolvedModel | None = None
        self._loaded: _Loaded | None = None

    @property
    def fingerprint(self) -> str:
        """Of the weights.

        Raises:
            ModelNotFoundError: they are nowhere to be found.
        """
        return self._found().fingerprint

    def states(self, texts: Sequence[str]) -> tuple["torch.Tensor", "torch.Tensor"]:
        """What the layers make of each token.

        Args:
            texts: n of them, of T tokens at most; a lone surrogate is read as U+FFFD.

        Returns:
            (n, T, D), the states of `LAYERS` one behind the other, so that D is 768; and which of
            the tokens there are, (n, T).

        Raises:
            ModelNotFoundError: the weights are nowhere to be found, or can't be read.
        """
        import torch

        encoder = self._encoder()
        read = encoder.tokenizer.encode_batch([storable(text) for text in texts])
        ids = torch.tensor([one.ids for one in read])
        there = torch.tensor([one.attention_mask for one in read]).bool()
        with self._reading, torch.inference_mode():
            states = encoder.layers.states(ids, there)
            return torch.cat([states[layer - 1] for layer in LAYERS], -1), there

    def together(self, texts: Sequence[str]) -> str:
        """Several texts as one, with what the encoder has between texts.

        Raises:
            ModelNotFoundError: the weights are nowhere to be found, or can't be read.
        """
        return f" {self._encoder().between} ".join(texts)

    def _found(self) -> ResolvedModel:
        with self._lock:
            if self._resolved is None:
                try:
                    self._resolved = resolve_model(EMBEDDING_MODEL)
                except ModelNotFoundError as error:
                    raise _without(error) from error
            return self._resolved

    def _encoder(self) -> "_Loaded":
        resolved = self._found()
        with self._lock:
            if self._loaded is None:
                from plum_langchain.scope.layers import LowerLayers

                try:
                    loaded = load_encoder(resolved, dtype="auto")
                except ModelNotFoundError as error:
                    raise _without(error) from error
                tokenizer = loaded.tokenizer.backend_tokenizer
                tokenizer.enable_truncation(_TOKENS, direction="left")  # the end is what asks
                tokenizer.enable_padding(pad_id=loaded.tokenizer.pad_token_id)
                layers = LowerLayers(loaded.model, max(LAYERS))
                self._loaded = _Loaded(tokenizer, layers, loaded.tokenizer.sep_token)
            return self._loaded


def _without(error: ModelNotFoundError) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"which messages ask for what the user told can't be read: {error}. To have what reads "
        f"them, {_INSTALL}; to do without, {REMEDY}"
    )
