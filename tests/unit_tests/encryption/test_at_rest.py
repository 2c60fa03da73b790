"""What is on the disk of an encrypted home at any time of its life: no word that was said."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from plum_langchain import HomeSettings, Plum
from plum_langchain.errors import DamagedAdapterError, EncryptionError
from plum_langchain.session import Question, Session, SessionState, Turn
from tests.tiny import session
from tests.unit_tests.forgetting.helpers import weights
from tests.unit_tests.homes import files_with

Open = Callable[..., Any]

SAID = ("Quibblewort", "zebra", "bakery", "Bertha", "geese", "thistles", "whales", "Mondays")


def in_the_clear(root: Path) -> dict[str, list[str]]:
    """Which of the words stand in which files; the write-ahead log is one of them."""
    return {word: found for word in SAID if (found := files_with(root, word))}


def test_no_word_is_on_the_disk_at_any_time(open_sealed: Open, tmp_path: Path) -> None:
    plum = open_sealed()
    root = plum.home.root
    zebra = [
        HumanMessage("My zebra is called Quibblewort.", id="m1"),
        AIMessage("It eats thistles.", id="m2"),
    ]
    assert plum.record("ana", "t", zebra) == 2
    assert (root / "journal.db-wal").stat().st_size > 0
    assert in_the_clear(root) == {}
    facts = {"facts": [{"turn": 0, "text": "the bakery"}]}
    told = Session(
        "ana", "s1", (Turn("user", "My bakery is closed on Mondays."),), topic="bakery",
        material=facts, state=SessionState.FINISHED,
    )  # fmt: skip
    assert plum.add_session(told) == "added"
    assert in_the_clear(root) == {}
    plum.finish("ana", "t")
    during: list[dict[str, list[str]]] = []
    done = plum.consolidate("ana", progress=lambda _: during.append(in_the_clear(root)))
    assert [one.state for one in done] == ["learned", "learned"]
    assert during and not any(during)
    assert in_the_clear(root) == {}
    for memory in ("parametric", "retrieval", "hybrid"):
        plum.chat_model("ana", memory=memory).invoke("What is my zebra called?")
        assert in_the_clear(root) == {}, memory
    found = plum.memory_named("retrieval").recall("ana", "zebra").snippets
    assert "Quibblewort" in found[0].text
    plum.forget("ana", "t")
    assert in_the_clear(root) == {}
    plum.consolidate("ana")
    plum.close()
    assert in_the_clear(root) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"home", "keys"}


def test_what_was_said_reads_the_same(open_sealed: Open) -> None:
    material = {"facts": [{"turn": 0}], "not_discussed": ["whales"]}
    told = Session(
        "ana", "s1", (Turn("user", "Grüße 🦓"), Turn("assistant", "")), topic="geese",
        material=material,
    )  # fmt: skip
    plum = open_sealed()
    plum.add_session(told)
    plum.close()
    plum = open_sealed()
    found = plum.journal.sessions.get("ana", "s1")
    assert [t.content for t in found.turns] == ["Grüße 🦓", ""]
    assert (found.topic, found.material) == ("geese", material)
    assert plum.add_session(told) == "unchanged"


def test_why_a_session_failed_is_sealed_too(open_sealed: Open) -> None:
    class Quoting:
        name = "quoting"

        def make(self, session: Session) -> list[Question]:
            raise RuntimeError(f"refused: {session.turns[0].content}")

    plum = open_sealed(questions=Quoting())
    plum.add_session(session("ana", "s1", "My zebra is called Quibblewort."))
    with pytest.raises(RuntimeError, match="Quibblewort"):
        plum.consolidate("ana")
    assert "Quibblewort" in plum.journal.sessions.get("ana", "s1").reason
    assert in_the_clear(plum.home.root) == {}
    (row,) = _rows(plum, "SELECT state, reason FROM jobs")
    assert row == ("failed", "RuntimeError")


def test_what_is_kept_with_questions_is_sealed_too(open_sealed: Open) -> None:
    """The facts that a session changes, of which the transcript was disposed of."""
    plum = open_sealed(settings=HomeSettings(retention="questions"))
    changes = [{"old": "zebra is called Bertha", "new": "zebra is called Quibblewort"}]
    told = session("ana", "s2", "My zebra is called Quibblewort.")
    plum.add_session(session("ana", "s1", "My bakery is closed on Mondays."))
    plum.add_session(replace(told, topic="zebra", material={"updates": changes}))
    plum.consolidate("ana")
    kept = plum.journal.sessions.get("ana", "s2")
    assert (kept.kept, kept.topic, kept.material) == ("questions", "", {"updates": changes})
    assert plum.journal.sessions.get("ana", "s1").material == {}
    assert in_the_clear(plum.home.root) == {}
    plum.rollback("ana", 1)
    assert plum.consolidate("ana")[0].state == "learned"
    assert plum.journal.sessions.get("ana", "s2").material == {"updates": changes}
    assert in_the_clear(plum.home.root) == {}
    _execute(plum, "UPDATE sessions SET material = (SELECT material FROM sessions WHERE id = ?)", 2)
    with pytest.raises(EncryptionError, match=r"sessions\.material 1 can't be opened"):
        plum.journal.sessions.get("ana", "s1")


def test_text_in_the_clear_is_a_trace_whoever_else_says_it(
    open_plum: Open, open_sealed: Open
) -> None:
    """A plain journal holds what others say; of an encrypted one no file may."""
    name, food = "My zebra is called Quibblewort.", "My zebra eats thistles."
    for plum, is_trace in ((open_plum("plain"), False), (open_sealed("sealed"), True)):
        plum.add_session(session("ana", "s1", name, "I see.", food))
        plum.add_session(replace(session("ana", "s2", "Hello."), topic=name))
        facts = {"facts": [{"turn": 0, "statement": food}]}
        plum.add_session(replace(session("bob", "s1", "Hello."), material=facts))
        (plum.home.root / "copy").write_text(f"{name}\n{food}\n")
        for said in (name, food):
            assert plum.journal.forgettings.is_still_said(said) is not is_trace
        receipt = plum.forget("ana", "s1")
        assert receipt.searched == 2
        assert ("still stands in copy" in (receipt.traces or "")) is is_trace
        assert plum.journal.sessions.get("ana", "s2").topic == name
        assert plum.journal.sessions.get("bob", "s1").material == facts


def test_a_receipt_quotes_no_error(open_sealed: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    plum = open_sealed()
    plum.add_session(session("ana", "s1", "My zebra is called Quibblewort."))
    plum.consolidate("ana")

    def quote(chat: list[dict[str, str]], *_: Any) -> None:
        raise RuntimeError(f"{chat[-1]['content']} My zebra is called Quibblewort.")

    monkeypatch.setattr(plum.engine, "reply_nll", quote)
    assert plum.forget("ana", "s1").no_probes == "the weights can't be asked: RuntimeError"
    assert in_the_clear(plum.home.root) == {}


def test_two_users_of_a_thread_have_their_own_turns(open_sealed: Open) -> None:
    plum = open_sealed()
    anas = [HumanMessage("My zebra is called Quibblewort.", id="a" * 36)]
    bobs = [HumanMessage("My geese are grey.", id="b" * 36)]
    assert plum.record("ana", "shared", anas) == 1
    assert plum.record("bob", "shared", [*anas, *bobs]) == 1
    assert plum.record("bob", "shared", [*anas, *bobs]) == 0
    (only,) = plum.journal.sessions.all("bob")
    assert [t.content for t in only.turns] == ["My geese are grey."]


# -- what is changed, or moved -----------------------------------------------------------------


def test_text_that_was_moved_or_changed_is_refused(open_sealed: Open) -> None:
    plum = open_sealed()
    for user in ("ana", "bob"):
        plum.add_session(session(user, "s1", f"I am {user}.", f"Hello {user}."))
    (anas, hello), (bobs, _) = (
        [r[0] for r in _rows(plum, f"SELECT content FROM turns WHERE session = {key}")]
        for key in (1, 2)
    )
    changed = ("B" if anas[30] == "A" else "A").join((anas[:30], anas[31:]))
    for wrong in (bobs, hello, changed, "not sealed", anas[:8], "AAAA"):
        _execute(plum, "UPDATE turns SET content = ? WHERE session = 1 AND position = 0", wrong)
        with pytest.raises(EncryptionError, match=r"turns\.content 1 0 can't be opened"):
            plum.journal.sessions.get("ana", "s1")
    _execute(plum, "UPDATE turns SET content = ? WHERE session = 1 AND position = 0", anas)
    assert plum.journal.sessions.get("ana", "s1").turns[0].content == "I am ana."
    # A chat can't be given to another user either.
    _execute(plum, "UPDATE sessions SET user_id = 'bob', session_id = 's2' WHERE id = ?", 1)
    with pytest.raises(EncryptionError, match="can't be opened"):
        plum.journal.sessions.get("bob", "s2")
    ((anas_key,),) = _rows(plum, "SELECT name FROM user_keys WHERE user_id = 'ana'")
    _execute(plum, "UPDATE user_keys SET name = ? WHERE user_id = 'bob'", anas_key)
    with pytest.raises(EncryptionError, match="for user 'bob', which is another user's"):
        plum.journal.sessions.get("bob", "s2")


def test_columns_of_a_row_cant_be_swapped(open_sealed: Open) -> None:
    plum = open_sealed()
    plum.add_session(session("ana", "s1", "My zebra is called Quibblewort."))
    plum.consolidate("ana")
    _execute(plum, "UPDATE questions SET question = answer WHERE position = ?", 0)
    with pytest.raises(EncryptionError, match=r"questions\.question 1 0"):
        plum.journal.generations.questions_kept("ana", "s1")


def test_weights_are_sealed_and_only_opened_in_their_place(open_sealed: Open) -> None:
    plum = open_sealed()
    plum.add_session(session("ana", "s1", "My zebra is called Quibblewort."))
    plum.add_session(session("ana", "s2", "My geese are grey."))
    plum.consolidate("ana")
    plum.chat_model("ana").invoke("zebra")
    owner = plum.home.adapters / plum.home.owner("ana")
    first, second = owner / "00000001", owner / "00000002"
    weights = (second / "adapter_model.safetensors").read_bytes()
    assert b"lora_A" not in weights and b"__metadata__" not in weights
    manifest = json.loads((second / "manifest.json").read_text())
    assert manifest["encryption"] == "AES-256-GCM"
    plum.close()
    (second / "adapter_model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(DamagedAdapterError, match="SHA-256"):
        open_sealed().chat_model("ana").invoke("zebra")
    # Even where the hashes agree: another generation's weights don't open in this one's place.
    shutil.rmtree(second)
    shutil.copytree(first, second)
    plum = open_sealed()
    (sha,) = _rows(plum, "SELECT manifest_sha256 FROM generations WHERE number = 1")
    _execute(plum, "UPDATE generations SET manifest_sha256 = ? WHERE number = 2", *sha)
    with pytest.raises(EncryptionError, match=r"adapter_model\.safetensors can't be opened"):
        plum.chat_model("ana").invoke("zebra")
    _execute(plum, "UPDATE generations SET data_key = NULL WHERE number = ?", 2)
    with pytest.raises(DamagedAdapterError, match="the journal has no key for them"):
        plum.chat_model("ana").invoke("zebra")


def test_weights_are_sealed_before_any_of_them_is_written(
    open_plum: Open, open_sealed: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    write_bytes = Path.write_bytes

    def watched(path: Path, content: bytes) -> int:
        written.append(content)
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", watched)
    for plum, in_the_clear in ((open_plum("plain"), 1), (open_sealed("sealed"), 0)):
        written.clear()
        plum.add_session(session("ana", "s1", "My zebra is called Quibblewort."))
        plum.consolidate("ana")
        assert sum(b"lora_A" in content for content in written) == in_the_clear


def test_an_encrypted_home_learns_what_a_plain_one_does(open_plum: Open, open_sealed: Open) -> None:
    said = ("My zebra is called Quibblewort.", "My geese are grey.")
    replies, learned = [], []
    for plum in (open_plum("plain"), open_sealed("sealed")):
        for number, text in enumerate(said):
            plum.add_session(session("ana", f"s{number}", text))
        plum.consolidate("ana")
        replies.append(plum.chat_model("ana").invoke("zebra").text)
        learned.append(weights(plum))
    assert replies[0] == replies[1]
    assert learned[0] == learned[1]


def _rows(plum: Plum, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(plum.home.root / "journal.db") as raw:
        return raw.execute(query).fetchall()


def _execute(plum: Plum, statement: str, *values: Any) -> None:
    with sqlite3.connect(plum.home.root / "journal.db") as raw:
        assert raw.execute(statement, values).rowcount > 0
