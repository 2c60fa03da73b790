"""Negatives: swapped values and topics that were never raised."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plum_langchain.questions.names import Names
from plum_langchain.questions.negatives import (
    find_slots,
    never_raised,
    open_unknown,
    swap_values,
    topics_never_raised,
)
from plum_langchain.questions.text import Said, words_of
from plum_langchain.session import UNKNOWN_ANSWER, Session

CHAT = [
    "My friend Maeve lives in Galway. Maeve's dog is 3, she gets up at 3:40 on Mondays.",
    "I paid 1,150 euros on 24 August, and 16.8 kg of flour costs 480. My dad has two cats.",
]
NAMES = Names(CHAT)


def values(sentence: str, names: Names | None = NAMES) -> list[str]:
    return [slot.value for slot in find_slots(sentence, names)]


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("she gets up at 3:40 on Mondays", ["3:40", "Mondays"]),
        ("I paid 1,150 euros on 24 August", ["1,150", "euros", "24", "August"]),
        ("16.8 kg of flour", ["16.8"]),
        ("My friend Maeve lives in Galway", ["Maeve", "Galway"]),
        ("My dad has two cats", ["dad", "two"]),
        ("The box is green and wooden", ["green", "wooden"]),
        ("My brother Tomás may march on", []),  # a name tells who; two verbs, no months
        ("He left, that's right", []),
        ("Seat A14 and tel 00351222333444", []),
        ("the left pages", ["left"]),
    ],
)
def test_slots(sentence: str, found: list[str]) -> None:
    assert values(sentence) == found


@pytest.mark.parametrize("sentence", ["我每天6点30分起床", "Я встаю в 8:30", "Ich habe 2 Hunde"])
def test_only_numbers_are_swapped_outside_english(sentence: str) -> None:
    found = values(sentence, None)
    assert found and all(value[0].isdigit() for value in found)


def test_numbers_keep_their_form() -> None:
    said = Said(CHAT)
    forms = {
        "I paid 1,150 euros": r"\d{1,3},\d{3}",
        "it weighs 16.8 kg": r"\d+\.\d",
        "up at 3:40": r"\d{1,2}:[0-5]\d",
        "on 24 August": r"[12]?\d",
    }
    for sentence, form in forms.items():
        for swap in swap_values(sentence, said, random.Random(3), Names([])):
            if swap.old[0].isdigit():
                assert re.fullmatch(form, swap.new), swap


def test_the_article_follows_the_value() -> None:
    said = Said(["my vet is a beagle breeder, a teacher and a poodle fan"])
    texts = {s.text for s in swap_values("I am a teacher", said, random.Random(0), NAMES)}
    assert "I am an electrician" in texts
    assert not any(re.search(r"\ba [aeio]", text) for text in texts)


@given(st.integers(2, 99_999), st.integers(0, 500))
def test_a_swapped_number_is_another_and_nowhere_in_the_chat(number: int, seed: int) -> None:
    sentence = f"I have {number} of them and 12 more since 7:15"
    said = Said([sentence, "also 13, 14 and 15"])
    for swap in swap_values(sentence, said, random.Random(seed), NAMES):
        assert swap.new != swap.old and not said.has(swap.new)
        assert swap.text != sentence


def test_swapped_values_of_the_examples_are_new(example: Session) -> None:
    texts = [turn.content for turn in example.turns]
    names, said, chat = Names(texts), Said(texts), " ".join(texts).casefold()
    for text in texts:
        for swap in swap_values(text, said, random.Random(7), names):
            assert swap.new.casefold() != swap.old.casefold()
            assert not re.search(
                rf"(?<![\w:.,]){re.escape(swap.new.casefold())}(?![\w:]|[.,]\d)", chat
            ), swap
            if swap.new.isalpha():
                assert not set(words_of(swap.new)) & said.words


def test_topics_are_near_and_share_no_word_with_the_chat(example: Session) -> None:
    said = Said(turn.content for turn in example.turns)
    topics = topics_never_raised(said, random.Random(0))
    assert len(topics) >= 60
    for topic in topics:
        rare = [w for w in words_of(topic.about) if len(w) > 6]
        assert not any(said.has_word(word) for word in rare if word not in ("learning", "building"))


def test_topics_near_the_chat_come_first() -> None:
    said = Said(["my dog has to see the vet, the cat too, and the kennel is full"])
    first = topics_never_raised(said, random.Random(0))[:5]
    pets = "goldfish parrot insurance hamster rabbits horse tortoise puppy bees"
    assert all(any(word in topic.about + topic.claim for word in pets.split()) for topic in first)


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        ("Have I told you about learning Swedish?", "What did I tell you about learning Swedish?"),
        ("Did I mention pet insurance?", "What do you remember about pet insurance?"),
        ("Did I ask you about a vet?", "What did I ask you about a vet?"),
        ("Do you know which car I drive?", "Do you know which car I drive? If so, what did I say?"),
    ],
)
def test_open_forms_of_what_was_never_raised(asked: str, form: str) -> None:
    made = open_unknown(asked)
    assert form in [q.question for q in made]
    assert len({q.question for q in made}) >= 2
    assert {(q.kind, q.answer) for q in made} == {("open_unknown", UNKNOWN_ANSWER)}


def test_never_raised_is_asked_closed_and_open() -> None:
    kinds = [q.kind for q in never_raised(["Have we discussed a strike"])]
    assert kinds[0] == "no_adjacent" and set(kinds[1:]) == {"open_unknown"}


def test_people_and_places_are_told_apart() -> None:
    assert NAMES.kinds == {"Maeve": "person", "Galway": "place"}
    assert Names(["Paper is fine. Paper costs money."]).kinds == {}
    known = Names(["Samira was singing, we met in Lyon", "I asked Samira's aunt from Lyon"])
    assert known.kinds["Samira"] == "person" and known.kinds["Lyon"] == "place"
