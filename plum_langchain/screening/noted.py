"""Whether a note that a model makes of its user says what the user has said themselves.

What an agent has read (a page, a mail, a tool's result) may tell it to remember something. Such a
note has words that the user never said.
"""

from collections.abc import Iterable

from plum_langchain.questions.text import words_of
from plum_langchain.screening.repeated import words
from plum_langchain.screening.screen import screen
from plum_langchain.session import Session, Turn
from plum_langchain.settings import ScreeningSettings

_LINKING = words(
    "name names named call calls called live lives lived living move moves moved work works worked "
    "job turn turned turning year years old aged born located"
)
"""What a note may say in its own words: they tie a fact's parts together and are none of them."""


def is_said(note: str, texts: Iterable[str], settings: ScreeningSettings | None) -> bool:
    """Whether a note says again what was said in these texts of the user.

    All of its words that carry meaning must be there in some form, but for those that only link
    others ("My daughter's name is Zoe" says what "my daughter Zoe" says). That goes by words: it is
    said as well if the user asked it, or denied it.

    Args:
        note: A sentence or two.
        texts: The user's turns, oldest first.
        settings: What of a turn doesn't count, pasted text above all; None if all does.
    """
    turns = [Turn("user", text) for text in texts]
    if settings is not None:
        turns = list(screen(Session("user", "note", tuple(turns)), settings).session.turns)
    told = words(note) - _LINKING
    if not told:  # "It is me", of words too small to tell by
        return set(words_of(note)) <= {word for turn in turns for word in words_of(turn.content)}
    return told <= frozenset[str]().union(*(words(turn.content) for turn in turns))
