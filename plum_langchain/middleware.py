"""PlumMiddleware: long-term memory for agents made with `langchain.agents.create_agent`.

It does three things at every model call: it writes what is new in the thread to the journal
(before the reply is given, and the reply after), it names the user, and it brings in the memory:
for a ChatPlum by asking it for that user's adapter or recall, for another model by putting
retrieved text into the system message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from plum_langchain.chat_models import ChatPlum
from plum_langchain.errors import InvalidInputError, MissingUserError
from plum_langchain.memories.base import check_memory_name, with_snippets
from plum_langchain.session import Turn, check_id

if TYPE_CHECKING:
    from plum_langchain.plum import Plum

UserId = str | Callable[[Any], str]


class PlumMiddleware(AgentMiddleware):
    """Gives an agent a long-term memory of each of its users.

    The user is taken from, in this order: `user_id=` here (a name, or a function of the
    runtime), `runtime.context.user_id` (or `["user_id"]`), `configurable["user_id"]`,
    `configurable["langgraph_user_id"]`, the server's authenticated user. A request without a
    user is an error, never a shared default.

    The session follows the thread (`configurable["thread_id"]`): it ends when it has been silent
    for the home's `idle_seconds` and the next message begins a new one. Without a thread id, the
    user's messages form one thread of their own.

    Args:
        plum: The open home.
        memory: "parametric", "retrieval", "hybrid" or "none" (records, recalls nothing).
        user_id: See above.
        k: Exchanges recalled by retrieval and hybrid.

    Raises:
        InvalidInputError: a memory, user id or k that can't be.

    Example:
        ```python
        from langchain.agents import create_agent
        from plum_langchain import Plum, PlumMiddleware

        plum = Plum("my-home")
        agent = create_agent(plum.chat_model(), middleware=[PlumMiddleware(plum)])
        agent.invoke(
            {"messages": [("user", "Which day is my bakery closed?")]},
            {"configurable": {"user_id": "ana", "thread_id": "t1"}},
        )
        ```

    Raises (on a call):
        MissingUserError: no user is named.
        InvalidInputError: parametric or hybrid memory with a model that is not ours.
    """

    default_memory = "parametric"

    def __init__(
        self,
        plum: "Plum",
        *,
        memory: str | None = None,
        user_id: UserId | None = None,
        k: int = 3,
    ) -> None:
        super().__init__()
        self.plum = plum
        self.memory = check_memory_name(memory or self.default_memory)
        plum.memory_named(self.memory, k=k)  # a wrong k is told now, not at the first request
        self.user_id = check_id(user_id, "user id") if isinstance(user_id, str) else user_id
        self.k = k

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        """Record what is new, answer with the user's memory, record the reply."""
        user_id, thread_id = self._who(request.runtime)
        response = handler(self._prepare(request, user_id, thread_id))
        self._record(user_id, thread_id, [*request.messages, *_replies(response)])
        return response

    async def awrap_model_call(
        self,
        request: ModelRequest,
        handler: Callable[[ModelRequest], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """The same without blocking the event loop on the journal or the index."""
        user_id, thread_id = self._who(request.runtime)
        prepared = await asyncio.to_thread(self._prepare, request, user_id, thread_id)
        response = await handler(prepared)
        await asyncio.to_thread(
            self._record, user_id, thread_id, [*request.messages, *_replies(response)]
        )
        return response

    def _prepare(self, request: ModelRequest, user_id: str, thread_id: str) -> ModelRequest:
        self._record(user_id, thread_id, request.messages)
        if isinstance(request.model, ChatPlum):
            settings = {"user_id": user_id, "memory": self.memory, "k": self.k}
            return request.override(model_settings={**request.model_settings, **settings})
        if self.memory == "none":
            return request
        if self.memory != "retrieval":
            raise InvalidInputError(
                f"{self.memory} memory answers with the user's own adapter, so the agent's model "
                f"must be plum.chat_model(), not {type(request.model).__name__}; or use "
                "memory='retrieval', which works with any model"
            )
        asked = next(
            (str(m.text) for m in reversed(request.messages) if _said_by_user(m)),
            "",
        )
        snippets = self.plum.memory_named("retrieval", k=self.k).recall(user_id, asked).snippets
        own = request.system_message.text if request.system_message else None
        system = with_snippets(own, snippets)
        return request.override(system_message=SystemMessage(system)) if system else request

    def _record(self, user_id: str, thread_id: str, messages: Sequence[BaseMessage]) -> None:
        turns = []
        for message in messages:
            text = str(message.text)
            if not text.strip():
                continue  # an image, or a bare call of a tool
            if _said_by_user(message):
                turns.append(Turn("user", text, message.id))
            elif isinstance(message, AIMessage):
                turns.append(Turn("assistant", text, message.id))
        idle = self.plum.settings.idle_seconds
        self.plum.journal.sessions.merge(user_id, thread_id, turns, idle_seconds=idle)

    def _who(self, runtime: Any) -> tuple[str, str]:
        """User and thread of this call."""
        configurable = _configurable()
        user_id = self._user(runtime, configurable)
        thread = configurable.get("thread_id") or getattr(
            getattr(runtime, "execution_info", None), "thread_id", None
        )
        return user_id, str(thread) if thread is not None else "agent"

    def _user(self, runtime: Any, configurable: Mapping[str, Any]) -> str:
        given = self.user_id(runtime) if callable(self.user_id) else self.user_id
        context = getattr(runtime, "context", None)
        if isinstance(context, Mapping):
            in_context = context.get("user_id")
        else:
            in_context = getattr(context, "user_id", None)
        server_user = getattr(getattr(runtime, "server_info", None), "user", None)
        candidates = (
            given,
            in_context,
            configurable.get("user_id"),
            configurable.get("langgraph_user_id"),
            getattr(server_user, "identity", None),
        )
        for candidate in candidates:
            if candidate is not None:
                # Databases give numbers and UUIDs; anything else that isn't text is a mistake.
                plain = isinstance(candidate, int | UUID) and not isinstance(candidate, bool)
                return check_id(str(candidate) if plain else candidate, "user id")
        raise MissingUserError(
            "no user is named for this request; pass PlumMiddleware(plum, user_id=...), "
            'context={"user_id": ...}, or config={"configurable": {"user_id": ...}}'
        )


class RetrievalMiddleware(PlumMiddleware):
    """`PlumMiddleware` over the Chroma baseline; works with any chat model."""

    default_memory = "retrieval"


class HybridMiddleware(PlumMiddleware):
    """`PlumMiddleware` over adapter and Chroma together."""

    default_memory = "hybrid"


def _configurable() -> Mapping[str, Any]:
    from langgraph.config import get_config

    try:
        return get_config().get("configurable", {})
    except RuntimeError:  # called outside a graph, as in a test of one's own
        return {}


def _said_by_user(message: BaseMessage) -> bool:
    # SummarizationMiddleware puts its summaries into the user's mouth, and marks them.
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


def _replies(response: ModelResponse) -> list[BaseMessage]:
    """The model's replies, each with an id, so that the state's copy is known as the same."""
    for message in response.result:
        if message.id is None:
            message.id = str(uuid4())
    return list(response.result)
