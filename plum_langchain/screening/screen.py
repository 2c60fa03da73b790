"""A session as it may be learned, and what was left out of it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from plum_langchain.questions.raised import was_raised
from plum_langchain.screening.identifiers import find_contacts, find_identifiers
from plum_langchain.screening.pasted import find_instructions, find_pasted
from plum_langchain.screening.repeated import Known, find_repeated, words
from plum_langchain.screening.secrets import find_keys, find_passwords
from plum_langchain.screening.spans import Found, Parted, Sort, part, pattern_of
from plum_langchain.session import NEVER_RAISED_KINDS, Question, Session
from plum_langchain.settings import ScreeningSettings


@dataclass(frozen=True)
class LeftOut:
    """So many sentences of a turn, and why. What they say is told nowhere."""

    turn: int
    sort: Sort
    sentences: int


@dataclass(frozen=True)
class Screened:
    """A session as it may be learned.

    Attributes:
        session: With the same turns, of which sentences may be missing; the same object if none is.
        left_out: What is missing.
    """

    session: Session
    left_out: tuple[LeftOut, ...] = ()
    _without: Session | None = field(default=None, repr=False)
    _values: tuple["re.Pattern[str]", ...] = field(default=(), repr=False)
    _settings: ScreeningSettings | None = field(default=None, repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """How many sentences are missing, by why."""
        counted: Counter[str] = Counter()
        for one in self.left_out:
            counted[one.sort] += one.sentences
        return dict(counted)

    def may_be_learned(self, question: Question) -> bool:
        """Whether a question, and its answer, bring nothing back that was left out.

        They do if they hold it or anything of its kind, if more of what they say was said in what
        was left out of their turns than in all that is left, and if they deny what was left out.
        """
        texts = [question.question, question.answer, question.statement, question.replaces]
        if not self.may_be_told(*(text for text in texts if text)):
            return False
        secrets = self._settings is not None and self._settings.secrets
        if secrets and question.kind == "open":
            # "What is my password?" is nothing to hide, and nor is "swordfish": together they are.
            told = next(find_passwords(question.answer, question.question), None)
            if told is not None:
                return False
        if self._without is None:
            return True
        if question.kind in NEVER_RAISED_KINDS:
            return not was_raised(question.question, self._without)
        return not self._rests_on_it(question, self._without)

    def may_be_told(self, *texts: str) -> bool:
        """Whether none of these texts holds what was left out, or anything of its kind."""
        return not any(
            any(value.search(text) for value in self._values)
            or (self._settings is not None and any(_sensitive(text, "", self._settings)))
            for text in texts
        )

    def _rests_on_it(self, question: Question, without: Session) -> bool:
        told = words(question.statement or f"{question.question} {question.answer}")
        turns = [i for i in question.evidence if i < len(without.turns)]
        missing = words("\n".join(without.turns[i].content for i in turns))
        there = words("\n".join(turn.content for turn in self.session.turns))
        return len(told & missing) > len(told & there)


def told(counts: "dict[str, int]") -> str:
    """In a sentence: "2 sentences left out (1 password, 1 payment card)"."""
    number = sum(counts.values())
    each = ", ".join(f"{n} {sort}" for sort, n in counts.items())
    return f"{number} {'sentence' if number == 1 else 'sentences'} left out ({each})"


def screen(session: Session, settings: ScreeningSettings, known: Iterable[str] = ()) -> Screened:
    """Leave out of a session what isn't to be learned.

    Args:
        session: With its turns.
        settings: What to leave out.
        known: What earlier sessions told (`Question.statement`), which an assistant may only have
            been reminded of.
    """
    texts = [turn.content for turn in session.turns]
    found: list[list[Found]] = [[] for _ in texts]
    for index, turn in enumerate(session.turns):
        asked = texts[index - 1] if index and session.turns[index - 1].role != turn.role else ""
        found[index] += _sensitive(turn.content, asked, settings)
        if settings.pasted:
            if turn.role == "user":
                found[index] += find_pasted(turn.content, settings.longest)
            found[index] += find_instructions(turn.content)
    sort_of = {value: one.sort for turn in found for one in turn for value in one.values}
    values = {value: pattern_of(value) for value in sort_of}
    for index, text in enumerate(texts):  # said again, in a turn that doesn't say what it is
        for value, pattern in values.items():
            again = [Found(*match.span(), sort_of[value]) for match in pattern.finditer(text)]
            found[index] += again
    parted = [part(text, places) for text, places in zip(texts, found, strict=True)]
    if settings.repeated:
        parted = list(_own(session, parted, Known(known)))
    if not any(one.sorts for one in parted):
        return Screened(session, _settings=settings)
    left_out = [
        LeftOut(index, sort, number)
        for index, one in enumerate(parted)
        for sort, number in Counter(one.sorts).items()
    ]
    topic = session.topic
    if any(pattern.search(topic) for pattern in values.values()) or any(
        _sensitive(topic, "", settings)
    ):
        topic = ""
    return Screened(
        replace(_with(session, [one.kept for one in parted]), topic=topic),
        tuple(left_out),
        _with(session, [one.left_out for one in parted]),
        tuple(values.values()),
        settings,
    )


def _sensitive(text: str, asked: str, settings: ScreeningSettings) -> Iterator[Found]:
    if settings.secrets:
        yield from find_keys(text)
        yield from find_passwords(text, asked)
    if settings.identifiers:
        yield from find_identifiers(text)
    if settings.contacts:
        yield from find_contacts(text)


def _own(session: Session, parted: Sequence[Parted], known: Known) -> Iterator[Parted]:
    """The turns, those of the assistant without what isn't its own."""
    turns = list(zip(session.turns, parted, strict=True))
    said = [words(one.kept) for turn, one in turns if turn.role == "user"]
    here = frozenset().union(*said)
    for turn, one in turns:
        if turn.role == "user":
            yield one
            continue
        own = part(one.kept, find_repeated(one.kept, said, here, known))
        missing = "\n".join(text for text in (one.left_out, own.left_out) if text)
        yield Parted(own.kept, missing, (*one.sorts, *own.sorts))


def _with(session: Session, texts: Iterable[str]) -> Session:
    turns = [replace(t, content=text) for t, text in zip(session.turns, texts, strict=True)]
    return replace(session, turns=tuple(turns))
