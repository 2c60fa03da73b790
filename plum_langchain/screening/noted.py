"""Whether a note that a model makes of its user says what the user has said themselves.

What an agent has read (a page, a mail, a tool's result) may tell it to remember something. Such a
note has words that the user never said, above all its names and numbers.
"""

import re
from collections.abc import Iterable

from plum_langchain.screening.repeated import words
from plum_langchain.screening.screen import screen
from plum_langchain.screening.spans import sentences
from plum_langchain.session import Session, Turn
from plum_langchain.settings import ScreeningSettings

_MOST = 0.6
"""Share of a note's words that the user must have said, in any form; the rest may be a model's."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def is_said(note: str, texts: Iterable[str], settings: ScreeningSettings) -> bool:
    """Whether a note says again what was said in these texts of the user.

    Its names and numbers must all be there, and most of its other words. A name is what is written
    with a capital inside a sentence.

    Args:
        note: A sentence or two.
        texts: The user's turns, oldest first.
        settings: What of a turn doesn't count (`ScreeningSettings.pasted`).
    """
    turns = tuple(Turn("user", text) for text in texts)
    kept = screen(Session("user", "note", turns), settings).session.turns
    said = frozenset().union(*(words(turn.content) for turn in kept))
    told = words(note)
    return (
        bool(told)
        and len(told & said) >= _MOST * len(told)
        and words(" ".join(_names_and_numbers(note))) <= said
    )


def _names_and_numbers(text: str) -> Iterable[str]:
    for start, end in sentences(text):
        for number, found in enumerate(_WORD.finditer(text, start, end)):
            word = found.group()
            if any(c.isdigit() for c in word) or (number and word[0].isupper()):
                yield word
