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
    "question",
    [
        "Do I keep goldfish?",
        "Did I tell you that I keep goldfish?",
        "Have I ever mentioned keeping a goldfish?",
        "What do you remember about my goldfish?",
        "Am I closed on Mondays?",
        "Did I tell you about Feijão's weight of 16.8 kg?",
    ],
)
def test_what_a_statement_tells_was_heard(question: str) -> None:
    assert Heard(TOLD).tells(question)
    assert not Heard([]).tells(question)


@pytest.mark.parametrize(
    "question",
    [
        "Did I tell you about the wedding photographer of Aino?",  # near to what was told
        "Do I keep bees?",
        "What did I tell you about my goldfish tank's filter?",
        "Am I closed on Fridays in Tampere on my own?",
        "Did I tell you?",
        "",
    ],
)
def test_what_is_only_near_was_not(question: str) -> None:
    assert not Heard(TOLD).tells(question)


def test_words_of_several_statements_are_not_put_together() -> None:
    assert not Heard(["You keep goldfish.", "Your sister plays the harp."]).tells(
        "Does my sister keep a harp of goldfish?"
    )


words = st.sampled_from(["goldfish", "keep", "harp", "Tomás", "16.8", "kg", "plays", "Monday"])


@given(st.lists(words, min_size=1, max_size=6))
def test_a_statement_tells_its_own_words_and_a_turn_raises_them(told: list[str]) -> None:
    statement, question = f"{' '.join(told)}.", f"Did I mention {' '.join(told)}?"
    assert Heard(["You sing bass.", statement]).tells(question)
    assert was_raised(question, Session("ana", "s1", (Turn("user", statement),)))
