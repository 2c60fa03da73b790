"""LangChain's messages as chat templates take them, and replies as LangChain has them."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolCallChunk,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk

from plum_langchain.errors import InvalidInputError
from plum_langchain.learning.template import Message
from plum_langchain.models import Reply
from plum_langchain.serving import Request, openai_logprobs

_ROLES = {
    HumanMessage: "user",
    AIMessage: "assistant",
    SystemMessage: "system",
    ToolMessage: "tool",
}


def to_chat(messages: Sequence[BaseMessage]) -> list[Message]:
    """LangChain messages as chat templates take them.

    Raises:
        InvalidInputError: a function message, a role chats don't have, or content that is not text.
    """
    chat: list[Message] = []
    for message in messages:
        if isinstance(message, ChatMessage):
            role = message.role
        else:
            role = next((r for kind, r in _ROLES.items() if isinstance(message, kind)), "")
        if role not in _ROLES.values():
            raise InvalidInputError(
                f"ChatPlum can't take a message of type {message.type!r}; it takes system, user "
                "(human), assistant (ai) and tool messages"
            )
        one: Message = {"role": role, "content": message_text(message)}
        if isinstance(message, AIMessage) and message.tool_calls:
            one["tool_calls"] = [
                {"type": "function", "function": {"name": call["name"], "arguments": call["args"]}}
                for call in message.tool_calls
            ]
        if isinstance(message, ToolMessage):
            one["tool_call_id"] = message.tool_call_id
            if message.name:
                one["name"] = message.name
            if message.status == "error":
                one["content"] = f"Error: {one['content']}"
        chat.append(one)
    return chat


def message_text(message: BaseMessage) -> str:
    """The text of a message.

    Raises:
        InvalidInputError: it holds something else (an image, audio).
    """
    if isinstance(message.content, str):
        return message.content
    for block in message.content:
        # What an assistant said before may hold its calls and its thoughts as blocks, too.
        if isinstance(message, AIMessage) or isinstance(block, str):
            continue
        if block.get("type") != "text":
            raise InvalidInputError(
                f"a message holds a block of type {block.get('type')!r}; only text can be read"
            )
    return str(message.text)


BROKEN = "<broken> "
"""Before what is no call: LangChain reads what it can of a chunk's text, and would make it one."""


def call_chunks(reply: Reply) -> list[ToolCallChunk]:
    """The calls of a reply, whole: they come when it is finished."""
    written: list[tuple[str | None, str]] = [
        (call.name, json.dumps(call.arguments)) for call in reply.calls
    ]
    written += [(broken.name, BROKEN + broken.text) for broken in reply.broken]
    return [
        tool_call_chunk(name=name, args=text, id=f"call_{uuid4().hex}", index=index)
        for index, (name, text) in enumerate(written)
    ]


def usage_of(reply: Reply) -> UsageMetadata:
    """How many tokens it took."""
    return UsageMetadata(
        input_tokens=reply.prompt_tokens,
        output_tokens=reply.completion_tokens,
        total_tokens=reply.prompt_tokens + reply.completion_tokens,
    )


def metadata_of(request: Request, reply: Reply) -> dict[str, Any]:
    """What the reply's message says of where it is from."""
    return {
        "model_name": request.model_name,
        "model_provider": "plum",
        "user_id": request.user_id,
        "generation": request.adapter.generation if request.adapter else None,
        "finish_reason": reply.finish_reason,
        **({} if reply.logprobs is None else {"logprobs": openai_logprobs(reply.logprobs)}),
    }
