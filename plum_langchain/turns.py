"""LangChain messages into turns."""

from collections.abc import Iterable

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from plum_langchain.session import Turn


def turns_of(messages: Iterable[BaseMessage]) -> tuple[Turn, ...]:
    """What user and assistant said to each other.

    Left out are system messages, results of tools, messages without text, and summaries that
    middleware puts into the user's mouth (marked by `lc_source`).
    """
    turns = []
    for message in messages:
        text = str(message.text)
        if not text.strip():
            continue
        if said_by_user(message):
            turns.append(Turn("user", text, message.id))
        elif isinstance(message, AIMessage):
            turns.append(Turn("assistant", text, message.id))
    return tuple(turns)


def said_by_user(message: BaseMessage) -> bool:
    """Whether these are the user's own words."""
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs
