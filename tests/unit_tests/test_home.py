"""A home: private, its key stable, and no user id ever leads out of it."""

import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plum_langchain.adapters import AdapterStore, Manifest
from plum_langchain.adapters.manifest import CONFIG, WEIGHTS
from plum_langchain.errors import InvalidInputError, PlumError
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.session import Question, Session, Turn


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_umask():  # type: ignore[no-untyped-def]
    """Files are for everybody, unless the code says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


# -- the directory ---------------------------------------------------------------------------------


def test_a_new_home_is_private(tmp_path: Path, open_umask: None) -> None:
    home = Home(tmp_path / "a" / "home")
    Journal(home.journal_url).sessions.append("ana", "t", [Turn("user", "Hi")], idle_seconds=60)
    assert mode(home.root) == 0o700
    files = {path.name: oct(mode(path)) for path in home.root.iterdir()}
    assert {"key", "journal.db"} <= files.keys()
    assert set(files.values()) == {"0o600"}


def test_in_a_directory_that_was_there_the_chats_are_private_still(
    tmp_path: Path, open_umask: None
) -> None:
    root = tmp_path / "home"
    root.mkdir(mode=0o755)
    journal = Journal(Home(root).journal_url)
    journal.sessions.append("ana", "t", [Turn("user", "Hi")], idle_seconds=60)
    assert mode(root) == 0o755  # it is the user's: we don't change it
    assert {mode(path) for path in root.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["with space", "a?b=c", "100%41", "#1", "böse:@", "-x"])
def test_the_journal_is_in_the_home_whatever_its_name(tmp_path: Path, name: str) -> None:
    Journal(Home(tmp_path / name).journal_url).close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in (tmp_path / name).iterdir()} == {"key", "journal.db"}


def test_a_relative_home_and_one_in_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    home = Home("here")
    monkeypatch.chdir("/")
    assert home.root == tmp_path / "here"
    assert Home("~/here").owner("ana") == home.owner("ana")


def test_a_home_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    for bad, why in (
        (file, "File exists"),
        (file / "below", "Not a directory"),
        (tmp_path / "nul\x00", "null"),
        (tmp_path / ("n" * 300), "too long"),
        ("~no-such-user-here/x", "home"),
    ):
        with pytest.raises(PlumError, match=f"{why}.*; choose a directory you may write to"):
            Home(bad)
    assert file.read_bytes() == b"mine"


def test_a_home_one_may_not_write_to(tmp_path: Path) -> None:
    root = tmp_path / "home"
    root.mkdir(mode=0o500)
    superuser = os.geteuid() == 0
    if superuser:  # who may write everywhere: try as nobody
        os.seteuid(65534)
    try:
        with pytest.raises(PlumError, match=r"Permission denied; choose a directory you may write"):
            Home(root)
    finally:
        if superuser:
            os.seteuid(0)
    assert list(root.iterdir()) == []


# -- the key ---------------------------------------------------------------------------------------


def test_the_key_stays_and_is_the_homes_own(tmp_path: Path) -> None:
    first = Home(tmp_path / "one").owner("ana")
    assert Home(tmp_path / "one").owner("ana") == first
    assert Home(tmp_path / "two").owner("ana") != first


def test_openers_at_the_same_moment_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            root = tmp_path / str(number)
            assert len(set(pool.map(lambda _, at=root: Home(at).owner("ana"), range(8)))) == 1
            assert {path.name for path in root.iterdir()} == {"key", "journal.db"}


def test_a_damaged_or_lost_key_is_never_replaced(tmp_path: Path) -> None:
    home = Home(tmp_path)
    key = (tmp_path / "key").read_bytes()
    (tmp_path / "key").write_bytes(key[:7])
    with pytest.raises(PlumError, match="7 bytes instead of 32; restore it from a backup"):
        Home(tmp_path)
    (tmp_path / "key").unlink()
    with pytest.raises(PlumError, match=r"key is missing.*restore it from a backup"):
        Home(tmp_path)
    assert not (tmp_path / "key").exists()
    (tmp_path / "key").write_bytes(key)
    assert Home(tmp_path).owner("ana") == home.owner("ana")


# -- ids -------------------------------------------------------------------------------------------

REFUSED = ["", " ", "\t", "x" * 513, "a\x00b", "a\nb", "\x7f", "\ud800", "a\udfff", None, 7, b"ana"]
ACCEPTED = [
    "../../x",
    "a/b",
    "/etc/passwd",
    "..",
    ".",
    "~",
    "C:\\x",
    "x" * 300,
    "x" * 512,
    "default",
    "__base__",
    "ana.b@c.de",
    "ana",
    "Ana",
    "ANA",
    " ana",
    "ana ",
    unicodedata.normalize("NFC", "José"),
    unicodedata.normalize("NFD", "José"),
    "آنا",
    "安娜",
    "\U0001f600",
    "%s{0}$HOME`id`",
    "'; DROP TABLE sessions; --",
    "-rf",
    "CON",
]


@pytest.mark.parametrize("bad", REFUSED, ids=repr)
def test_ids_that_are_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InvalidInputError, match="user id"):
        Home(tmp_path).owner(bad)


def test_an_owner_is_a_hash_that_tells_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    owners = {user: home.owner(user) for user in ACCEPTED}
    assert len(set(owners.values())) == len(ACCEPTED)  # no twins
    for owner in owners.values():
        assert len(owner) == 32
        assert set(owner) <= set("0123456789abcdef")


def test_no_id_leads_out_of_the_home_or_to_another_user(tmp_path: Path) -> None:
    """Chats, questions and adapters of users with every hostile name, in one home."""
    home = Home(tmp_path / "parent" / "home")
    before = _outside(tmp_path, home.root)
    journal, store = Journal(home.journal_url), AdapterStore(home.adapters)
    for user in ACCEPTED:
        journal.sessions.append(user, user, [Turn("user", f"I am {user!r}")], idle_seconds=60)
        journal.sessions.finish(user, user)
        journal.sessions.add(Session(user, "imported", (Turn("user", f"Still {user!r}"),)))
        with journal.jobs.claim(user, "consolidate") as job:
            key = journal.generations.begin_learning(job, user)
            number = journal.generations.next_number(user)
            ref = store.write(home.owner(user), number, _fill)
            journal.generations.publish(
                job,
                number=number,
                session_key=key,
                questions=[Question(f"Am I {user!r}?", "Yes", "yes")],
                base_model="tiny/model",
                manifest_sha256=ref.manifest_sha256,
                metrics={},
            )
    for user in ACCEPTED:
        said = [turn.content for s in journal.sessions.all(user) for turn in s.turns]
        assert said == [f"I am {user!r}", f"Still {user!r}"]
        ((question,),) = journal.generations.replay_questions(user).values()
        assert question.question == f"Am I {user!r}?"
    for bad in REFUSED:
        with pytest.raises(InvalidInputError):
            journal.sessions.append(bad, "t", [Turn("user", "x")], idle_seconds=60)  # type: ignore[arg-type]
    assert sorted(journal.sessions.counts()) == sorted(ACCEPTED)
    journal.close()
    assert _outside(tmp_path, home.root) == before
    assert {path.name for path in home.root.iterdir()} == {"key", "journal.db", "adapters"}
    names = {path.name for path in home.adapters.rglob("*")}
    assert not names & set(ACCEPTED)
    assert len(list(home.adapters.iterdir())) == len(ACCEPTED)


def _fill(directory: Path) -> Manifest:
    (directory / WEIGHTS).write_bytes(b"weights")
    (directory / CONFIG).write_text("{}", "utf-8")
    return Manifest(1, "tiny/model", "f", (1,), {}, "fixed", {}, "2024-05-01T12:00:00+00:00")


def _outside(directory: Path, home: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if not path.is_relative_to(home)}
