"""One protocol for every memory, so that one can be swapped for another."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import InvalidInputError

MemoryName = Literal["parametric", "retrieval", "hybrid", "none"]
MEMORY_NAMES: tuple[MemoryName, ...] = ("parametric", "retrieval", "hybrid", "none")


@dataclass(frozen=True)
class Snippet:
    """A stretch of an earlier chat, found for a query. `distance` is cosine distance, 0 to 2."""

    text: str
    session_id: str
    distance: float


@dataclass(frozen=True)
class Recalled:
    """What a memory contributes to a reply: weights to answer with, text to read, or both."""

    adapter: AdapterRef | None = None
    snippets: tuple[Snippet, ...] = ()


@runtime_checkable
class Memory(Protocol):
    """What a user's earlier chats contribute to a reply."""

    name: MemoryName

    def recall(self, user_id: str, query: str) -> Recalled:
        """What is remembered of this user for this query; empty for an unknown user."""
        ...

    def forget(self, user_id: str) -> None:
        """Drop whatever is held of sessions the journal no longer has."""
        ...


def check_memory_name(name: str) -> MemoryName:
    """Return `name` if it is one of the memories.

    Raises:
        InvalidInputError: it isn't; the message lists them.
    """
    if name not in MEMORY_NAMES:
        raise InvalidInputError(f"memory {name!r} is unknown; use one of {', '.join(MEMORY_NAMES)}")
    return name


_ASKED = 500
"""Characters: encoders read no more than some two hundred words, and adapters are taught with
questions."""


def asked_in(message: str) -> str:
    """What is asked about in a message: its end, with what is told or pasted before left out."""
    return message[-_ASKED:]


def with_snippets(system_prompt: str | None, snippets: tuple[Snippet, ...]) -> str | None:
    """The system prompt with retrieved snippets under it; unchanged when there are none."""
    if not snippets:
        return system_prompt
    quoted = "\n\n".join(snippet.text for snippet in snippets)
    head = f"{system_prompt}\n\n" if system_prompt else ""
    return f"{head}From earlier conversations with this user:\n\n{quoted}"
