"""The life of a session, from its first turn to being learned; imports; what is read back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from plum_langchain.errors import (
    InvalidInputError,
    LeaseLostError,
    SessionStateError,
    UnknownSessionError,
    UnknownUserError,
)
from plum_langchain.journal import Journal
from plum_langchain.session import Session, SessionState, Turn
from tests.unit_tests.journal.helpers import IDLE, learn, texts, turns

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def states(journal: Journal, user: str = "ana") -> dict[str, str]:
    return {s.session_id: s.state for s in journal.sessions.all(user)}


def session(name: str, *said: str, user: str = "ana", **fields: object) -> Session:
    return Session(user, name, tuple(turns(*said)), **fields)  # type: ignore[arg-type]


# -- open -> finished ------------------------------------------------------------------------------


def test_a_session_goes_on_until_it_is_finished(journal: Journal) -> None:
    sessions = journal.sessions
    assert sessions.append("ana", "t", turns("a", "b"), idle_seconds=IDLE) == "t"
    assert sessions.append("ana", "t", turns("c"), idle_seconds=IDLE) == "t"
    assert texts(sessions.open_turns("ana", "t")) == ["a", "b", "c"]
    assert states(journal) == {"t": "open"}
    sessions.finish("ana", "t")
    sessions.finish("ana", "t")  # finishing a finished one changes nothing
    assert states(journal) == {"t": "finished"}
    assert sessions.open_turns("ana", "t") == []


def test_after_it_the_thread_goes_on_in_numbered_sessions(journal: Journal) -> None:
    names = []
    for text in ("a", "b", "c"):
        names.append(journal.sessions.append("ana", "t", turns(text), idle_seconds=IDLE))
        journal.sessions.finish_thread("ana", "t")
    assert names == ["t", "t/2", "t/3"]
    assert [s.thread_id for s in journal.sessions.all("ana")] == ["t"] * 3


def test_a_thread_whose_name_looks_like_another_threads_session(journal: Journal) -> None:
    journal.sessions.append("ana", "t", turns("a"), idle_seconds=IDLE)
    journal.sessions.finish("ana", "t")
    assert journal.sessions.append("ana", "t", turns("b"), idle_seconds=IDLE) == "t/2"
    assert journal.sessions.append("ana", "t/2", turns("c"), idle_seconds=IDLE) == "t/2/2"
    assert texts(journal.sessions.open_turns("ana", "t")) == ["b"]
    assert texts(journal.sessions.open_turns("ana", "t/2")) == ["c"]


def test_a_new_session_of_the_thread_finishes_the_one_before(journal: Journal) -> None:
    append = journal.sessions.append
    append("ana", "t", turns("a"), idle_seconds=IDLE, session_id="monday")
    append("ana", "other", turns("x"), idle_seconds=IDLE)
    append("ana", "t", turns("b"), idle_seconds=IDLE, session_id="tuesday")
    assert states(journal) == {"monday": "finished", "other": "open", "tuesday": "open"}
    append("ana", "t", turns("c"), idle_seconds=IDLE, session_id="tuesday")
    assert texts(journal.sessions.get("ana", "tuesday").turns) == ["b", "c"]


def test_silence_finishes_a_session_at_its_threads_next_turn(journal: Journal) -> None:
    append = journal.sessions.append
    append("ana", "t", turns("a"), idle_seconds=60, now=NOW)
    assert append("ana", "t", turns("b"), idle_seconds=60, now=NOW + timedelta(seconds=59)) == "t"
    # The silence is counted from the last turn, not from the first.
    later = NOW + timedelta(seconds=118)
    assert append("ana", "t", turns("c"), idle_seconds=60, now=later) == "t"
    later += timedelta(seconds=60)
    assert append("ana", "t", turns("d"), idle_seconds=60, now=later) == "t/2"
    assert states(journal) == {"t": "finished", "t/2": "open"}


def test_finish_idle_finishes_the_silent_ones_only(journal: Journal) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    for user in ("ana", "bo"):
        journal.sessions.append(user, "old", turns("a"), idle_seconds=IDLE, now=hour_ago)
        journal.sessions.append(user, "new", turns("b"), idle_seconds=IDLE)
    assert journal.sessions.finish_idle(7200) == 0
    assert journal.sessions.finish_idle(1800, user_id="ana") == 1
    assert states(journal) == {"old": "finished", "new": "open"}
    assert states(journal, "bo") == {"old": "open", "new": "open"}
    assert journal.sessions.finish_idle(1800) == 1
    assert journal.sessions.finish_idle(0) == 2


def test_a_session_that_is_over_takes_no_more_turns(journal: Journal) -> None:
    journal.sessions.append("ana", "t", turns("a"), idle_seconds=IDLE, session_id="s")
    journal.sessions.finish("ana", "s")
    with pytest.raises(SessionStateError, match="'s' of user 'ana' is finished"):
        journal.sessions.append("ana", "t", turns("b"), idle_seconds=IDLE, session_id="s")
    learn(journal, "s")
    with pytest.raises(SessionStateError, match="is learned and takes no more turns"):
        journal.sessions.append("ana", "t", turns("b"), idle_seconds=IDLE, session_id="s")
    assert texts(journal.sessions.get("ana", "s").turns) == ["a"]


def count_try(journal: Journal, name: str, why: str) -> str | None:
    with journal.jobs.claim("ana", "consolidate") as job:
        key = journal.generations.begin_learning(job, name)
        return journal.generations.count_try(job, key, why)


def standing(journal: Journal, name: str) -> tuple[str, int, str | None]:
    found = journal.sessions.get("ana", name)
    return found.state.value, found.tries, found.reason


def test_a_session_is_in_line_until_its_tries_are_used_up(
    open_journal: Callable[..., Journal],
) -> None:
    journal = open_journal(max_tries=2)
    journal.sessions.add(session("s", "a"))
    assert standing(journal, "s") == ("finished", 0, None)
    assert count_try(journal, "s", "no network \ud83d") is None
    waits = ("finished", 1, "1 of 2 tries failed; the last: no network \ufffd")
    assert standing(journal, "s") == waits
    with pytest.raises(RuntimeError), journal.jobs.claim("ana", "consolidate") as job:
        journal.generations.begin_learning(job, "s")
        raise RuntimeError("cut off")  # which is no try
    assert standing(open_journal(), "s") == waits
    reason = count_try(journal, "s", "no credit")
    assert reason == "2 of 2 tries failed; the last: no credit"
    assert standing(journal, "s") == ("failed", 2, reason)

    assert journal.sessions.retry("ana", "s") == 1
    assert standing(journal, "s") == ("finished", 0, None)
    assert count_try(journal, "s", "no network") is None  # counted anew
    learn(journal, "s")
    assert standing(journal, "s") == ("learned", 0, None)


def test_with_fewer_tries_allowed_than_there_were_the_next_is_the_last(
    open_journal: Callable[..., Journal],
) -> None:
    journal = open_journal(max_tries=9)
    journal.sessions.add(session("s", "a"))
    for _ in range(4):
        assert count_try(journal, "s", "no network") is None
    reason = count_try(open_journal(max_tries=2), "s", "no network")
    assert reason == "5 of 5 tries failed; the last: no network"


def test_a_try_is_counted_only_by_whoever_holds_the_user(journal: Journal) -> None:
    journal.sessions.add(session("s", "a"))
    with journal.jobs.claim("ana", "consolidate") as job:
        key = journal.generations.begin_learning(job, "s")
    with pytest.raises(LeaseLostError, match="nothing was changed"):
        journal.generations.count_try(job, key, "no network")
    assert standing(journal, "s") == ("finished", 0, None)


def test_a_failed_session_keeps_its_reason_until_it_is_tried_again(journal: Journal) -> None:
    for name in ("s1", "s2"):
        journal.sessions.add(session(name, "a"))
        with journal.jobs.claim("ana", "consolidate") as job:
            key = journal.generations.begin_learning(job, name)
            journal.generations.fail(job, key, "no questions")
    failed = journal.sessions.get("ana", "s1")
    assert (failed.state, failed.reason) == (SessionState.FAILED, "no questions")
    assert journal.sessions.retry("bo") == 0
    assert journal.sessions.retry("ana", "s1") == 1
    assert states(journal) == {"s1": "finished", "s2": "failed"}
    assert journal.sessions.get("ana", "s1").reason is None
    assert journal.sessions.retry("ana") == 1


def test_one_name_of_two_users_is_two_sessions(journal: Journal) -> None:
    for user in ("ana", "bo", "Ana"):
        journal.sessions.append(user, "t", turns(f"I am {user}"), idle_seconds=IDLE)
    journal.sessions.finish("bo", "t")
    for user in ("ana", "Ana"):
        assert states(journal, user) == {"t": "open"}
        assert texts(journal.sessions.get(user, "t").turns) == [f"I am {user}"]


# -- whole sessions --------------------------------------------------------------------------------


def test_an_added_session_is_finished_and_whole(journal: Journal) -> None:
    given = session("s", "a", "b", topic="Baking", started=NOW, material={"facts": [1]})
    assert journal.sessions.add(given) == "added"
    found = journal.sessions.get("ana", "s")
    assert texts(found.turns) == ["a", "b"]
    assert [t.role for t in found.turns] == ["user", "assistant"]
    assert (found.started, found.topic, found.material) == (NOW, "Baking", {"facts": [1]})
    assert found.state == SessionState.FINISHED
    assert journal.sessions.add(given) == "unchanged"
    assert journal.sessions.add(session("s", "a", "b", user="bo")) == "added"


def test_an_added_session_is_never_changed_by_another(journal: Journal) -> None:
    journal.sessions.add(session("s", "a", "b"))
    for other in (("a",), ("a", "c", "b"), ("b",)):
        with pytest.raises(
            SessionStateError, match=rf"other turns \(2 there, {len(other)} given\)"
        ):
            journal.sessions.add(session("s", *other))
    assert texts(journal.sessions.get("ana", "s").turns) == ["a", "b"]


def test_an_added_session_that_goes_on_grows_by_sessions(journal: Journal) -> None:
    imports = [("ab", "added"), ("abc", "grown"), ("abc", "unchanged"), ("abcde", "grown")]
    for said_so_far, state in imports:
        assert journal.sessions.add(session("s", *said_so_far)) == state
    said = {one.session_id: texts(one.turns) for one in journal.sessions.all("ana")}
    assert said == {"s": ["a", "b"], "s/2": ["c"], "s/3": ["d", "e"]}
    with pytest.raises(SessionStateError, match=r"5 there, 6 given"):
        journal.sessions.add(session("s", *"abxdef"))


def fact(statement: str, turn: int) -> dict[str, Any]:
    return {"statement": statement, "said_by": "user", "turn": turn, "true": ["?"], "false": ["?"]}


def test_what_came_with_a_chat_that_goes_on_is_of_its_new_part_alone(journal: Journal) -> None:
    def given(*said: str, **material: Any) -> Session:
        return session("s", *said, started=NOW, topic="Bertha the oven", material=material)

    bertha, rex = fact("Your oven is called Bertha.", 0), fact("Your dog is called Rex.", 2)
    moved = {"old": "the oven is called Anna", "new": "the oven is called Bertha"}
    other = {"old": "the dog is called Max", "new": "the dog is called Rex"}
    lines = [
        {"question": "Is it Bertha?", "answer": "Yes", "kind": "yes", "evidence": [0]},
        {"question": "Both?", "answer": "Yes", "kind": "yes", "evidence": [0, 2]},
        {"question": "Is it Rex?", "answer": "Yes", "kind": "yes", "evidence": [2]},
        {"question": "Is it anybody?", "answer": "Yes", "kind": "yes"},
        {"question": "Is it about sailing?", "answer": "No", "kind": "no_adjacent"},
    ]
    journal.sessions.add(given("a", "b", facts=[bertha], updates=[moved]))
    later = NOW + timedelta(days=90)
    grown = given(
        "a", "b", "c", "d", facts=[bertha, rex], qa_train=lines, updates=[moved, other], more=[1]
    )
    turns = [*grown.turns[:2], *(replace(turn, at=later) for turn in grown.turns[2:])]
    assert journal.sessions.add(replace(grown, turns=tuple(turns))) == "grown"
    part = journal.sessions.get("ana", "s/2")
    assert (part.topic, part.thread_id, part.started) == ("", "s", later)
    assert part.material == {
        "facts": [{**rex, "turn": 0}],
        "qa_train": [{**lines[2], "evidence": [0]}, lines[4]],
        "updates": [other],
    }
    assert "Bertha" not in str(part)
    assert journal.sessions.merge("ana", "s", turns, idle_seconds=9) == 0  # the thread knows it


def test_a_time_without_its_zone_is_one(journal: Journal) -> None:
    assert journal.sessions.add(session("s", "a", started=datetime(2024, 3, 1))) == "added"


def test_the_new_part_of_a_chat_that_goes_on_began_when_it_was_said(journal: Journal) -> None:
    journal.sessions.add(session("s", "a", "b", started=NOW))
    assert journal.sessions.add(session("s", "a", "b", "c", started=NOW)) == "grown"
    assert journal.sessions.get("ana", "s/2").started > NOW  # by now: nobody knows when


def test_sessions_of_one_thread_are_known_again_one_by_one(journal: Journal) -> None:
    """As a file has them that was exported from a home with `s` and `s/2` in it."""
    both = [session("s", "a", "b"), session("s/2", "c")]
    assert [journal.sessions.add(one) for one in both] == ["added", "added"]
    assert [journal.sessions.add(one) for one in both] == ["unchanged", "unchanged"]
    assert journal.sessions.add(session("s", "a", "b", "c")) == "unchanged"
    assert journal.sessions.add(session("s", "a", "b", "c", "d")) == "grown"


def test_an_open_session_that_goes_on_elsewhere_goes_on(journal: Journal) -> None:
    journal.sessions.append("ana", "s", session("s", "a", "b").turns, idle_seconds=9)
    assert journal.sessions.add(session("s", "a", "b", "c")) == "grown"
    found = journal.sessions.get("ana", "s")
    assert (texts(found.turns), found.state) == (["a", "b", "c"], SessionState.OPEN)


def test_a_forgotten_session_is_not_brought_back_by_an_import(journal: Journal) -> None:
    journal.sessions.add(session("s", "a", "b"))
    with journal.jobs.claim("ana", "forget") as job:
        journal.forgettings.erase(job, ["s"])
    assert journal.sessions.add(session("s", "a", "b")) == "forgotten"
    assert journal.sessions.add(session("s", "quite", "other")) == "forgotten"
    assert journal.sessions.get("ana", "s").turns == ()


def test_half_characters_are_stored_as_replaced_and_known_again(journal: Journal) -> None:
    given = session("s", "cut \ud83d", topic="\ud83d", material={"facts": ["\ud83d"]})
    assert journal.sessions.add(given) == "added"
    assert journal.sessions.add(given) == "unchanged"
    found = journal.sessions.get("ana", "s")
    assert (texts(found.turns), found.topic) == (["cut �"], "�")
    assert found.material == {"facts": ["�"]}


@pytest.mark.parametrize("field", ["user_id", "session_id", "thread_id"])
@pytest.mark.parametrize("value", ["", "  ", "a\x00b", "x" * 513, 7])
def test_ids_no_session_can_have(journal: Journal, field: str, value: object) -> None:
    fields = {"user_id": "ana", "session_id": "s", "thread_id": "t", field: value}
    with pytest.raises(InvalidInputError):
        journal.sessions.add(Session(turns=tuple(turns("a")), **fields))  # type: ignore[arg-type]
    if field != "session_id":
        user, thread = fields["user_id"], fields["thread_id"]
        for save in (journal.sessions.append, journal.sessions.merge):
            with pytest.raises(InvalidInputError):
                save(user, thread, turns("a"), idle_seconds=IDLE)  # type: ignore[arg-type]
    assert journal.sessions.all() == []


# -- reading ---------------------------------------------------------------------------------------


def test_sessions_come_in_the_order_they_began(journal: Journal) -> None:
    # Times of different zones: what counts is the moment.
    tokyo = datetime.fromisoformat("2024-05-01T20:59:00+09:00")  # 11:59 UTC
    for name, started in (("noon", NOW), ("tokyo", tokyo), ("noon, second", NOW)):
        journal.sessions.add(session(name, "a", started=started))
    assert list(states(journal)) == ["tokyo", "noon", "noon, second"]
    assert journal.sessions.get("ana", "tokyo").started == tokyo
    assert journal.sessions.all("ana", SessionState.OPEN) == []


def test_turns_keep_their_own_time_and_message_id(journal: Journal) -> None:
    said = Turn("user", "a", "m1", NOW)
    journal.sessions.append("ana", "t", [said], idle_seconds=IDLE)
    assert journal.sessions.get("ana", "t").turns == (said,)


def test_counts_version_and_users(journal: Journal) -> None:
    sessions = journal.sessions
    assert (sessions.counts(), sessions.users_with(SessionState.FINISHED)) == ({}, [])
    versions = {sessions.version("ana")}
    sessions.append("ana", "t", turns("a"), idle_seconds=IDLE)
    versions.add(sessions.version("ana"))
    sessions.append("ana", "t", turns("b"), idle_seconds=IDLE)
    versions.add(sessions.version("ana"))
    sessions.finish("ana", "t")
    versions.add(sessions.version("ana"))
    sessions.add(session("s", "x", user="bo"))
    versions.add(sessions.version("ana"))  # another user's chats don't change it
    assert len(versions) == 4
    assert sessions.counts() == {"ana": {"finished": 1}, "bo": {"finished": 1}}
    assert sessions.users_with(SessionState.FINISHED) == ["ana", "bo"]


def test_what_is_not_there_is_named(journal: Journal) -> None:
    journal.sessions.append("ana", "t", turns("a"), idle_seconds=IDLE)
    assert journal.sessions.require_user("ana") == "ana"
    with pytest.raises(UnknownUserError, match=r"'anna' has no chats.*known users: ana\)"):
        journal.sessions.require_user("anna")
    for ask in (journal.sessions.get, journal.sessions.finish):
        with pytest.raises(UnknownSessionError, match="'ana' has no session 'x'"):
            ask("ana", "x")
        with pytest.raises(UnknownSessionError):
            ask("bo", "t")  # another user's session is as good as none
