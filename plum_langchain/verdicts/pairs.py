"""Statements with questions about them that are to be answered Yes, and others No.

They are of ten made-up people; nothing of any user is in them. Two of them, ana and bo, are those
of the example chats that settings are tuned on. Of two others there are facts that changed, told in
the form that `questions/corrections.py` gives them.
"""

import json
from dataclasses import dataclass
from importlib.resources import files

from plum_langchain.questions.corrections import EARLIER


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
    facts, changes = (_read(name).decode().splitlines() for name in (_FACTS, _CHANGES))
    found = [pair for line in facts for pair in pairs_of(line)]
    return found + [pair for line in changes for pair in pairs_of_change(line)]


def pairs_source() -> bytes:
    """What they are made of.

    `facts.jsonl` holds a fact a line: `true` are questions that it answers Yes, `false` such that
    it denies, `near` such about a neighbouring matter of which it says nothing. `changes.jsonl`
    holds a fact and what it was before: `true` are questions of today that what is true `now`
    answers Yes, `gone` such that the `old` answered Yes, `first` such of earlier days, and `kept`
    such that only the old tells, and that didn't change.
    """
    return _read(_FACTS) + _read(_CHANGES)


_FACTS, _CHANGES = "facts.jsonl", "changes.jsonl"


def _read(name: str) -> bytes:
    return files("plum_langchain.verdicts").joinpath(name).read_bytes()


def pairs_of(line: str) -> list[Pair]:
    """The pairs of a fact."""
    fact = json.loads(line)
    return [
        Pair(fact["of"], fact["statement"], question, yes)
        for key, yes in (("true", True), ("false", False), ("near", False))
        for question in fact[key]
    ]


def pairs_of_change(line: str) -> list[Pair]:
    """The pairs of a change: of what was told first, of what is true now, and of both."""
    change = json.loads(line)
    old, now = change["old"], change["now"]
    told = {
        old: {"gone": True, "true": False},
        now: {"gone": False, "true": True},
        f"{now}{EARLIER}{old}": {"gone": False, "true": True, "first": True, "kept": True},
    }
    return [
        Pair(change["of"], statement, question, yes)
        for statement, answers in told.items()
        for key, yes in answers.items()
        for question in change[key]
    ]
