"""LangChain messages into turns."""

from collections.abc import Iterable
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)
from langchain_core.messages.utils import MessageLikeRepresentation

from plum_langchain.session import Turn


def turns_of(messages: Iterable[MessageLikeRepresentation]) -> tuple[Turn, ...]:
    """What user and assistant said to each other.

    Given as LangChain's chat models take messages, dictionaries and pairs too.

    Left out are system messages, results of tools, messages without text, and summaries that
    middleware puts into the user's mouth (marked by `lc_source`).
    """
    turns = []
    for message in convert_to_messages(messages):
        text = str(message.text)
        if not text.strip():
            continue
        if said_by_user(message):
            turns.append(Turn("user", text, message.id))
        elif isinstance(message, AIMessage):
            turns.append(Turn("assistant", text, message.id))
    return tuple(turns)


def told_besides(own: SystemMessage | None, told: str) -> SystemMessage:
    """A system message with text under its own; its blocks, and what is beside them, stay."""
    if own is None or not own.content:
        return SystemMessage(told)
    content: Any = (
        f"{own.content}\n\n{told}"
        if isinstance(own.content, str)
        else [*own.content, {"type": "text", "text": told}]
    )
    return own.model_copy(update={"content": content})


def said_by_user(message: BaseMessage) -> bool:
    """Whether these are the user's own words."""
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs
