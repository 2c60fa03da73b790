"""Chats from the data that ChatGPT and Claude export (a .zip, or the conversations.json in it)."""

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plum_langchain.errors import BrokenRecordError, MissingFileError, PlumError
from plum_langchain.importers.records import OnBroken, leave_out, seconds_of, session_of, time_of
from plum_langchain.session import Role, Session, Turn, check_id


def read_chatgpt(
    path: str | os.PathLike[str], user: str, *, on_broken: OnBroken | None = None
) -> Iterator[Session]:
    """One session for each conversation of a ChatGPT export.

    Of a conversation that was edited or answered anew the branch that was last shown. What tools
    said, hidden messages, images, files and thoughts are left out; a conversation in which nothing
    is left is none.

    Args:
        path: The export, a .zip, or its conversations.json.
        user: Whose chats they are.
        on_broken: Told of each broken conversation, which is left out then; None raises.

    Raises:
        MissingFileError: the file can't be read.
        BrokenRecordError: it is no such export, or (without `on_broken`) a conversation is broken.
        InvalidInputError: the user id can't be one.

    Example:
        ```python
        from plum_langchain import Plum
        from plum_langchain.importers import read_chatgpt

        plum = Plum("my-home")
        for session in read_chatgpt("conversations.json", "ana", on_broken=print):
            plum.add_session(session)
        ```
    """
    yield from _sessions(path, user, on_broken, _chatgpt)


def read_claude(
    path: str | os.PathLike[str], user: str, *, on_broken: OnBroken | None = None
) -> Iterator[Session]:
    """One session for each conversation of a Claude export; like `read_chatgpt`.

    The branch last shown is the one the export names, else the one with the newest message. Of an
    export that doesn't tell for each message which one it answers all messages are taken, in their
    order.

    Example:
        ```python
        from plum_langchain import Plum
        from plum_langchain.importers import read_claude

        plum = Plum("my-home")
        for session in read_claude("conversations.json", "ana", on_broken=print):
            plum.add_session(session)
        ```
    """
    yield from _sessions(path, user, on_broken, _claude)


def _sessions(
    path: str | os.PathLike[str], user: str, on_broken: OnBroken | None, read: Any
) -> Iterator[Session]:
    check_id(user, "user id")
    for place, record in _conversations(path):
        try:
            if not isinstance(record, Mapping):
                raise BrokenRecordError(f"a {type(record).__name__}, expected an object")
            session = read(record, user)
        except PlumError as error:
            leave_out(BrokenRecordError(f"{place}: {error}"), on_broken)
            continue
        except (AttributeError, TypeError, ValueError) as error:
            told = (
                f"{place}: it isn't shaped as exports are ({error}); give it as it was downloaded"
            )
            leave_out(BrokenRecordError(told), on_broken)
            continue
        if session.turns:
            yield session


def _chatgpt(record: Mapping[str, Any], user: str) -> Session:
    mapping = record.get("mapping")
    if not isinstance(mapping, Mapping):
        raise BrokenRecordError("it has no `mapping` of messages")
    branch: list[Any] = []
    node_id, seen = _required(record, "current_node"), set()
    while node_id is not None:
        node = mapping.get(node_id)
        if not isinstance(node, Mapping) or node_id in seen:
            raise BrokenRecordError(f"message {node_id!r} is missing from its `mapping`")
        seen.add(node_id)
        branch.append(node.get("message"))
        node_id = node.get("parent")
    turns = tuple(turn for message in reversed(branch) if (turn := _chatgpt_turn(message)))
    return session_of(
        user,
        f"chatgpt-{record.get('conversation_id') or _required(record, 'id')}",
        turns,
        seconds_of(_required(record, "create_time"), "create_time"),
        topic=str(record.get("title") or ""),
    )


def _chatgpt_turn(message: Any) -> Turn | None:
    """A message as a turn; None for what neither user nor assistant said to the other."""
    if not isinstance(message, Mapping):
        return None
    role = (message.get("author") or {}).get("role")
    content = message.get("content") or {}
    hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
    if role not in ("user", "assistant") or hidden or message.get("recipient", "all") != "all":
        return None
    if content.get("content_type") not in ("text", "multimodal_text"):
        return None
    parts = content.get("parts") or []
    if not isinstance(parts, list):
        raise BrokenRecordError("a message's `parts` are no list")
    # What was spoken comes as a part of its own, with its transcription.
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    said = [text for text in texts if isinstance(text, str) and text.strip()]
    if not said:
        return None
    at = _time(message, "create_time", seconds_of)
    return Turn(role, _MARKS.sub("", "\n\n".join(said)), _id(message, "id"), at)


_MARKS = re.compile("\ue200.*?\ue201|【[^】]*†[^】]*】", re.S)
"""ChatGPT's marks of where an answer is from."""


def _id(message: Mapping[str, Any], name: str) -> str | None:
    found = message.get(name)
    return found if isinstance(found, str) else None


def _time(
    message: Mapping[str, Any], name: str, read: Callable[[Any, str], datetime]
) -> datetime | None:
    """When a message was written; None where that can't be told, which is no reason to lose it."""
    try:
        return read(message.get(name), name)
    except BrokenRecordError:
        return None


def _claude(record: Mapping[str, Any], user: str) -> Session:
    messages = record.get("chat_messages")
    if not isinstance(messages, list):
        raise BrokenRecordError("it has no list of `chat_messages`")
    turns = []
    for number in _claude_branch(messages, record.get("current_leaf_message_uuid")):
        message = messages[number]
        if not isinstance(message, Mapping) or message.get("sender") not in ("human", "assistant"):
            raise BrokenRecordError(f"message {number} is of neither human nor assistant")
        blocks = message.get("content") or []
        if not isinstance(blocks, list):
            raise BrokenRecordError(f"the `content` of message {number} is no list")
        texts = [
            b.get("text") for b in blocks if isinstance(b, Mapping) and b.get("type") == "text"
        ]
        # `text` is for exports without blocks; beside them it holds placeholders for the others.
        text = "\n\n".join(t for t in texts if t) if blocks else message.get("text") or ""
        if text.strip():
            role: Role = "user" if message["sender"] == "human" else "assistant"
            at = _time(message, "created_at", time_of)
            turns.append(Turn(role, text, _id(message, "uuid"), at))
    return session_of(
        user,
        f"claude-{_required(record, 'uuid')}",
        tuple(turns),
        time_of(_required(record, "created_at"), "created_at"),
        topic=str(record.get("name") or ""),
    )


def _claude_branch(messages: list[Any], shown: Any) -> list[int]:
    """The places of the messages that were last shown, the first one first.

    Args:
        messages: Of a conversation.
        shown: The last message of the branch that is shown, where the export names it.

    Raises:
        BrokenRecordError: messages answer one another in a circle.
    """
    everything = list(range(len(messages)))
    if not all(isinstance(message, Mapping) for message in messages):
        return everything
    parents = [_id(message, "parent_message_uuid") for message in messages]
    places = {uuid: n for n, message in enumerate(messages) if (uuid := _id(message, "uuid"))}
    # Where any but the first message doesn't tell which one it answers, or one has no name of its
    # own, the way back from the last would miss some that were shown.
    if len(places) < len(messages) or not any(parents) or not all(parents[1:]):
        return everything
    place = places.get(shown) if isinstance(shown, str) else None
    if place is None:
        answered = {places.get(parent) for parent in parents if parent}
        place = max(
            (number for number in everything if number not in answered),
            key=lambda number: (_time(messages[number], "created_at", time_of) or _NEVER, number),
            default=everything[-1],
        )
    branch: list[int] = []
    seen: set[int] = set()
    while place is not None:
        if place in seen:
            raise BrokenRecordError(
                f"message {place} answers one that is an answer to it (`parent_message_uuid`)"
            )
        seen.add(place)
        branch.append(place)
        parent = parents[place]
        place = places.get(parent) if parent else None  # the first one's names no message
    return branch[::-1]


_NEVER = datetime.min.replace(tzinfo=UTC)
"""The time of a message that has none, which is older than any other."""


def _required(record: Mapping[str, Any], name: str) -> Any:
    if record.get(name) is None:
        raise BrokenRecordError(f"it has no `{name}`")
    return record[name]


def _conversations(path: str | os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    """Each conversation, and where it stands."""
    for name, content in _files(Path(path)):
        try:
            found = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise BrokenRecordError(
                f"{name}: not JSON ({error}); give the export as it was downloaded"
            ) from error
        if not isinstance(found, list):
            raise BrokenRecordError(
                f"{name}: a {type(found).__name__}, expected a list of conversations; give the "
                "export as it was downloaded, or the conversations.json in it"
            )
        for number, record in enumerate(found, start=1):
            yield f"{name}, conversation {number}", record


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of conversations: one, or those in an archive (large exports have several)."""
    try:
        if not zipfile.is_zipfile(path):
            yield str(path), path.read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            names = sorted(
                name
                for name in archive.namelist()
                if (base := name.rsplit("/", 1)[-1]).startswith("conversations")
                and base.endswith(".json")
            )
            if not names:
                raise BrokenRecordError(
                    f"{path}: there is no conversations.json in it; give the export of ChatGPT or "
                    "Claude as it was downloaded"
                )
            for name in names:
                yield f"{path}/{name}", archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise MissingFileError(f"{path} can't be read ({error}); check the path") from error
