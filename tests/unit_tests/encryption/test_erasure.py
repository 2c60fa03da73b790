"""Destroying a key: what was forgotten can't be read from a copy of the home either."""

import itertools
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import Plum, ServingSettings
from plum_langchain.encryption.box import Seal
from plum_langchain.errors import EncryptionError, MissingKeyError
from plum_langchain.journal.rows import turns_of
from plum_langchain.session import Turn
from tests.tiny import IN_A_SECOND, FixedQuestions, session
from tests.unit_tests.homes import on_disk, states

Open = Callable[..., Any]

ZEBRA, GEESE = "My zebra is called Quibblewort.", "My geese are grey."


@pytest.fixture(scope="module")
def taught_home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The directory of a closed home and its keys."""
    directory = tmp_path_factory.mktemp("taught")
    plum = Plum(
        directory / "home",
        keys=directory / "keys",
        model=str(tiny_model),
        questions=FixedQuestions(),
        learning=IN_A_SECOND,
        serving=ServingSettings(device="cpu", dtype="float32", scope=None),
    )
    plum.add_session(session("ana", "s1", "My bakery is closed on Mondays."))
    plum.add_session(session("ana", "s2", ZEBRA, "Nice."))
    plum.add_session(session("ana", "s3", GEESE))
    plum.add_session(session("bob", "s1", "My boat is moored in Porto."))
    plum.consolidate()
    assert on_disk(plum) == [1, 2, 3]
    plum.close()
    return directory


@pytest.fixture
def taught(taught_home: Path, tmp_path: Path, open_sealed: Open) -> Any:
    """Ana has learned three sessions, bob one; the copy was made then."""
    shutil.copytree(taught_home, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    return open_sealed()


def key_files(keys: Path, plum: Any, user: str = "ana") -> list[str]:
    return [path.name for path in keys.glob(f"{plum.home.owner(user)}-*")]


def said(plum: Any, user: str = "ana") -> list[str]:
    return [t.content for s in plum.journal.sessions.all(user) for t in s.turns if t.content]


def test_forgetting_a_session_makes_copies_unreadable(
    taught: Any, open_sealed: Open, keys: Path
) -> None:
    (before,) = key_files(keys, taught)
    assert ZEBRA in said(open_sealed("copy"))
    receipt = taught.forget("ana", "s2")
    assert receipt.key_destroyed and receipt.traces is None
    (after,) = key_files(keys, taught)
    assert after != before
    # What is left is all there: text, questions, and weights that were never written again.
    assert said(taught) == ["My bakery is closed on Mondays.", GEESE]
    assert taught.chat_model("ana").invoke("Hello").response_metadata["generation"] == 1
    assert len(taught.journal.generations.questions_kept("ana", "s1")) == 4
    taught.consolidate("ana")
    assert states(taught) == {"s1": "learned", "s2": "forgotten", "s3": "learned"}
    # The copy has nothing of ana's any more, and all of bob's.
    copy = open_sealed("copy")
    assert copy.journal.generations.head("ana").number == 3
    with pytest.raises(MissingKeyError, match=rf"'{before}' is not in .*keys; if it was destroyed"):
        copy.journal.sessions.get("ana", "s2")
    with pytest.raises(MissingKeyError):
        copy.chat_model("ana").invoke("zebra")
    assert said(copy, "bob") == ["My boat is moored in Porto."]
    assert copy.chat_model("bob").invoke("boat").response_metadata["generation"] == 1


def test_the_copys_bytes_open_with_no_key_that_is_left(
    taught: Any, open_sealed: Open, keys: Path
) -> None:
    """Whoever has the copy and all keys that there are: every one is tried on every value."""
    import base64
    import sqlite3

    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    with sqlite3.connect(taught.home.root.parent / "copy" / "journal.db") as raw:
        (kept,) = raw.execute("SELECT content FROM turns WHERE session = 2 AND position = 0")
        (name,) = raw.execute("SELECT name FROM user_keys WHERE user_id = 'ana'")
    value = base64.b64decode(kept[0])
    bound = f'["{name[0]}", "turns.content", 2, 0]'.encode()
    found = AESGCM((keys / name[0]).read_bytes()).decrypt(value[:12], value[12:], bound)
    assert found.decode() == ZEBRA
    taught.forget("ana", "s2")
    for path in keys.iterdir():
        with pytest.raises(InvalidTag):
            AESGCM(path.read_bytes()).decrypt(value[:12], value[12:], bound)


def test_forgetting_all_leaves_no_key_and_a_new_one_is_made_for_who_comes_again(
    taught: Any, open_sealed: Open, keys: Path
) -> None:
    (before,) = key_files(keys, taught)
    assert taught.forget("ana", all=True).key_destroyed
    assert key_files(keys, taught) == []
    with pytest.raises(MissingKeyError):
        said(open_sealed("copy"))
    taught.add_session(session("ana", "s4", "I am back."))
    assert taught.consolidate("ana")[0].state == "learned"
    assert said(taught) == ["I am back."]
    assert key_files(keys, taught) not in ([], [before])
    assert len(key_files(keys, taught, "bob")) == 1


def test_forgetting_turns_seals_the_rest_of_their_session_anew(
    taught: Any, open_sealed: Open
) -> None:
    taught.add_session(session("ana", "s4", "My boat is blue.", "I see.", "It is called Ida."))
    (found,) = [m for m in taught.mentions("ana", "boat is blue") if "blue" in m.text]
    assert taught.forget("ana", about=[found]).key_destroyed
    assert said(taught)[-2:] == ["I see.", "It is called Ida."]
    with pytest.raises(MissingKeyError):
        open_sealed("copy").journal.sessions.get("ana", "s1")


def test_what_quotes_it_elsewhere_goes_and_the_rest_is_sealed_anew(
    taught: Any, open_sealed: Open
) -> None:
    changes = [
        {"old": "zebra is called Quibblewort", "new": "zebra is called Rex"},
        {"old": "geese are blue", "new": "geese are grey"},
    ]
    later = session("ana", "later", "My zebra is called Rex.", "Noted.")
    taught.add_session(replace(later, material={"updates": changes}))
    facts = [{"turn": 0, "statement": "You asked."}, {"turn": 1, "statement": "I told."}]
    asked = session("ana", "asked", "What's its name?", "Your zebra is called Quibblewort.", "Ah.")
    taught.add_session(replace(asked, topic="names", material={"facts": facts}))
    taught.consolidate("ana")
    receipt = taught.forget("ana", "s2")
    assert receipt.turns == {"asked": (1,)} and receipt.key_destroyed and receipt.traces is None
    (kept,) = taught.receipts("ana")
    assert kept == {**json.loads(json.dumps(receipt.to_json())), "ended": True}
    for plum in (taught, open_sealed()):
        assert plum.journal.sessions.get("ana", "later").material == {"updates": changes[1:]}
        partly = plum.journal.sessions.get("ana", "asked")
        assert [t.content for t in partly.turns] == ["What's its name?", "", "Ah."]
        assert (partly.topic, partly.material) == ("", {"facts": facts[:1]})
    taught.consolidate("ana")
    assert {n for n, state in states(taught).items() if state != "learned"} == {"s2"}
    # Of a session of which only replies are left nothing stays.
    found = [m for m in taught.mentions("ana", "What's its name? Ah.") if m.session_id == "asked"]
    assert taught.forget("ana", about=found).key_destroyed
    assert states(taught)["asked"] == "forgotten"


def test_a_plain_home_has_no_key_to_destroy(open_plum: Open) -> None:
    plum = open_plum()
    plum.add_session(session("ana", "s1", ZEBRA))
    assert plum.forget("ana", "s1").key_destroyed is False


def test_who_has_lost_a_key_can_still_have_everything_forgotten(
    taught: Any, open_sealed: Open, keys: Path
) -> None:
    taught.close()
    (keys / key_files(keys, taught)[0]).unlink()
    plum = open_sealed()
    with pytest.raises(MissingKeyError, match="restore the key"):
        plum.add_session(session("ana", "s9", "More."))
    with pytest.raises(MissingKeyError):
        plum.forget("ana", "s2")
    assert states(plum, "bob") == {"s1": "learned"}
    receipt = plum.forget("ana", all=True)
    assert receipt.sessions == ("s1", "s2", "s3") and on_disk(plum) == []
    plum.add_session(session("ana", "s9", "More."))
    assert said(plum) == ["More."]


# -- crashes between the steps -----------------------------------------------------------------


class Crash(BaseException):
    """The process dies here: no handler of PlumError or Exception sees it."""


def crash(*_: Any, **__: Any) -> None:
    raise Crash


@pytest.mark.parametrize(
    ("step", "forgotten"),
    [
        ("plum_langchain.encryption.keys.KeyDirectory.create", False),  # before there is a new key
        ("plum_langchain.journal.rotation._reseal", False),  # before all is sealed with it
        ("plum_langchain.journal.forgettings.Erased", False),  # before the transaction ends
        ("plum_langchain.forgetting.forgetter.Forgetter._destroy", True),  # after it
        ("plum_langchain.encryption.keys.KeyDirectory.destroy", True),  # before the old key goes
        ("plum_langchain.forgetting.forgetter.Forgetter._wipe", True),  # after that
    ],
)
def test_a_crash_leaves_a_home_that_can_be_read(
    taught: Any,
    open_sealed: Open,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    forgotten: bool,
) -> None:
    (before,) = key_files(keys, taught)
    with monkeypatch.context() as dying:
        dying.setattr(step, crash)
        with pytest.raises(Crash):
            taught.forget("ana", "s2")
    taught.close()
    plum = open_sealed()
    left = ["My bakery is closed on Mondays.", GEESE]
    assert said(plum) == (left if forgotten else [left[0], ZEBRA, "Nice.", left[1]])
    generation = plum.chat_model("ana").invoke("Hello").response_metadata["generation"]
    assert generation == (1 if forgotten else 3)
    assert (before in key_files(keys, plum)) is not forgotten  # opening it ended what was cut off
    told = [(one["ended"], one["key_destroyed"]) for one in plum.receipts("ana")]
    assert told == [(True, True)] * forgotten
    if not forgotten:
        plum.forget("ana", "s2")
        assert before not in key_files(keys, plum)
    plum.consolidate("ana")
    assert said(plum) == left
    assert states(plum) == {"s1": "learned", "s2": "forgotten", "s3": "learned"}


def test_another_process_searches_no_forgotten_text(taught: Any, open_sealed: Open) -> None:
    other = open_sealed()
    for plum in (taught, other):
        assert len(plum.memory_named("retrieval", k=9).recall("ana", "zebra").snippets) == 3
    taught.forget("ana", "s2")
    for plum in (taught, other):
        found = plum.memory_named("retrieval", k=9).recall("ana", "zebra").snippets
        assert {snippet.session_id for snippet in found} == {"s1", "s3"}


def test_another_process_goes_on_with_the_new_key(taught: Any, open_sealed: Open) -> None:
    other = open_sealed()
    assert ZEBRA in said(other)
    taught.forget("ana", "s2")
    other.add_session(session("ana", "s4", "Still here."))
    assert said(taught)[-1] == "Still here." and said(other) == said(taught)


def test_a_reader_reads_on_while_the_key_is_destroyed(
    taught: Any, open_sealed: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What began before the forgetting sees all that there was then, as in a plain home."""
    other = open_sealed()
    monkeypatch.setattr(taught.journal, "scrub", lambda: None)  # it would wait for the reader
    with other.journal._database.read() as connection:
        before = [turn.content for turn in turns_of(connection, 1)]
        taught.forget("ana", "s2")
        other.journal._keys._open.cache_clear()
        assert [turn.content for turn in turns_of(connection, 2)] == [ZEBRA, "Nice."]
        assert [turn.content for turn in turns_of(connection, 1)] == before
    assert ZEBRA not in said(other)


def invoked(plum: Any) -> Any:
    """The generation that replied."""
    return plum.chat_model("ana").invoke("Hello").response_metadata["generation"]


def streamed(plum: Any) -> Any:
    told = [chunk.response_metadata for chunk in plum.chat_model("ana").stream("Hello")]
    return next(one["generation"] for one in told if "generation" in one)


def asked(plum: Any) -> Any:
    return plum.ask("ana", "Is my bakery closed?").generation


@pytest.mark.parametrize(
    ("ask", "step"),
    [
        (invoked, "manifest"),
        (invoked, "chat"),
        (streamed, "manifest"),
        (streamed, "stream_chat"),
        (asked, "manifest"),
        (asked, "likely"),
    ],
)
def test_a_reply_that_waits_while_another_session_is_forgotten_is_given(
    taught: Any, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Any], int], step: str
) -> None:
    """Its generation stays, and is sealed with another key by the time the model is free."""
    taught.add_session(session("ana", "s4", "My boat is blue."))
    real, receipts = getattr(taught.engine, step), []

    def waiting(*arguments: Any, **more: Any) -> Any:
        if not receipts:
            receipts.append(taught.forget("ana", "s4", probe=False))
        return real(*arguments, **more)

    monkeypatch.setattr(taught.engine, step, waiting)
    assert ask(taught) == 3
    assert receipts[0].key_destroyed and not receipts[0].generations_destroyed


@pytest.mark.parametrize("ask", [invoked, streamed, asked])
def test_a_generation_whose_key_goes_while_it_is_opened_is_chosen_anew(
    taught: Any, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Any], int]
) -> None:
    real, receipts = Seal.open, []

    def opening(seal: Seal, sealed: bytes) -> bytes:  # what is sealed was read by now
        if not receipts:
            receipts.append(taught.forget("ana", "s3", probe=False))
        return real(seal, sealed)

    monkeypatch.setattr(Seal, "open", opening)
    assert ask(taught) == 2
    assert receipts[0].key_destroyed and receipts[0].generations_destroyed == (3,)


def test_chats_go_on_while_keys_change(taught: Any, open_sealed: Open) -> None:
    other, errors, ended = open_sealed(), [], threading.Event()

    def chat() -> None:
        try:
            for number in itertools.count():
                if ended.is_set():
                    return
                turn = Turn("user", f"It is number {number}.")
                other.journal.sessions.append("ana", "t", [turn], idle_seconds=60)
                said(other)
                other.memory_named("retrieval").recall("ana", "number")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=chat)
    thread.start()
    for name in ("s3", "s2", "s1"):
        taught.forget("ana", name, probe=False)
    ended.set()
    thread.join(30)
    assert not thread.is_alive() and not errors
    left = said(taught)
    assert left and left == [f"It is number {n}." for n in range(len(left))] == said(other)


def test_a_store_that_does_not_destroy_is_asked_again(open_plum: Open) -> None:
    class Store(dict[str, bytes]):
        """A service that manages keys, which can't be reached at times."""

        reachable = True

        def create(self, name: str) -> bytes:
            return self.setdefault(name, bytes(len(self) + n for n in range(32)))

        def destroy(self, name: str) -> None:
            if not self.reachable:
                raise ConnectionError("no route to the key service")
            self.pop(name, None)

    store = Store()
    plum = open_plum(keys=store)
    plum.add_session(session("ana", "s1", ZEBRA))
    (name,) = (name for name in store if not name.startswith("home-"))
    store.reachable = False
    with pytest.raises(EncryptionError, match=r"can't be destroyed \(ConnectionError: no route"):
        plum.forget("ana", "s1")
    open_plum(keys=store).close()
    assert name in store and said(plum) == []
    (receipt,) = plum.receipts("ana")
    assert receipt["sessions"] == ["s1"]
    assert (receipt["ended"], receipt["key_destroyed"]) == (False, False)
    store.reachable = True
    open_plum(keys=store).close()
    assert name not in store
    (receipt,) = plum.receipts("ana")
    assert (receipt["ended"], receipt["key_destroyed"]) == (True, True)


def test_a_key_of_the_wrong_size_is_refused(taught: Any, open_sealed: Open, keys: Path) -> None:
    taught.close()
    (keys / key_files(keys, taught)[0]).write_bytes(b"short")
    with pytest.raises(EncryptionError, match="5 bytes instead of 32"):
        said(open_sealed())
