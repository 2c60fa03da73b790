"""Forgetting a subject: what speaks of it is shown, and what is confirmed goes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from plum_langchain.errors import InvalidInputError, UnknownSessionError, UnknownUserError
from plum_langchain.forgetting import Mention
from plum_langchain.forgetting.mentions import find_mentions
from plum_langchain.memories.embeddings import LocalEmbeddings
from plum_langchain.session import Question, Session, Turn
from tests.tiny import session
from tests.unit_tests.forgetting.helpers import Facts, tell, weights
from tests.unit_tests.homes import files_with, states

Open = Callable[..., Any]


def everything(found: Sequence[Mention]) -> Sequence[Mention]:
    return found


@pytest.fixture
def told(open_taught: Open) -> Any:
    plum = open_taught()
    tell(plum, "ana", "one", "My boat is called Ida.", "My heron is called Quibblewort.")
    tell(plum, "ana", "two", "My geese are grey and seven.")
    tell(plum, "bob", "one", "My heron is called Rex.")
    return plum


def test_turns_that_speak_of_a_subject_are_found(told: Any) -> None:
    (found,) = told.mentions("ana", "heron")
    assert (found.session_id, found.turn, found.role) == ("one", 2, "user")
    assert found.text == "My heron is called Quibblewort." and 0 < found.similarity <= 1
    assert told.mentions("ana", "parachutes") == []
    with pytest.raises(UnknownUserError):
        told.mentions("carl", "heron")
    with pytest.raises(InvalidInputError, match="about is empty"):
        told.mentions("ana", "  ")


def test_a_turn_goes_and_the_rest_of_its_session_is_learned_again(
    told: Any, open_taught: Open
) -> None:
    told.consolidate("ana")
    shown: list[Mention] = []

    def confirm(found: Sequence[Mention]) -> Sequence[Mention]:
        shown.extend(found)
        return found

    receipt = told.forget("ana", about="my heron", confirm=confirm, relearn=True)
    assert [m.text for m in shown] == ["My heron is called Quibblewort."]
    assert (receipt.sessions, receipt.turns) == ((), {"one": (2,)})
    assert receipt.rows == {"turns": 1, "questions": 6}
    assert receipt.to_relearn == receipt.relearned == ("one", "two")
    assert receipt.probes.questions == 2 and receipt.probes.before.recalled == 1.0
    assert receipt.probes.after.recalled == 0.0
    assert not files_with(told.home.root, "Quibblewort")
    turns = told.journal.sessions.get("ana", "one").turns
    assert [t.content for t in turns] == ["My boat is called Ida.", "I see.", "", "I see."]
    assert told.retriever("bob", memory="retrieval").invoke("heron")
    near = told.retriever("ana", memory="retrieval").invoke("heron")
    assert all("heron" not in document.page_content for document in near)
    never = open_taught("never")
    tell(never, "ana", "one", "My boat is called Ida.", "")
    tell(never, "ana", "two", "My geese are grey and seven.")
    never.consolidate("ana")
    assert weights(told) == weights(never)


class AllAlike(LocalEmbeddings):
    """What the default encoder is to a script that it knows letter by letter."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, 0.1 * (len(text) % 3)] for text in texts]


@pytest.mark.parametrize(
    ("about", "texts", "which"),
    [
        ("歯医者", ["火曜日に歯医者に行く。", "医者の友だちがいます。"], [0]),
        ("моя собака", ["Мою собаку зовут Рекс.", "Я играю на пианино."], []),
        ("собака", ["Мою собаку зовут Рекс.", "Я играю на пианино."], [0]),
        ("北京", ["我去过南京和北海道。", "我住在北京。"], [1]),
    ],
)
def test_where_the_encoder_cannot_tell_words_do(
    open_taught: Open, about: str, texts: list[str], which: list[int]
) -> None:
    plum = open_taught()
    for number, text in enumerate(texts):
        plum.add_session(session("ana", str(number), text, "OK."))
    found = find_mentions(plum.journal, AllAlike(), "ana", about)
    assert [one.session_id for one in found] == [str(number) for number in which]


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("days", [-30, 30])
def test_whether_it_was_told_again_goes_by_when_chats_took_place(
    told: Any, days: int, dated: bool
) -> None:
    """And not by when they were imported, where that is known."""
    said, at = "My heron eats 12 thistles in Aveiro.", datetime(2024, 3, 1, tzinfo=UTC)
    then = at + timedelta(days=days)
    turns = (
        Turn("user", "What eats so much?", at=then if dated else None),
        Turn("assistant", "Your heron: " + said[3:], at=then if dated else None),
    )
    began = datetime(2024, 1, 1, tzinfo=UTC) if dated else then
    told.add_session(Session("ana", "other", turns, started=began))
    told.add_session(Session("ana", "heron", (Turn("user", said),), started=at))
    found = told.mentions("ana", session="heron")
    assert [one.session_id for one in found if one.again] == (["other"] if days > 0 else [])


def test_a_chat_that_seems_to_begin_in_the_future_began_before_now(told: Any) -> None:
    """As with times that an export has without their zone."""
    said, ahead = "My heron eats 12 thistles in Aveiro.", datetime.now(UTC) + timedelta(hours=8)
    told.add_session(Session("ana", "heron", (Turn("user", said),), started=ahead))
    told.record("ana", "other", [HumanMessage("What?"), AIMessage("Your heron: " + said[3:])])
    found = told.mentions("ana", session="heron")
    assert [one.session_id for one in found if one.again] == ["other"]


def test_what_an_assistant_told_again_is_shown_with_it(told: Any) -> None:
    fact = "My heron is called Quibblewort. It eats 12 thistles in Aveiro."
    tell(told, "ana", "three", fact)
    turns = (
        Turn("user", "What was it that eats so much?"),
        Turn("assistant", "12 thistles: it eats them in Aveiro."),
    )
    told.add_session(Session("ana", "four", turns))
    echo = ("four", 1, "assistant", True)

    def shown(found: Sequence[Mention]) -> list[tuple[Any, ...]]:
        return [(m.session_id, m.turn, m.role, m.again) for m in found]

    assert shown(told.mentions("ana", session="three")) == [
        ("three", 0, "user", False),
        ("three", 1, "assistant", False),
        echo,
    ]
    found = told.mentions("ana", "heron")
    assert shown(found) == [("one", 2, "user", False), ("three", 0, "user", False), echo]
    receipt = told.forget("ana", about=[m for m in found if m.session_id == "three"])
    assert receipt.sessions == ("three",)  # no user speaks in the rest of it
    assert receipt.turns == {"four": (1,)}  # goes with it, confirmed or not
    assert receipt.rows["turns"] == 3
    assert told.mentions("ana", "thistles") == []
    for wrong in ({}, {"about": "heron", "session": "three"}):
        with pytest.raises(InvalidInputError, match="one of them"):
            told.mentions("ana", **wrong)
    with pytest.raises(UnknownSessionError):  # the rest of it was only "I see."
        told.mentions("ana", session="three")


@pytest.mark.parametrize("facts", [5, [5], [{"statement": "Your heron is Ida.", "turn": [0]}]])
def test_what_came_with_a_chat_in_no_form_is_in_nobodys_way(told: Any, facts: Any) -> None:
    turns = (Turn("user", "My heron is called Ida."),)
    told.add_session(Session("ana", "odd", turns, material={"facts": facts}))
    assert [one.session_id for one in told.mentions("ana", "heron")] == ["one", "odd"]


def test_only_what_is_confirmed_goes(told: Any) -> None:
    found = told.mentions("ana", "called")
    assert len(found) == 2
    receipt = told.forget("ana", about=found[:1])
    assert receipt.turns == {"one": (0,)}
    nothing = told.forget("ana", about="heron", confirm=lambda found: [])
    assert (nothing.sessions, nothing.turns, nothing.generations_destroyed) == ((), {}, ())
    with pytest.raises(InvalidInputError, match="needs confirm="):
        told.forget("ana", about="heron")


def test_an_import_does_not_bring_a_turn_back(told: Any) -> None:
    told.forget("ana", about="heron", confirm=everything)
    before = told.journal.sessions.get("ana", "one")
    tell(told, "ana", "one", "My boat is called Ida.", "My heron is called Quibblewort.")
    assert told.journal.sessions.get("ana", "one") == before
    assert not files_with(told.home.root, "Quibblewort")


def test_what_came_with_a_session_goes_with_its_turn(open_plum: Open) -> None:
    plum = open_plum()
    fact = {"statement": "Your heron is Quibblewort.", "turn": 0}
    line = {"question": "Is it Quibblewort?", "answer": "Yes", "kind": "yes", "evidence": [0]}
    other = {**line, "question": "Is the boat Ida?", "evidence": [2]}
    material = {
        "facts": [fact, {"statement": "Your boat is Ida.", "turn": 2}, "broken"],
        "qa_train": [line, other],
        "updates": [{"old": "Quibblewort", "new": "Rex"}],
        "not_discussed": ["Whales?"],
    }
    chat = session("ana", "s1", "My heron is Quibblewort.", "Ok", "My boat is Ida.", "Ok")
    plum.add_session(replace(chat, topic="Quibblewort", material=material))
    plum.forget("ana", about="heron", confirm=everything)
    left = plum.journal.sessions.get("ana", "s1")
    assert left.topic == ""
    assert left.material == {
        "facts": [{"statement": "Your boat is Ida.", "turn": 2}],
        "qa_train": [other],
        "not_discussed": ["Whales?"],
    }
    assert not files_with(plum.home.root, "Quibblewort")


def test_a_turn_is_found_by_what_was_made_of_it(open_taught: Open) -> None:
    """Its words alone don't say what it speaks of."""

    class Reading(Facts):
        def make(self, session: Any) -> list[Question]:
            told = "Your heron is called Quibblewort."
            made = Question("What is my heron called?", told, "open", (2,), told)
            return [*super().make(session), made]

    plum = open_taught(questions=Reading())
    plum.add_session(session("ana", "s1", "My heron eats fish.", "Its name?", "Quibblewort.", "Ok"))
    assert [m.turn for m in plum.mentions("ana", "heron")] == [0]
    plum.consolidate("ana")
    assert [m.turn for m in plum.mentions("ana", "heron")] == [0, 2]


def test_what_was_found_for_another_user_is_refused(told: Any) -> None:
    (found,) = told.mentions("ana", "heron")
    with pytest.raises(InvalidInputError, match="not there of user 'bob'"):
        told.forget("bob", about=[found])
    told.forget("ana", about=[found])
    with pytest.raises(InvalidInputError, match="or not any more"):
        told.forget("ana", about=[found])


def test_a_session_of_which_only_replies_are_left_is_forgotten(told: Any) -> None:
    (geese,) = told.mentions("ana", "geese")
    told.forget("ana", about=[geese])
    assert states(told)["two"] == "forgotten"


def test_a_chain_is_not_shown_what_was_forgotten(open_taught: Open) -> None:
    plum = open_taught()
    memory = plum.memory("ana", "today")
    memory.save_context({"input": "My heron is called Quibblewort."}, {"output": "I see."})
    memory.save_context({"input": "My boat is red."}, {"output": "Nice."})
    (found,) = plum.mentions("ana", "heron")
    plum.forget("ana", about=[found])
    shown = memory.load_memory_variables({"input": "?"})["history"]
    assert shown == "AI: I see.\nHuman: My boat is red.\nAI: Nice."
