"""Statements with questions about them that are to be answered Yes, and others No.

They are of eight made-up people; nothing of any user is in them. Two of them, ana and bo, are those
of the example chats that settings are tuned on.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from plum_langchain.questions.text import content_words, in_common


@dataclass(frozen=True)
class Pair:
    """A question beside a statement, and whether the statement says so.

    `of` is the person it is about: pairs of one person are alike, so who judges well must be tried
    on another. `yes` is None where only this is to be learned: that the question is not `about`
    what the statement says.
    """

    of: str
    statement: str
    question: str
    yes: bool | None
    about: bool = True


def shipped_pairs() -> list[Pair]:
    """The pairs that come with the package."""
    return [pair for line in facts_file().decode().splitlines() for pair in pairs_of(line)]


def facts_file() -> bytes:
    """The file they are in: a fact a line, as JSON.

    `true` holds questions that the fact answers Yes, `false` such that it denies, and `near` such
    about a neighbouring matter of which it says nothing.
    """
    return files("plum_langchain.verdicts").joinpath("facts.jsonl").read_bytes()


def pairs_of(line: str) -> list[Pair]:
    """The pairs of a fact."""
    fact = json.loads(line)
    return [
        Pair(fact["of"], fact["statement"], question, yes, about=key != "near")
        for key, yes in (("true", True), ("false", False), ("near", False))
        for question in fact[key]
    ]


_MISTAKEN = 2 / 3
"""Of the questions about a fact, those that are put beside another fact as well."""

_ALIKE_OF = 8
"""Of so many other facts, every second time the one with most words of the question is taken."""


def mistaken(pairs: Sequence[Pair], *, seed: int = 0) -> list[Pair]:
    """Questions beside another fact of the same person, as a memory might mistake them.

    Args:
        pairs: Whose questions and statements are put together anew.
        seed: Draws them.

    Returns:
        None of the pairs given: `yes` is None and `about` False in all of them.
    """
    rng = random.Random(seed)
    statements: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.statement not in statements.setdefault(pair.of, []):
            statements[pair.of].append(pair.statement)
    found = []
    known = {(pair.statement, pair.question) for pair in pairs}
    for pair in pairs:
        others = [one for one in statements[pair.of] if (one, pair.question) not in known]
        if not pair.about or not others or rng.random() >= _MISTAKEN:
            continue
        some = rng.sample(others, min(_ALIKE_OF, len(others)))
        asked = content_words(pair.question)
        nearest = max(some, key=lambda one: in_common(asked, content_words(one)))
        other = rng.choice([some[0], nearest])
        found.append(Pair(pair.of, other, pair.question, None, about=False))
    return found
