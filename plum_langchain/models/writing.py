"""Replies of a model: whole or piece by piece, of a form, several requests at once."""

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import InvalidInputError, PlumError
from plum_langchain.learning.template import ChatTemplate, Message
from plum_langchain.models.beams import ends_of
from plum_langchain.models.calls import CallSyntax, Toolbox
from plum_langchain.models.collector import Collector
from plum_langchain.models.generation import Job, Jobs, generate
from plum_langchain.models.grammar import Constraint, Grammars
from plum_langchain.models.load import LoadedModel
from plum_langchain.models.sampling import Reply, Sampling, TokenLogprob
from plum_langchain.models.schemas import json_of
from plum_langchain.settings import ServingSettings

logger = logging.getLogger(__name__)


class Writing(ABC):
    """The half of an engine that replies."""

    _settings: ServingSettings
    _jobs: Jobs

    @property
    @abstractmethod
    def base(self) -> LoadedModel:
        """The base model; loaded at first use."""

    @abstractmethod
    def _on_rows(
        self, adapters: Sequence[AdapterRef | None]
    ) -> AbstractContextManager[tuple[Any, list[PlumError | None]]]:
        """The model with an adapter on each row, for the caller alone.

        Those that can't be used have an error, and no row.

        Raises:
            RuntimeError: the rows of this model can't have adapters of their own.
        """

    @abstractmethod
    def _chat_ids(self, messages: Sequence[Message], tools: Toolbox | None = None) -> list[int]:
        """A chat as tokens, up to where a reply would begin; with the tools that it may call."""

    @abstractmethod
    def _raw_ids(self, prompt: str) -> list[int]:
        """A text as tokens; special tokens in it are taken as such."""

    @abstractmethod
    def _room(self, prompt: list[int]) -> int | None:
        """How many tokens the model can read after the prompt; None if it has no limit."""

    def chat(
        self,
        messages: Sequence[Message],
        adapter: AdapterRef | None,
        sampling: Sampling,
        tools: Toolbox | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Reply:
        """Reply to a chat through the model's chat template.

        What reads as a special token in a message is taken as the text it is.

        Args:
            messages: The chat.
            adapter: On top of the base model.
            sampling: How the reply is drawn.
            tools: That the model may call, or must.
            cancelled: Ends the reply at its next token, once it is set.

        Raises:
            ChatTemplateError: the template refuses the messages.
            InvalidInputError: they are longer than the model reads, or the reply's schema or the
                tools' can't be enforced.
            WrongBaseModelError, DamagedAdapterError: the adapter can't be used.
        """
        prompt = self._chat_ids(messages, tools)
        return self._generate(prompt, adapter, sampling, None, cancelled, tools=tools)

    def stream_chat(
        self,
        messages: Sequence[Message],
        adapter: AdapterRef | None,
        sampling: Sampling,
        tools: Toolbox | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Iterator[str | Reply]:
        """Like `chat`, piece by piece; the last item is the whole `Reply`, with the tools called.

        Closing the iterator stops the generation at its next token.
        """
        return self._stream(self._chat_ids(messages, tools), adapter, sampling, tools, cancelled)

    def complete(self, prompt: str, adapter: AdapterRef | None, sampling: Sampling) -> Reply:
        """Continue a raw prompt (special tokens in it are taken as such).

        Raises:
            InvalidInputError: the prompt is empty, or longer than the model reads.
            WrongBaseModelError, DamagedAdapterError: the adapter can't be used.
        """
        return self._generate(self._raw_ids(prompt), adapter, sampling)

    def stream(
        self, prompt: str, adapter: AdapterRef | None, sampling: Sampling
    ) -> Iterator[str | Reply]:
        """Like `complete`, piece by piece; the last item is the whole `Reply`.

        Closing the iterator stops the generation at its next token.
        """
        return self._stream(self._raw_ids(prompt), adapter, sampling)

    def expecting(self, number: int) -> AbstractContextManager[None]:
        """In the block so many requests come at nearly the same time, to be generated together."""
        return self._jobs.expecting(number)

    @cached_property
    def _syntax(self) -> CallSyntax:
        return CallSyntax.of(ChatTemplate(self.base.tokenizer))

    @cached_property
    def _grammars(self) -> Grammars:
        model = self.base.model
        vocabulary = model.config.get_text_config().vocab_size
        return Grammars(self.base.tokenizer, vocabulary, ends_of(model, self.base.tokenizer))

    def _form(self, sampling: Sampling, tools: Toolbox | None) -> Constraint | None:
        """What the reply must be; None for anything.

        Raises:
            InvalidInputError: what is demanded can't be enforced.
        """
        tokenizer, schema = self.base.tokenizer, sampling.schema
        call = self._syntax.call(tools, tokenizer) if tools else None
        if tools and tools.choice != "auto":
            return self._grammars.constraint(f"start: {call}")
        if schema is not None:
            either = f" | {call}" if call else ""
            return self._grammars.constraint(f"start: {json_of(schema)}{either}")
        free = self._syntax.free(tools, tokenizer) if tools else None
        try:
            return self._grammars.constraint(free) if free else None
        except InvalidInputError as error:  # nothing is demanded
            logger.warning("calls of these tools may turn out broken: %s", error)
            return None

    def _stream(
        self,
        prompt: list[int],
        adapter: AdapterRef | None,
        sampling: Sampling,
        tools: Toolbox | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[str | Reply]:
        pieces: queue.Queue[str | Reply | BaseException] = queue.Queue()
        cancelled = cancelled or threading.Event()

        def work() -> None:
            try:
                pieces.put(
                    self._generate(prompt, adapter, sampling, pieces.put, cancelled, tools=tools)
                )
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
            # Garbage collection may close an iterator in the very thread that generates.
            if self._jobs.thread != threading.get_ident():
                worker.join(_PATIENCE)

    def _generate(
        self,
        prompt: list[int],
        adapter: AdapterRef | None,
        sampling: Sampling,
        emit: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
        *,
        tools: Toolbox | None = None,
    ) -> Reply:
        tokenizer = self.base.tokenizer
        room = self._room(prompt)
        hold = self._syntax.sign if tools else None
        collector = Collector(tokenizer, len(prompt), sampling.stop, emit, cancelled, hold=hold)
        job = Job(
            prompt,
            adapter,
            sampling,
            room=sampling.max_new_tokens if room is None else min(sampling.max_new_tokens, room),
            collector=collector,
            form=self._form(sampling, tools),
        )
        self._jobs.run(job, self._take, self._generate_all)
        text = collector.text(job.ids)
        whole = (job.ended and not (job.form and job.form.cut)) or collector.stopped
        reply = Reply(
            text,
            "stop" if whole else "length",
            len(prompt),
            len(job.ids),
            logprobs=self._logprobs(job),
        )
        if tools:
            found = self._syntax.parsed(text, tools)
            reply = replace(
                reply,
                text=found.text,
                finish_reason="tool_calls" if found.calls and whole else reply.finish_reason,
                calls=found.calls,
                broken=found.broken,
            )
        collector.send_rest(reply.text)
        return reply

    def _logprobs(self, job: Job) -> tuple[TokenLogprob, ...] | None:
        if job.sampling.logprobs is None:
            return None
        decode = self.base.tokenizer.decode
        ids = job.ids[:-1] if job.ended else job.ids
        return tuple(
            TokenLogprob(decode([token]), own, tuple((decode([i]), p) for i, p in top))
            for token, (own, top) in zip(ids, job.logprobs[: len(ids)], strict=True)
        )

    def _take(self, job: Job) -> list[Job]:
        """A job, and those that wait and can go with it."""
        settings, model = self._settings, self.base.model
        most = 1 if getattr(model, "_is_stateful", False) else settings.max_batch
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        return self._jobs.take(job, most, one_adapter=settings.merge, limit=limit)

    def _generate_all(self, jobs: Sequence[Job]) -> None:
        """Generate for these, together as far as they can be."""
        if len(jobs) > 1:
            try:
                self._generate_together(jobs)
                return
            except Exception as error:  # of one of them, perhaps
                logger.warning(
                    "%d requests can't be generated together, but one by one (%s); "
                    "ServingSettings(max_batch=1) doesn't try",
                    len(jobs),
                    error,
                )
                for job in jobs:
                    if job.collector.sent and not job.done:
                        self._jobs.finish(job, error)
        for job in jobs:
            if not job.done:
                try:
                    self._generate_together([job])
                except Exception as error:
                    self._jobs.finish(job, error)

    def _generate_together(self, jobs: Sequence[Job]) -> None:
        import torch

        with self._on_rows([job.adapter for job in jobs]) as (model, errors):
            for job, error in zip(jobs, errors, strict=True):
                if error is not None:
                    self._jobs.finish(job, error)
            ready = [job for job in jobs if not job.done]
            if ready:
                with torch.inference_mode():
                    generate(model, self.base.tokenizer, ready, self._jobs.finish)


_PATIENCE = 5.0
"""Seconds to wait for a token to be over that nobody wants any longer."""
