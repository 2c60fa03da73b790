"""A question in other wordings, made without a model and without grammar.

Whoever asks again asks in other words. A model that has seen a question in one wording only goes by
all of its words; one that has seen it with words left out, turned around and in the middle of a
sentence goes by those that matter. And whoever asks may use any word of the fact itself, so some
wordings are made of those. In other languages than English fewer words are known as small, the
persons of a fact stay as they are, and so do the English openings and frames.
"""

import random
import re

from plum_langchain.questions import english
from plum_langchain.questions.corrections import EARLIER
from plum_langchain.questions.text import content_words, listed, words_of
from plum_langchain.session import UNKNOWN_ANSWER, Question

_OPENINGS = (
    "So", "Remember", "By the way", "Tell me", "I forgot", "Quick question", "Do you still know",
    "Am I right", "Just to be sure", "I think", "Wait",
)  # fmt: skip

_FRAMES = (
    "{}", "{}, right", "{}, wasn't it", "{} or not", "Is it true that {}", "Did I say {}",
    "Did I tell you that {}", "Have I mentioned {}",
)  # fmt: skip
"""What words of a fact are asked in; not "Tell me about {}", which asks about anything."""

_TURNS = frozenset(
    listed(
        "no not nor never without before after until till over under more less only aren't can't "
        "couldn't didn't doesn't don't hadn't hasn't haven't isn't shouldn't wasn't weren't won't "
        "wouldn't"
    )
)
"""Small words that turn what a question says into something else."""

_OF_ASKING = frozenset(
    listed(
        "tell told telling mention mentioned talk talked discuss discussed ask asked describe "
        "described remember bring brought"
    )
)
"""What carries meaning in a statement, but not in a question about one."""

_GLUE = frozenset(listed("a an the my our of in on at for with to from by and or is are was were"))
"""Small words of a question that don't tell that it asks."""

_INNER_STOP = re.compile(r"[.?!](?=\s)")

# How often. Measured: docs/experiments.md, "In other words", and "All phrasings, and words of the
# fact".
_OF_THE_FACT = 0.4
_SMALL_WORD_LEFT_OUT = 0.3
_CONTENT_WORD_LEFT_OUT = 0.5
_TURNED_AROUND = 0.25
_OPENED = 0.3
_NO_QUESTION_MARK = 0.2
_KEYWORDS = 0.4  # of wordings of a fact, those without its small words


def reworded(question: Question, rng: random.Random, *, recites: bool) -> str:
    """The question with some of its words left out, its halves exchanged, or something before it.

    Where the answer is the fact, words of the fact may take the question's place, and a word that
    carries meaning may be missing. With another answer, what is left might well have to be answered
    otherwise (without its "broken", a broken fridge that was never mentioned). What was never told
    is asked in the same frames as facts are, or these alone would tell the two apart.

    Args:
        question: To be reworded.
        rng: Draws how.
        recites: Whether the answer is `Question.recital`, and not bare.
    """
    told = question.statement if recites and question.recital == question.statement else None
    if recites and (told or question.recital == UNKNOWN_ANSWER) and rng.random() < _OF_THE_FACT:
        about = rng.choice(told.split(EARLIER)) if told else question.question
        return _framed(about, rng, whole=told is None) or question.question
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
    if told and len(content) >= 3 and rng.random() < _CONTENT_WORD_LEFT_OUT:
        gone |= set(rng.sample(content, 2 if len(content) >= 5 else 1))
    kept = [word for place, word in enumerate(words) if place not in gone]
    if len(kept) >= 4 and rng.random() < _TURNED_AROUND:
        middle = rng.randrange(2, len(kept) - 1)
        kept = kept[middle:] + kept[:middle]
    text = " ".join(kept or words)
    if rng.random() < _OPENED:
        text = f"{rng.choice(_OPENINGS)}, {text}"
    return _ended(text, rng)


def _framed(about: str, rng: random.Random, *, whole: bool) -> str | None:
    """Words of a statement, or all (`whole`) that carry meaning of a question, in a frame.

    None if it has none. Of a question, what only asks is left out ("Did I ever tell you").
    """
    text = _INNER_STOP.sub("", about.rstrip("?.! "))
    if not whole and english.is_english(text):
        text = english.uncapitalised(english.exchanged(text))
    words = text.split()
    content = [place for place, word in enumerate(words) if set(content_words(word)) - _OF_ASKING]
    if not content:
        return None
    number = len(content) if whole else rng.randint(min(2, len(content)), len(content))
    kept = set(rng.sample(content, number))
    if whole:
        kept |= {p for p, word in enumerate(words) if _TURNS.intersection(words_of(word))}
    if rng.random() >= _KEYWORDS:
        kept |= {
            place
            for place, word in enumerate(words)
            if place not in content
            and (not whole or _GLUE.issuperset(words_of(word)))
            and rng.random() >= _SMALL_WORD_LEFT_OUT
        }
    chosen = [word for place, word in enumerate(words) if place in kept]
    if len(chosen) >= 4 and rng.random() < _TURNED_AROUND:
        middle = rng.randrange(1, len(chosen))
        chosen = chosen[middle:] + chosen[:middle]
    return _ended(english.capitalised(rng.choice(_FRAMES).format(" ".join(chosen))), rng)


def _ended(text: str, rng: random.Random) -> str:
    return text if rng.random() < _NO_QUESTION_MARK else f"{text}?"
