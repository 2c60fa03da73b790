"""Where an assistant told again what is forgotten: what a memory brought back once is in the chat.

Left there it would be retrieved, and shown to whoever reads the chat, as if it had been told anew.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from plum_langchain.screening.repeated import Known, restates, words
from plum_langchain.screening.spans import sentences
from plum_langchain.session import Session

_LEAST = 3
"""Words that carry meaning, below which a sentence is too common to be told from another's."""


def find_echoes(
    texts: Iterable[str],
    others: Iterable[Session],
    doomed: Mapping[str, Collection[int]],
    since: datetime,
) -> dict[str, tuple[int, ...]]:
    """The assistant's turns that say again what is forgotten.

    Not those of a session whose user said so there as well: that is theirs to keep, or to forget.

    Args:
        texts: What is forgotten: turns of the user, and statements made of them.
        others: The user's sessions that don't go whole, with their turns.
        doomed: Of some of them, the positions of the turns that go.
        since: When it was first told; whatever was said before doesn't tell it again.

    Returns:
        Of each session that has such turns, their positions.
    """
    known = Known(part for text in texts for part in _parts(text) if len(words(part)) >= _LEAST)
    found: dict[str, tuple[int, ...]] = {}
    for session in others:
        gone = doomed.get(session.session_id, ())
        said = [words(turn.content) for at, turn in session.turns_of("user") if at not in gone]
        here = frozenset[str]().union(*said)
        places = tuple(
            place
            for place, turn in session.turns_of("assistant")
            if (turn.at or since) >= since
            and any(_is_echo(part, known, here) for part in _parts(turn.content))
        )
        if places:
            found[session.session_id] = places
    return found


def find_updates(
    texts: Iterable[str], others: Iterable[Session], doomed: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """The facts that other sessions are recorded to change, where they quote what is forgotten.

    Args:
        texts: What is forgotten.
        others: The user's sessions that don't go whole.
        doomed: The sessions that what is forgotten was told in.

    Returns:
        Of each session that has such, their positions in `material["updates"]`.
    """
    known = Known(part for text in texts for part in _parts(text))
    found: dict[str, tuple[int, ...]] = {}
    for session in others:
        updates = session.material.get("updates")
        places = []
        for place, update in enumerate(updates if isinstance(updates, list) else ()):
            if not isinstance(update, Mapping):
                continue
            earlier, old = update.get("earlier_session"), update.get("old")
            by_name = earlier in doomed if earlier else False
            if by_name or (isinstance(old, str) and known.told_again(words(old), frozenset())):
                places.append(place)
        if places:
            found[session.session_id] = tuple(places)
    return found


def _is_echo(sentence: str, known: Known, here: frozenset[str]) -> bool:
    told = words(sentence)
    return len(told) >= _LEAST and not restates(told, here) and known.told_again(told, here)


def _parts(text: str) -> Iterable[str]:
    return (text[start:end] for start, end in sentences(text))
