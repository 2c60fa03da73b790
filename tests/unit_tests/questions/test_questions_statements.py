"""StatementQuestions: balanced questions from the chat's own sentences."""

import re
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plum_langchain.errors import InvalidInputError, QuestionError
from plum_langchain.questions import QuestionMaker, StatementQuestions
from plum_langchain.questions.sentences import MAX_BYTES
from plum_langchain.questions.statements import MAX_STATEMENTS
from plum_langchain.session import UNKNOWN_ANSWER, Question, Role, Session, Turn
from plum_langchain.settings import QuestionSettings

ALL = QuestionSettings(max_questions=None)


def session(*turns: str, session_id: str = "s") -> Session:
    """User and assistant by turns."""
    made = [Turn("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(turns)]
    return Session("ana", session_id, tuple(made))


def check(questions: list[Question]) -> None:
    count = Counter((q.closed, q.positive) for q in questions)
    assert count[True, True] == count[True, False] > 0
    assert count[False, True] == count[False, False]
    for question in questions:
        if question.closed:
            assert question.answer == ("Yes" if question.kind == "yes" else "No")
        if question.kind == "open_unknown":
            assert question.answer == UNKNOWN_ANSWER
        if question.kind in ("yes", "no_same_slot", "open"):
            assert question.evidence and question.statement
        else:
            assert question.evidence == () and question.statement is None


BAKERY = session(
    "hi! I own a small bakery in Porto, up at 3:40, doors open at 7, and we're closed Mondays.",
    "Take a nap of 20 minutes before Tuesday's class, so you don't nod off.",
)


def test_every_example_gives_balanced_questions(example: Session) -> None:
    questions = StatementQuestions(ALL).make(example)
    check(questions)
    kinds = Counter(q.kind for q in questions)
    assert all(kinds[kind] >= 5 for kind in ("yes", "no_same_slot", "no_adjacent", "open"))
    assert questions == StatementQuestions(ALL).make(example)


def test_the_bakery() -> None:
    made = {q.question: q.answer for q in StatementQuestions(ALL).make(BAKERY)}
    assert made["Do I own a small bakery in Porto?"] == "Yes"
    assert made["Did I tell you that I own a small bakery in Porto?"] == "Yes"
    assert made["What did I tell you about the small bakery?"] == "You own a small bakery in Porto."
    advice = (
        "Did you advise me to take a nap of 20 minutes before Tuesday's class, so I don't nod off?"
    )
    assert made[advice] == "Yes"
    told = "I told you: Take a nap of 20 minutes before Tuesday's class, so you don't nod off."
    assert made["What did you tell me about the nap?"] == told


def test_a_name_keeps_its_capital_at_the_head_of_a_statement() -> None:
    """Also where no verb behind it tells that it is one."""
    said = "My sister Aino is 31. Aino currently lives in Turku."
    made = [q.question for q in StatementQuestions(ALL).make(session(said))]
    assert "Does Aino currently live in Turku?" in made
    assert "Did I tell you that Aino currently lives in Turku?" in made
    swapped = [q for q in made if q.endswith((" currently lives in Turku?", "live in Turku?"))]
    assert len(swapped) > 2  # with another name, which gives itself away no more than hers
    assert not any(re.search(r"that [a-z]\w+ currently|Does [a-z]\w+ currently", q) for q in made)


def test_it_is_a_question_maker() -> None:
    assert isinstance(StatementQuestions(), QuestionMaker)
    assert StatementQuestions().name == "statements"
    with pytest.raises(InvalidInputError):
        StatementQuestions(phrasings=0)


def test_seeds_differ_and_are_repeatable() -> None:
    runs = [
        [tuple(StatementQuestions(replace(ALL, seed=s)).make(BAKERY)) for s in range(4)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


def test_the_assistant_can_be_left_out() -> None:
    questions = StatementQuestions(replace(ALL, learn_assistant=False)).make(BAKERY)
    check(questions)
    assert {q.evidence for q in questions if q.positive} == {(0,)}
    assert not any("did you " in q.question.casefold() for q in questions)


def test_max_questions() -> None:
    questions = StatementQuestions(QuestionSettings(max_questions=6)).make(BAKERY)
    check(questions)
    assert len(questions) <= 6


def test_no_answer_is_given_away_by_the_form_of_its_question(example: Session) -> None:
    """Every frame of questions answered No is also one of questions answered Yes."""
    questions = StatementQuestions(ALL).make(example)
    frames = ("Did I tell you that", "Did I tell you about", "Did you advise me")
    for frame in frames:
        kinds = {q.answer for q in questions if q.question.startswith(frame) and q.closed}
        assert kinds == {"Yes", "No"}, frame


@pytest.mark.parametrize(
    "turns",
    [
        (),
        ("",),
        ("hi!", "Hello! How are you?"),
        ("👍🎉",),
        ("what? when? who?",),
        ("\n\n \t",),
        ("ok lol",),
    ],
)
def test_nothing_to_ask_about(turns: tuple[str, ...]) -> None:
    with pytest.raises(QuestionError, match="no sentence"):
        StatementQuestions(ALL).make(session(*turns))


@pytest.mark.parametrize(
    "text",
    [
        "我住在上海，有两只猫。我每天早上6点30分起床，然后去公园跑步5公里。",
        "私は大阪に住んでいます。毎朝7時に起きて、コーヒーを2杯飲みます。",
        "Я живу в Казани и работаю врачом. Моя смена начинается в 8:30.",
        "أعيش في القاهرة وأعمل مهندسا. أستيقظ كل يوم في الساعة 6:30 صباحا.",
        "मैं दिल्ली में रहता हूँ। मेरे पास 2 कुत्ते हैं।",
        "ฉันอาศัยอยู่ที่กรุงเทพและทำงานเป็นครู ตื่นนอนตอน 6:30 ทุกวัน",
        "Ich wohne in Leipzig und arbeite seit 2019 als Lehrerin.",
        "im 34 and i live in leeds 😂😂 we got a dog last may 🐶 hes called biscuit",
        "I own a bakery \ud800 in Porto \x00 and get up at 3:40",
    ],
)
def test_many_scripts(text: str) -> None:
    questions = StatementQuestions(ALL).make(session(text))
    check(questions)
    for question in questions:
        (question.question + question.answer).encode()  # no half surrogates


HOSTILE = [
    "my dog eats 200 g at 7:30 and i walk him in Porto ",
    "I am, ",
    ",a",
    "我住在上海",
    "ok ",
    "(",
    ".'",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_fifty_thousand_words_in_a_turn(piece: str) -> None:
    """In ten seconds, or where a machine is slower for as many more words as they are."""

    def made(words: int) -> tuple[list[Question], float]:
        text = piece * (words // max(1, len(piece.split())))
        started = time.process_time()  # a busy machine is no fault of ours
        try:
            questions = StatementQuestions(ALL).make(session(text))
        except QuestionError:
            questions = []
        return questions, time.process_time() - started

    _, tenth = made(5_000)
    questions, seconds = made(50_000)
    assert seconds < max(10, 15 * tenth)
    assert len({q.statement for q in questions if q.statement}) <= MAX_STATEMENTS


def test_a_sample_stays_short_in_any_script() -> None:
    long = "Я живу в Казани " * 60 + ". " + "我住在上海有两只猫" * 60 + ". " + "I own it and " * 80
    for question in StatementQuestions(ALL).make(session(long)):
        assert len(question.question.encode()) <= MAX_BYTES + 40
        assert len(question.answer.encode()) <= MAX_BYTES + 40


@settings(max_examples=40)
@given(st.lists(st.text(max_size=200), max_size=4), st.integers(0, 5))
def test_any_text_gives_balanced_questions_or_a_clear_error(turns: list[str], seed: int) -> None:
    maker = StatementQuestions(replace(ALL, seed=seed))
    try:
        questions = maker.make(session(*turns))
    except QuestionError:
        return
    check(questions)
    assert questions == maker.make(session(*turns))


@pytest.mark.parametrize(
    ("role", "said", "told", "asked"),
    [
        (
            "user",
            "The deck oven at the bakery runs hot. It's twelve years old.",
            "The deck oven at the bakery runs hot. It's twelve years old.",
            "Speaking of the deck oven: is it twelve years old?",
        ),
        (
            "user",
            "I have bought a boat. Wooden, built 1961, 7.4 metres.",
            'You have bought a boat. You said: "Wooden, built 1961, 7.4 metres".',
            'Speaking of the boat: did I say "Wooden, built 1961, 7.4 metres"?',
        ),
        (
            "user",
            "My friend Lennart lent me a meter. I keep it in a shed in Limhamn.",
            "Your friend Lennart lent you a meter. You keep it in a shed in Limhamn.",
            "Speaking of the meter: do I keep it in a shed in Limhamn?",
        ),
        (
            "assistant",
            "Bake the almond tarts on the lower deck. Turn them at 8 minutes.",
            "I told you: Bake the almond tarts on the lower deck. Turn them at 8 minutes.",
            "Speaking of the almond tarts: did you advise me to turn them at 8 minutes?",
        ),
    ],
)
def test_what_points_back_is_told_with_what_it_points_at(
    role: Role, said: str, told: str, asked: str
) -> None:
    questions = StatementQuestions().make(Session("ana", "s", (Turn(role, said),)))
    (found,) = [q for q in questions if q.question == asked]
    assert (found.statement, found.answer) == (told, "Yes")


def test_what_stands_for_itself_is_told_alone() -> None:
    said = "My friend Lennart lent me a meter. I live in Malmö near the harbour."
    statements = {
        q.statement
        for q in StatementQuestions().make(Session("bo", "s", (Turn("user", said),)))
        if q.statement
    }
    assert statements == {
        "Your friend Lennart lent you a meter.",
        "You live in Malmö near the harbour.",
    }


def test_what_points_back_too_far_is_told_alone() -> None:
    long = "My friend " + "Lennart and his wife Astrid and " * 5 + "Rolf lent me a meter"
    questions = StatementQuestions().make(
        Session("bo", "s", (Turn("user", f"{long}. I keep it in a shed in Limhamn."),))
    )
    assert "You keep it in a shed in Limhamn." in {q.statement for q in questions}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (  # what says too little by itself is pointed at all the same
            "My mother is 71. I have a cat. It sleeps on the radiator all day.",
            {"Your mother is 71.", "You have a cat. It sleeps on the radiator all day."},
        ),
        (  # a question stands between
            "I have bought a boat. Where do I begin? It was built in 1961.",
            {"You have bought a boat.", "It was built in 1961."},
        ),
        (  # a person is no "it"
            "My boss Karen is leaving in May. It pays 38,000 a year.",
            {"Your boss Karen is leaving in May.", "It pays 38,000 a year."},
        ),
        (
            "My boss Karen is leaving in May. She has twins in Leeds.",
            {"Your boss Karen is leaving in May.", "Karen has twins in Leeds."},
        ),
        (
            "My oven is twelve years old. He lives in Leeds with two dogs.",
            {"Your oven is twelve years old.", "He lives in Leeds with two dogs."},
        ),
        (
            "I live in Malmö. This Friday we play at the Dome. Dad hates cinnamon and butter.",
            {
                "You live in Malmö.",
                "This Friday you play at the Dome.",
                'You said: "Dad hates cinnamon and butter".',
            },
        ),
    ],
)
def test_only_what_points_back_is_told_with_another(said: str, told: set[str]) -> None:
    questions = StatementQuestions(ALL).make(Session("ana", "s", (Turn("user", said),)))
    assert {q.statement for q in questions if q.statement} <= told
    assert any(q.statement == max(told, key=len) for q in questions)


def test_the_same_words_of_two_things_are_two_statements() -> None:
    made = session(
        "I have bought a boat. It's painted red.",
        "Nice.",
        "I have bought a car at the fair. It's painted red.",
    )
    told = {q.statement for q in StatementQuestions(ALL).make(made)}
    assert "You have bought a boat. It's painted red." in told
    assert "You have bought a car at the fair. It's painted red." in told


def test_what_a_question_speaks_of_first_does_not_give_its_answer_away() -> None:
    questions = StatementQuestions(ALL).make(
        session("I have bought a boat. It needs a new roof. I own a bakery. It opens at 6.")
    )
    speaking = Counter(
        q.answer for q in questions if q.closed and q.question.startswith("Speaking of")
    )
    assert speaking["Yes"] == speaking["No"] > 0
