"""Other wordings hold no other words, keep what a denial is about, and are never empty."""

import random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from plum_langchain.questions.rewording import reworded
from plum_langchain.questions.text import content_words, words_of
from plum_langchain.session import KINDS, Question

BAKERY = Question("Is my little bakery in Porto closed on Mondays?", "Yes", "yes", (0,))
FRIDGE = Question("Did I tell you about a broken fridge at the bakery?", "No", "no_adjacent")
OPENINGS = set(
    words_of(
        "So Remember By the way Tell me I forgot Quick question Do you still know Am I right "
        "Just to be sure I think Wait"
    )
)


def many(question: Question, fact: bool = True, number: int = 200) -> list[str]:
    rng = random.Random(0)
    return [reworded(question, rng, fact=fact) for _ in range(number)]


def test_a_wording_is_made_of_the_question_s_own_words() -> None:
    for text in many(BAKERY):
        assert set(words_of(text)) - OPENINGS <= set(words_of(BAKERY.question))


def test_they_differ() -> None:
    found = many(BAKERY)
    assert len(set(found)) > 100
    assert sum(text.endswith("?") for text in found) in range(120, 195)
    assert sum(words_of(text)[-1] != "mondays" for text in found) > 30  # turned around


def test_what_was_told_is_still_known_without_a_word_or_two() -> None:
    wanted = set(content_words(BAKERY.question))
    missing = [len(wanted - set(words_of(text))) for text in many(BAKERY)]
    assert set(missing) == {0, 2}


def test_without_the_fact_as_its_answer_it_keeps_all_that_it_is_about() -> None:
    """Something about the bakery, without the fridge, may well have been told."""
    for question in (FRIDGE, BAKERY):
        for text in many(question, fact=False):
            assert set(content_words(question.question)) <= set(words_of(text))


def test_a_word_that_turns_the_meaning_is_never_left_out() -> None:
    question = Question("Do I not get up before 4, without an alarm?", "Yes", "yes", (0,))
    for text in many(question):
        assert {"not", "before", "without"} <= set(words_of(text))


def test_the_same_numbers_give_the_same_wordings() -> None:
    assert many(BAKERY) == many(BAKERY)


@given(st.text(min_size=1), st.sampled_from(KINDS), st.integers())
@example(" ", "yes", 3)
@example("?", "yes", 3)
@example("Why?", "yes", 3)
def test_any_text_has_a_wording(text: str, kind: Any, seed: int) -> None:
    found = reworded(Question(text, "Yes", kind), random.Random(seed), fact=seed % 2 == 0)
    assert found
    assert bool(words_of(found)) or not words_of(text)
