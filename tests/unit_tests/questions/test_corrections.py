"""What a chat changes is answered as it is now, and what was true earlier stays."""

import pytest

from plum_langchain.errors import QuestionError
from plum_langchain.questions.corrections import (
    EARLIER,
    corrected,
    latest,
    of_earlier_days,
)
from plum_langchain.questions.recorded import recorded_updates
from plum_langchain.session import Kind, Question, Session, Update

CLOSED = "Your bakery in Porto is closed on Mondays."
NOW = "The bakery is now closed on Wednesdays because of the market."
BOTH = f"{NOW}{EARLIER}{CLOSED}"
CHANGE = Update("Bakery closed on Mondays", "Bakery closed on Wednesdays")


def asked(question: str, kind: Kind, answer: str, statement: str | None = CLOSED) -> Question:
    return Question(question, answer, kind, (0,), statement)


BEFORE = [
    asked("Is my bakery closed on Mondays?", "yes", "Yes"),
    asked("Did I tell you we are closed on Mondays?", "yes", "Yes"),
    asked("Was the bakery closed on Mondays at first?", "yes", "Yes"),
    asked("Is my bakery in Porto?", "yes", "Yes"),
    asked("Is my bakery closed on Fridays?", "no_same_slot", "No"),
    asked("Is my bakery closed on Wednesdays?", "no_same_slot", "No"),
    asked("Is my bakery in Lisbon?", "no_same_slot", "No"),
    asked("Which day is my bakery closed?", "open", "Monday"),
    asked("In which city is my bakery?", "open", "Porto"),
    asked("Do I get up at 3:40?", "yes", "Yes", "You get up at 3:40 for the bakery."),
    asked("Do I have a cat?", "no_adjacent", "No", None),
]
OWN = [
    asked("Is my bakery closed on Wednesdays now?", "yes", "Yes", NOW),
    asked("Does the market come on Mondays?", "yes", "Yes", "The market comes on Mondays."),
]


def again(updates: list[Update], own: list[Question], before: list[Question]) -> list[Question]:
    """What is asked beyond the session's own questions."""
    return corrected(updates, own, before)[len(own) :]


def answers(questions: list[Question]) -> dict[str, tuple[str, str | None]]:
    return {q.question: (q.answer, q.statement) for q in questions}


def test_what_was_asked_about_a_fact_that_changed_goes_by_what_is_true_now() -> None:
    found = answers(again([CHANGE], OWN, BEFORE))
    of_the_update = {q: found.pop(q) for q in list(found) if "Bakery closed on Mondays" in q}
    assert len(of_the_update) == 3
    assert set(of_the_update.values()) == {("No", BOTH)}
    assert found == {
        "Is my bakery closed on Mondays?": ("No", BOTH),
        "Did I tell you we are closed on Mondays?": ("No", BOTH),
        "Was the bakery closed on Mondays at first?": ("Yes", BOTH),
        "Is my bakery in Porto?": ("Yes", BOTH),
        "Is my bakery closed on Fridays?": ("No", BOTH),
        "Is my bakery closed on Wednesdays?": ("Yes", BOTH),
        "Is my bakery in Lisbon?": ("No", BOTH),
        "Which day is my bakery closed?": ("Bakery closed on Wednesdays", BOTH),
        "In which city is my bakery?": ("Porto", BOTH),
    }


def test_kinds_go_with_the_answers() -> None:
    for question in again([CHANGE], OWN, BEFORE):
        expected = {"Yes": "yes", "No": "no_same_slot"}.get(question.answer, "open")
        assert question.kind == expected
        assert question.evidence == ()
        assert question.recital == BOTH


def test_without_a_statement_of_the_session_s_own_the_update_speaks() -> None:
    found = again([CHANGE], OWN[1:], BEFORE)
    assert {q.recital for q in found} == {f"Bakery closed on Wednesdays.{EARLIER}{CLOSED}"}


def test_a_fact_that_was_never_asked_about_is_denied_all_the_same() -> None:
    found = again([CHANGE], OWN, [])
    assert {(q.answer, q.recital) for q in found} == {("No", NOW)}


def test_the_session_s_own_questions_about_the_change_tell_what_was_as_well() -> None:
    found = corrected([CHANGE], OWN, BEFORE)[: len(OWN)]
    assert [(q.question, q.answer, q.kind) for q in found] == [
        (q.question, q.answer, q.kind) for q in OWN
    ]
    assert [q.recital for q in found] == [BOTH, OWN[1].recital]


def test_what_the_session_asks_itself_is_left_alone() -> None:
    own = [*OWN, asked("is my bakery closed on Mondays", "no_same_slot", "No", NOW)]
    assert "Is my bakery closed on Mondays?" not in answers(again([CHANGE], own, BEFORE))


def test_nothing_changes_without_updates() -> None:
    assert corrected([], OWN, BEFORE) == OWN


def test_a_change_of_a_change() -> None:
    """Each is answered by the last; what is asked for the one between is touched as well."""
    first = corrected([CHANGE], OWN, BEFORE)
    second = Update("Bakery closed on Wednesdays", "Bakery closed on Sundays")
    newest = asked("Do we rest on Sundays?", "yes", "Yes", "Your bakery is closed on Sundays now.")
    view = latest({1: BEFORE, 2: first})
    found = answers(again([second], [newest], [q for own in view.values() for q in own]))
    now = newest.statement
    assert found["Is my bakery closed on Mondays?"] == ("No", f"{now}{EARLIER}{CLOSED}")
    assert found["Is my bakery closed on Wednesdays?"] == ("No", f"{now}{EARLIER}{CLOSED}")
    assert found["Is my bakery closed on Wednesdays now?"] == ("No", f"{now}{EARLIER}{CLOSED}")


def test_two_changes_of_one_fact_at_once() -> None:
    """The second is of what the first made of it."""
    second = Update("Bakery closed on Wednesdays", "Bakery closed on Sundays")
    found = answers(again([CHANGE, second], [], BEFORE))
    told = f"Bakery closed on Sundays.{EARLIER}{CLOSED}"
    assert {statement for _, statement in found.values()} == {told}
    assert found["Is my bakery closed on Mondays?"][0] == "No"
    assert found["Was the bakery closed on Mondays at first?"][0] == "Yes"
    assert found["Is it true: Bakery closed on Wednesdays?"][0] == "No"


def test_one_statement_may_tell_of_two_changes() -> None:
    told = "Your bakery is closed on Wednesdays and opens at 8."
    own = [asked("Is it closed on Wednesdays?", "yes", "Yes", told)]
    opens = asked("Does my bakery open at 7?", "yes", "Yes", "Your bakery opens at 7.")
    later = Update("Bakery opens at 7", "Bakery opens at 8")
    found = answers(corrected([CHANGE, later], own, [*BEFORE, opens]))
    assert found["Is my bakery closed on Mondays?"] == ("No", f"{told}{EARLIER}{CLOSED}")
    assert found["Does my bakery open at 7?"] == ("No", f"{told}{EARLIER}Your bakery opens at 7.")


def test_what_is_no_longer_so_is_denied_though_the_new_has_all_words_of_the_old() -> None:
    chess = asked("Is Rui in the chess team?", "yes", "Yes", "Rui is in the chess team.")
    team = asked("Is the team called Rooks?", "yes", "Yes", "The team is called Rooks.")
    update = Update("Rui is in the chess team", "Rui is no longer in the chess team")
    found = answers(again([update], [], [chess, team]))
    assert found["Is Rui in the chess team?"] == (
        "No",
        f"Rui is no longer in the chess team.{EARLIER}Rui is in the chess team.",
    )
    assert "Is the team called Rooks?" not in found


def test_a_change_of_small_words_alone_takes_no_other_statement_for_its_own() -> None:
    own = [asked("Do I sing bass?", "yes", "Yes", "You sing bass in a choir.")]
    found = corrected([Update("Has piano lessons", "not any more")], own, [])
    assert found[0] == own[0]
    assert {q.recital for q in found[1:]} == {"Not any more."}


MOVES = Update("lives in Yaba", "moving to Gbagada in May")
LIGHTER = Update("Feijão weighs 16.8 kg", "Feijão weighs 15.9 kg")
LATER = Update("IELTS test on 16 November", "IELTS test on 30 November")


@pytest.mark.parametrize(
    ("update", "statement", "question", "answer"),
    [
        (MOVES, "You live in Yaba.", "Do I live in Yaba?", "No"),
        (MOVES, "You live in Yaba.", "Did I once live in Yaba?", "Yes"),
        (LIGHTER, "Feijão weighs 16.8 kg.", "Does Feijão weigh 16.8 kg?", "No"),
        (LIGHTER, "Rui weighs the flour.", "Does Rui weigh the flour?", None),
        (LATER, "Your IELTS test is on 16 November in Ikeja.", "Is my test in Ikeja?", "Yes"),
    ],
)
def test_only_what_changed_is_denied(
    update: Update, statement: str, question: str, answer: str | None
) -> None:
    found = answers(again([update], [], [asked(question, "yes", "Yes", statement)]))
    assert found.get(question, (None,))[0] == answer


def test_the_latest_answer_counts() -> None:
    one, two, three = (
        asked("Is it on Monday?", "yes", "Yes"),
        asked("Is it mine?", "yes", "Yes"),
        asked("is it on Monday", "no_same_slot", "No", NOW),
    )
    assert latest({7: [one, two], 3: [three]}) == {7: [two], 3: [three]}
    assert latest({}) == {}


def test_updates_come_with_the_session() -> None:
    material = {"updates": [{"old": "a", "new": "b", "earlier_session": "s01"}]}
    found = recorded_updates(Session("ana", "s2", material=material))
    assert found == [Update("a", "b", "s01")] and found[0].recorded() == material["updates"][0]
    unnamed = {"updates": [{"old": "a", "new": "b", "earlier_session": 3}]}
    assert recorded_updates(Session("ana", "s2", material=unnamed)) == [Update("a", "b")]
    assert recorded_updates(Session("ana", "s2")) == []
    for broken in ({"old": "a"}, {"old": "a", "new": " "}):
        with pytest.raises(
            QuestionError, match=r"`updates\[0\]\.new` of session 's2' .*or leave it out"
        ):
            recorded_updates(Session("ana", "s2", material={"updates": [broken]}))


@pytest.mark.parametrize(
    ("question", "earlier"),
    [
        ("Is the bakery closed on Mondays?", False),
        ("Was the bakery closed on Mondays?", True),
        ("Is Monday what I told you at first?", True),
        ("Did I tell you it is closed on Mondays?", False),
        ("Have I told you it was closed on Mondays at first?", True),
        ("Is it closed when I am away?", False),
        ("Did I say that it is closed on Mondays?", False),
        ("Have we spoken about my class on Mondays?", False),
        ("Is my first class on Monday?", False),
        ("Do I have to be there before 8?", False),
        ("Did I use to have it on Mondays?", True),
        ("Is it what I had before?", True),
        ("Which nights was I working in January?", True),
        ("Which nights do I work?", False),
    ],
)
def test_questions_of_earlier_days(question: str, earlier: bool) -> None:
    assert of_earlier_days(question) == earlier
