"""JSON lines into sessions: what is wrong with which line, and nothing changed on the way."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import BrokenRecordError, MissingFileError, PlumError
from plum_langchain.home import Home
from plum_langchain.importers import read_records, read_sessions
from plum_langchain.journal import Journal
from plum_langchain.session import SessionState
from tests.tiny import CHATS, records

GOOD: dict[str, Any] = {
    "user": "ana",
    "session": "s1",
    "turns": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "chats.jsonl"


def line(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def sessions(file: Path, content: bytes, **options: Any) -> list[Any]:
    file.write_bytes(content)
    return [session for session, _ in read_sessions(file, **options)]


# -- what is read ----------------------------------------------------------------------------------


def test_a_session_with_everything(file: Path) -> None:
    material = {"facts": [{"turn": 0}], "not_discussed": ["x"], "qa_train": [1], "updates": [2]}
    raw = line(started="2024-01-18T21:11:00+01:00", topic="Bread", thread="t", **material)
    (found,) = sessions(file, raw)
    assert (found.user_id, found.session_id, found.thread_id) == ("ana", "s1", "t")
    assert [(t.role, t.content) for t in found.turns] == [("user", "Hi"), ("assistant", "Hello")]
    assert found.started == datetime(2024, 1, 18, 20, 11, tzinfo=UTC)
    assert (found.topic, found.state) == ("Bread", SessionState.FINISHED)
    assert found.material == material


def test_a_session_with_the_least(file: Path) -> None:
    (found,) = sessions(file, line(topic=None, facts=None, thread=None))
    assert (found.topic, found.thread_id, found.material) == ("", None, {})
    assert datetime.now(UTC) - found.started < timedelta(minutes=5)


def test_a_time_without_zone_is_utc(file: Path) -> None:
    (found,) = sessions(file, line(started="2024-01-18T20:11:00"))
    assert found.started == datetime(2024, 1, 18, 20, 11, tzinfo=UTC)


def test_blank_lines_windows_lines_and_a_byte_order_mark(file: Path) -> None:
    content = b"\xef\xbb\xbf" + line() + b"\r\n\r\n  \n" + line(session="s2") + b"\n\n"
    assert [s.session_id for s in sessions(file, content)] == ["s1", "s2"]
    assert [number for number, _ in read_records(str(file))] == [1, 4]
    assert sessions(file, b"") == []


def test_line_separators_within_a_text_end_no_line(file: Path) -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive"
    raw = json.dumps({**GOOD, "turns": [{"role": "user", "content": text}]}, ensure_ascii=False)
    (found,) = sessions(file, raw.encode())
    assert found.turns[0].content == text


def test_the_user_can_be_named_by_the_caller(file: Path) -> None:
    content = line() + b"\n" + line(session="s2", user="bo") + b"\n" + line(session="s3", user=None)
    assert {s.user_id for s in sessions(file, content, user="dara")} == {"dara"}


def test_what_a_memory_is_examined_with_stays_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    journal = Journal(home.journal_url)
    for session, record in read_sessions(CHATS / "ana.jsonl"):
        assert record["qa_test"]  # the examiner gets it
        assert set(session.material) <= {"facts", "not_discussed", "qa_train", "updates"}
        journal.sessions.add(session)
    journal.close()
    stored = (home.root / "journal.db").read_bytes().decode("utf-8", "replace")
    examined = [q["question"] for r in records("ana") for q in r["qa_test"]]
    trained = str([[r["facts"], r["qa_train"], r["turns"]] for r in records("ana")])
    unseen = [question for question in examined if question not in trained]
    assert len(unseen) > 50
    assert [question for question in unseen if question in stored] == []


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b'{"user": "ana", ', r"not JSON \(.*at column 17\); mend or remove the line"),
        (b"user: ana", "not JSON"),
        (b'{"user": "Jos\xe9"}', r"not UTF-8 text \(byte 13\); save it as UTF-8"),
        (line().decode().encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf" + line(), "not JSON"),  # a byte-order mark belongs at the beginning
        (b"[1, 2]", "a list, expected an object with user, session and turns"),
        (b"null", "a NoneType, expected an object"),
        (b"[" * 100_000, "can't be read as JSON"),
        (b'{"user": ' + b"9" * 10_000 + b"}", "can't be read as JSON"),
        (b'{"user": "ana", "session": "s1"}', "no list of `turns`"),
        (line(turns=[]), "`turns` are empty; a session has at least one"),
        (line(turns={"role": "user"}), "no list of `turns`"),
        (line(turns=["Hi"]), "turn 0 is a str, not an object"),
        (line(turns=[GOOD["turns"][0], {"role": "system", "content": "x"}]), "turn 1 .*'system'"),
        (line(turns=[{"content": "x"}]), "turn 0 has role None; it must be user or assistant"),
        (line(turns=[{"role": "user"}]), "turn 0 has no text in `content`"),
        (line(turns=[{"role": "user", "content": ["x"]}]), "turn 0 has no text in `content`"),
        (line(turns=[{"role": "user", "content": None}]), "turn 0 has no text in `content`"),
        (line(started="yesterday"), "`started` is 'yesterday', not a time like 2024-"),
        (line(started=5), "`started` is 5, not a time"),
        (line(started="0001-01-01T00:00:00+14:00"), "not a time like"),
        (line(topic={"a": 1}), "`topic` is a dict, not text"),
        (line(thread=""), "thread is empty"),
        (line(thread=["t"]), "thread must be text, but it is list"),
        (line(user=None), "user id must be text"),
        (line(user=""), "user id is empty"),
        (line(session=17), "session id must be text, but it is int"),
        (line(session="x" * 513), "session id has 513 characters; at most 512"),
        (line(session="a\x00b"), "holds the character"),
        (line(user="\ud800"), "holds the character"),
    ],
)
def test_a_broken_line_is_named_by_its_number(file: Path, bad: bytes, said: str) -> None:
    file.write_bytes(line() + b"\n\n" + bad + b"\n")
    found = read_sessions(file)
    assert next(found)[0].session_id == "s1"  # what stands before it is read
    with pytest.raises(BrokenRecordError, match=rf"chats\.jsonl, line 3: .*{said}"):
        next(found)


def test_a_broken_first_line(file: Path) -> None:
    with pytest.raises(BrokenRecordError, match="line 1: not JSON"):
        sessions(file, b"\xef\xbb\xbf{")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for bad, why in (
        (tmp_path / "none.jsonl", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / ("n" * 300), "too long"),
    ):
        with pytest.raises(MissingFileError, match=f"can't be read .*{why}.*check the path"):
            list(read_sessions(bad))
    with pytest.raises(FileNotFoundError):  # as Python callers expect
        list(read_records(tmp_path / "none.jsonl"))
    with pytest.raises(PlumError):
        list(read_records(tmp_path / "none.jsonl"))


# -- nothing is changed on the way -----------------------------------------------------------------

SCRIPTS = {
    "arabic": "مَخبزي مُغلق يوم الإثنين، وأحمد يُحبّ الخبز ١٢٣",
    "thai": "ร้านเบเกอรี่ของฉันปิดวันจันทร์ น้ำผึ้ง ๑๒๓",
    "chinese": "我的面包店星期一关门。𠮷野家在隔壁,明天见!",
    "hebrew with marks": "\u202bשָׁלוֹם\u202c \u200f",
    "decomposed": "Cafe\u0301 e\u0323\u0302 \u1100\u1161",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 \U0001f1e9\U0001f1ea",
    "controls": "tab\t nul\x00 bell\x07 \r\n next",
    "50,000 words": " ".join(f"word{i}" for i in range(50_000)),
}


@pytest.mark.parametrize("escaped", [True, False])
def test_texts_come_through_byte_for_byte(tmp_path: Path, file: Path, escaped: bool) -> None:
    for name, text in SCRIPTS.items():
        said = [{"role": r, "content": text} for r in ("user", "assistant")]
        record = {**GOOD, "session": name, "turns": said, "topic": text[:99], "facts": [text]}
        with file.open("ab") as out:
            out.write(json.dumps(record, ensure_ascii=escaped).encode() + b"\n")
    journal = Journal(Home(tmp_path / "home").journal_url)
    for session, _ in read_sessions(file):
        assert journal.sessions.add(session) == "added"
    journal.close()
    reopened = Journal(Home(tmp_path / "home").journal_url)
    for name, text in SCRIPTS.items():
        found = reopened.sessions.get("ana", name)
        assert [t.content.encode() for t in found.turns] == [text.encode()] * 2
        assert (found.topic, found.material) == (text[:99], {"facts": [text]})
    for session, _ in read_sessions(file):
        assert reopened.sessions.add(session) == "unchanged"


def test_half_an_emoji_does_not_stop_an_import(tmp_path: Path, file: Path) -> None:
    half = r'"cut \ud83d"'
    raw = '{"user": "ana", "session": "s1", "topic": %s, "facts": [%s], "turns": [{"role": "user", '
    raw += '"content": %s}]}'
    (found,) = sessions(file, (raw % (half, half, half)).encode())
    journal = Journal(Home(tmp_path / "home").journal_url)
    assert journal.sessions.add(found) == "added"
    assert journal.sessions.get("ana", "s1").turns[0].content == "cut �"


def test_broken_lines_are_skipped_when_told_to(file: Path) -> None:
    skipped: list[BrokenRecordError] = []
    content = line() + b"\n{\n" + line(session="s2", turns=[]) + b"\n" + line(session="s3")
    assert [s.session_id for s in sessions(file, content, on_broken=skipped.append)] == ["s1", "s3"]
    assert [str(one).split(": ")[0] for one in skipped] == [f"{file}, line 2", f"{file}, line 3"]
