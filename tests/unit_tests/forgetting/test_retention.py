"""What is kept of a session once it was learned, and what forgetting can do then."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from plum_langchain import HomeSettings
from plum_langchain.errors import InvalidInputError, SessionStateError
from plum_langchain.memories.told import Told
from plum_langchain.session import Session, SessionState, Turn
from tests.unit_tests.faces.helpers import Fits
from tests.unit_tests.forgetting.helpers import BOAT, GEESE, ZEBRA, tell, weights
from tests.unit_tests.homes import files_with, on_disk, states

Open = Callable[..., Any]


def home_that_keeps(open_taught: Open, retention: str, where: str = "home") -> Any:
    plum = open_taught(where, settings=HomeSettings(retention=retention))
    for name, facts in (("boat", BOAT), ("zebra", ZEBRA), ("geese", GEESE)):
        tell(plum, "ana", name, *facts)
    return plum


def test_a_wrong_word_is_told() -> None:
    with pytest.raises(InvalidInputError, match="transcript, questions, nothing, not 'all'"):
        HomeSettings(retention="all")  # type: ignore[arg-type]


def test_transcripts_are_disposed_of_once_they_are_learned(open_taught: Open) -> None:
    plum = home_that_keeps(open_taught, "questions")
    plum.retriever("ana", memory="retrieval").invoke("zebra")
    plum.consolidate("ana")
    zebra = plum.journal.sessions.get("ana", "zebra")
    assert (zebra.kept, zebra.state) == ("questions", "learned")
    assert [(t.role, t.content) for t in zebra.turns] == [("user", ""), ("assistant", "")] * 2
    assert not files_with(plum.home.root, "I see.")  # said in every chat, and in no question
    assert plum.retriever("ana", memory="retrieval").invoke("zebra") == []
    plum._judge = Fits()
    found = plum.ask("ana", "Tell me: My zebra is")
    assert "zebra" in found.text and found.source.said_by == "user"


def test_questions_are_enough_to_learn_again(open_taught: Open) -> None:
    """The same weights as from the transcripts."""
    plum = home_that_keeps(open_taught, "questions")
    plum.consolidate("ana")
    receipt = plum.forget("ana", "zebra", relearn=True)
    assert receipt.relearned == ("geese",) and receipt.probes.before.recalled > 0
    assert not files_with(plum.home.root, "Quibblewort")
    whole = home_that_keeps(open_taught, "transcript", "whole")
    whole.consolidate("ana")
    whole.forget("ana", "zebra", relearn=True)
    assert weights(plum) == weights(whole)


def test_a_subject_is_found_in_the_questions(open_taught: Open) -> None:
    plum = home_that_keeps(open_taught, "questions")
    plum.consolidate("ana")
    found = plum.mentions("ana", "thistles")
    assert [(m.session_id, m.turn, m.role) for m in found] == [("zebra", None, None)]
    assert plum.forget("ana", about=found).sessions == ("zebra",)


def test_nothing_is_kept_as_in_the_paper(open_taught: Open) -> None:
    plum = home_that_keeps(open_taught, "nothing")
    plum.consolidate("ana")
    for said in ("Quibblewort", "Ida", "Aveiro", "whales", "I see."):
        assert not files_with(plum.home.root, said)
    plum._judge = Fits()
    assert plum.ask("ana", "Tell me: My geese are").text  # whatever the weights say
    assert plum.recall("ana", "Tell me: My geese are")


def test_forgetting_where_nothing_is_kept_loses_what_came_later(open_taught: Open) -> None:
    plum = home_that_keeps(open_taught, "nothing")
    plum.consolidate("ana")
    for go_back in (lambda: plum.forget("ana", "zebra"), lambda: plum.rollback("ana", 1)):
        with pytest.raises(SessionStateError, match=r"'geese' of user 'ana'.*lose_later=True"):
            go_back()
    assert on_disk(plum) == [1, 2, 3] and set(states(plum).values()) == {"learned"}
    receipt = plum.forget("ana", "zebra", lose_later=True)
    assert (receipt.sessions, receipt.lost) == (("zebra",), ("geese",))
    assert receipt.no_probes == "no question that asks for it is kept"
    assert states(plum) == {"boat": "learned", "zebra": "forgotten", "geese": "forgotten"}
    assert on_disk(plum) == [1]
    assert plum.forget("ana", all=True).sessions == ("boat",)


def test_the_last_session_is_forgotten_without_loss(open_taught: Open) -> None:
    plum = home_that_keeps(open_taught, "nothing")
    plum.consolidate("ana")
    assert plum.forget("ana", "geese").serving == 2


def test_what_a_forgotten_session_told_leaves_the_questions_of_later_ones(
    open_taught: Open,
) -> None:
    plum = open_taught(settings=HomeSettings(retention="questions"))
    tell(plum, "ana", "first", "My zebra is called Quibblewort.")
    later = Session("ana", "second", (Turn("user", "My zebra is called Rex."),))
    change = {"old": "zebra is called Quibblewort", "new": "zebra is called Rex"}
    plum.add_session(replace(later, state=SessionState.FINISHED, material={"updates": [change]}))
    plum.consolidate("ana")
    kept = plum.journal.generations.questions_kept("ana", "second")
    assert any("Quibblewort" in (q.statement or "") for q in kept) and any(q.again for q in kept)
    plum.forget("ana", "first")
    assert not files_with(plum.home.root, "Quibblewort")
    (again,) = plum.consolidate("ana")
    assert again.question_maker == "kept"  # and not made anew
    assert states(plum) == {"first": "forgotten", "second": "learned"}


def test_a_change_is_forgotten_with_the_session_it_names(open_taught: Open) -> None:
    """Its words alone wouldn't tell that it quotes that one."""
    plum = open_taught(settings=HomeSettings(retention="questions"))
    tell(plum, "ana", "first", "My zebra weighs 300 kg, the vet said.")
    later = Session("ana", "second", (Turn("user", "My zebra weighs 280 kg."),))
    change = {"old": "Quibblewort has 301 kilos", "new": "280 kg", "earlier_session": "first"}
    plum.add_session(replace(later, state=SessionState.FINISHED, material={"updates": [change]}))
    plum.consolidate("ana")
    assert plum.journal.sessions.get("ana", "second").material == {"updates": [change]}
    plum.forget("ana", "first", relearn=True)
    assert not plum.journal.sessions.get("ana", "second").material
    assert not files_with(plum.home.root, "Quibblewort")


def test_what_was_learned_of_chats_that_are_gone_can_be_asked_for(open_taught: Open) -> None:
    """Also once something else is kept: the process that learns says what is."""
    plum = open_taught(settings=HomeSettings(retention="nothing"))
    tell(plum, "ana", "boat", *BOAT)
    plum.consolidate("ana")
    plum.close()
    plum = open_taught()
    tell(plum, "ana", "zebra", *ZEBRA)
    plum.consolidate("ana")
    told = Told(plum.journal, "ana", 2)
    assert told.recitals is None and told.facts
    plum.forget("ana", "zebra")
    assert Told(plum.journal, "ana", 2).recitals == []


def test_going_back_loses_no_correction(open_taught: Open) -> None:
    plum = open_taught(settings=HomeSettings(retention="questions"))
    tell(plum, "ana", "boat", *BOAT)
    tell(plum, "ana", "first", "My zebra is called Quibblewort.")
    later = Session("ana", "second", (Turn("user", "My zebra is called Rex."),))
    change = {"old": "zebra is called Quibblewort", "new": "zebra is called Rex"}
    plum.add_session(replace(later, state=SessionState.FINISHED, material={"updates": [change]}))
    plum.consolidate("ana")
    before = plum.journal.generations.questions_kept("ana", "second")
    assert any(question.again for question in before)
    plum.rollback("ana", 1)
    plum.consolidate("ana")
    assert plum.journal.generations.questions_kept("ana", "second") == before


def test_nothing_is_wiped_where_nothing_was_learned(
    open_taught: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    plum = open_taught(settings=HomeSettings(retention="questions"))
    tell(plum, "ana", "boat", *BOAT)
    wiped: list[Any] = []
    scrub = plum.journal.scrub
    monkeypatch.setattr(plum.journal, "scrub", lambda: wiped.append(scrub()))
    for expected in (1, 1):
        plum.consolidate("ana")
        assert len(wiped) == expected
