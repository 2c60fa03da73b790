"""One engine: the base model loaded once, any user's published generation attached on demand.

Adapters are kept attached up to a bound, the least recently used goes first. A request names the
generation it wants; the engine never decides whose adapter that is. One generation runs at a time
(activating an adapter changes the shared model); requests that come meanwhile wait, and are
generated together, each with its own adapter.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.adapters import AdapterRef, AdapterStore, Manifest
from plum_langchain.errors import (
    InvalidInputError,
    PlumError,
    PromptTooLongError,
    WrongBaseModelError,
)
from plum_langchain.learning.template import ChatTemplate, Message
from plum_langchain.models.beams import Likely, likeliest, likelihoods
from plum_langchain.models.calls import Toolbox
from plum_langchain.models.generation import Jobs
from plum_langchain.models.load import LoadedModel, load_model
from plum_langchain.models.reading import Reading, in_turns
from plum_langchain.models.resolve import ResolvedModel
from plum_langchain.models.sampling import Sampling
from plum_langchain.models.writing import Writing
from plum_langchain.settings import ServingSettings

if TYPE_CHECKING:
    from plum_langchain.models.lora import LoraSwitch, LoraWeights


class Engine(Reading, Writing):
    """Generates, streams and scores with the base model or one adapter on top of it."""

    def __init__(
        self,
        resolve: Callable[[], ResolvedModel],
        store: AdapterStore,
        settings: ServingSettings | None = None,
    ) -> None:
        self._resolve = resolve
        self._store = store
        self._settings = settings or ServingSettings()
        self._lock = threading.RLock()
        self._jobs = Jobs()
        self._base: LoadedModel | None = None
        self._switch: LoraSwitch | None = None
        self._attached: OrderedDict[str, tuple[AdapterRef, Manifest, LoraWeights]] = OrderedDict()

    @property
    def base(self) -> LoadedModel:
        """The base model; loaded at first use."""
        base = self._base
        if base is None:
            with self._lock:
                base = self._base
                if base is None:
                    from plum_langchain.models.lora import LoraSwitch
                    from plum_langchain.models.products import siblings

                    base = load_model(
                        self._resolve(), device=self._settings.device, dtype=self._settings.dtype
                    )
                    self._switch = LoraSwitch(
                        base.model, siblings(base.model), merge=self._settings.merge
                    )
                    self._base = base
        return base

    @property
    def resolved(self) -> ResolvedModel:
        """The base model on this disk; nothing is loaded for it."""
        base = self._base
        return self._resolve() if base is None else base.resolved

    @property
    def device(self) -> str:
        """Where it computes, or "auto"."""
        return self._settings.device

    @property
    def attached(self) -> list[str]:
        """Names of the attached adapters, least recently used first."""
        with self._lock:
            return list(self._attached)

    def manifest(self, adapter: AdapterRef) -> Manifest:
        """What a generation says of itself.

        Raises:
            WrongBaseModelError, DamagedAdapterError: the adapter can't be used.
        """
        found = self._attached.get(adapter.name)  # at once, while another request is generated
        if found is not None:
            return found[1]
        with self._activated(adapter):
            return self._attached[adapter.name][1]

    def reader(self, directory: Path) -> "LoraWeights":
        """An adapter that is nobody's memory, for `states`.

        Raises:
            DamagedAdapterError: it is no plain LoRA adapter, or doesn't fit the model's layers.
        """
        with self._activated(None):
            assert self._switch is not None
            return self._switch.load(directory, merge=False)

    def count_tokens(self, text: str) -> int:
        """How many tokens the model's own tokenizer makes of `text`."""
        return len(self._raw_ids(text))

    # -- asking --------------------------------------------------------------------------------

    def likely(
        self,
        messages: Sequence[Message],
        adapter: AdapterRef | None,
        number: int,
        max_new_tokens: int,
        *,
        among: Sequence[str] | None = None,
    ) -> tuple[list[Likely], int]:
        """The likeliest replies to a chat, as far as a beam search of this width finds them.

        Of given ones those that begin likeliest are compared as wholes; of a few all of them.

        Args:
            messages: The chat.
            adapter: On top of the base model.
            number: Of replies, and of beams at least; at least 2.
            max_new_tokens: Bound of each reply.
            among: Only these are replies, however long they are; None for whatever the model can
                say.

        Returns:
            At most `number` different replies, the likeliest first, and how many tokens the prompt
            has.

        Raises:
            ChatTemplateError, InvalidInputError, WrongBaseModelError, DamagedAdapterError: as
                `chat`.
        """
        import torch

        wanted = Sampling(max_new_tokens=max_new_tokens).max_new_tokens
        if number < 2:
            raise InvalidInputError(f"a beam search needs 2 beams at least, not {number}")
        prompt = self._chat_ids(messages)
        room = self._room(prompt)
        replies = None if among is None else self._reply_ids(among)
        if replies is not None:
            if not replies:
                raise InvalidInputError("there is nothing to reply; `among` is empty")
            wanted = 1 + max(map(len, replies))  # and the end
        with self._activated(adapter) as model, torch.inference_mode():
            found = likeliest(
                model,
                self.base.tokenizer,
                prompt,
                number=number,
                max_new_tokens=wanted if room is None else min(wanted, room),
                among=replies,
            )
        if not found:
            raise PromptTooLongError(
                f"the prompt has {len(prompt)} tokens and leaves {self.base.resolved.id} no room "
                f"for a reply of up to {wanted}; shorten the question or the system prompt"
            )
        return found, len(prompt)

    def likelihoods(
        self, messages: Sequence[Message], adapter: AdapterRef | None, replies: Sequence[str]
    ) -> list[Likely]:
        """How likely given replies to a chat are, the likeliest first.

        Those that the model has no room for behind the chat are left out.

        Raises:
            ChatTemplateError, InvalidInputError, WrongBaseModelError, DamagedAdapterError: as
                `chat`.
        """
        import torch

        prompt = self._chat_ids(messages)
        room = self._room(prompt)
        given = self._reply_ids(replies)
        longest = 1 + max(map(len, given), default=0)  # and the end
        with self._activated(adapter) as model, torch.inference_mode():
            return likelihoods(
                model,
                self.base.tokenizer,
                prompt,
                given,
                max_new_tokens=longest if room is None else min(longest, room),
            )

    def drafts(
        self,
        chats: Sequence[Sequence[Message]],
        lora: "LoraWeights | None",
        *,
        number: int,
        sampling: Sampling,
        seed: int,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[str]]:
        """Several replies to each of many chats, drawn in batches.

        Args:
            chats: Short ones.
            lora: From `reader`; None for the base model as it is.
            number: Of replies to each.
            sampling: Its temperature, share (top p) and bound; the rest doesn't count.
            seed: Of what is drawn.
            should_stop: Asked before every batch.

        Returns:
            Of each chat all its replies, with what they repeat; one that was cut off isn't ended.

        Raises:
            StoppedError: `should_stop` returned True.
            ChatTemplateError: the template refuses the messages.
            InvalidInputError: they are longer than the model reads.
        """
        from plum_langchain.models.drafting import draft

        prompts = [self._chat_ids(chat) for chat in chats]
        for prompt in prompts:
            self._room(prompt)
        by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        found: list[list[str]] = [[] for _ in prompts]
        for start, batch in in_turns(by_length, _PROMPTS, should_stop):
            with self._activated(None, lora) as model:
                replies = draft(
                    model,
                    self.base.tokenizer,
                    [prompts[index] for index in batch],
                    number=number,
                    sampling=sampling,
                    seed=seed + start,
                )
            for index, texts in zip(batch, replies, strict=True):
                found[index] = texts
        return found

    # -- inside --------------------------------------------------------------------------------

    def _chat_ids(self, messages: Sequence[Message], tools: Toolbox | None = None) -> list[int]:
        template = ChatTemplate(self.base.tokenizer)
        if tools is None and not any("tool_calls" in m or m["role"] == "tool" for m in messages):
            return template.tokenize(template.prompt(messages))[0]
        return template.tokenize(self._syntax.prompt(template, messages, tools))[0]

    def _reply_ids(self, replies: Sequence[str]) -> dict[tuple[int, ...], str]:
        """Replies by the tokens they are behind any chat; as in training, without outer spaces."""
        template = ChatTemplate(self.base.tokenizer)
        before = template.prompt([{"role": "user", "content": "?"}])
        found = {}
        for reply in replies:
            ids, _, start = template.tokenize_reply(before, template.plain(reply.strip()))
            found[tuple(ids[start:])] = reply
        return found

    def _raw_ids(self, prompt: str) -> list[int]:
        ids: list[int] = self.base.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return ids

    def _room(self, prompt: list[int]) -> int | None:
        """How many tokens the model can read after the prompt; None if it has no limit."""
        if not prompt:
            raise InvalidInputError("the prompt is empty; there is nothing to reply to")
        config = self.base.model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None)
        if limit is None:
            return None
        if len(prompt) >= limit:
            raise PromptTooLongError(
                f"the prompt has {len(prompt)} tokens, {self.base.resolved.id} reads at most "
                f"{limit}; shorten the chat or the retrieved text"
            )
        return int(limit) - len(prompt)

    @contextmanager
    def _activated(
        self, adapter: AdapterRef | None, lora: "LoraWeights | None" = None
    ) -> Iterator[Any]:
        with self._lock:
            base = self.base
            assert self._switch is not None
            assert adapter is None or lora is None
            self._drop_those_gone(self._switch)
            self._switch.use(lora if adapter is None else self._weights(adapter, self._switch))
            yield base.model

    @contextmanager
    def _on_rows(
        self, adapters: Sequence[AdapterRef | None]
    ) -> Iterator[tuple[Any, list[PlumError | None]]]:
        with self._lock:
            model = self.base.model
            assert self._switch is not None
            self._drop_those_gone(self._switch)
            errors: list[PlumError | None] = []
            weights: list[LoraWeights | None] = []
            for adapter in adapters:
                try:
                    weights.append(self._weights(adapter, self._switch) if adapter else None)
                except PlumError as error:
                    errors.append(error)
                else:
                    errors.append(None)
            if all(found is weights[0] for found in weights):
                self._switch.use(weights[0] if weights else None)
            elif self._switch.rows_apart:
                self._switch.use_per_row(weights)
            else:
                raise RuntimeError(f"the rows of {type(model).__name__} can't have adapters each")
            yield model, errors

    def _weights(self, adapter: AdapterRef, switch: "LoraSwitch") -> "LoraWeights":
        if adapter.name not in self._attached:
            manifest = self._store.check(adapter)
            resolved = self.base.resolved
            if manifest.base_fingerprint != resolved.fingerprint:
                raise WrongBaseModelError(
                    f"this user's adapter was trained on {manifest.base_model} (fingerprint "
                    f"{manifest.base_fingerprint}), but {resolved.id} ({resolved.fingerprint}) is "
                    f"open; open the home with model={manifest.base_model!r}, or use another home"
                )
            while len(self._attached) >= self._settings.max_adapters:
                switch.use(None)  # else it would hold what is let go
                self._attached.popitem(last=False)
            self._attached[adapter.name] = (
                adapter,
                manifest,
                switch.load(adapter.path, seal=adapter.seal),
            )
        self._attached.move_to_end(adapter.name)
        return self._attached[adapter.name][2]

    def _drop_those_gone(self, switch: "LoraSwitch") -> None:
        """Let go of generations that are off the disk: another process destroyed them."""
        gone = [name for name, (ref, _, _) in self._attached.items() if not ref.path.is_dir()]
        if gone:
            switch.use(None)
            for name in gone:
                del self._attached[name]

    def drop(self, owner: str) -> None:
        """Let go of every generation of a user (after forgetting)."""
        with self._lock:
            if self._switch is not None:
                self._switch.use(None)
            for name, (ref, _, _) in list(self._attached.items()):
                if ref.owner == owner:
                    del self._attached[name]


_PROMPTS = 4
"""Chats replied to at once in `drafts`. More are hardly quicker, and who chats meanwhile would wait
longer for their turn (docs/performance.md)."""
