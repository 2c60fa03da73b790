"""Chats that LangChain and LangGraph keep: threads, message histories, chat loaders."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage

from plum_langchain.errors import BrokenRecordError, PlumError
from plum_langchain.importers.messages import turns_of
from plum_langchain.importers.records import OnBroken, broken, session_of, time_of
from plum_langchain.session import Session, Turn, check_id

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
    """One session for each thread of a LangGraph checkpointer, as its latest checkpoint has it.

    Args:
        checkpointer: Of any kind; a synchronous one.
        user: Whose threads they are. By default the `user_id` (or `langgraph_user_id`) that the
            run was configured with, which checkpoints keep in their metadata. A function may give
            None for a thread that is to be left out.
        on_broken: Told of each broken thread, which is left out then; None raises.

    Raises:
        BrokenRecordError: without `on_broken`: nobody is named for a thread, or its messages can't
            be read.
    """
    latest: dict[str, CheckpointTuple] = {}
    began: dict[str, str] = {}
    for found in checkpointer.list(None):  # the latest of each thread first
        settings = found.config["configurable"]
        if not settings.get("checkpoint_ns"):  # else a subgraph's
            thread = str(settings["thread_id"])
            latest.setdefault(thread, found)
            began[thread] = found.checkpoint["ts"]
    for thread, found in latest.items():
        try:
            session = _thread(thread, found, user, began[thread])
        except PlumError as error:
            broken(BrokenRecordError(f"thread {thread!r}: {error}"), on_broken)
            continue
        if session is not None and session.turns:
            yield session


def _thread(
    thread: str, found: "CheckpointTuple", user: WhoseThread | None, began: str
) -> Session | None:
    whose = _whose(user, thread, found.metadata)
    messages = found.checkpoint["channel_values"].get("messages", [])
    if whose is None or not messages:
        return None
    if not all(isinstance(message, BaseMessage) for message in messages):
        raise BrokenRecordError("its `messages` are no LangChain messages")
    started = time_of(began, "ts")
    return session_of(whose, thread, turns_of(messages), started, thread_id=thread)


def _whose(user: WhoseThread | None, thread: str, metadata: Mapping[str, Any]) -> str | None:
    if callable(user):
        return user(thread, metadata)
    named = user or metadata.get("user_id") or metadata.get("langgraph_user_id")
    if named is None:
        raise BrokenRecordError(
            "its checkpoint names no user; say whose it is with user=, a name or a function of "
            "thread id and metadata"
        )
    return str(named)


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
    session has two sides. Each session is named by its source and its place.

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
    """
    check_id(user, "user id")
    for number, chat in enumerate(loader.lazy_load(), start=1):
        turns, senders, started = [], set(), None
        for message in chat["messages"]:
            sender = _sender(message)
            senders.add(sender)
            text = str(message.text)
            started = started or _written(message)
            if text.strip():
                turns.append(Turn("user" if sender == said_by else "assistant", text, message.id))
        if not any(turn.role == "user" for turn in turns):
            names = ", ".join(sorted(map(repr, senders))) or "nobody"
            error = BrokenRecordError(
                f"{source} chat {number}: {said_by!r} says nothing in it, but {names}; name the "
                "user as the chat does with said_by="
            )
            broken(error, on_broken)
            continue
        name = f"{source}-{number}"
        yield session_of(user, name, tuple(turns), started or datetime.now(UTC))


def _sender(message: BaseMessage) -> str:
    named = message.additional_kwargs.get("sender")
    if named:
        return str(named)
    return "user" if isinstance(message, HumanMessage) else "assistant"


def _written(message: BaseMessage) -> datetime | None:
    """When a message was written, if the loader tells it in a way that can be read."""
    for event in message.additional_kwargs.get("events", ()):
        for value in event.values() if isinstance(event, Mapping) else ():
            try:
                return time_of(value, "message_time")
            except BrokenRecordError:
                continue
    return None
