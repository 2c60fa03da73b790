"""Whose request it is, and of which memory: named by the application, never guessed."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from plum_langchain.errors import MissingUserError
from plum_langchain.memories.base import MemoryName, check_memory_name
from plum_langchain.session import check_id

UserId = str | Callable[[Any], str]
"""A name, or a function of the runtime that tells it; if that gives None, nobody is named."""


_NAMES = ("user_id", "langgraph_user_id")
"""How a user is named in what is configurable."""

_in_chain: ContextVar[tuple[str, MemoryName] | None] = ContextVar("plum_in_chain", default=None)
"""Of a call of a classic chain that names its memory: whose it is, and which."""


def checked_user(user_id: UserId | None) -> UserId | None:
    """A user as given to a face.

    Raises:
        InvalidInputError: a name that can't be one.
    """
    return check_id(user_id, "user id") if isinstance(user_id, str) else user_id


def user_of(
    runtime: Any,
    given: UserId | None,
    *,
    hint: str,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """The user of a request inside an agent or a graph.

    In this order: `given`, `runtime.context.user_id` (or `["user_id"]`), `configurable["user_id"]`,
    `configurable["langgraph_user_id"]`, the server's authenticated user. A function that is given
    tells it alone.

    Args:
        runtime: LangGraph's, or a tool's; None outside of both.
        given: To the face, at construction.
        hint: How a user is given to this face, for the error.
        settings: What is configurable, if not what the run we are in has.

    Raises:
        MissingUserError: nobody is named.
        InvalidInputError: the name can't be one.
    """
    server_user = getattr(getattr(runtime, "server_info", None), "user", None)
    settings = configurable() if settings is None else settings
    if callable(given):  # who tells the user alone, nobody included
        candidates: tuple[Any, ...] = (given(runtime),)
    else:
        candidates = (
            given,
            _in_context(runtime, "user_id"),
            *(settings.get(name) for name in _NAMES),
            getattr(server_user, "identity", None),
        )
    for candidate in candidates:
        if candidate is not None:
            # Databases give numbers and UUIDs; anything else that isn't text is a mistake.
            plain = isinstance(candidate, int | UUID) and not isinstance(candidate, bool)
            return check_id(str(candidate) if plain else candidate, "user id")
    raise MissingUserError(
        f'no user is named for this request; pass {hint}, context={{"user_id": ...}}, or '
        'config={"configurable": {"user_id": ...}}'
    )


def named_by_call(settings: Mapping[str, Any]) -> Any:
    """The user that a call's own config names; None if it has no other than the run we are in.

    Args:
        settings: What is configurable in it: the run's, too, if it was passed on.
    """
    of_run = configurable()
    named = (settings.get(name) for name in _NAMES if settings.get(name) != of_run.get(name))
    return next((user for user in named if user is not None), None)


def memory_of(runtime: Any, default: MemoryName) -> MemoryName:
    """The memory of a request: `context.memory`, `configurable["memory"]`, or the face's own.

    Raises:
        InvalidInputError: no memory is called so.
    """
    chosen = _in_context(runtime, "memory")
    chosen = configurable().get("memory") if chosen is None else chosen
    return default if chosen is None else check_memory_name(chosen)


def choose_in_chain(user_id: str, memory: MemoryName | None) -> None:
    """Tell the chain's own model what its classic memory was told, for the rest of the call.

    Classic chains pass their model no settings; it runs in the context that the memory was loaded
    in. The choice ends with None: when the exchange is saved, and when the next is loaded.
    """
    _in_chain.set(None if memory is None else (user_id, memory))


def chosen_in_chain(user_id: str | None) -> MemoryName | None:
    """What a model of this user is to wear in a chain: "parametric" or "none"; None: its own.

    What is retrieved is in the prompt already.
    """
    whose, memory = _in_chain.get() or (None, None)
    if memory is None or user_id is None or whose != user_id:
        return None
    return "parametric" if memory in ("parametric", "hybrid") else "none"


def thread_of(runtime: Any) -> str:
    """The thread of a request; "agent" where it has none."""
    info = getattr(runtime, "execution_info", None)
    thread = configurable().get("thread_id") or getattr(info, "thread_id", None)
    return str(thread) if thread is not None else "agent"


def in_a_tool() -> bool:
    """Whether the run we are in was begun by a tool: who speaks to it is a model, and no user.

    LangGraph names where a run is by the nodes around it; agents call their tools in "tools".
    """
    nodes = str(configurable().get("checkpoint_ns") or "").split("|")
    return any(node.partition(":")[0] == "tools" for node in nodes[:-1])


def _in_context(runtime: Any, name: str) -> Any:
    """A field of the run's context, whatever kind of object that is; None without."""
    context = getattr(runtime, "context", None)
    return context.get(name) if isinstance(context, Mapping) else getattr(context, name, None)


def configurable() -> Mapping[str, Any]:
    """The settings of the run we are in; none outside of a graph."""
    from langgraph.config import get_config

    try:
        return get_config().get("configurable", {})
    except RuntimeError:  # called outside a graph, as in a test of one's own
        return {}
