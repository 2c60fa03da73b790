"""What a writer is taught with: statements, and what was asked about them.

The closed questions are those that the judge is taught with (`verdicts/facts.jsonl`), of made-up
people; the open ones are about the two of them whose chats are the examples that settings are tuned
on. Nothing of any user is in them.
"""

import json
from dataclasses import dataclass
from importlib.resources import files

from plum_langchain.questions.maker import Wanted
from plum_langchain.verdicts.pairs import shipped_pairs


@dataclass(frozen=True)
class Written:
    """A question that was written about a statement; `of` is the person they are about."""

    of: str
    statement: str
    wanted: Wanted
    question: str


def shipped_examples() -> list[Written]:
    """The examples that come with the package."""
    found = [
        Written(pair.of, pair.statement, "yes" if pair.yes else "no", pair.question)
        for pair in shipped_pairs()
        if pair.about
    ]
    lines = open_file().decode().splitlines()
    found += [Written(wanted="open", **json.loads(line)) for line in lines]
    return list(dict.fromkeys(found))


def open_file() -> bytes:
    """The file with open questions: one a line, as JSON, with the statement that answers it."""
    return files("plum_langchain.writer").joinpath("open.jsonl").read_bytes()
