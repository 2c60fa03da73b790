"""What ChatPlum and PlumLLM share: from a face's fields and a call to a request for the engine."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from pydantic import BaseModel, ConfigDict, Field

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import (
    DamagedAdapterError,
    InvalidInputError,
    MissingKeyError,
    MissingUserError,
    PlumError,
    PromptTooLongError,
)
from plum_langchain.learning.template import Message, with_system
from plum_langchain.memories.base import MemoryName, Snippet, with_snippets
from plum_langchain.models import Engine, Reply, Sampling, TokenLogprob, Toolbox
from plum_langchain.scope.scope import last_said
from plum_langchain.users import chosen_in_chain

PER_CALL = (
    "user_id",
    "memory",
    "k",
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "logprobs",
    "top_logprobs",
)
"""The fields that a call may give instead."""


class ContextTooLongError(PromptTooLongError, ContextOverflowError):
    """A `PromptTooLongError` by the name that LangChain knows.

    `SummarizationMiddleware` (`langchain.agents.middleware`) then asks again with less of the chat.
    """


@dataclass(frozen=True)
class Request:
    """All that one generation needs, decided at one moment."""

    user_id: str | None
    messages: list[Message]
    adapter: AdapterRef | None
    sampling: Sampling
    model_name: str
    tools: Toolbox | None = None


class Serving(BaseModel):
    """The fields of both faces; see `ChatPlum` for what they mean."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    plum: Any = Field(exclude=True, repr=False)
    user_id: str | None = None
    memory: MemoryName = "parametric"
    k: int = 3
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stop: list[str] | None = None

    def identity(self, **call: Any) -> dict[str, Any]:
        """What an answer depends on besides the prompt and the call's own `stop`.

        The base model, the user of this very home, the memory, the adapter generation, how the
        reply is drawn. Caches key on it, so none ever serves another user, an older generation or
        another home's user of the same name.
        """
        options = self._options(call)
        plum, user_id, memory = self.plum, options["user_id"], options["memory"]
        found = {
            "model": plum.model_name,
            **options,
            "max_tokens": self._max_tokens(options),
            # Not called "stop": LangChain writes the call's own over that.
            "default_stop": self.stop,
            "system_prompt": plum.learning.system_prompt,
            "scope": plum.serving.scope,
        }
        if user_id is not None and memory != "none":
            found["owner"] = plum.home.owner(user_id)
            if memory != "retrieval":
                head = plum.journal.generations.head(user_id)
                found["generation"] = (head.number, head.manifest_sha256) if head else None
            if memory != "parametric":
                found["chats"] = plum.journal.sessions.version(user_id)
        return found

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of the served model's own tokenizer, without special tokens around them."""
        ids: list[int] = self.plum.engine.base.tokenizer(text, add_special_tokens=False)[
            "input_ids"
        ]
        return ids

    def reply(
        self,
        messages: list[Message],
        stop: list[str] | None,
        cancelled: threading.Event | None = None,
        **call: Any,
    ) -> tuple[Request, Reply]:
        """The whole reply to these messages, and the request that was made of them.

        Args:
            messages: The chat.
            stop: Strings that end the reply.
            cancelled: Ends it at its next token, once it is set.
            call: The call's own options.

        Raises:
            ContextTooLongError: the prompt has more tokens than the model reads.
            PlumError: as `request` and `Engine.chat`.
        """
        request = self.request(messages, stop, **call)
        try:
            return request, self._chat(request, cancelled)
        except (DamagedAdapterError, MissingKeyError) as error:
            request = self._anew(request, error, messages, stop, call)
            return request, self._chat(request, cancelled)

    def reply_pieces(
        self,
        messages: list[Message],
        stop: list[str] | None,
        cancelled: threading.Event | None = None,
        **call: Any,
    ) -> Iterator[tuple[Request, str | Reply]]:
        """Like `reply`, piece by piece; the last piece is the whole `Reply`."""
        request = self.request(messages, stop, **call)
        try:
            for piece in self._stream_chat(request, cancelled):
                yield request, piece
        except (DamagedAdapterError, MissingKeyError) as error:  # found before the first token
            request = self._anew(request, error, messages, stop, call)
            for piece in self._stream_chat(request, cancelled):
                yield request, piece

    def _chat(self, request: Request, cancelled: threading.Event | None) -> Reply:
        engine: Engine = self.plum.engine
        with _named_for_langchain():
            return engine.chat(
                request.messages,
                request.adapter,
                request.sampling,
                request.tools,
                cancelled=cancelled,
            )

    def _stream_chat(
        self, request: Request, cancelled: threading.Event | None
    ) -> Iterator[str | Reply]:
        engine: Engine = self.plum.engine
        with _named_for_langchain():
            yield from engine.stream_chat(
                request.messages,
                request.adapter,
                request.sampling,
                request.tools,
                cancelled=cancelled,
            )

    def request(self, messages: list[Message], stop: list[str] | None, **call: Any) -> Request:
        """The request for these messages: recalls, and picks the adapter to answer with.

        That is none if the last message doesn't ask for what the user told
        (`ServingSettings.scope`); the base model answers then.

        Raises:
            MissingUserError: the memory needs a user and none is named.
            InvalidInputError: no messages, or an option that can't be used.
            WrongBaseModelError, DamagedAdapterError: the user's adapter can't be used, whoever
                is to reply.
            ModelNotFoundError, CacheError, DivergedError: as `Plum.is_for_memory`.
            BusyError: another process owns the retrieval index.
        """
        options = self._options(call)
        user_id, memory = options["user_id"], options["memory"]
        plum = self.plum
        if user_id is None and memory != "none":
            raise MissingUserError(
                f"no user is named, and {memory} memory is always somebody's; give user_id= at "
                "construction or with the call, or use memory='none' for the base model"
            )
        if not messages:
            raise InvalidInputError("there are no messages to answer; give at least one")
        asked = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
        named = plum.memory_named(memory, k=options["k"])
        recalled = plum.recalled(named, user_id, last_said(asked))
        adapter = recalled.adapter
        if adapter is not None and not plum.is_for_memory(messages):
            adapter = None
        if adapter or recalled.snippets:
            messages = _with_memory(messages, plum.learning.system_prompt, recalled.snippets)
        schema = schema_of(call.get("response_format"))
        if schema is not None:
            messages = with_system(messages, f"{_IN_JSON}\n{json.dumps(schema)}")
        suffix = f"+{user_id}@{adapter.generation}" if adapter else ""
        return Request(
            user_id=user_id,
            messages=messages,
            adapter=adapter,
            model_name=plum.model_name + suffix,
            sampling=Sampling(
                max_new_tokens=self._max_tokens(options),
                temperature=options["temperature"],
                top_p=options["top_p"],
                seed=options["seed"],
                stop=tuple(stop if stop is not None else self.stop or ()),
                schema=schema,
                logprobs=(options["top_logprobs"] or 0) if options["logprobs"] else None,
            ),
            tools=toolbox(call.get("tools"), call.get("tool_choice")),
        )

    def _anew(
        self,
        failed: Request,
        error: PlumError,
        messages: list[Message],
        stop: list[str] | None,
        call: dict[str, Any],
    ) -> Request:
        """The request once more, if its generation was given up (forgotten, pruned) meanwhile."""
        request = self.request(messages, stop, **call)
        if request.adapter == failed.adapter:
            raise error
        return request

    def _max_tokens(self, options: dict[str, Any]) -> int:
        given: int | None = options["max_tokens"]
        return self.plum.serving.max_new_tokens if given is None else given

    def _options(self, call: dict[str, Any]) -> dict[str, Any]:
        options = {
            name: value if (value := call.get(name)) is not None else getattr(self, name)
            for name in PER_CALL
        }
        if call.get("memory") is None:
            options["memory"] = chosen_in_chain(options["user_id"]) or self.memory
        return options


_IN_JSON = "Reply with JSON of this schema:"


def toolbox(tools: Any, choice: Any) -> Toolbox | None:
    """The tools of a call, as `ChatPlum.bind_tools` put them there; None without any.

    Raises:
        InvalidInputError: the choice is none of them.
    """
    if not tools or choice == "none":
        return None
    if isinstance(choice, Mapping):  # as OpenAI, Anthropic and others have it
        named = choice.get("function", choice)
        named = named.get("name") if isinstance(named, Mapping) else None
        choice = choice.get("type") if named is None else named
        if named is None and choice not in ("auto", "any", "required", "none"):
            raise InvalidInputError(
                f"tool_choice of type {choice!r} names no tool; give its name, 'auto', 'any' or "
                "'none'"
            )
        if choice == "none":
            return None
    any_of = choice in ("any", "required") or choice is True
    return Toolbox(tuple(tools), "any" if any_of else choice or "auto")


def schema_of(response_format: Any) -> Mapping[str, Any] | None:
    """The JSON schema of a reply; None where none is asked for.

    Args:
        response_format: A schema, OpenAI's {"type": "json_schema", "json_schema": {"schema": ...}},
            or {"type": "json_object"} for any object.

    Raises:
        InvalidInputError: it is none of these.
    """
    if response_format is None:
        return None
    if isinstance(response_format, Mapping):
        if response_format.get("type") == "json_object":
            return {"type": "object"}
        if response_format.get("type") == "json_schema":
            schema = response_format.get("json_schema", {}).get("schema")
            if isinstance(schema, Mapping):
                return schema
        elif response_format.get("type") != "text":
            return response_format
        else:
            return None
    raise InvalidInputError(
        f"response_format can't be {response_format!r}; give a JSON schema, "
        '{"type": "json_schema", "json_schema": {"schema": ...}} or {"type": "json_object"}'
    )


def _with_memory(
    messages: list[Message], system_prompt: str | None, snippets: tuple[Snippet, ...]
) -> list[Message]:
    """The system prompt that adapters were trained with, then the caller's own, then snippets."""
    own = [m["content"] for m in messages if m["role"] == "system"]
    rest = [m for m in messages if m["role"] != "system"]
    joined = "\n\n".join(text for text in (system_prompt, *own) if text)
    system = with_snippets(joined or None, snippets)
    return [{"role": "system", "content": system}, *rest] if system else rest


def openai_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Log-probabilities as OpenAI has them."""

    def one(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "bytes": list(token.encode()), "logprob": logprob}

    return {
        "content": [
            {**one(t.token, t.logprob), "top_logprobs": [one(*other) for other in t.top]}
            for t in tokens
        ]
    }


@contextmanager
def _named_for_langchain() -> Iterator[None]:
    try:
        yield
    except PromptTooLongError as error:
        raise ContextTooLongError(*error.args) from error
