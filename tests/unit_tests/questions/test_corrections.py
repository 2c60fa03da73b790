"""What a chat changes is answered as it is now, and what was true earlier stays."""

import pytest

from plum_langchain.errors import QuestionError
from plum_langchain.questions.corrections import corrected, latest
from plum_langchain.questions.recorded import recorded_updates
from plum_langchain.session import Kind, Question, Session, Update

CLOSED = "Your bakery in Porto is closed on Mondays."
NOW = "The bakery is now closed on Wednesdays because of the market."
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


def answers(questions: list[Question]) -> dict[str, tuple[str, str | None]]:
    return {q.question: (q.answer, q.statement) for q in questions}


def test_questions_of_today_about_what_changed_get_what_is_true_now() -> None:
    found = answers(corrected([CHANGE], OWN, BEFORE))
    of_the_update = {q: found.pop(q) for q in list(found) if "Bakery closed on Mondays" in q}
    assert len(of_the_update) == 3
    assert set(of_the_update.values()) == {("No", NOW)}
    assert found == {
        "Is my bakery closed on Mondays?": ("No", NOW),
        "Did I tell you we are closed on Mondays?": ("No", NOW),
        "Is my bakery closed on Fridays?": ("No", NOW),
        "Is my bakery closed on Wednesdays?": ("Yes", NOW),
        "Which day is my bakery closed?": ("Bakery closed on Wednesdays", NOW),
    }


def test_kinds_go_with_the_answers() -> None:
    for question in corrected([CHANGE], OWN, BEFORE):
        expected = {"Yes": "yes", "No": "no_same_slot"}.get(question.answer, "open")
        assert question.kind == expected
        assert question.evidence == ()
        assert question.recital == NOW


def test_without_a_statement_of_the_session_s_own_the_update_speaks() -> None:
    found = corrected([CHANGE], OWN[1:], BEFORE)
    assert {q.recital for q in found} == {"Bakery closed on Wednesdays."}


def test_what_the_session_asks_itself_is_left_alone() -> None:
    own = [*OWN, asked("is my bakery closed on Mondays", "no_same_slot", "No", NOW)]
    assert "Is my bakery closed on Mondays?" not in answers(corrected([CHANGE], own, BEFORE))


def test_nothing_changes_without_updates() -> None:
    assert corrected([], OWN, BEFORE) == []


def test_a_change_of_a_change() -> None:
    """Each is answered by the last; what is asked for the one between is touched as well."""
    first = corrected([CHANGE], OWN, BEFORE)
    again = Update("Bakery closed on Wednesdays", "Bakery closed on Sundays")
    newest = asked("Do we rest on Sundays?", "yes", "Yes", "Your bakery is closed on Sundays now.")
    view = latest({1: BEFORE, 2: [*OWN, *first]})
    found = answers(corrected([again], [newest], [q for own in view.values() for q in own]))
    assert found["Is my bakery closed on Wednesdays?"] == ("No", newest.statement)
    assert found["Which day is my bakery closed?"][1] == newest.statement
    assert found["Is my bakery closed on Fridays?"] == ("No", newest.statement)


MOVES = Update("lives in Yaba", "moving to Gbagada in May")
LIGHTER = Update("Feijão weighs 16.8 kg", "Feijão weighs 15.9 kg")
LATER = Update("IELTS test on 16 November", "IELTS test on 30 November")


@pytest.mark.parametrize(
    ("update", "statement", "question", "touched"),
    [
        (MOVES, "You live in Yaba.", "Do I live in Yaba?", True),
        (MOVES, "You live in Yaba.", "Did I once live in Yaba?", False),
        (LIGHTER, "Feijão weighs 16.8 kg.", "Does Feijão weigh 16.8 kg?", True),
        (LIGHTER, "Rui weighs the flour.", "Does Rui weigh the flour?", False),
        (LATER, "Your IELTS test is on 16 November in Ikeja.", "Is my test in Ikeja?", False),
    ],
)
def test_only_what_changed_is_touched(
    update: Update, statement: str, question: str, touched: bool
) -> None:
    found = answers(corrected([update], [], [asked(question, "yes", "Yes", statement)]))
    assert (question in found) == touched


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
    assert recorded_updates(Session("ana", "s2", material=material)) == [Update("a", "b")]
    assert recorded_updates(Session("ana", "s2")) == []
    with pytest.raises(QuestionError, match=r"`updates\[0\]\.new` of session 's2' can't be used"):
        recorded_updates(Session("ana", "s2", material={"updates": [{"old": "a"}]}))
