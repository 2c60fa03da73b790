"""Statements with questions about them that are to be answered Yes, and others No.

They are of two made-up people whose example chats come with the package's source; nothing of any
user is in them.
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
    text = files("plum_langchain.verdicts").joinpath("pairs.jsonl").read_text("utf-8")
    return [Pair(**json.loads(line)) for line in text.splitlines()]
