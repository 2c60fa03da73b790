"""What a chat changes of what earlier ones told, where it says so in plain words.

Two facts of one kind look like a change to a small model: a cat called Moll is denied by "Is my dog
called Rex?" as surely as Monday by Wednesday. So three things must come together: the new sentence
speaks of a change (in English), what it says is asked for in words of the old one but for a value
of one kind, and the old one denies it. What is told as if nothing had been before isn't found.
Measured: docs/experiments.md, "Changes that nobody recorded".
"""

import re
from collections.abc import Callable, Sequence

from plum_langchain.questions.corrections import value_kind
from plum_langchain.questions.maker import QuestionWriter
from plum_langchain.questions.raised import Heard
from plum_langchain.questions.text import content_words, in_common, words_of
from plum_langchain.session import Question, Update

_BESIDE = 4
"""Statements of earlier chats that a question is put beside: those with most of its words."""

_CHANGE = re.compile(
    r"\b(?:now|instead|any ?more|no longer|after all|rather than|moved|changed|switched|replaced|"
    r"rebooked|rescheduled|postponed|put off|brought forward|called off|is off|cancell?ed|gave up|"
    r"(?:went|goes|gone|up|down|rose|fell|cut|raised|lowered|reduced|dropped) (?:from|to))\b",
    re.IGNORECASE,
)

_NAME = re.compile(r"(?<=\s)[^\W\d_a-z][\w'’]*")  # a capital that doesn't begin the question

_COUNTED = {value_kind(word) for word in ("3", "monday", "mondays", "may", "christmas", "morning")}
"""Kinds of values that say when or how much: "17 May" and "14 June" differ in one thing."""


def noticed_changes(
    writer: QuestionWriter,
    questions: Sequence[Question],
    before: Sequence[str],
    *,
    should_stop: Callable[[], bool] | None = None,
) -> list[Update]:
    """Statements of earlier chats that a chat says are so no more, each with the one that says it.

    What a chat says is asked for by its own questions that are answered Yes: "Is the launch on 14
    June now?" is denied by "The launch is on 17 May."

    Args:
        writer: Tells what is denied.
        questions: Of the chat.
        before: What was told before it, as far as it is still so.
        should_stop: Asked while question and statement are read.

    Raises:
        StoppedError: `should_stop` returned True.
        ChatTemplateError, InvalidInputError, DivergedError, CacheError: as the writer's.
    """
    heard = Heard(before)
    pairs = [
        (old, question)
        for question in questions
        if question.kind == "yes" and question.statement and _CHANGE.search(question.statement)
        for old in heard.nearest(question.question, _BESIDE)
        if _but_for_a_value(question.question, old)
    ]
    denied = writer.denied([(old, q.question) for old, q in pairs], should_stop=should_stop)
    changes = [
        Update(old, question.statement or "")
        for (old, question), no in zip(pairs, denied, strict=True)
        if no
    ]
    return list(dict.fromkeys(changes))


def _but_for_a_value(question: str, old: str) -> bool:
    """Whether the old statement has all words of the question but values of one kind.

    It has some word, and none of the values: another name, or another date, not both.
    """
    named = {word for name in _NAME.findall(question) for word in words_of(name)}
    told = content_words(old)
    words, kinds = [], set()
    for word in content_words(question):
        kind = _slot(word, named)
        if kind is None:
            words.append(word)
        elif not in_common([word], told):
            kinds.add(kind)
    return len(kinds) == 1 and bool(words) and in_common(words, told) == len(words)


def _slot(word: str, named: set[str]) -> int | str | None:
    """What kind of value a word is: a date or number, a name, one of a list; None for no value."""
    kind = value_kind(word)
    if kind in _COUNTED:
        return "number"
    if kind != "other":
        return kind
    return "name" if word in named else None
