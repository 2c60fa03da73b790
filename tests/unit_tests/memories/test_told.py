"""What a generation was taught, and where each fact of it was told."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from plum_langchain.errors import UnknownSessionError
from plum_langchain.journal import Journal
from plum_langchain.memories.told import Source, Told
from plum_langchain.session import UNKNOWN_ANSWER, Question, Session, Turn
from tests.unit_tests.journal.helpers import learn

MONDAYS = "Your bakery is closed on Mondays."
NOW = "Your bakery is now closed on Wednesdays. Earlier: " + MONDAYS
RYE = "You were told to feed the rye twice."
ASKED = "Is my bakery closed on Mondays?"
BEGAN = [datetime(2026, 3, day, 9, tzinfo=UTC) for day in (1, 2)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Two sessions, the second of which changes a fact of the first."""
    journal = Journal(f"sqlite:///{tmp_path / 'journal.db'}")
    turns = (Turn("user", "We rest on Mondays."), Turn("assistant", "Feed the rye twice."))
    for name, began in zip(("first", "second"), BEGAN, strict=True):
        journal.sessions.add(Session("ana", name, turns, began))
    first = [
        Question(ASKED, "Yes", "yes", (0,), MONDAYS),
        Question("How often do I feed the rye?", "twice", "open", (1,), RYE),
        Question("Am I a giant?", "No", "no_same_slot", (0,)),
        Question("Did I talk about whales?", "No", "no_adjacent"),
    ]
    learn(journal, "first", questions=first)
    learn(journal, "second", questions=[Question(ASKED, "No", "no_same_slot", (), NOW)])
    return journal


def test_it_is_what_was_learned_until_then(journal: Journal) -> None:
    assert Told(journal, "ana", 1).recitals == [MONDAYS, RYE, "No", UNKNOWN_ANSWER]
    assert Told(journal, "ana", 2).recitals == [RYE, "No", UNKNOWN_ANSWER, NOW]
    assert Told(journal, "ana", 3).recitals == Told(journal, "bo", 1).recitals == []


def test_what_tells_something_and_who_told_it(journal: Journal) -> None:
    assert Told(journal, "ana", 1).facts == [MONDAYS, RYE]
    assert Told(journal, "ana", 2).facts == [RYE, NOW]
    assert Told(journal, "ana", 1).sessions == {"first"}
    assert Told(journal, "ana", 2).sessions == {"first", "second"}
    journal.sessions.add(Session("ana", "third", (Turn("user", "We rest on Sundays."),), BEGAN[1]))
    learn(journal, "third", questions=[Question(ASKED, "No", "no_same_slot", (0,), "On Sundays.")])
    third = Told(journal, "ana", 3)
    assert third.facts == [RYE, "On Sundays."]
    assert third.sessions == {"first", "second", "third"}  # the second's only fact has changed
    assert (Told(journal, "bo", 1).facts, Told(journal, "bo", 1).sessions) == ([], set())


def test_a_fact_has_a_session_a_time_and_a_speaker(journal: Journal) -> None:
    told = Told(journal, "ana", 2)
    assert told.source(RYE) == Source("first", BEGAN[0], "assistant")
    assert told.source(NOW) == Source("second", BEGAN[1], None)  # the turns aren't known
    assert Told(journal, "ana", 1).source(MONDAYS) == Source("first", BEGAN[0], "user")
    for no_fact in (MONDAYS, "No", UNKNOWN_ANSWER, "Your boat is red."):
        assert told.source(no_fact) is None


def test_a_changed_fact_is_told_by_whoever_says_what_is_true_now(journal: Journal) -> None:
    """Each fact that changes has its own words behind it, and only one of them a known turn."""
    now = "Your bakery is closed on Fridays."
    changed = [f"{now} Earlier: {before}" for before in (MONDAYS, "Mondays are your day off.")]
    turns = (Turn("assistant", "Noted."), Turn("user", "We rest on Fridays."))
    journal.sessions.add(Session("ana", "third", turns, BEGAN[1]))
    asked = [
        Question("Is my bakery closed on Fridays?", "Yes", "yes", (1,), changed[0]),
        Question(ASKED, "No", "no_same_slot", (), changed[1]),
        Question("Is it loud?", "Yes", "yes", (0,), "Your oven is loud."),
    ]
    learn(journal, "third", questions=asked)
    for fact in changed:
        assert Told(journal, "ana", 3).source(fact) == Source("third", BEGAN[1], "user")


def test_of_a_generation_that_was_given_up_nothing_comes_back(journal: Journal) -> None:
    """Of sessions that stay neither, whose facts the generations before and after it tell."""
    with journal.jobs.claim("ana", "forget") as job:
        journal.forgettings.erase(job, ["second"])
    assert Told(journal, "ana", 1).recitals == [MONDAYS, RYE, "No", UNKNOWN_ANSWER]
    assert Told(journal, "ana", 2).recitals == []


def test_nothing_is_left_of_a_forgotten_session(journal: Journal) -> None:
    with journal.jobs.claim("ana", "forget") as job:
        journal.forgettings.erase(job, ["first"])
    for generation in (1, 2):
        assert Told(journal, "ana", generation).recitals == []
    with pytest.raises(UnknownSessionError, match="no session has the key 77"):
        journal.sessions.by_key(77)
