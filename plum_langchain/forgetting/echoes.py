"""Where an assistant told again what is forgotten: what a memory brought back once is in the chat.

Left there it would be retrieved, and shown to whoever reads the chat, as if it had been told anew.
"""

from collections.abc import Iterable

from plum_langchain.screening.repeated import Known, restates, words
from plum_langchain.screening.spans import sentences
from plum_langchain.session import Session

_LEAST = 3
"""Words that carry meaning, below which a sentence is too common to be told from another's."""


def find_echoes(texts: Iterable[str], later: Iterable[Session]) -> dict[str, tuple[int, ...]]:
    """The assistant's turns that say again what is forgotten.

    Not those of a session whose user said so there as well: that is theirs to keep, or to forget.

    Args:
        texts: What is forgotten: turns of the user, and statements made of them.
        later: Other sessions of the user, with their turns.

    Returns:
        Of each session that has such turns, their positions.
    """
    known = Known(part for text in texts for part in _parts(text) if len(words(part)) >= _LEAST)
    found: dict[str, tuple[int, ...]] = {}
    for session in later:
        said = [words(turn.content) for _, turn in session.turns_of("user")]
        here = frozenset[str]().union(*said)
        places = tuple(
            place
            for place, turn in session.turns_of("assistant")
            if any(_is_echo(part, known, here) for part in _parts(turn.content))
        )
        if places:
            found[session.session_id] = places
    return found


def _is_echo(sentence: str, known: Known, here: frozenset[str]) -> bool:
    told = words(sentence)
    return len(told) >= _LEAST and not restates(told, here) and known.told_again(told, here)


def _parts(text: str) -> Iterable[str]:
    return (text[start:end] for start, end in sentences(text))
