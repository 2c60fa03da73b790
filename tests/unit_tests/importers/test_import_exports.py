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
