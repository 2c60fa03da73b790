"""Which homes are encrypted, with which keys, and what is said where they don't belong together."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from sqlalchemy import event
from typer.testing import CliRunner

from plum_langchain import HomeSettings
from plum_langchain.cli.app import app
from plum_langchain.consolidation.progress import Progress
from plum_langchain.encryption import Box, KeyDirectory, KeyStore
from plum_langchain.errors import EncryptionError, InvalidInputError
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from tests.tiny import session
from tests.unit_tests.homes import files_with

Open = Callable[..., Any]


def test_keys_are_files_of_ones_own_outside_the_home(sealed: Any, keys: Path) -> None:
    assert [path.name for path in keys.iterdir()] == [f"home-{sealed.home.owner('home')}"]
    sealed.add_session(session("ana", "s1"))
    (key,) = keys.glob(f"{sealed.home.owner('ana')}-*")
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
    assert keys.stat().st_mode & 0o777 == 0o700
    sealed.add_session(session("bob", "s1"))
    assert len({path.read_bytes() for path in keys.iterdir()}) == 3


def test_an_encrypted_home_needs_its_keys(open_sealed: Open, open_plum: Open, keys: Path) -> None:
    open_sealed().close()
    with pytest.raises(EncryptionError, match=r"is encrypted, and no keys were given; .*PLUM_KEYS"):
        open_plum()
    with pytest.raises(EncryptionError, match=r"its keys are not in .*others"):
        open_plum(keys=keys.parent / "others")
    assert not (keys.parent / "others").exists()
    (proof,) = keys.iterdir()
    (keys.parent / "others").mkdir()
    (keys.parent / "others" / proof.name).write_bytes(bytes(32))
    with pytest.raises(EncryptionError, match="missing there or another one"):
        open_plum(keys=keys.parent / "others")
    with pytest.raises(EncryptionError, match="no keys were given"):
        Journal(Home(keys.parent / "home").journal_url)
    open_sealed().add_session(session("ana", "s1"))


def test_no_keys_may_be_asked_for_whatever_the_environment_says(
    open_plum: Open, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUM_KEYS", str(keys))
    plain = open_plum("plain", keys=False)
    plain.add_session(session("ana", "s1"))
    assert not plain.journal.encrypted and not keys.exists()
    open_plum("sealed").close()
    with pytest.raises(EncryptionError, match="no keys were given"):
        open_plum("sealed", keys=False)
    with pytest.raises(InvalidInputError, match="or False for none, not bool"):
        open_plum("other", keys=True)


def test_a_plain_home_with_chats_stays_plain_and_says_so(open_plum: Open, keys: Path) -> None:
    plum = open_plum()
    plum.add_session(session("ana", "s1"))
    with pytest.raises(EncryptionError, match=r"holds chats, and keys were given; .*add_session"):
        open_plum(keys=keys)
    assert not keys.exists()
    assert len(plum.journal.sessions.all("ana")) == 1
    open_plum("new", keys=keys).add_session(plum.journal.sessions.get("ana", "s1"))


def test_a_home_that_was_opened_but_never_used_may_become_encrypted(
    open_plum: Open, open_sealed: Open
) -> None:
    open_plum().close()
    open_sealed().close()
    with pytest.raises(EncryptionError, match="no keys were given"):
        open_plum()


def test_keys_in_the_home_are_refused(open_plum: Open, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    for inside in ("home", "home/keys", "link/keys"):
        with pytest.raises(InvalidInputError, match="lie in the home"):
            open_plum(keys=tmp_path / inside)
    (tmp_path / "file").write_bytes(b"mine")
    for bad in (tmp_path / "file", "nul\x00", "~no-such-user-here/x"):
        with pytest.raises(InvalidInputError, match="choose a directory you may write to"):
            open_plum(keys=bad)
    for wrong, why in ((7, "get, create and destroy"), ("", "keys is empty")):
        with pytest.raises(InvalidInputError, match=why):
            open_plum(keys=wrong)


@pytest.mark.parametrize("whose", ["home", "ana"])
def test_a_key_that_cannot_be_read_is_a_sentence(open_sealed: Open, keys: Path, whose: str) -> None:
    plum = open_sealed()
    plum.add_session(session("ana", "s1"))
    plum.close()
    (key,) = keys.glob("home-*" if whose == "home" else f"{plum.home.owner(whose)}-*")
    kept = key.read_bytes()
    key.unlink()
    key.mkdir()  # root may read any file
    told = rf"the key '{key.name}' can't be read from .*keys \(IsADirectoryError: .*try again"
    with pytest.raises(EncryptionError, match=told):
        open_sealed().journal.sessions.get("ana", "s1")
    key.rmdir()
    key.write_bytes(kept)
    assert open_sealed().journal.sessions.get("ana", "s1").turns


def test_a_key_service_that_is_down_while_questions_are_read_is_no_try(open_plum: Open) -> None:
    class Service(dict[str, bytes]):
        """Manages keys, and can't be reached at times."""

        down = False

        def get(self, name: str) -> bytes | None:  # type: ignore[override]
            if self.down:
                raise ConnectionError("no route to the key service")
            return super().get(name)

        def create(self, name: str) -> bytes:
            return self.setdefault(name, bytes(len(self) + n for n in range(32)))

        def destroy(self, name: str) -> None:
            self.pop(name, None)

    service = Service()
    plum = open_plum(keys=service, settings=HomeSettings(max_tries=1))
    plum.add_session(session("ana", "s1"))
    plum.consolidate("ana")
    plum.add_session(session("ana", "s2"))

    def go_down(told: Progress) -> None:
        service.down = told.phase == "questions"
        plum.journal._keys._open.cache_clear()  # as where there are more than it keeps

    with pytest.raises(EncryptionError, match=r"can't be read .*\(ConnectionError: no route"):
        plum.consolidate("ana", progress=go_down)
    service.down = False
    again = plum.journal.sessions.get("ana", "s2")
    assert (again.state, again.reason) == ("finished", None)
    assert [one.state for one in plum.consolidate("ana")] == ["learned"]


def test_the_environment_names_keys(
    open_plum: Open, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUM_KEYS", str(keys))
    assert open_plum().journal.encrypted
    assert list(keys.iterdir())
    monkeypatch.delenv("PLUM_KEYS")
    assert not open_plum("other").journal.encrypted


def test_the_command_line_takes_keys(tmp_path: Path) -> None:
    said = {"role": "user", "content": "My zebra is called Quibblewort."}
    record = {"user": "ana", "session": "s1", "started": "2024-01-18T20:11:00Z", "turns": [said]}
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps(record) + "\n")
    home, keys = ["--home", str(tmp_path / "home")], ["--keys", str(tmp_path / "keys")]
    run = CliRunner().invoke
    done = run(app, [*home, *keys, "import", str(chats)])
    assert done.exit_code == 0, done.output
    assert "ana" in run(app, [*home, *keys, "sessions"]).stdout
    assert files_with(tmp_path / "home", "Quibblewort") == []
    (key,) = (path for path in (tmp_path / "keys").iterdir() if not path.name.startswith("home-"))
    key.unlink()
    forgetting = [*home, *keys, "forget", "--user", "ana", "--yes"]
    assert run(app, [*forgetting, "--session", "s1"]).exit_code == 77
    assert run(app, [*forgetting, "--all"]).exit_code == 0
    refused = run(app, [*home, "sessions"])
    assert refused.exit_code == 77 and "--keys" in refused.stderr
    assert run(app, [*home, "--keys", " ", "sessions"]).exit_code == 2


def test_without_the_package_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from plum_langchain.encryption import Box\n"
        "Box('name', bytes(32))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert re.search(r"pip install 'plum-langchain\[encryption\]'", done.stderr)


def test_a_plain_home_imports_no_cryptography(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from plum_langchain import Plum\n"
        "from plum_langchain.session import Session, Turn\n"
        f"plum = Plum({str(tmp_path / 'home')!r})\n"
        "plum.add_session(Session('ana', 's1', (Turn('user', 'Hi'),)))\n"
        "assert plum.journal.sessions.get('ana', 's1').turns[0].content == 'Hi'\n"
        "print('cryptography' in sys.modules)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PLUM_KEYS"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "False\n", done.stderr


def test_a_plain_journal_is_asked_nothing_about_keys(open_plum: Open, open_sealed: Open) -> None:
    def asked(plum: Any) -> list[str]:
        statements: list[str] = []
        plum.add_session(session("ana", "s1"))
        plum.consolidate("ana")
        engine = plum.journal._database._engine
        event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
        plum.record("ana", "t", [HumanMessage("Hello")])
        plum.chat_model("ana").invoke("Hello")
        plum.journal.sessions.all("ana")
        return [statement for statement in statements if "user_keys" in statement]

    assert asked(open_plum("plain")) == []
    assert asked(open_sealed("sealed")) != []


# -- one box -----------------------------------------------------------------------------------


def test_a_box_opens_what_it_sealed_where_it_sealed_it() -> None:
    box = Box("ana", bytes(range(32)))
    sealed = box.seal_text("Grüße", "turns.content", 1, 0)
    assert box.open_text(sealed, "turns.content", 1, 0) == "Grüße"
    assert box.seal_text("Grüße", "turns.content", 1, 0) != sealed  # a nonce of its own
    assert box.seal_text("", "turns.content", 1, 0) == "" == box.open_text("", "any")
    others = (Box("ana", bytes(32)), Box("bob", bytes(range(32))))
    for other, place in ((box, (1, 1)), (box, (10,)), *((one, (1, 0)) for one in others)):
        with pytest.raises(EncryptionError, match="can't be opened"):
            other.open_text(sealed, "turns.content", *place)
    with pytest.raises(EncryptionError, match="can't be opened"):
        box.open_text(sealed, "questions.answer", 1, 0)


def test_a_directory_is_a_store(tmp_path: Path) -> None:
    store: KeyStore = KeyDirectory(tmp_path / "keys")
    assert isinstance(store, KeyStore)
    assert store.get("ana-1") is None
    key = store.create("ana-1")
    assert len(key) == 32 and store.create("ana-1") == key == store.get("ana-1")
    store.destroy("ana-1")
    store.destroy("ana-1")
    assert store.get("ana-1") is None and store.create("ana-1") != key
