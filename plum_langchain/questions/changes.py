"""What a chat changes of what earlier ones told, found by comparing question and fact."""

from collections.abc import Callable, Sequence

from plum_langchain.questions.maker import QuestionWriter
from plum_langchain.questions.raised import Heard
from plum_langchain.session import Question, Update

_BESIDE = 4
"""Statements of earlier chats that a question is put beside: those with most of its words."""


def noticed_changes(
    writer: QuestionWriter,
    questions: Sequence[Question],
    before: Sequence[str],
    *,
    should_stop: Callable[[], bool] | None = None,
) -> list[Update]:
    """Statements of earlier chats that a chat contradicts, each with the one that does.

    What a chat says is asked for by its own questions that are answered Yes. An earlier statement
    that is about the same and surely answers No ("Is the launch on 14 June?", beside "The launch is
    booked for 17 May.") is so no more.

    Args:
        writer: Reads the two.
        questions: Of the chat.
        before: What was told before it, as far as it is still so.
        should_stop: Asked while they are read.

    Raises:
        StoppedError: `should_stop` returned True.
        ChatTemplateError, InvalidInputError, DivergedError, CacheError: as the writer's.
    """
    heard = Heard(before)
    pairs = [
        (old, question)
        for question in questions
        if question.kind == "yes" and question.statement
        for old in heard.nearest(question.question, _BESIDE)
        if old != question.statement
    ]
    denied = writer.denied([(old, q.question) for old, q in pairs], should_stop=should_stop)
    changes = [
        Update(old, question.statement or "")
        for (old, question), no in zip(pairs, denied, strict=True)
        if no
    ]
    return list(dict.fromkeys(changes))
