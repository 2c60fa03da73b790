"""Chats that LangChain and LangGraph keep: threads, message histories, chat loaders."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage

from plum_langchain.errors import BrokenRecordError, PlumError
from plum_langchain.importers.records import OnBroken, leave_out, seconds_of, session_of, time_of
from plum_langchain.session import Session, Turn, check_id
from plum_langchain.turns import turns_of

if TYPE_CHECKING:
    from langchain_core.chat_history import BaseChatMessageHistory
    from langchain_core.chat_loaders import BaseChatLoader
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

WhoseThread = str | Callable[[str, Mapping[str, Any]], str | None]
"""A user, or a function of a thread's id and its checkpoint's metadata that names them."""


def read_threads(
    checkpointer: "BaseCheckpointSaver[Any]",
    user: WhoseThread | None = None,
    *,
    on_broken: OnBroken | None = None,
) -> Iterator[Session]:
    """One session for each thread of a LangGraph checkpointer, and for each of its users.

    The messages are those of the thread's latest checkpoint. In a thread that several users share
    each has what was new in the checkpoints of their own runs.

    Args:
        checkpointer: Of any kind; a synchronous one.
        user: Whose threads they are. By default the `user_id` (or `langgraph_user_id`) that each
            run was configured with, which checkpoints keep in their metadata. A function may give
            None for what is to be left out.
        on_broken: Told of each broken thread, which is left out then; None raises.

    Raises:
        BrokenRecordError: without `on_broken`: nobody is named for a thread, or its messages can't
            be read.
        InvalidInputError: a user id that can't be one.

    Example:
        ```python
        from langchain.agents import create_agent
        from langgraph.checkpoint.memory import InMemorySaver
        from plum_langchain import Plum
        from plum_langchain.importers import read_threads

        checkpointer = InMemorySaver()  # yours: SQLite, PostgreSQL, ...
        agent = create_agent("openai:gpt-5-mini", checkpointer=checkpointer)
        who = {"configurable": {"user_id": "ana", "thread_id": "rye"}}
        agent.invoke({"messages": [("user", "My rye loaf takes 18 hours.")]}, who)

        plum = Plum("my-home")
        for session in read_threads(checkpointer, on_broken=print):
            plum.add_session(session)
        ```
    """
    if isinstance(user, str):
        check_id(user, "user id")
    threads: dict[tuple[str, str], list[CheckpointTuple]] = {}
    for found in checkpointer.list(None):  # the latest of each thread first
        settings = found.config["configurable"]
        if not settings.get("checkpoint_ns"):  # else a subgraph's
            thread = settings["thread_id"]
            threads.setdefault((type(thread).__name__, str(thread)), []).append(found)
    for (_, thread), checkpoints in threads.items():
        try:
            sessions = _sessions(thread, checkpoints[::-1], user)
        except PlumError as error:
            leave_out(BrokenRecordError(f"thread {thread!r}: {error}"), on_broken)
            continue
        yield from sessions


def _sessions(
    thread: str, checkpoints: Sequence["CheckpointTuple"], user: WhoseThread | None
) -> list[Session]:
    """Of a thread's checkpoints, the oldest first."""
    known: set[object] = set()
    owners: dict[object, str | None] = {}
    for found in checkpoints:
        new = [key for key, _ in _messages(found) if key not in known]
        if new:
            known.update(new)
            owners.update(dict.fromkeys(new, _whose(user, thread, found.metadata)))
    said: dict[str, list[BaseMessage]] = {}
    for key, message in _messages(checkpoints[-1]):
        owner = owners[key]
        if owner is not None:
            said.setdefault(owner, []).append(message)
    started = time_of(checkpoints[0].checkpoint["ts"], "ts")
    made = [
        session_of(owner, thread, turns_of(messages), started, thread_id=thread)
        for owner, messages in said.items()
    ]
    return [session for session in made if session.turns]


def _messages(found: "CheckpointTuple") -> list[tuple[object, BaseMessage]]:
    """The messages of a checkpoint, each with what it is known by."""
    messages = found.checkpoint["channel_values"].get("messages", [])
    if not isinstance(messages, list) or not all(isinstance(m, BaseMessage) for m in messages):
        raise BrokenRecordError("its `messages` are no LangChain messages")
    return [(m.id if m.id is not None else place, m) for place, m in enumerate(messages)]


def _whose(user: WhoseThread | None, thread: str, metadata: Mapping[str, Any]) -> str | None:
    if callable(user):
        return user(thread, metadata)
    for named in (user, metadata.get("user_id"), metadata.get("langgraph_user_id")):
        if named is not None:
            return str(named)
    raise BrokenRecordError(
        "its checkpoint names no user; say whose it is with user=, a name or a function of "
        "thread id and metadata"
    )


def read_history(
    history: "BaseChatMessageHistory",
    user: str,
    session: str,
    *,
    started: datetime | None = None,
) -> Session:
    """A message history (Redis, SQL, a file, in memory: any of LangChain's) as one session.

    Args:
        history: Of one chat.
        user: Whose.
        session: What the session is to be called.
        started: When it began; now, if that isn't known.

    Raises:
        BrokenRecordError: nobody says anything in it.
        InvalidInputError: an id that can't be one.

    Example:
        ```python
        from langchain_community.chat_message_histories import FileChatMessageHistory
        from plum_langchain import Plum
        from plum_langchain.importers import read_history

        plum = Plum("my-home")
        history = FileChatMessageHistory("friday.json")
        plum.add_session(read_history(history, "ana", "friday"))
        ```
    """
    turns = turns_of(history.messages)
    if not turns:
        raise BrokenRecordError(f"the history of session {session!r} holds nothing that was said")
    return session_of(user, session, turns, started or datetime.now(UTC), thread_id=session)


def read_loader(
    loader: "BaseChatLoader",
    user: str,
    *,
    said_by: str,
    source: str,
    on_broken: OnBroken | None = None,
) -> Iterator[Session]:
    """The chats of a chat loader of langchain-community (WhatsApp, Telegram, Slack, ...).

    What the user wrote are the user's turns; what anybody else wrote are the assistant's, since a
    session has two sides: use `QuestionSettings(learn_assistant=False)` where that isn't to be
    learned as the assistant's advice. A chat whose time can't be read began now.

    Args:
        loader: Any.
        user: Whose memory they are for.
        said_by: What the user is called in them (`sender` of the loader's messages).
        source: Begins the sessions' names ("whatsapp").
        on_broken: Told of each chat in which the user says nothing, which is left out then; None
            raises.

    Raises:
        BrokenRecordError: without `on_broken`: the user says nothing in a chat; the message names
            those who do.
        InvalidInputError: an id that can't be one.

    Example:
        ```python
        from langchain_community.chat_loaders.whatsapp import WhatsAppChatLoader
        from plum_langchain import Plum
        from plum_langchain.importers import read_loader

        plum = Plum("my-home")
        loader = WhatsAppChatLoader("chat.txt")
        for session in read_loader(loader, "ana", said_by="Ana Silva", source="whatsapp"):
            plum.add_session(session)
        ```
    """
    check_id(user, "user id")
    for number, chat in enumerate(loader.lazy_load(), start=1):
        messages = [message for message in chat["messages"] if str(message.text).strip()]
        if not messages:
            continue  # what a loader makes of an archive's other files
        turns = tuple(
            Turn("user" if _sender(m) == said_by else "assistant", str(m.text), m.id)
            for m in messages
        )
        if not any(turn.role == "user" for turn in turns):
            names = ", ".join(sorted({repr(_sender(message)) for message in messages}))
            error = BrokenRecordError(
                f"{source} chat {number}: {said_by!r} says nothing in it, but {names}; name the "
                "user as the chat does with said_by=, or leave it out with on_broken="
            )
            leave_out(error, on_broken)
            continue
        # Named by how it begins: its place changes with what else is exported.
        first = f"{_sender(messages[0])}\n{_written(messages[0])}\n{messages[0].text}"
        name = f"{source}-{hashlib.sha256(first.encode()).hexdigest()[:16]}"
        yield session_of(user, name, turns, _time(messages) or datetime.now(UTC))


def _time(messages: Sequence[BaseMessage]) -> datetime | None:
    """When a chat began, if its loader tells it in a way that can be read."""
    written = _written(messages[0])
    for read in (lambda: time_of(written, ""), lambda: seconds_of(written, "")):
        try:
            return read()
        except BrokenRecordError:
            continue
    for form in ("%m/%d/%y, %I:%M:%S %p", "%m/%d/%Y, %I:%M:%S %p", "%d.%m.%Y %H:%M:%S"):
        try:
            return datetime.strptime(str(written).replace("\u202f", " "), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _sender(message: BaseMessage) -> str:
    named = message.additional_kwargs.get("sender")
    if named:
        return str(named)
    return "user" if isinstance(message, HumanMessage) else "assistant"


def _written(message: BaseMessage) -> Any:
    """When a message was written, as its loader tells it; None if it doesn't."""
    events = message.additional_kwargs.get("events") or [{}]
    return events[0].get("message_time") if isinstance(events[0], Mapping) else None
