"""Generations: the head moves in one step, back again, and forgetting leaves no text behind."""

from pathlib import Path

import pytest

from plum_langchain.errors import (
    InvalidInputError,
    SessionStateError,
    UnknownGenerationError,
    UnknownSessionError,
)
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.session import Question, Session, SessionState, Turn
from tests.unit_tests.journal.helpers import IDLE, learn, texts, turns


@pytest.fixture
def four(journal: Journal) -> Journal:
    """Four sessions of ana's, learned one after the other."""
    for name in ("s1", "s2", "s3", "s4"):
        journal.sessions.add(Session("ana", name, tuple(turns(f"{name} says", "so"))))
        learn(journal, name, questions=[Question(f"Did {name} say so?", "Yes", "yes", (0, 1))])
    return journal


def states(journal: Journal) -> dict[str, str]:
    return {s.session_id: str(s.state) for s in journal.sessions.all("ana")}


def served(journal: Journal, user: str = "ana") -> tuple[int, int] | None:
    """Number of the head, and how many sessions are in it."""
    head = journal.generations.head(user)
    return None if head is None else (head.number, len(head.learned))


def forget(journal: Journal, session_id: str | None) -> tuple[list[str], list[int]]:
    with journal.jobs.claim("ana", "forget") as job:
        names = None if session_id is None else [session_id]
        erased = journal.forgettings.erase(job, names)
    return list(erased.sessions), [generation.number for generation in erased.generations]


# -- publishing ------------------------------------------------------------------------------------


def test_publishing_moves_the_head_and_all_that_belongs_to_it(journal: Journal) -> None:
    journal.sessions.add(Session("ana", "s1", tuple(turns("a", "b"))))
    assert served(journal) is None
    asked = [
        Question("Did I say a?", "Yes", "yes", (0,), "You said a."),
        Question("Did I say z?", "No", "no_adjacent"),
    ]
    first = learn(journal, "s1", questions=asked, metrics={"loss": 0.5})
    assert journal.generations.head("ana") == first == journal.generations.get("ana", 1)
    assert (first.number, first.parent, first.base_model) == (1, None, "tiny/model")
    assert first.metrics == {"loss": 0.5} and first.kept
    assert journal.generations.replay_questions("ana") == {first.learned[0]: asked}
    assert states(journal) == {"s1": "learned"}
    assert journal.generations.latest_base_model() == "tiny/model"
    assert journal.generations.head("bo") is None
    assert journal.generations.replay_questions("bo") == {}


def test_learned_keeps_the_order_of_learning(journal: Journal) -> None:
    for name in ("s1", "s2", "s3"):
        journal.sessions.add(Session("ana", name, tuple(turns(name))))
    order = ["s2", "s3", "s1"]
    for name in order:
        learn(journal, name, questions=[Question(name, "Yes", "yes")])
    replay = journal.generations.replay_questions("ana")
    assert [q.question for questions in replay.values() for q in questions] == order
    assert [g.parent for g in journal.generations.all("ana")] == [None, 1, 2]
    head = journal.generations.head("ana")
    assert head is not None and head.learned == tuple(replay)


def test_a_publication_that_fails_leaves_all_as_it_was(four: Journal) -> None:
    four.sessions.add(Session("ana", "s5", tuple(turns("a"))))
    broken = [Question("Is it so?", "Yes", None)]  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        learn(four, "s5", questions=broken)
    assert served(four) == (4, 4)
    assert states(four)["s5"] == "finished"
    assert learn(four, "s5", questions=[]).learned[-1] not in four.generations.get("ana", 4).learned
    assert served(four) == (6, 5)


def test_only_a_finished_session_is_learned(four: Journal) -> None:
    four.sessions.append("ana", "t", turns("a"), idle_seconds=IDLE)
    forget(four, "s4")
    with four.jobs.claim("ana", "consolidate") as job:
        for name, state in (("t", "open"), ("s1", "learned"), ("s4", "forgotten")):
            with pytest.raises(SessionStateError, match=f"{name!r} of user 'ana' is {state}"):
                four.generations.begin_learning(job, name)
        with pytest.raises(UnknownSessionError, match="no session 's9'"):
            four.generations.begin_learning(job, "s9")
    assert states(four)["s4"] == "forgotten"


# -- pruning and going back ------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 2, 3, 4, 9])
def test_pruning_keeps_the_newest_and_the_head(four: Journal, keep: int) -> None:
    with four.jobs.claim("ana", "consolidate") as job:
        gone = four.generations.prune(job, keep)
        assert four.generations.prune(job, keep) == []
    kept = [g.number for g in four.generations.all("ana")]
    assert kept == [1, 2, 3, 4][-keep:]
    assert sorted(gone + kept) == [1, 2, 3, 4]
    assert served(four) == (4, 4)
    for number in gone:
        with pytest.raises(UnknownGenerationError, match=f"no generation {number} .kept: "):
            four.generations.get("ana", number)
    assert all(not g.metrics for g in four.generations.all("ana", kept_only=False) if not g.kept)


def test_rollback_puts_later_sessions_back_in_line(four: Journal) -> None:
    with four.jobs.claim("ana", "rollback") as job:
        assert four.generations.rollback(job, 2) == [3, 4]
    assert served(four) == (2, 2)
    assert states(four) == {"s1": "learned", "s2": "learned", "s3": "finished", "s4": "finished"}
    again = learn(four, "s3")
    assert (again.number, again.parent, len(again.learned)) == (5, 2, 3)
    with four.jobs.claim("ana", "rollback") as job:
        with pytest.raises(UnknownGenerationError, match=r"generation 3 \(kept: 1, 2, 5\)"):
            four.generations.rollback(job, 3)
    assert served(four) == (5, 3)


def test_numbers_are_never_used_twice(four: Journal) -> None:
    with four.jobs.claim("ana", "rollback") as job:
        four.generations.rollback(job, 1)
    assert four.generations.next_number("ana") == 5
    assert four.generations.next_number("ana") == 6  # 5 is somebody's, published or not
    assert four.generations.next_number("bo") == 1
    forget(four, None)
    assert four.generations.next_number("ana") == 7
    four.sessions.add(Session("ana", "new", tuple(turns("a"))))
    with four.jobs.claim("ana", "consolidate") as job:
        key = four.generations.begin_learning(job, "new")
        for used in (1, 4):
            with pytest.raises(InvalidInputError, match=f"generation {used} .* published before"):
                four.generations.publish(
                    job,
                    number=used,
                    session_key=key,
                    questions=[],
                    base_model="tiny/model",
                    manifest_sha256="0" * 64,
                    metrics={},
                )
    assert served(four) is None


# -- forgetting ------------------------------------------------------------------------------------


def test_forgetting_a_session_serves_the_newest_clean_generation(four: Journal) -> None:
    assert forget(four, "s3") == (["s3"], [3, 4])
    assert served(four) == (2, 2)
    assert states(four) == {"s1": "learned", "s2": "learned", "s3": "forgotten", "s4": "finished"}
    assert four.sessions.get("ana", "s3").turns == ()
    assert texts(four.sessions.get("ana", "s4").turns) == ["s4 says", "so"]
    again = learn(four, "s4")
    assert (again.number, len(again.learned)) == (5, 3)
    with pytest.raises(UnknownSessionError, match="no session 's3' to forget"):
        forget(four, "s3")


def test_if_no_clean_generation_is_kept_none_is_served(four: Journal) -> None:
    with four.jobs.claim("ana", "consolidate") as job:
        four.generations.prune(job, 2)
    assert forget(four, "s1") == (["s1"], [3, 4])
    assert served(four) is None
    assert states(four) == {"s1": "forgotten", "s2": "finished", "s3": "finished", "s4": "finished"}
    assert learn(four, "s2").learned == (2,)


def test_what_was_never_learned_is_forgotten_without_going_back(four: Journal) -> None:
    four.sessions.append("ana", "t", turns("open one"), idle_seconds=IDLE)
    four.sessions.add(Session("ana", "s5", tuple(turns("finished one"))))
    assert forget(four, "t") == (["t"], [])
    assert forget(four, "s5") == (["s5"], [])
    assert served(four) == (4, 4)
    assert four.sessions.open_turns("ana", "t") == []
    assert four.sessions.append("ana", "t", turns("anew"), idle_seconds=IDLE) == "t/2"


def test_forgetting_all_of_one_user_leaves_others_alone(four: Journal) -> None:
    four.sessions.add(Session("bo", "s1", tuple(turns("bo's"))))
    learn(four, "s1", "bo")
    assert forget(four, None) == (["s1", "s2", "s3", "s4"], [1, 2, 3, 4])
    assert served(four) is None
    assert set(states(four).values()) == {"forgotten"}
    assert four.generations.replay_questions("ana") == {}
    assert served(four, "bo") == (1, 1)
    assert texts(four.sessions.get("bo", "s1").turns) == ["bo's"]
    assert forget(four, None) == ([], [])


def test_no_byte_of_forgotten_text_is_left(home: Home, journal: Journal) -> None:
    secret = "marzipan"
    long = " ".join(f"{secret}{i}" for i in range(20_000))  # far more than a page of the database
    kept = "gooseberry"
    sessions = journal.sessions
    sessions.add(
        Session(
            "ana",
            "s1",
            tuple(turns(f"I hide {secret}.", long)),
            topic=f"On {secret}",
            material={"facts": [secret]},
        )
    )
    learn(
        journal,
        "s1",
        questions=[Question(f"Do I hide {secret}?", "Yes", "yes", (0,), f"You hide {secret}.")],
        metrics={"worst": secret},
    )
    sessions.add(Session("ana", "s2", tuple(turns(f"{kept} and {secret}"))))
    with journal.jobs.claim("ana", "consolidate") as job:
        key = journal.generations.begin_learning(job, "s2")
        journal.generations.fail(job, key, f"can't ask about {secret!r}")
    sessions.add(Session("ana", "s5", tuple(turns("one that waits"))))
    with journal.jobs.claim("ana", "consolidate") as job:
        key = journal.generations.begin_learning(job, "s5")
        assert journal.generations.count_try(job, key, f"refused: {secret}") is None
    with pytest.raises(ValueError), journal.jobs.claim("ana", "consolidate"):
        raise ValueError(f"stumbled over {secret}")
    with_id = Turn("user", f"{secret} with an id", "m1")
    sessions.merge("ana", "s3", [with_id], idle_seconds=IDLE)
    sessions.add(Session("ana", "s4", tuple(turns(f"only {kept}"))))
    assert secret.encode() in _bytes_of(home.root)

    for name in ("s1", "s2", "s3", "s5"):
        forget(journal, name)
    journal.scrub()

    left = _bytes_of(home.root)
    assert secret.encode() not in left
    assert kept.encode() in left
    assert states(journal) == {
        "s1": SessionState.FORGOTTEN,
        "s2": SessionState.FORGOTTEN,
        "s3": SessionState.FORGOTTEN,
        "s4": SessionState.FINISHED,
        "s5": SessionState.FORGOTTEN,
    }
    assert sessions.get("ana", "s5").tries == 0
    journal.close()
    assert secret.encode() not in _bytes_of(home.root)


def _bytes_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("journal.db*")))
