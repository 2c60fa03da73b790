"""The same sessions in another order: all of a person's as one, or everybody's as one user's."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from plum_langchain.evaluation.exam import Exam
from plum_langchain.session import Session

STREAM = "stream"
"""The user whom the chats of all people are made the chats of."""

ALL = "all"
"""The session that all of a person's are made."""

Originals = dict[tuple[str, str], tuple[Session, ...]]
"""By user and session as rearranged, what it was made of."""


def without_updates(exam: Exam) -> Exam:
    """Nothing is asked again that a later conversation changes.

    As we read the paper, which tells of no such questions.
    """
    sessions = tuple(
        replace(s, material={name: v for name, v in s.material.items() if name != "updates"})
        for s in exam.sessions
    )
    return replace(exam, sessions=sessions)


def mixed(exams: Sequence[Exam]) -> tuple[list[Exam], Originals]:
    """Of each person one session that holds the turns of all."""
    found, originals = [], Originals()
    for exam in exams:
        turns = tuple(turn for session in exam.sessions for turn in session.turns)
        whole = replace(exam.sessions[0], session_id=ALL, turns=turns, topic="", material={})
        asked = tuple(replace(question, session_id=ALL) for question in exam.questions)
        found.append(Exam(exam.user_id, (whole,), asked))
        originals[exam.user_id, ALL] = exam.sessions
    return found, originals


def stream(exams: Sequence[Exam]) -> tuple[Exam, Originals]:
    """One user with the sessions of all people, one person after the other.

    What two people tell may contradict each other, as what one person tells later may.
    """
    first = min(session.started for exam in exams for session in exam.sessions)
    sessions: list[Session] = []
    originals = Originals()
    for exam in exams:
        for session in exam.sessions:
            renamed = replace(
                session,
                user_id=STREAM,
                session_id=_renamed(exam, session.session_id),
                started=first + timedelta(days=len(sessions)),  # learned in this order
                thread_id=None,
            )
            sessions.append(renamed)
            originals[STREAM, renamed.session_id] = (session,)
    asked = tuple(
        replace(question, session_id=_renamed(exam, question.session_id))
        for exam in exams
        for question in exam.questions
    )
    return Exam(STREAM, tuple(sessions), asked), originals


def _renamed(exam: Exam, session_id: str) -> str:
    return f"{exam.user_id}/{session_id}"
