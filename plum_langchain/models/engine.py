"""One engine: the base model loaded once, any user's published generation attached on demand.

Adapters are kept attached up to a bound, the least recently used goes first. A request names the
generation it wants; the engine never decides whose adapter that is. One request runs at a time
(activating an adapter changes the shared model), so threads are safe and wait for each other.
"""

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from plum_langchain.adapters import AdapterRef, AdapterStore
from plum_langchain.errors import InvalidInputError, WrongBaseModelError
from plum_langchain.learning.encode import Message, prompt_text
from plum_langchain.models.load import LoadedModel, load_model
from plum_langchain.models.resolve import ResolvedModel
from plum_langchain.settings import ServingSettings


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. Temperature 0 is greedy; `seed` makes a sampled reply repeatable."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InvalidInputError(f"max_tokens must be at least 1, not {self.max_new_tokens}")
        if self.temperature < 0:
            raise InvalidInputError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InvalidInputError(f"top_p must be in (0, 1], not {self.top_p}")


@dataclass(frozen=True)
class Reply:
    """A finished reply. `finish_reason` is "stop" (its own end or a stop string) or "length"."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Engine:
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
        self._base: LoadedModel | None = None
        self._model: Any = None  # the base, or PEFT's wrapper of it once an adapter was needed
        self._attached: OrderedDict[str, AdapterRef] = OrderedDict()

    @property
    def base(self) -> LoadedModel:
        """The base model; loaded at first use."""
        with self._lock:
            if self._base is None:
                self._base = load_model(
                    self._resolve(), device=self._settings.device, dtype=self._settings.dtype
                )
                self._model = self._base.model
            return self._base

    @property
    def attached(self) -> list[str]:
        """Names of the attached adapters, least recently used first."""
        return list(self._attached)

    def count_tokens(self, text: str) -> int:
        """How many tokens the model's own tokenizer makes of `text`."""
        return len(self.base.tokenizer(text, add_special_tokens=False)["input_ids"])

    # -- asking --------------------------------------------------------------------------------

    def chat(
        self, messages: Sequence[Message], adapter: AdapterRef | None, sampling: Sampling
    ) -> Reply:
        """Reply to a chat through the model's chat template."""
        return self.complete(prompt_text(self.base.tokenizer, messages), adapter, sampling)

    def stream_chat(
        self, messages: Sequence[Message], adapter: AdapterRef | None, sampling: Sampling
    ) -> Iterator[str | Reply]:
        """Like `chat`, piece by piece; the last item is the whole `Reply`."""
        return self.stream(prompt_text(self.base.tokenizer, messages), adapter, sampling)

    def complete(self, prompt: str, adapter: AdapterRef | None, sampling: Sampling) -> Reply:
        """Continue a raw prompt (special tokens in it are taken as such).

        Raises:
            WrongBaseModelError, DamagedAdapterError: the adapter can't be used.
        """
        return self._generate(prompt, adapter, sampling)

    def stream(
        self, prompt: str, adapter: AdapterRef | None, sampling: Sampling
    ) -> Iterator[str | Reply]:
        """Like `complete`, piece by piece; the last item is the whole `Reply`.

        Closing the iterator stops the generation at its next token.
        """
        pieces: queue.Queue[str | Reply | BaseException] = queue.Queue()
        cancelled = threading.Event()

        def work() -> None:
            try:
                pieces.put(self._generate(prompt, adapter, sampling, pieces.put, cancelled))
            except BaseException as error:  # handed to the reader, who raises it
                pieces.put(error)

        worker = threading.Thread(target=work, name="plum-stream", daemon=True)
        worker.start()
        try:
            while True:
                item = pieces.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, Reply):
                    return
        finally:
            cancelled.set()
            worker.join()

    def yes_probability(
        self, messages: Sequence[Message], adapter: AdapterRef | None
    ) -> tuple[float, int]:
        """P("Yes") / (P("Yes") + P("No")) as the reply, and the number of prompt tokens.

        Both words are scored in full, whatever tokens they are made of.
        """
        import torch

        tokenizer = self.base.tokenizer
        prompt = self._prompt_ids(prompt_text(tokenizer, messages))
        words = [tokenizer(w, add_special_tokens=False)["input_ids"] for w in ("Yes", "No")]
        with self._activated(adapter) as model, torch.inference_mode():
            # All tokens of a word but its last are read; where both words are of one token (they
            # mostly are), the two readings are the same and one is enough.
            scores, reading, log_p = [], None, None
            for word in words:
                if reading != word[:-1]:
                    reading = word[:-1]
                    ids = torch.tensor([prompt + reading], device=self.base.device)
                    keep = len(word)
                    logits = model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
                    log_p = logits[0].float().log_softmax(-1)  # (len(word), V)
                assert log_p is not None
                scores.append(log_p[range(len(word)), word].sum())
        return float(torch.stack(scores).softmax(0)[0]), len(prompt)

    # -- inside --------------------------------------------------------------------------------

    def _prompt_ids(self, prompt: str) -> list[int]:
        ids: list[int] = self.base.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        limit = getattr(self.base.model.config, "max_position_embeddings", None)
        if limit is not None and len(ids) >= limit:
            raise InvalidInputError(
                f"the prompt has {len(ids)} tokens, {self.base.resolved.id} reads at most "
                f"{limit}; shorten the chat or the retrieved text"
            )
        return ids

    def _generate(
        self,
        prompt: str,
        adapter: AdapterRef | None,
        sampling: Sampling,
        emit: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Reply:
        import torch
        from transformers import StoppingCriteriaList

        tokenizer = self.base.tokenizer
        ids = self._prompt_ids(prompt)
        collector = _Collector(tokenizer, len(ids), sampling.stop, emit, cancelled)
        draw: dict[str, Any] = {
            "do_sample": False,
            "temperature": None,
            "top_p": None,
            "top_k": None,
        }
        if sampling.temperature > 0:
            draw = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": 0,
            }
        inputs = torch.tensor([ids], device=self.base.device)
        with self._activated(adapter) as model, torch.inference_mode(), torch.random.fork_rng():
            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)
            else:
                torch.seed()
            output = model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=sampling.max_new_tokens,
                stopping_criteria=StoppingCriteriaList([collector]),
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
                **draw,
            )
        new = output[0, len(ids) :].tolist()
        text = collector.finish(new)
        eos = model.generation_config.eos_token_id
        ended = new and new[-1] in (eos if isinstance(eos, list) else [eos])
        reason = "stop" if ended or collector.stopped else "length"
        return Reply(text, reason, len(ids), len(new))

    @contextmanager
    def _activated(self, adapter: AdapterRef | None) -> Iterator[Any]:
        """The model with exactly this adapter active, held for the caller alone."""
        with self._lock:
            base = self.base
            if adapter is None:
                if not self._attached:
                    yield base.model
                    return
                with self._model.disable_adapter():
                    yield self._model
                return
            self._attach(adapter)
            self._model.set_adapter(adapter.name, inference_mode=True)
            yield self._model

    def _attach(self, adapter: AdapterRef) -> None:
        if adapter.name in self._attached:
            self._attached.move_to_end(adapter.name)
            return
        manifest = self._store.check(adapter)
        base = self.base.resolved
        if manifest.base_fingerprint != base.fingerprint:
            raise WrongBaseModelError(
                f"this user's adapter was trained on {manifest.base_model} (fingerprint "
                f"{manifest.base_fingerprint}), but {base.id} ({base.fingerprint}) is open; open "
                f"the home with model={manifest.base_model!r}, or use another home"
            )
        from peft import PeftModel

        if not self._attached:
            self._model = PeftModel.from_pretrained(
                self.base.model, str(adapter.path), adapter_name=adapter.name
            )
            self._model.eval()
        else:
            self._model.load_adapter(str(adapter.path), adapter_name=adapter.name)
        self._attached[adapter.name] = adapter
        while len(self._attached) > self._settings.max_adapters:
            oldest, _ = self._attached.popitem(last=False)
            self._model.delete_adapter(oldest)

    def drop(self, owner: str) -> None:
        """Detach every generation of a user (after forgetting)."""
        with self._lock:
            for name in [n for n, ref in self._attached.items() if ref.owner == owner]:
                del self._attached[name]
                if self._attached:
                    self._model.delete_adapter(name)
                else:
                    self._model = self._model.unload()


class _Collector:
    """Reads the tokens as they come: emits text, stops at stop strings and when cancelled.

    A stopping criterion of transformers, called with all ids after every token. Text that might
    be the beginning of a stop string, or half a character, is held back until it is clear.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt_length: int,
        stop: Sequence[str],
        emit: Callable[[str], None] | None,
        cancelled: threading.Event | None,
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt_length = prompt_length
        self._stop = [s for s in stop if s]
        self._emit = emit
        self._cancelled = cancelled
        self._sent = 0
        self.stopped = False

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        if self._stop or self._emit is not None:
            text, self.stopped = self._cut(self._decode(ids[0, self._prompt_length :].tolist()))
            self._send(text, hold_back=not self.stopped)
        done = self.stopped or (self._cancelled is not None and self._cancelled.is_set())
        return torch.full((ids.shape[0],), done, device=ids.device, dtype=torch.bool)

    def finish(self, ids: list[int]) -> str:
        """The whole text, after sending what was held back."""
        text, stopped = self._cut(self._decode(ids))
        self.stopped = self.stopped or stopped
        self._send(text, hold_back=False)
        return text

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _cut(self, text: str) -> tuple[str, bool]:
        found = [position for s in self._stop if (position := text.find(s)) >= 0]
        return (text[: min(found)], True) if found else (text, False)

    def _send(self, text: str, *, hold_back: bool) -> None:
        if self._emit is None:
            return
        end = len(text)
        if hold_back:
            # A byte-level token may end inside a character, shown as U+FFFD until the next one.
            end -= len(text) - len(text.rstrip("\ufffd"))
            for s in self._stop:
                for size in range(min(len(s) - 1, end), 0, -1):
                    if text.endswith(s[:size]):
                        end = min(end, len(text) - size)
                        break
        if end > self._sent:
            self._emit(text[self._sent : end])
            self._sent = end
