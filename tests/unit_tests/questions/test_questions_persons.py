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
        ("Doesn't Ana like it?", "Don't I like it?"),
        ("Isn’t she a nurse?", "Aren't I a nurse?"),
        ("Why can't Ana swim?", "Why can't I swim?"),
        ("What has Ana said that she doesn't eat?", "What have I said that I don't eat?"),
        ("Which town isn't Ana from that she isn't fond of?",
         "Which town aren't I from that I am not fond of?"),
        ("Have Ana and Bo met?", "Have Bo and I met?"),
        ("What do Bo Lind and Ana plan?", "What do Bo Lind and I plan?"),
        ("Are Ana and Bo Lind friends?", "Are Bo Lind and I friends?"),
        ("Which film is it that Ana and Bo saw?", "Which film is it that Bo and I saw?"),
        ("Who met Ana and Bo?", "Who met me and Bo?"),
        ("Did Ana and Bo's mother meet?", "Did I and Bo's mother meet?"),
    ],
)  # fmt: skip
def test_a_question_as_the_person_it_is_about_asks_it(question: str, asked: str) -> None:
    assert asked_by("Ana", question) == asked


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("What are James' hobbies?", "What are my hobbies?"),
        ("James’s sister is called what?", "My sister is called what?"),
        ("What are James’ and Bo's plans?", "What are my and Bo's plans?"),
    ],
)
def test_a_name_that_ends_in_s_owns_too(question: str, asked: str) -> None:
    assert asked_by("James", question) == asked


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
        ("I don't own a boat", "Ana doesn't own a boat"),
        ("we haven’t met my aunt", "Ana hasn't met Ana's aunt"),
        ("I can't swim", "Ana can't swim"),
        ("I'm a nurse", "Ana is a nurse"),
        ("I’ve sold my boat", "Ana has sold Ana's boat"),
        ("we'll move in May", "Ana will move in May"),
    ],
)
def test_a_clause_told_of_somebody(clause: str, told: str) -> None:
    assert told_of("Ana", clause) == told


def test_every_topic_can_be_told_of_somebody() -> None:
    for theme in THEMES:
        for topic in theme.topics:
            told = told_of("Ana", topic.claim)
            assert not {"i", "my", "we", "our", "am"} & set(english.words(told)), told
