"""A question in other wordings, made without a model and without grammar.

Whoever asks again asks in other words. A model that has seen a question in one wording only goes by
all of its words; one that has seen it with words left out, turned around and in the middle of a
sentence goes by those that matter. In other languages than English fewer words are known as small,
and the openings stay English.
"""

import random

from plum_langchain.questions.text import content_words, listed, words_of
from plum_langchain.session import Question

_OPENINGS = (
    "So", "Remember", "By the way", "Tell me", "I forgot", "Quick question", "Do you still know",
    "Am I right", "Just to be sure", "I think", "Wait",
)  # fmt: skip

_TURNS = frozenset(
    listed(
        "no not nor never without before after until till over under more less only aren't can't "
        "couldn't didn't doesn't don't hadn't hasn't haven't isn't shouldn't wasn't weren't won't "
        "wouldn't"
    )
)
"""Small words that turn what a question says into something else."""

# How often. Measured together: docs/experiments.md, "In other words".
_SMALL_WORD_LEFT_OUT = 0.3
_CONTENT_WORD_LEFT_OUT = 0.5
_TURNED_AROUND = 0.25
_OPENED = 0.3
_NO_QUESTION_MARK = 0.2


def reworded(question: Question, rng: random.Random, *, fact: bool) -> str:
    """The question with some of its words left out, its halves exchanged, or something before it.

    Args:
        question: To be reworded.
        rng: Draws how.
        fact: Whether it is answered with the fact behind it. Only then a word that carries meaning
            may be missing: with another answer, what is left might well have to be answered
            otherwise (without its "broken", a broken fridge that was never mentioned).
    """
    words = question.question.rstrip("?.! ").split()
    if not words:
        return question.question
    content = [place for place, word in enumerate(words) if content_words(word)]
    gone = {
        place
        for place in range(len(words))
        if place not in content
        and not _TURNS.intersection(words_of(words[place]))
        and rng.random() < _SMALL_WORD_LEFT_OUT
    }
    if fact and len(content) >= 3 and rng.random() < _CONTENT_WORD_LEFT_OUT:
        gone |= set(rng.sample(content, 2 if len(content) >= 5 else 1))
    kept = [word for place, word in enumerate(words) if place not in gone]
    if len(kept) >= 4 and rng.random() < _TURNED_AROUND:
        middle = rng.randrange(2, len(kept) - 1)
        kept = kept[middle:] + kept[:middle]
    text = " ".join(kept or words)
    if rng.random() < _OPENED:
        text = f"{rng.choice(_OPENINGS)}, {text}"
    return text if rng.random() < _NO_QUESTION_MARK else f"{text}?"
