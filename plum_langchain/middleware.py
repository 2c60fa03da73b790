"""PlumMiddleware: long-term memory for agents made with `langchain.agents.create_agent`.

It does three things at every model call: it writes what is new in the thread to the journal
(before the reply is given, and the reply after), it names the user, and it brings in the memory:
for a ChatPlum by asking it for that user's adapter or recall, for another model by putting
retrieved text into the system message.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import BaseMessage, SystemMessage

from plum_langchain.chat_models import ChatPlum
from plum_langchain.errors import InvalidInputError, PlumError
from plum_langchain.importers.messages import said_by_user, turns_of
from plum_langchain.memories.base import MemoryName, check_memory_name, with_snippets
from plum_langchain.memories.recollection import Recollection, listed
from plum_langchain.users import UserId, checked_user, memory_of, thread_of, user_of

if TYPE_CHECKING:
    from plum_langchain.plum import Plum

logger = logging.getLogger(__name__)


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
        memory: "parametric", "retrieval", "hybrid" or "none" (records, recalls nothing). A request
            may choose another: `context.memory` (or `["memory"]`), or `configurable["memory"]`.
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
        self.user_id = checked_user(user_id)
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
        memory = memory_of(request.runtime, self.memory)
        if isinstance(request.model, ChatPlum):
            settings = {"user_id": user_id, "memory": memory, "k": self.k}
            return request.override(model_settings={**request.model_settings, **settings})
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
        own = request.system_message.text if request.system_message else None
        system = with_snippets(own, snippets)
        return request.override(system_message=SystemMessage(system)) if system else request

    def _record(self, user_id: str, thread_id: str, messages: Sequence[BaseMessage]) -> None:
        idle = self.plum.settings.idle_seconds
        self.plum.journal.sessions.merge(user_id, thread_id, turns_of(messages), idle_seconds=idle)

    def _who(self, runtime: Any) -> tuple[str, str]:
        """User and thread of this call."""
        hint = f"{type(self).__name__}(plum, user_id=...)"
        return user_of(runtime, self.user_id, hint=hint), thread_of(runtime)


class RetrievalMiddleware(PlumMiddleware):
    """`PlumMiddleware` over the Chroma baseline; works with any chat model."""

    default_memory = "retrieval"


class HybridMiddleware(PlumMiddleware):
    """`PlumMiddleware` over adapter and Chroma together."""

    default_memory = "hybrid"


class PlumRecallMiddleware(PlumMiddleware):
    """`PlumMiddleware` for agents on anybody's chat model: what is remembered is told to it.

    Before every model call the user's own adapter, on the local base model, is asked what it
    remembers about the user's last message. The facts that come back are put into the system
    message, each with who said it, when, and how sure it is that it was asked for. The chat is
    recorded as by `PlumMiddleware`, so that it will be learned.

    A reply never waits longer for its memory than `timeout`, and no failure of the memory keeps it
    from being given: it is given without then, and the log says so. (A missing user is an error
    all the same.)

    Args:
        plum: The open home.
        memory: "parametric", "retrieval" (exchanges from Chroma), "hybrid" (both) or "none".
        user_id: As for `PlumMiddleware`.
        k: How many facts, and how many exchanges, at most.
        least: How sure a fact must be; from 0 to 1.
        timeout: Seconds. The first recall loads the local model.

    Raises:
        InvalidInputError: a memory, user id, k, `least` or `timeout` that can't be.

    Example:
        ```python
        from langchain.agents import create_agent
        from plum_langchain import Plum, PlumRecallMiddleware

        plum = Plum("my-home")
        agent = create_agent("openai:gpt-5-mini", middleware=[PlumRecallMiddleware(plum)])
        agent.invoke(
            {"messages": [("user", "Which day is my bakery closed?")]},
            {"configurable": {"user_id": "ana", "thread_id": "t1"}},
        )
        ```

    Raises (on a call):
        MissingUserError: no user is named.
    """

    def __init__(
        self,
        plum: "Plum",
        *,
        memory: str | None = None,
        user_id: UserId | None = None,
        k: int = 3,
        least: float = 0.5,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(plum, memory=memory, user_id=user_id, k=k)
        if not 0 <= least <= 1:
            raise InvalidInputError(f"least must be from 0 to 1, not {least}")
        if not timeout > 0:
            raise InvalidInputError(f"timeout must be a positive number of seconds, not {timeout}")
        self.least = least
        self.timeout = timeout
        # One, since the engine answers one request at a time anyway.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="plum-recall")

    def _prepare(self, request: ModelRequest, user_id: str, thread_id: str) -> ModelRequest:
        self._record(user_id, thread_id, request.messages)
        if isinstance(request.model, ChatPlum):
            settings = {**request.model_settings, "user_id": user_id, "memory": "none"}
            request = request.override(model_settings=settings)
        memory = memory_of(request.runtime, self.memory)
        remembered = [] if memory == "none" else self._recall(user_id, _asked(request), memory)
        if not remembered:
            return request
        own = f"{request.system_message.text}\n\n" if request.system_message else ""
        return request.override(system_message=SystemMessage(own + _told_to_model(remembered)))

    def _recall(self, user_id: str, asked: str, memory: MemoryName) -> list[Recollection]:
        """What is remembered, or nothing if it fails or takes too long."""
        future = self._worker.submit(self.plum.recall, user_id, asked, memory=memory, k=self.k)
        try:
            found = future.result(self.timeout)
        except TimeoutError:
            future.cancel()
            logger.warning(
                "nothing was recalled for user %r within %g s; the model replies without memory",
                user_id,
                self.timeout,
            )
            return []
        except PlumError as error:
            logger.warning(
                "nothing could be recalled for user %r; the model replies without memory: %s",
                user_id,
                error,
            )
            return []
        except Exception:  # whatever torch or Chroma please: a reply is worth more than its memory
            logger.exception(
                "recalling failed for user %r; the model replies without memory", user_id
            )
            return []
        # What retrieval finds is nearest, not sure: it has always been put in whole.
        return [one for one in found if one.memory == "retrieval" or one.confidence >= self.least]


def _told_to_model(remembered: Sequence[Recollection]) -> str:
    return (
        'Remembered from earlier conversations with this user, addressed to them ("you" is the '
        f'user, "I" is you):\n\n{listed(remembered)}'
    )


def _asked(request: ModelRequest) -> str:
    """The user's last message."""
    return next((str(m.text) for m in reversed(request.messages) if said_by_user(m)), "")


def _replies(response: ModelResponse) -> list[BaseMessage]:
    """The model's replies, each with an id, so that the state's copy is known as the same."""
    for message in response.result:
        if message.id is None:
            message.id = str(uuid4())
    return list(response.result)
