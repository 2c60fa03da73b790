"""What a model makes of texts, without writing any: probabilities and hidden states."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import StoppedError
from plum_langchain.learning.template import ChatTemplate, Message
from plum_langchain.models.load import LoadedModel

if TYPE_CHECKING:
    import torch

    from plum_langchain.models.lora import LoraWeights

Item = TypeVar("Item")


class Reading(ABC):
    """The half of an engine that reads."""

    @property
    @abstractmethod
    def base(self) -> LoadedModel:
        """The base model; loaded at first use."""

    @abstractmethod
    def _activated(
        self, adapter: AdapterRef | None, lora: "LoraWeights | None" = None
    ) -> AbstractContextManager[Any]:
        """The model with exactly this adapter on it, or these weights, for the caller alone."""

    @abstractmethod
    def _chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """A chat as tokens, up to where a reply would begin."""

    @abstractmethod
    def _raw_ids(self, prompt: str) -> list[int]:
        """A text as tokens; special tokens in it are taken as such."""

    @abstractmethod
    def _room(self, prompt: list[int]) -> int | None:
        """How many tokens the model can read after the prompt; None if it has no limit."""

    def loss(self, text: str, adapter: AdapterRef | None) -> tuple[float, int]:
        """How unexpected a raw text is: the sum of -log p of its tokens after the first, in nats.

        Returns:
            The sum, and how many tokens it is over.

        Raises:
            InvalidInputError: the text is empty, or longer than the model reads.
            WrongBaseModelError, DamagedAdapterError: the adapter can't be used.
        """
        import torch

        tokens = self._raw_ids(text)
        self._room(tokens)
        ids = torch.tensor([tokens], device=self.base.device)
        with self._activated(adapter) as model, torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
        return float(nll), len(tokens) - 1

    def yes_probability(
        self, messages: Sequence[Message], adapter: AdapterRef | None
    ) -> tuple[float, int]:
        """P("Yes") / (P("Yes") + P("No")) as the reply, and the number of prompt tokens.

        Both words are scored in full, whatever tokens they are made of.
        """
        import torch

        template = ChatTemplate(self.base.tokenizer)
        prompt = template.prompt(messages)
        words = []
        for word in ("Yes", "No"):
            ids, _, start = template.tokenize_reply(prompt, word)
            words.append(ids[start:])
        start_ids = ids[:start]
        self._room(start_ids)
        with self._activated(adapter) as model, torch.inference_mode():
            # All tokens of a word but its last are read; where both words are of one token (they
            # mostly are), the two readings are the same and one is enough.
            scores, reading, log_p = [], None, None
            for tokens in words:
                if reading != tokens[:-1]:
                    reading = tokens[:-1]
                    inputs = torch.tensor([start_ids + reading], device=self.base.device)
                    keep = len(tokens)
                    logits = model(input_ids=inputs, use_cache=False, logits_to_keep=keep).logits
                    log_p = logits[0].float().log_softmax(-1)  # (len(tokens), V)
                assert log_p is not None
                scores.append(log_p[range(len(tokens)), tokens].sum())
        return float(torch.stack(scores).softmax(0)[0]), len(start_ids)

    def reply_nll(
        self, messages: Sequence[Message], reply: str, adapter: AdapterRef | None
    ) -> list[float]:
        """How unexpected a reply to a chat is: -log p of each of its tokens, in nats.

        The token that ends it is not among them.

        Raises:
            ChatTemplateError: the template refuses the messages.
            InvalidInputError: they are longer than the model reads.
            WrongBaseModelError, DamagedAdapterError: the adapter can't be used.
        """
        import torch

        template = ChatTemplate(self.base.tokenizer)
        ids, _, start = template.tokenize_reply(
            template.prompt(messages), template.plain(reply.strip())
        )
        self._room(ids)
        tokens = torch.tensor([ids], device=self.base.device)
        with self._activated(adapter) as model, torch.inference_mode():
            keep = len(ids) - start + 1
            logits = model(input_ids=tokens, use_cache=False, logits_to_keep=keep).logits
            nll = torch.nn.functional.cross_entropy(
                logits[0, :-1].float(), tokens[0, start:], reduction="none"
            )
        return [float(value) for value in nll]

    def states(
        self,
        chats: Sequence[Sequence[Message]],
        layer: int,
        lora: "LoraWeights | None" = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> "torch.Tensor":
        """What a layer makes of chats, at the place where a reply would begin.

        Args:
            chats: Read in batches, by no more layers than it takes.
            layer: 1 is the first.
            lora: From `reader`; None for the base model as it is.
            should_stop: Asked before every batch.

        Returns:
            (n, hidden size), float32, on the CPU.

        Raises:
            StoppedError: `should_stop` returned True.
            ChatTemplateError: the template refuses the messages.
            InvalidInputError: they are longer than the model reads, or it has no stack of layers.
        """
        import torch

        from plum_langchain.learning.layers import DecoderLayers

        prompts = [self._chat_ids(chat) for chat in chats]
        for prompt in prompts:
            self._room(prompt)
        pad = self.base.tokenizer.pad_token_id or 0  # padding is masked: any id will do
        found = []
        for _, batch in in_turns(prompts, _BATCH, should_stop):
            # Looked for while nobody else has taken layers out of the model.
            with self._activated(None, lora) as model, torch.inference_mode():
                found.append(DecoderLayers(model).at_end(layer, batch, pad))
        return torch.cat(found)


def in_turns(
    items: Sequence[Item], number: int, should_stop: Callable[[], bool] | None
) -> Iterator[tuple[int, Sequence[Item]]]:
    """So many at once, with where they start; in between whoever waits for the engine comes first.

    A lock of Python's goes to whoever asks for it first, and a thread that gives it up would have
    it back before one that has to wake up.
    """
    for start in range(0, len(items), number):
        if should_stop is not None and should_stop():
            raise StoppedError(
                f"asked to stop with {len(items) - start} of {len(items)} texts still to be read "
                "or replied to; it begins anew next time"
            )
        if start:
            time.sleep(_TURN)
        yield start, items[start : start + number]


_TURN = 0.005  # seconds
_BATCH = 16
"""Chats read at once; more of them are no quicker on a CPU."""
