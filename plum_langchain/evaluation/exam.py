"""The questions a memory is examined with: `qa_test` of a chat file, never trained on.

They go from the file to the examiner alone; the importer leaves them out of the journal. One that
a later session makes untrue names that session as its `until`, and is asked only where that session
isn't learned: whoever knows better would be marked wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from plum_langchain.errors import BrokenRecordError, InvalidInputError
from plum_langchain.importers.jsonl import read_numbered
from plum_langchain.session import CLOSED_KINDS, Kind, Session


@dataclass(frozen=True)
class ExamQuestion:
    """One unseen question of a session, with the answer that is right.

    `category` is what a benchmark that has categories of its own files it under. `needs` names all
    sessions without which it can't be answered, where that is known and one may not be enough.
    """

    session_id: str
    question: str
    answer: str
    kind: Kind
    category: str = ""
    needs: tuple[str, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the answer is Yes or No."""
        return self.kind in CLOSED_KINDS


@dataclass(frozen=True)
class Exam:
    """One person's sessions in time order, with the questions about each."""

    user_id: str
    sessions: tuple[Session, ...]
    questions: tuple[ExamQuestion, ...]

    def about(self, session_ids: Sequence[str]) -> list[ExamQuestion]:
        """The questions about these sessions."""
        return [question for question in self.questions if question.session_id in session_ids]

    def of_text_alone(self) -> "Exam":
        """The same without what was recorded beside the chats, `updates` above all.

        For whatever makes its questions of a chat's own text: what is recorded is another LLM's.
        """
        return replace(self, sessions=tuple(replace(one, material={}) for one in self.sessions))


def read_exams(paths: Sequence[Path], *, max_sessions: int | None = None) -> list[Exam]:
    """The exams of chat files, one for each person in them.

    Args:
        paths: JSON lines with `turns` and `qa_test`, a list of {question, answer, kind} and, where
            another session changes the answer, `until`, its name.
        max_sessions: Only the first so many of each person.

    Raises:
        MissingFileError, BrokenRecordError: a file, a line of it or a question can't be read.
        InvalidInputError: somebody has no questions, or a session twice.
    """
    sessions: dict[str, list[Session]] = {}
    about: dict[tuple[str, str], list[tuple[ExamQuestion, str | None]]] = {}
    for path in paths:
        for number, session, record in read_numbered(path):
            theirs = sessions.setdefault(session.user_id, [])
            if any(other.session_id == session.session_id for other in theirs):
                raise InvalidInputError(
                    f"session {session.session_id!r} of {session.user_id!r} is in the files twice; "
                    "leave one of them out"
                )
            theirs.append(session)
            try:
                asked = _questions(session, record)
            except BrokenRecordError as error:
                raise BrokenRecordError(f"{path}, line {number}: {error}") from error
            about[session.user_id, session.session_id] = asked
    exams = []
    for user_id, theirs in sessions.items():
        first = tuple(sorted(theirs, key=lambda session: session.started)[:max_sessions])
        read = {session.session_id for session in first}
        questions = tuple(
            question
            for session in first
            for question, until in about[user_id, session.session_id]
            if until not in read
        )
        if not questions:
            raise InvalidInputError(
                f"no session of {user_id!r} has `qa_test` questions, so there is nothing to "
                "compare by; add them (see examples/chats)"
            )
        exams.append(Exam(user_id, first, questions))
    return exams


def _questions(
    session: Session, record: Mapping[str, Any]
) -> list[tuple[ExamQuestion, str | None]]:
    """Each with the session that makes it untrue, if there is one."""
    items = record.get("qa_test") or []
    if not isinstance(items, list):
        raise BrokenRecordError(
            f"`qa_test` of session {session.session_id!r} is a {type(items).__name__}, expected a "
            "list of objects with question, answer and kind"
        )
    found = []
    for index, item in enumerate(items):
        which = f"`qa_test[{index}]` of session {session.session_id!r}"
        try:
            question, answer, kind = item["question"], item["answer"], item["kind"]
        except (TypeError, KeyError) as error:
            raise BrokenRecordError(
                f"{which} is not an object with question, answer and kind"
            ) from error
        _check_text(question, f"the `question` of {which}")
        _check_text(answer, f"the `answer` of {which}")
        if kind not in get_args(Kind):
            raise BrokenRecordError(
                f"{which} is of kind {kind!r}; the kinds are {', '.join(get_args(Kind))}"
            )
        until = item.get("until")
        if not (until is None or (isinstance(until, str) and until != session.session_id)):
            raise BrokenRecordError(
                f"{which} has the `until` {until!r}; it names the later session that changes the "
                "answer"
            )
        found.append((ExamQuestion(session.session_id, question, answer, kind), until))
    return found


def _check_text(value: object, what: str) -> None:
    """Say now what would end in an error after all the learning.

    Raises:
        BrokenRecordError: it is no text, empty, or holds half a surrogate pair.
    """
    if not isinstance(value, str) or not value.strip():
        raise BrokenRecordError(
            f"{what} is {value!r}, expected text that isn't empty; mend it, or leave the question "
            "out"
        )
    half = next((c for c in value if "\ud800" <= c <= "\udfff"), None)
    if half is not None:
        raise BrokenRecordError(
            f"{what} holds {half!r}, half of a character that stands for nothing; remove it"
        )
