"""Whether what a question asks about was told after all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plum_langchain.questions.raised import Heard, was_raised
from plum_langchain.session import Session, Turn

TOLD = [
    "You keep goldfish.",
    "Your brother Tomás and his girlfriend Aino marry in Tampere on 24 August.",
    'You said: "we\'re closed Mondays".',
    "Feijão weighs 16.8 kg.",
]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Do I keep goldfish?", 0),
        ("Did I tell you that I keep goldfish?", 0),
        ("Have I ever mentioned keeping a goldfish?", 0),
        ("Am I closed on Mondays?", 2),
        ("Did I tell you about Feijão's weight of 16.8 kg?", 3),
    ],
)
def test_what_a_statement_tells_was_heard(question: str, told: int) -> None:
    assert Heard(TOLD).telling(question) == [TOLD[told]]
    assert Heard([]).telling(question) == []


@pytest.mark.parametrize(
    "question",
    [
        "Did I tell you about the wedding photographer of Aino?",  # near to what was told
        "Do I keep bees?",
        "What do you remember about my goldfish?",  # which may be somebody else's
        "What did I tell you about my goldfish tank's filter?",
        "Am I closed on Fridays in Tampere on my own?",
        "Did I tell you?",
        "",
    ],
)
def test_what_is_only_near_was_not(question: str) -> None:
    assert Heard(TOLD).telling(question) == []


def test_words_of_several_statements_are_not_put_together() -> None:
    heard = Heard(["You keep goldfish.", "Your sister plays the harp."])
    assert heard.telling("Does my sister keep a harp of goldfish?") == []


@pytest.mark.parametrize(
    ("told", "question"),
    [
        ('You said: "Ich habe einen Bruder in Berlin".', "Habe ich einen Hund?"),
        ('You said: "我有一只猫".', "我有一只狗吗?"),
    ],
)
def test_in_other_languages_nothing_is_taken_for_told(told: str, question: str) -> None:
    assert Heard([told]).telling(question) == []


words = st.sampled_from(["goldfish", "keep", "harp", "Tomás", "16.8", "kg", "plays"])


@given(st.lists(words, min_size=2, max_size=6, unique=True))
def test_a_statement_tells_its_own_words_and_a_turn_raises_them(told: list[str]) -> None:
    statement, question = f"{' '.join(told)}.", f"Did I tell you about my {' '.join(told)}?"
    assert Heard(["You sing bass.", statement]).telling(question) == [statement]
    assert was_raised(question, Session("ana", "s1", (Turn("user", statement),)))
