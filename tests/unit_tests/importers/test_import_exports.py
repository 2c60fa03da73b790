"""The data exports of ChatGPT and Claude: what was said, by whom, and what is broken where."""

import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import BrokenRecordError, InvalidInputError, MissingFileError
from plum_langchain.importers import read_chatgpt, read_claude
from plum_langchain.session import Session

Reader = Callable[..., Iterator[Session]]


def node(name: str, parent: str | None, message: Any = None) -> dict[str, Any]:
    return {"id": name, "parent": parent, "message": message}


def message(role: str, *parts: Any, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"m-{role}",
        "author": {"role": role},
        "content": {"content_type": "text", "parts": list(parts)},
        "recipient": "all",
        "metadata": {},
        **changes,
    }


def chatgpt(*messages: Any, name: str = "c1", **changes: Any) -> dict[str, Any]:
    """A conversation of these messages one after another."""
    mapping = {"root": node("root", None)}
    parent = "root"
    for number, one in enumerate(messages):
        mapping[f"n{number}"] = node(f"n{number}", parent, one)
        parent = f"n{number}"
    return {
        "title": "Bread",
        "create_time": 1705608660.5,
        "conversation_id": name,
        "mapping": mapping,
        "current_node": parent,
        **changes,
    }


def claude(*said: tuple[str, str], name: str = "c1", **changes: Any) -> dict[str, Any]:
    return {
        "uuid": name,
        "name": "Bread",
        "created_at": "2024-01-18T20:11:00.500000Z",
        "chat_messages": [
            {"uuid": f"m{n}", "sender": sender, "text": text, "content": []}
            for n, (sender, text) in enumerate(said)
        ],
        **changes,
    }


KINDS: dict[str, tuple[Reader, Any]] = {
    "chatgpt": (read_chatgpt, chatgpt(message("user", "Hi"), message("assistant", "Hello"))),
    "claude": (read_claude, claude(("human", "Hi"), ("assistant", "Hello"))),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def saved(path: Path, *conversations: Any) -> Path:
    path.write_text(json.dumps(conversations), "utf-8")
    return path


def turns(session: Session) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in session.turns]


# -- both ----------------------------------------------------------------------------------------


def test_a_conversation_is_a_finished_session(kind: str, tmp_path: Path) -> None:
    read, record = KINDS[kind]
    (found,) = read(saved(tmp_path / "conversations.json", record), "ana")
    assert (found.user_id, found.session_id, found.topic) == ("ana", f"{kind}-c1", "Bread")
    assert turns(found) == [("user", "Hi"), ("assistant", "Hello")]
    assert found.started == datetime(2024, 1, 18, 20, 11, 0, 500_000, tzinfo=UTC)
    assert found.state == "finished"


def test_an_archive_may_hold_several_files_in_any_folder(kind: str, tmp_path: Path) -> None:
    read, record = KINDS[kind]
    other = {**record, "uuid": "c2", "conversation_id": "c2"}
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("data/conversations-002.json", json.dumps([other]))
        archive.writestr("data/conversations-001.json", json.dumps([record]))
        archive.writestr("data/user.json", "{}")
    found = list(read(tmp_path / "export.zip", "ana"))
    assert [session.session_id for session in found] == [f"{kind}-c1", f"{kind}-c2"]


def test_a_second_import_changes_nothing(kind: str, tmp_path: Path, open_plum: Any) -> None:
    read, record = KINDS[kind]
    path, plum = saved(tmp_path / "conversations.json", record), open_plum()
    assert [plum.add_session(session) for session in read(path, "ana")] == ["added"]
    before = plum.journal.sessions.all()
    assert [plum.add_session(session) for session in read(path, "ana")] == ["unchanged"]
    assert plum.journal.sessions.all() == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mapping": None, "chat_messages": None}, "it has no"),
        ({"create_time": "soon", "created_at": "soon"}, "is 'soon', not a"),
        ({"create_time": None, "created_at": None}, "it has no `create"),
        ({"conversation_id": None, "uuid": None}, "it has no `"),
        (None, "a str, expected an object"),
        ({"mapping": {"n": 5}, "current_node": "n", "chat_messages": [5]}, "message"),
        ({"current_node": None, "chat_messages": [{"sender": "robot"}]}, ""),
    ],
)
def test_what_is_broken_is_told_by_place_and_skipped_only_when_told_to(
    kind: str, tmp_path: Path, changes: dict[str, Any] | None, told: str
) -> None:
    read, record = KINDS[kind]
    wrong = "text" if changes is None else {**record, **changes}
    path = saved(tmp_path / "conversations.json", record, wrong, {**record, "uuid": "c3"})
    with pytest.raises(BrokenRecordError, match=r"conversations.json, conversation 2: ") as error:
        list(read(path, "ana"))
    assert told in str(error.value)
    skipped: list[BrokenRecordError] = []
    found = list(read(path, "ana", on_broken=skipped.append))
    assert len(found) == 2 and [str(one) for one in skipped] == [str(error.value)]


@pytest.mark.parametrize("content", [b"{", b'{"a": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_export_is_told(kind: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(BrokenRecordError, match=r"file.json: .*export"):
        list(KINDS[kind][0](tmp_path / "file.json", "ana", on_broken=lambda _: None))


def test_an_archive_of_something_else_is_told(kind: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.json", "[]")
    with pytest.raises(BrokenRecordError, match=r"no conversations.json in it"):
        list(KINDS[kind][0](tmp_path / "photos.zip", "ana"))


def test_a_missing_file_and_a_wrong_user_are_told(kind: str, tmp_path: Path) -> None:
    read, record = KINDS[kind]
    with pytest.raises(MissingFileError, match="check the path"):
        list(read(tmp_path / "nowhere.zip", "ana"))
    with pytest.raises(InvalidInputError, match="user id"):
        list(read(saved(tmp_path / "conversations.json", record), ""))


# -- ChatGPT -------------------------------------------------------------------------------------


def test_only_what_the_two_said_to_each_other_is_taken(tmp_path: Path) -> None:
    record = chatgpt(
        message("system", "Be nice."),
        message("user", "Look", {"content_type": "image_asset_pointer"}, "at this",
                content={"content_type": "multimodal_text", "parts": ["Look", {"a": 1}, "here"]}),
        message("assistant", "search('bread')", recipient="browser"),
        message("tool", "Results"),
        message("assistant", "", content={"content_type": "thoughts", "thoughts": []}),
        message("user", "Never shown", metadata={"is_visually_hidden_from_conversation": True}),
        message("assistant", "   "),
        message("assistant", "Nice bread."),
    )  # fmt: skip
    (found,) = read_chatgpt(saved(tmp_path / "c.json", record), "ana")
    assert turns(found) == [("user", "Look\n\nhere"), ("assistant", "Nice bread.")]


def test_the_branch_that_was_last_shown_is_taken(tmp_path: Path) -> None:
    record = chatgpt(message("user", "Hi"), message("assistant", "First try"))
    record["mapping"]["again"] = node("again", "n0", message("assistant", "Second try"))
    record["current_node"] = "again"
    (found,) = read_chatgpt(saved(tmp_path / "c.json", record), "ana")
    assert turns(found) == [("user", "Hi"), ("assistant", "Second try")]


def test_a_conversation_without_words_is_none(tmp_path: Path) -> None:
    assert not list(read_chatgpt(saved(tmp_path / "c.json", chatgpt()), "ana"))


@pytest.mark.parametrize("parent", ["nowhere", "n0"])
def test_a_tree_that_can_not_be_walked_is_broken(tmp_path: Path, parent: str) -> None:
    record = chatgpt(message("user", "Hi"))
    record["mapping"]["n0"]["parent"] = parent
    with pytest.raises(BrokenRecordError, match="is missing from its `mapping`"):
        list(read_chatgpt(saved(tmp_path / "c.json", record), "ana"))


# -- Claude --------------------------------------------------------------------------------------


def test_text_blocks_come_before_the_plain_text(tmp_path: Path) -> None:
    record = claude(("human", "Hi"), ("assistant", "thinking and all"), ("human", "  "))
    record["chat_messages"][1]["content"] = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "name": "search"},
        {"type": "text", "text": "there"},
    ]
    (found,) = read_claude(saved(tmp_path / "c.json", record), "ana")
    assert turns(found) == [("user", "Hi"), ("assistant", "Hello\n\nthere")]


ROOT = "00000000-0000-4000-8000-000000000000"


def claude_tree(*said: tuple[str, str | None, str], **changes: Any) -> dict[str, Any]:
    """A conversation of (name, whom it answers, text), a minute apart; "q..." are the user's."""
    record = claude(*(("human" if n[0] == "q" else "assistant", text) for n, _, text in said))
    for minute, (name, parent, _) in enumerate(said):
        one = record["chat_messages"][minute]
        one |= {"uuid": name, "created_at": f"2024-01-18T20:{minute:02}:00Z"}
        if parent is not None:
            one["parent_message_uuid"] = parent
    return {**record, **changes}


EDITED = (
    ("q1", ROOT, "Hi"),
    ("a1", "q1", "First try"),
    ("a2", "q1", "Second try"),
    ("q2", "a1", "Rye?"),
    ("a3", "q2", "Rye."),
    ("q3", "a1", "Wheat?"),
    ("a4", "q3", "Wheat."),
)
"""Answered anew, taken back to the first answer, and then a question edited."""


def texts_of(record: dict[str, Any], tmp_path: Path) -> list[str]:
    (found,) = read_claude(saved(tmp_path / "c.json", record), "ana")
    return [turn.content for turn in found.turns]


@pytest.mark.parametrize(
    ("shown", "texts"),
    [
        ({}, ["Hi", "First try", "Wheat?", "Wheat."]),
        ({"current_leaf_message_uuid": "a3"}, ["Hi", "First try", "Rye?", "Rye."]),
        ({"current_leaf_message_uuid": "a2"}, ["Hi", "Second try"]),
        ({"current_leaf_message_uuid": "gone"}, ["Hi", "First try", "Wheat?", "Wheat."]),
        ({"current_leaf_message_uuid": ["a2"]}, ["Hi", "First try", "Wheat?", "Wheat."]),
    ],
)
def test_of_claudes_too_the_branch_that_was_last_shown_is_taken(
    tmp_path: Path, shown: dict[str, Any], texts: list[str]
) -> None:
    assert texts_of(claude_tree(*EDITED, **shown), tmp_path) == texts


def test_the_newest_message_ends_the_branch_wherever_it_stands(tmp_path: Path) -> None:
    record = claude_tree(*EDITED)
    messages = record["chat_messages"]
    newest = ["Hi", "First try", "Wheat?", "Wheat."]
    assert texts_of({**record, "chat_messages": messages[::-1]}, tmp_path) == newest
    for message in messages:  # at one time, or at none: the last in the list
        message["created_at"] = "2024-01-18T20:00:00Z"
    assert texts_of(record, tmp_path) == newest
    messages[2]["created_at"] = "2024-01-18T20:00:01Z"
    assert texts_of(record, tmp_path) == ["Hi", "Second try"]
    for message in messages:
        del message["created_at"]
    assert texts_of(record, tmp_path) == newest


def test_the_first_question_may_be_edited_and_may_answer_none(tmp_path: Path) -> None:
    again = (("q9", ROOT, "Hello"), ("a9", "q9", "Hello yourself"))
    assert texts_of(claude_tree(*EDITED, *again), tmp_path) == ["Hello", "Hello yourself"]
    record = claude_tree(("q1", None, "Hi"), *EDITED[1:3])
    assert texts_of(record, tmp_path) == ["Hi", "Second try"]
    record["chat_messages"][0]["parent_message_uuid"] = None
    assert texts_of(record, tmp_path) == ["Hi", "Second try"]


@pytest.mark.parametrize(
    "changes",
    [
        {"q2": {"parent_message_uuid": None}},
        {"a4": {"parent_message_uuid": 5}},
        {"a2": {"uuid": "a1"}},
        {"a2": {"uuid": None}},
        {name: {"parent_message_uuid": None} for name, _, _ in EDITED},
    ],
)
def test_without_a_whole_tree_no_message_is_lost(
    tmp_path: Path, changes: dict[str, dict[str, Any]]
) -> None:
    record = claude_tree(*EDITED)
    for message in record["chat_messages"]:
        message.update(changes.get(message["uuid"], {}))
    assert texts_of(record, tmp_path) == [text for _, _, text in EDITED]


@pytest.mark.parametrize("shown", [None, "a2", "a4"])
def test_messages_that_answer_one_another_in_a_circle_are_broken(
    tmp_path: Path, shown: str | None
) -> None:
    record = claude_tree(("q1", "a2", "Hi"), *EDITED[1:], current_leaf_message_uuid=shown)
    if shown is None:  # none is the last
        record["chat_messages"] = record["chat_messages"][:3]
        record["chat_messages"][1]["parent_message_uuid"] = "a1"
    path = saved(tmp_path / "c.json", record, claude(("human", "Hi"), name="c2"))
    with pytest.raises(BrokenRecordError, match=r"conversation 1: message \d answers one that is"):
        list(read_claude(path, "ana"))
    (found,) = read_claude(path, "ana", on_broken=lambda _: None)
    assert found.session_id == "claude-c2"


def test_a_message_of_nobody_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BrokenRecordError, match="message 1 is of neither human nor assistant"):
        list(read_claude(saved(tmp_path / "c.json", claude(("human", "a"), ("robot", "b"))), "ana"))


@pytest.mark.parametrize(
    "changes",
    [
        {"content": "text"},
        {"content": {"content_type": "text", "parts": "hello"}},
        {"content": {"content_type": "text", "parts": 5}},
        {"author": "user"},
        {"metadata": [1]},
    ],
)
def test_a_message_of_another_shape_is_broken_and_no_crash(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    record = chatgpt(message("user", "Hi", **changes))
    skipped: list[BrokenRecordError] = []
    path = saved(tmp_path / "c.json", record, chatgpt(message("user", "Hi"), name="c2"))
    (found,) = read_chatgpt(path, "ana", on_broken=skipped.append)
    assert found.session_id == "chatgpt-c2" and "conversation 1" in str(skipped[0])


def test_what_was_spoken_is_taken_and_marks_of_sources_are_not(tmp_path: Path) -> None:
    spoken = {"content_type": "audio_transcription", "text": "My bakery is closed."}
    record = chatgpt(
        message("user", content={"content_type": "multimodal_text", "parts": [spoken]}),
        message("assistant", "Rye\ue200cite\ue202turn0\ue201 takes long\u30107\u2020source\u3011."),
        message("user", "Fine", id={"a": 1}),
    )
    (found,) = read_chatgpt(saved(tmp_path / "c.json", record), "ana")
    assert turns(found) == [
        ("user", "My bakery is closed."), ("assistant", "Rye takes long."), ("user", "Fine"),
    ]  # fmt: skip


def test_placeholders_beside_blocks_are_no_text(tmp_path: Path) -> None:
    record = claude(("human", "Hi"), ("assistant", "This block is not supported on your device."))
    record["chat_messages"][1]["content"] = [{"type": "tool_use", "name": "search"}]
    (found,) = read_claude(saved(tmp_path / "c.json", record), "ana")
    assert turns(found) == [("user", "Hi")]


def test_messages_have_the_time_they_were_written(tmp_path: Path) -> None:
    at = datetime(2024, 6, 1, 12, tzinfo=UTC)
    said = chatgpt(message("user", "Hi", create_time=at.timestamp()), message("assistant", "Hello"))
    (found,) = read_chatgpt(saved(tmp_path / "gpt.json", said), "ana")
    assert [turn.at for turn in found.turns] == [at, None]
    said = claude(("human", "Hi"), ("assistant", "Hello"))
    said["chat_messages"][0]["created_at"] = at.isoformat()
    said["chat_messages"][1]["created_at"] = "soon"  # no reason to lose the message
    (found,) = read_claude(saved(tmp_path / "claude.json", said), "ana")
    assert [turn.at for turn in found.turns] == [at, None]
