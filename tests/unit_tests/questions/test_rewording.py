"""Other wordings hold no other words, keep what a denial is about, and are never empty."""

import random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from plum_langchain.questions.rewording import reworded
from plum_langchain.questions.text import content_words, words_of
from plum_langchain.session import KINDS, Question

BAKERY = Question(
    "Is my little bakery in Porto closed on Mondays?",
    "Yes",
    "yes",
    (0,),
    "Your small bakery in Porto rests on Mondays.",
)
FRIDGE = Question("Did I tell you about a broken fridge at the bakery?", "No", "no_adjacent")
OWN_WORDS = set(
    words_of(
        "So Remember By the way Tell me I forgot Quick question Do you still know Am I right "
        "Just to be sure I think Wait or not wasn't it is that true did say have mentioned"
    )
)


def many(question: Question, recites: bool = True, number: int = 200) -> list[str]:
    rng = random.Random(0)
    return [reworded(question, rng, recites=recites) for _ in range(number)]


def missing(text: str, wanted: str) -> int:
    return len(set(content_words(wanted)) - set(words_of(text)))


def test_a_wording_is_made_of_words_of_the_question_or_of_its_fact() -> None:
    asked, told = set(words_of(BAKERY.question)), {*words_of(str(BAKERY.statement)), "my"}
    of_the_fact = 0
    for text in many(BAKERY):
        found = set(words_of(text)) - OWN_WORDS
        assert found <= asked or found <= told
        of_the_fact += not found <= asked
    assert of_the_fact in range(30, 100)


def test_they_differ() -> None:
    found = many(BAKERY)
    assert len(set(found)) > 100
    assert sum(text.endswith("?") for text in found) in range(120, 195)
    assert sum(words_of(text)[-1] != "mondays" for text in found) > 30  # turned around


def test_what_was_told_is_still_known_without_a_word_or_two() -> None:
    gone = [missing(text, BAKERY.question) for text in many(BAKERY) if "little" in text]
    assert set(gone) == {0, 2}


def test_two_words_of_the_fact_at_least_are_in_a_wording_that_is_made_of_it() -> None:
    asked = set(words_of(BAKERY.question))
    made = [text for text in many(BAKERY) if not set(words_of(text)) - OWN_WORDS <= asked]
    assert {5 - missing(text, str(BAKERY.statement)) for text in made} == {2, 3, 4, 5}


def test_of_a_fact_that_changed_both_sides_are_asked_about() -> None:
    moved = Question("Where?", "Foz", "open", (0,), "You live in Foz. Earlier: You live in Bonfim.")
    found = [set(words_of(text)) for text in many(moved)]
    assert any("foz" in words for words in found)
    assert any("bonfim" in words for words in found)
    assert not any({"foz", "bonfim"} <= words or "earlier" in words for words in found)


def test_without_the_fact_as_its_answer_it_keeps_all_that_it_is_about() -> None:
    """Something about the bakery, without the fridge, may well have been told."""
    for text in many(FRIDGE):
        assert missing(text, "a broken fridge at the bakery") == 0
    for text in many(BAKERY, recites=False):
        assert missing(text, BAKERY.question) == 0


def test_what_was_never_told_is_asked_in_the_frames_of_facts() -> None:
    """And without the words that ask, which would tell it from a fact."""
    found = many(FRIDGE)
    assert "Broken fridge bakery, wasn't it?" in found
    framed = [text for text in found if text.rstrip("?").endswith(("right", "or not", "t it"))]
    assert len(framed) > 10
    assert any({"a", "the"} & set(words_of(text)) for text in framed)  # not only keywords
    assert not any("tell" in words_of(text) for text in framed)


def test_a_word_that_turns_the_meaning_is_never_left_out() -> None:
    asked = "Do I not get up before 4, without an alarm?"
    for question in (Question(asked, "Yes", "yes", (0,)), Question(asked, "No", "no_adjacent")):
        for text in many(question):
            assert {"not", "before", "without"} <= set(words_of(text))


def test_the_persons_of_other_languages_stay_as_they_are() -> None:
    told = "Los lunes compras pan y leche, y Ana me espera en casa."
    question = Question("¿Compro pan?", "Yes", "yes", (0,), told)
    assert any("Ana me espera" in text for text in many(question))
    assert not any("Ana you" in text for text in many(question))


def test_the_same_numbers_give_the_same_wordings() -> None:
    assert many(BAKERY) == many(BAKERY)


@given(st.text(min_size=1), st.sampled_from(KINDS), st.integers())
@example(" ", "yes", 3)
@example("?", "yes", 3)
@example("Why?", "yes", 3)
def test_any_text_has_a_wording(text: str, kind: Any, seed: int) -> None:
    statement = text if seed % 3 else None
    question = Question(text, "Yes", kind, statement=statement)
    found = reworded(question, random.Random(seed), recites=seed % 2 == 0)
    assert found
    assert bool(words_of(found)) or not words_of(text)
