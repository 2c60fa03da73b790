"""Statements with questions about them that are to be answered Yes, and others No.

They are of eight made-up people; nothing of any user is in them. Two of them, ana and bo, are those
of the example chats that settings are tuned on.
"""

import json
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Pair:
    """A question about a statement, and whether the statement says so.

    `of` is the person it is about: pairs of one person are alike, so who judges well must be tried
    on another.
    """

    of: str
    statement: str
    question: str
    yes: bool


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
        Pair(fact["of"], fact["statement"], question, yes)
        for key, yes in (("true", True), ("false", False), ("near", False))
        for question in fact[key]
    ]
