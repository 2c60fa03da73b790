"""The database under the journal: durability, settings, migrations, and errors a user meets."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, inspect

from plum_langchain.errors import BusyError, InvalidInputError, MigrationError, PlumError
from plum_langchain.home import Home
from plum_langchain.journal import Journal, schema
from plum_langchain.journal.database import Database, storable
from plum_langchain.journal.migrations import MIGRATIONS, migrate
from plum_langchain.session import SessionState, Turn
from plum_langchain.settings import HomeSettings
from tests.unit_tests.journal.helpers import IDLE, killed, learn, open_together, texts, turns

# -- durability ------------------------------------------------------------------------------------


def test_what_was_acknowledged_survives_kill_9(home: Home) -> None:
    killed(
        home,
        """
sessions = journal().sessions
sessions.append("ana", "t", turns("one", "two"), idle_seconds=IDLE)
sessions.merge("ana", "t", turns("three", ids=True), idle_seconds=IDLE)
sessions.finish("ana", "t")
die()
""",
    )
    found = Journal(home.journal_url).sessions.get("ana", "t")
    assert texts(found.turns) == ["one", "two", "three"]
    assert found.state == SessionState.FINISHED


def test_a_transaction_killed_half_way_leaves_nothing(home: Home) -> None:
    killed(
        home,
        """
die_after("INSERT INTO turns")
journal().sessions.append("ana", "t", turns("half"), idle_seconds=IDLE)
""",
    )
    journal = Journal(home.journal_url)
    assert journal.sessions.all() == []
    assert journal.sessions.append("ana", "t", turns("whole"), idle_seconds=IDLE) == "t"
    assert texts(journal.sessions.get("ana", "t").turns) == ["whole"]


def test_a_migration_killed_half_way_is_begun_again(home: Home) -> None:
    killed(home, 'die_after("CREATE TABLE jobs")\njournal()\n')
    with sqlite3.connect(home.root / "journal.db") as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == []
    journal = Journal(home.journal_url)
    journal.sessions.append("ana", "t", turns("Hi"), idle_seconds=IDLE)
    assert journal.jobs.running() == []


def test_an_error_in_the_middle_undoes_the_whole_call(journal: Journal) -> None:
    journal.sessions.append("ana", "t", turns("one"), idle_seconds=IDLE)
    broken = [Turn("user", "two"), Turn("system", "three")]  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="'system'"):
        journal.sessions.append("ana", "t", broken, idle_seconds=IDLE)
    with pytest.raises(InvalidInputError, match="text, not NoneType"):
        journal.sessions.append("ana", "t", [Turn("user", None)], idle_seconds=IDLE)  # type: ignore[arg-type]
    assert texts(journal.sessions.get("ana", "t").turns) == ["one"]


def test_every_pooled_connection_has_the_durable_settings(home: Home) -> None:
    database = Database(home.journal_url, busy_seconds=3)
    with ExitStack() as stack:
        connections = [stack.enter_context(database.read()) for _ in range(7)]
        connections.append(stack.enter_context(database.write()))
        for connection in connections:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in (
                    "journal_mode",
                    "synchronous",
                    "foreign_keys",
                    "busy_timeout",
                    "secure_delete",
                )
            }
            assert found == {
                "journal_mode": "wal",
                "synchronous": 2,  # FULL
                "foreign_keys": 1,
                "busy_timeout": 3000,
                "secure_delete": 1,
            }
    database.close()


# -- migrations ------------------------------------------------------------------------------------


def test_migrations_are_recorded_and_applied_once(home: Home) -> None:
    def seen() -> tuple[list[tuple[str, str]], int]:
        with sqlite3.connect(home.root / "journal.db") as raw:
            names = raw.execute("SELECT name, at FROM migrations ORDER BY name").fetchall()
            return names, raw.execute("PRAGMA schema_version").fetchone()[0]

    Journal(home.journal_url).close()
    first = seen()
    assert [name for name, _ in first[0]] == [migration.__name__ for migration in MIGRATIONS]
    Journal(home.journal_url).close()
    assert seen() == first


def test_schema_and_migrations_name_the_same_columns(home: Home) -> None:
    Journal(home.journal_url).close()
    found = inspect(create_engine(home.journal_url))
    assert set(found.get_table_names()) == {t.name for t in schema.ALL} | {"migrations"}
    for table in schema.ALL:
        built = [(c["name"], c["type"].python_type) for c in found.get_columns(table.name)]
        named = [
            (c.name, str if isinstance(c.type, schema.UtcTime) else c.type.python_type)
            for c in table.columns
        ]
        assert built == named, table.name


def test_a_journal_from_before_tries_were_counted_opens_and_goes_on(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("plum_langchain.journal.migrations.MIGRATIONS", MIGRATIONS[:1])
        engine = create_engine(home.journal_url)
        with engine.begin() as connection:
            assert migrate(connection) == ["m001_initial"]
        engine.dispose()
    at = "2024-01-18T20:11:00.000000+00:00"
    with sqlite3.connect(home.root / "journal.db") as raw:
        for name, state, reason in (("s1", "learning", None), ("s2", "failed", "small talk")):
            raw.execute(
                "INSERT INTO sessions (user_id, session_id, thread_id, topic, state, reason, "
                "material, started_at, updated_at) VALUES ('ana', ?, 't', '', ?, ?, '{}', ?, ?)",
                (name, state, reason, at, at),
            )
        raw.execute(
            "INSERT INTO turns (session, position, role, content, at) "
            "VALUES (1, 0, 'user', 'Hi', ?)",
            (at,),
        )
    raw.close()

    journal = Journal(home.journal_url, HomeSettings(max_tries=2))
    first, second = journal.sessions.all("ana")
    assert (texts(first.turns), first.tries) == (["Hi"], 0)
    assert (second.state, second.reason, second.tries) == ("failed", "small talk", 0)
    with journal.jobs.claim("ana", "consolidate") as job:
        key = journal.generations.begin_learning(job, "s1")
        assert journal.generations.count_try(job, key, "no network") is None
    assert journal.sessions.get("ana", "s1").tries == 1
    assert learn(journal, "s1").number == 1
    assert journal.sessions.retry("ana") == 1
    journal.close()
    assert [s.state for s in Journal(home.journal_url).sessions.all()] == ["learned", "finished"]


def test_a_journal_of_a_newer_version_is_refused_unchanged(home: Home) -> None:
    journal = Journal(home.journal_url)
    journal.sessions.append("ana", "t", turns("Hi"), idle_seconds=IDLE)
    journal.close()
    path = home.root / "journal.db"
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO migrations VALUES ('m999_from_the_future', '2050-01-01')")
    raw.close()
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(MigrationError, match=r"m999_from_the_future.*upgrade"):
            Journal(home.journal_url)
    assert path.read_bytes() == before
    assert not (home.root / "journal.db-wal").exists()  # every connection was closed again


def test_processes_that_open_a_new_home_at_once_agree(tmp_path: Path) -> None:
    seen = open_together(tmp_path, processes=2, homes=8)
    for number, owners in seen.items():
        assert owners == {Home(tmp_path / str(number)).owner("ana")}
        assert len(Journal(Home(tmp_path / str(number)).journal_url).sessions.all("ana")) == 2


# -- errors a user meets ---------------------------------------------------------------------------


def _hold(path: Path, kind: str) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    raw.execute(f"BEGIN {kind}")
    return raw


def test_opening_waits_for_a_locked_database_and_then_names_it(home: Home) -> None:
    raw = _hold(home.root / "journal.db", "EXCLUSIVE")
    with pytest.raises(BusyError, match=r"journal\.db is locked by another process"):
        Journal(home.journal_url, HomeSettings(busy_seconds=0.1))
    timer = threading.Timer(0.3, raw.close)
    timer.start()
    assert Journal(home.journal_url, HomeSettings(busy_seconds=20)).sessions.all() == []
    timer.join()


def test_a_writer_that_stays_makes_others_busy(
    home: Home, open_journal: Callable[..., Journal]
) -> None:
    journal = open_journal(busy_seconds=0.1)
    raw = _hold(home.root / "journal.db", "IMMEDIATE")
    with pytest.raises(BusyError, match=r"nothing was changed\. Try again"):
        journal.sessions.append("ana", "t", turns("Hi"), idle_seconds=IDLE)
    assert journal.sessions.all() == []  # reading goes on
    raw.close()
    journal.sessions.append("ana", "t", turns("Hi"), idle_seconds=IDLE)


def test_threads_that_write_at_once_all_succeed(journal: Journal) -> None:
    def write(number: int) -> None:
        for turn in range(5):
            journal.sessions.append(
                "ana", f"t{number}", turns(f"{number}.{turn}"), idle_seconds=IDLE
            )

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {s.session_id: texts(s.turns) for s in journal.sessions.all("ana")}
    assert found == {f"t{n}": [f"{n}.{turn}" for turn in range(5)] for n in range(8)}


def test_scrub_says_when_another_process_keeps_it_from_its_work(
    home: Home, open_journal: Callable[..., Journal]
) -> None:
    journal = open_journal(busy_seconds=0.1)
    journal.sessions.append("ana", "t", turns("Hi"), idle_seconds=IDLE)
    reader = _hold(home.root / "journal.db", "DEFERRED")
    reader.execute("SELECT * FROM turns").fetchall()
    with pytest.raises(BusyError, match=r"traces .* may linger.*scrub\(\)"):
        journal.scrub()
    reader.close()
    journal.scrub()
    assert (home.root / "journal.db-wal").stat().st_size == 0


def test_a_file_that_is_no_database(home: Home) -> None:
    (home.root / "journal.db").write_bytes(b"not a database" * 100)
    with pytest.raises(PlumError, match=r"not a healthy journal.*backup"):
        Journal(home.journal_url)


def test_a_journal_that_cannot_be_opened(tmp_path: Path) -> None:
    url = URL.create("sqlite", database=str(tmp_path / "missing" / "journal.db"))
    with pytest.raises(PlumError, match=r"can't be used: .*check that the disk has room"):
        Journal(url)


def test_what_no_database_can_store_is_refused_by_name(journal: Journal) -> None:
    half = Turn("user", "Hi", message_id="m\ud83d")
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        journal.sessions.append("ana", "t", [half], idle_seconds=IDLE)
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        journal.generations.head("ana\ud83d")
    assert journal.sessions.all() == []


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain, \x00 and \ufeffall \U0001f600", "plain, \x00 and \ufeffall \U0001f600"),
        ("\ufeffat the start", "\ufeffat the start"),
        ("cut \ud83d", "cut �"),
        ("\ude00 cut", "� cut"),
        ("in \ud83dthe middle", "in �the middle"),
        ("a pair \ud83d\ude00 in two", "a pair \U0001f600 in two"),
        ("", ""),
    ],
)
def test_lone_surrogates_alone_are_replaced(text: str, stored: str) -> None:
    assert storable(text) == stored
