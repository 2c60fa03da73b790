"""First person and third."""

import pytest

from plum_langchain.questions import english
from plum_langchain.questions.persons import asked_by, told_of
from plum_langchain.questions.topics import THEMES


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("When did Ana sell her boat?", "When did I sell my boat?"),
        ("Does Ana live near her mother?", "Do I live near my mother?"),
        ("What is Ana allergic to?", "What am I allergic to?"),
        ("Has Ana been to Faro?", "Have I been to Faro?"),
        ("Ana's sister is called what?", "My sister is called what?"),
        ("Which plays has she seen that Ana likes?", "Which plays have I seen that I like?"),
        ("Who wrote her a letter when she moved?", "Who wrote me a letter when I moved?"),
        ("What does Ana teach herself?", "What do I teach myself?"),
        ("What did Rui give Ana?", "What did Rui give me?"),
        ("What did Anabel give him?", "What did Anabel give me?"),
        ("Where is the bakery?", "Where is the bakery?"),
    ],
)
def test_a_question_as_the_person_it_is_about_asks_it(question: str, asked: str) -> None:
    assert asked_by("Ana", question) == asked


@pytest.mark.parametrize(
    ("clause", "told"),
    [
        ("I own a boat", "Ana owns a boat"),
        ("I am learning Swedish", "Ana is learning Swedish"),
        ("we are on strike", "Ana is on strike"),
        ("I once broke my collarbone", "Ana once broke Ana's collarbone"),
        ("I put up solar panels", "Ana put up solar panels"),
        ("I breed rabbits", "Ana breeds rabbits"),
        ("my car was stolen", "Ana's car was stolen"),
        ("there are mice in the cellar", "there are mice in the cellar"),
    ],
)
def test_a_clause_told_of_somebody(clause: str, told: str) -> None:
    assert told_of("Ana", clause) == told


def test_every_topic_can_be_told_of_somebody() -> None:
    for theme in THEMES:
        for topic in theme.topics:
            told = told_of("Ana", topic.claim)
            assert not {"i", "my", "we", "our", "am"} & set(english.words(told)), told
