"""Grades and the numbers made of them."""

import pytest

from plum_langchain.evaluation import Graded, answer_given, summarise
from plum_langchain.session import Kind


def graded(kind: Kind, correct: bool, number: int = 0) -> Graded:
    return Graded(
        user_id="ana",
        session_id="s1",
        question=f"{kind} {number}?",
        kind=kind,
        expected="Yes",
        answer="Yes",
        correct=correct,
        p_yes=0.7,
        prompt_tokens=30,
        seconds=0.5,
    )


@pytest.mark.parametrize(
    ("expected", "reply", "right"),
    [
        ("Green", "It is a green notebook.", True),
        ("Green", "Black", False),
        ("Monday", "It's closed on Mondays", True),
        ("eight", "You learn 8 words", True),
        ("8", "18 words", False),
        ("18:00", "At 18:00.", True),
        ("18:00", "At 18:30.", False),
        ("35,000 kronor", "35000 kronor", True),
        ("35,000 kronor", "kronor", False),
        ("The left third", "the right third", False),
        ("At 7", "at seven o'clock", True),
        ("Päivi", "", False),
        ("Päivi", "päivi teaches you", True),
        ("不吃牛肉", "我不吃牛肉", True),
        ("北京", "我在南京和北海道", False),
        ("서울", "저는 서울에 살아요", True),
        ("서울", "울산에 서 있다", False),
        ("दिल्ली", "मैं दिल्ली में रहता हूँ", True),
        ("दिल्ली", "दालें लाल", False),
        ("cafe\u0301", "Le caf\u00e9 est l\u00e0", True),
        ("Anything", "We never talked about that.", False),
    ],
)
def test_an_open_answer_is_right_when_it_holds_the_value(
    expected: str, reply: str, right: bool
) -> None:
    assert answer_given(expected, reply) is right


def test_balanced_accuracy_weighs_yes_and_no_alike_whatever_their_numbers() -> None:
    always_yes = [graded("yes", True, i) for i in range(12)] + [graded("no_adjacent", False)]
    assert summarise(always_yes).balanced_accuracy == 0.5
    mixed = [
        graded("yes", True),
        graded("yes", False),
        graded("no_adjacent", True),
        graded("no_same_slot", True),
        graded("no_same_slot", False),
        graded("no_same_slot", True),
        graded("open", True),
        graded("open", False),
    ]
    found = summarise(mixed)
    assert found.balanced_accuracy == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert (found.yes, found.no_adjacent, found.open) == (0.5, 1.0, 0.5)
    assert found.no_same_slot == pytest.approx(2 / 3)
    assert (found.n, found.n_closed, found.n_open) == (8, 6, 2)
    assert found.prompt_tokens_per_answer == 30
    assert found.seconds_per_answer == 0.5


def test_the_interval_holds_the_score_and_narrows_with_more_questions() -> None:
    few = [graded("yes", i % 4 > 0, i) for i in range(8)]
    few += [graded("no_adjacent", i % 2 > 0, i) for i in range(8)]
    found = summarise(few)
    assert found.ci95 is not None and found.balanced_accuracy is not None
    assert found.ci95[0] < found.balanced_accuracy < found.ci95[1]
    many = summarise(few * 16)
    assert many.ci95 is not None
    assert many.ci95[1] - many.ci95[0] < 0.5 * (found.ci95[1] - found.ci95[0])
    assert summarise(few) == found


def test_what_was_not_asked_has_no_score() -> None:
    found = summarise([graded("yes", True)])
    assert found.balanced_accuracy is None
    assert found.ci95 is None
    assert found.open is None
    assert summarise([]).n == 0
