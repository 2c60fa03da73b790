"""RecordedQuestions, the facts behind it, and `question_maker`."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from plum_langchain.errors import InvalidInputError, QuestionError
from plum_langchain.questions import (
    LLMQuestions,
    RecordedQuestions,
    StatementQuestions,
    question_maker,
)
from plum_langchain.questions.facts import answer_in_chat
from plum_langchain.questions.raised import was_raised
from plum_langchain.session import Session, Turn
from plum_langchain.settings import QuestionSettings

ALL = QuestionSettings(max_questions=None)

CHAT = Session(
    "ana",
    "s1",
    (Turn("user", "I get up at 3:40, it's eight words a day"), Turn("assistant", "Nap!")),
)
FACT: dict[str, Any] = {
    "statement": "You get up at 3:40.",
    "said_by": "user",
    "turn": 0,
    "true": ["Do I get up at 3:40?"],
    "false": ["Do I get up at 4:30?"],
    "open": [{"question": "When do I get up?", "answer": "3:40"}],
}


def test_every_example_gives_balanced_questions(example: Session) -> None:
    questions = RecordedQuestions(ALL).make(example)
    kinds = Counter(q.kind for q in questions)
    assert kinds["yes"] == kinds["no_same_slot"] + kinds["no_adjacent"] >= 40
    assert kinds["open"] == kinds["open_unknown"] >= 18
    assert kinds["no_adjacent"] >= 6
    stated = {f["statement"] for f in example.material["facts"]}
    assert stated <= {q.statement for q in questions}  # no fact is lost
    assert questions == RecordedQuestions(ALL).make(example)


def test_the_fact_behind_a_line_of_the_plain_list_is_found(example: Session) -> None:
    """All but a few ask about a recorded fact, and none that was never raised does."""
    lines = [line for line in example.material["qa_train"] if line["kind"] != "no_adjacent"]
    made = {q.question: q for q in RecordedQuestions(ALL).make(example)}
    asked = [made[line["question"]] for line in lines if line["question"] in made]
    assert sum(q.statement is not None for q in asked) >= 0.8 * len(asked) > 0
    assert not any(q.statement for q in made.values() if q.kind in ("no_adjacent", "open_unknown"))


@pytest.mark.parametrize(
    ("question", "evidence", "expected"),
    [
        ("Is 3:40 my time to get up?", [0], "You get up at 3:40."),
        ("How many words a day?", [0], "You learn eight words a day."),
        ("Is 3:40 my time to get up?", [1], None),  # another turn's
        ("Am I tall?", [0], None),  # no word in common
    ],
)
def test_the_fact_behind_a_question_is_of_its_turn_and_has_its_words(
    question: str, evidence: list[int], expected: str | None
) -> None:
    other = {**FACT, "statement": "You learn eight words a day."}
    line = {"question": question, "answer": "Yes", "kind": "yes", "evidence": evidence}
    material = {"facts": [FACT, other], "not_discussed": ["Did I?"], "qa_train": [line]}
    made = RecordedQuestions(ALL).make(replace(CHAT, material=material))
    found = [q.statement for q in made if q.question == question]
    assert found in ([expected], [])


def test_the_assistant_can_be_left_out(example: Session) -> None:
    questions = RecordedQuestions(replace(ALL, learn_assistant=False)).make(example)
    for question in questions:
        roles = {example.turns[i].role for i in question.evidence}
        assert roles != {"assistant"}, question


def test_max_questions_covers_every_fact_once(example: Session) -> None:
    facts = len(example.material["facts"])
    questions = RecordedQuestions(QuestionSettings(max_questions=4 * facts)).make(example)
    assert len(questions) <= 4 * facts
    assert len({q.statement for q in questions if q.statement}) == facts


def test_nothing_recorded() -> None:
    with pytest.raises(QuestionError, match=r"'s1' has no recorded questions .* 'statements'"):
        RecordedQuestions(ALL).make(CHAT)


@pytest.mark.parametrize(
    ("material", "named"),
    [
        ({"facts": "none"}, "`facts`"),
        ({"facts": [{"statement": "x"}]}, r"`facts\[0\].said_by`"),
        ({"facts": [{**FACT, "true": []}]}, r"`facts\[0\].true`"),
        ({"facts": [{**FACT, "said_by": "nobody"}]}, r"`facts\[0\].said_by`"),
        ({"facts": [{**FACT, "turn": 9}]}, "turn 9"),
        ({"facts": [FACT], "not_discussed": [3]}, r"`not_discussed\[0\]`"),
        (
            {"qa_train": [{"question": "x?", "answer": "Yes", "kind": "maybe"}]},
            r"`qa_train\[0\].kind`",
        ),
        ({"qa_train": [{"question": "Is x?", "answer": "Yes", "kind": "yes"}]}, "no balanced"),
    ],
)
def test_malformed_material_names_session_and_field(material: dict[str, Any], named: str) -> None:
    with pytest.raises(QuestionError, match=named) as caught:
        RecordedQuestions(ALL).make(replace(CHAT, material=material))
    assert "'s1'" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "there"),
    [
        ("3:40", True),
        ("8 words", True),
        ("Eight", True),
        ("4:30", False),
        ("Finnish", False),
        ("", False),
    ],
)
def test_whether_an_answer_is_in_the_chat(answer: str, there: bool) -> None:
    assert answer_in_chat(answer, CHAT) is there


def test_recorded_answers_are_found_in_their_chats(example: Session) -> None:
    answers = [o["answer"] for f in example.material["facts"] for o in f["open"]]
    assert sum(answer_in_chat(a, example) for a in answers) >= 0.9 * len(answers)


def test_what_was_raised_after_all() -> None:
    assert was_raised("Did I tell you about words a day?", CHAT)
    assert not was_raised("Did I tell you about learning Swedish?", CHAT)


def test_makers_by_name() -> None:
    settings = replace(ALL, seed=3)
    made = question_maker("statements", settings)
    assert isinstance(made, StatementQuestions) and made.settings is settings
    assert question_maker("recorded").name == "recorded"
    assert question_maker(made) is made


def test_chat_models_by_name_or_object() -> None:
    from langchain_core.language_models import FakeListChatModel

    model = FakeListChatModel(responses=["[]"])
    for made in (question_maker(model), question_maker("llm", None, model)):
        assert isinstance(made, LLMQuestions)
        assert made.model is model and made.name == "llm:FakeListChatModel"


@pytest.mark.parametrize("name", ["no-such-provider:x", "statement", "", "llm", "   "])
def test_an_unknown_name_is_an_error_with_the_remedy(name: str) -> None:
    with pytest.raises(InvalidInputError, match="statements"):
        question_maker(name)


def test_an_object_that_makes_nothing() -> None:
    with pytest.raises(InvalidInputError, match="int"):
        question_maker(7)  # type: ignore[arg-type]
