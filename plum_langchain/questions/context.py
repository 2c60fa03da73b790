"""What a statement points back at: "It's twelve years old" says nothing without the oven before."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from plum_langchain.questions import english, lexicon
from plum_langchain.questions.keywords import subjects_of
from plum_langchain.questions.names import Names
from plum_langchain.questions.sentences import MAX_BYTES, Clause, Statement
from plum_langchain.questions.text import words_of

_OPENS_WITH_HE = re.compile(r"(?:he|she)\b", re.IGNORECASE)
# Also "his" and "her": whose something is, is said of whatever was named.
_OPENS_WITH_IT = re.compile(
    r"(?:it|they)(?:'\w+)?\s|(?:this|that|these|those)(?:'s\s|'re\s|\s+(?:is|are|was|were|has|have)\b)"
    r"|(?:his|her|its|their)\s",
    re.IGNORECASE,
)
# "I bought it in Braga" and, as advice, "Turn them at 8", but not "I told my brother it rains".
_HAS_IT = re.compile(r"(?:i|we)(?:'\w+)?\s+(?:[\w']+\s+){1,2}?(?:it|them)\b", re.IGNORECASE)
_DOES_IT = re.compile(r"(?:don't\s+|never\s+)?\w+\s+(?:it|them)\b", re.IGNORECASE)
_FINITE = frozenset(lexicon.THIRD) | lexicon.AUXILIARIES
_SUBJECTS = frozenset(("i", "we", "you", "he", "she", "it", "they", "there"))
_FRAGMENT = 12
"""Words of a sentence that may be the rest of the one before; longer ones stand for themselves."""


def in_context(
    clauses: Iterable[Clause], names: Names, counts: Mapping[str, int]
) -> Iterator[Statement]:
    """The statements of a turn, each that points back together with what it points at.

    That is the clause before it, or the last one before it that names something; nothing, where a
    question or a remark stands between.

    Args:
        clauses: Of one turn, in order.
        names: The people and places of the chat.
        counts: How often each word occurs in it.
    """
    before: Statement | None = None
    for clause in clauses:
        statement = clause.statement
        if statement is None:
            before = _named(clause.as_antecedent(), names, counts)
            continue
        leaning = _leaning(statement)
        if not leaning:
            before = _named(statement, names, counts) or before
        elif before is not None and _fits(statement, before, names, counts):
            statement = replace(statement, after=before)
        yield statement


def things(statement: Statement, names: Names, counts: Mapping[str, int]) -> list[str]:
    """What a statement is about but for people, in the user's voice, the most telling first."""
    people = {name.text for name in names.find(statement.text) if name.kind == "person"}
    return [
        subject
        for subject in subjects_of(statement, names, counts)
        if subject not in people and not lexicon.PERSON_CUES.intersection(words_of(subject))
    ]


def _leaning(statement: Statement) -> bool:
    if not statement.english:
        return False
    text = statement.text
    if statement.form == "advice" and _DOES_IT.match(text):
        return True
    return bool(
        _OPENS_WITH_HE.match(text)
        or _OPENS_WITH_IT.match(text)
        or _HAS_IT.match(text)
        or _is_rest(statement)
    )


def _is_rest(statement: Statement) -> bool:
    """Whether the user left away what it is about: "Wooden, built 1961, 7.4 metres"."""
    found = english.words(statement.text)
    return (
        statement.form == "quote"
        and statement.role == "user"
        and len(found) <= _FRAGMENT
        and not _SUBJECTS.intersection(found)
        and not _FINITE.intersection(found)
    )


def _named(
    statement: Statement | None, names: Names, counts: Mapping[str, int]
) -> Statement | None:
    if statement is None or _leaning(statement):
        return None
    return statement if subjects_of(statement, names, counts) else None


def _fits(statement: Statement, before: Statement, names: Names, counts: Mapping[str, int]) -> bool:
    if len(f"{before.text}. {statement.text}".encode()) > MAX_BYTES:
        return False
    if _OPENS_WITH_HE.match(statement.text):
        cued = lexicon.PERSON_CUES.intersection(words_of(before.text))
        return bool(cued or any(name.kind == "person" for name in names.find(before.text)))
    return bool(things(before, names, counts))
