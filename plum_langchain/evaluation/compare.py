"""`plum compare`: the same unseen questions to every memory, and what each answer cost.

All of a person's sessions are learned one after another, as in use; the arms are then asked every
question about every session. For the retention curve the parametric memory is also asked, after
each session, the questions about all sessions so far.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from plum_langchain.consolidation import Consolidated, Progress
from plum_langchain.errors import InvalidInputError
from plum_langchain.evaluation.environment import machine
from plum_langchain.evaluation.exam import Exam, ExamQuestion
from plum_langchain.evaluation.metrics import Graded, Summary, grade, summarise
from plum_langchain.memories.answer import ANSWER_TOKENS, Answer, whole_session, whole_sessions
from plum_langchain.plum import Plum
from plum_langchain.session import Session, SessionState

Arm = Literal["floor", "context", "retrieval", "parametric", "hybrid", "stranger"]
ARMS: tuple[Arm, ...] = ("floor", "context", "retrieval", "parametric", "hybrid")
"""The arms asked by default. `stranger` (the adapter of another person of the comparison, which
knows the form of the questions but not the user) needs at least two people."""

RETRIEVAL_K = (1, 3, 5)
"""Exchanges retrieved; the middle one, the paper's top-3, is the arm's headline."""

_HEADLINE_K = 3
HEADLINE_RETRIEVAL = f"retrieval@{_HEADLINE_K}"
_ROOM_FOR_ANSWER = 512  # tokens: system prompt, question, template and 64 of an answer


@dataclass(frozen=True)
class RetentionPoint:
    """How the sessions so far are recalled once one more is learned: closed and open questions."""

    user_id: str
    learned: int  # sessions learned so far, this one included
    session_id: str  # the one just learned
    so_far: Summary
    newest: Summary
    first: Summary


@dataclass(frozen=True)
class Asking:
    """Sent to the progress callback while questions are asked."""

    user_id: str
    arm: str
    asked: int
    of: int


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found; `report.py` and `picture.py` show it.

    `by_k` holds the retrieval arm's summary for each k.
    """

    arms: dict[str, Summary]
    by_k: dict[int, Summary]
    per_user: dict[str, dict[str, Summary]]
    retention: tuple[RetentionPoint, ...]
    consolidated: tuple[Consolidated, ...]
    answers: dict[str, tuple[Graded, ...]]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds_per_session(self) -> float | None:
        """Mean wall time from a session's questions to its publication."""
        learned = [c.seconds for c in self.consolidated if c.state == "learned"]
        return sum(learned) / len(learned) if learned else None

    @property
    def adapter_bytes(self) -> int | None:
        """Size of a person's adapter on disk (it doesn't grow with what is learned)."""
        return max((c.adapter_bytes for c in self.consolidated), default=0) or None


def compare(
    plum: Plum,
    exams: Sequence[Exam],
    *,
    arms: Iterable[str] = ARMS,
    questions: Any = None,
    retention_curve: bool = True,
    again: bool = False,
    learning: Callable[[Progress], None] | None = None,
    asking: Callable[[Asking], None] | None = None,
) -> Comparison:
    """Learn the sessions of `exams` and examine every arm on them.

    Args:
        plum: A home in which none of these people has chats yet: what is there would be measured
            with it.
        exams: Who, with which sessions and questions.
        arms: Names from `ARMS`, or "stranger".
        questions: The question maker, as for `Plum.consolidate`.
        retention_curve: Ask the parametric memory after each session as well.
        again: The home may be one in which these sessions, or the first of them, were learned with
            the same settings (those of questions aren't known there): only the rest is learned, and
            there is no retention curve.
        learning: Called as sessions are learned.
        asking: Called as questions are asked.

    Raises:
        InvalidInputError: an unknown arm, "stranger" with one person, a home in use (or, `again`,
            one that has other chats of them, learned otherwise, or can't learn theirs), or what the
            arm "context" reads is too long.
        DamagedAdapterError: `again`, and a person's adapter can't be read.
    """
    chosen = _checked(plum, exams, list(arms))
    if again:
        _check_learned(plum, exams, questions)
    else:
        _check_unused(plum, exams)
    if "context" in chosen:
        _check_context(plum, exams)
    for exam in exams:
        for session in exam.sessions:
            plum.add_session(session)
    consolidated: list[Consolidated] = []
    retention: list[RetentionPoint] = []
    if {"parametric", "hybrid", "stranger"} & set(chosen):
        for exam in exams:
            for number in range(1, len(exam.sessions) + 1):
                results = plum.consolidate(
                    exam.user_id, questions=questions, max_sessions=1, progress=learning
                )
                consolidated += results
                if retention_curve and not again and "parametric" in chosen:
                    retention.append(_retained(plum, exam, number, asking))
            if again:
                _check_over(plum, exam)
    answers: dict[str, tuple[Graded, ...]] = {}
    for arm in _with_k(chosen):
        answers[arm] = tuple(
            graded for exam in exams for graded in _ask_all(plum, exam, exams, arm, asking)
        )
    summaries = {arm: summarise(graded) for arm, graded in answers.items()}
    per_user = {
        exam.user_id: {
            arm: summarise([g for g in graded if g.user_id == exam.user_id])
            for arm, graded in answers.items()
        }
        for exam in exams
    }
    return Comparison(
        arms={arm: summaries[HEADLINE_RETRIEVAL if arm == "retrieval" else arm] for arm in chosen},
        by_k={k: summaries[f"retrieval@{k}"] for k in RETRIEVAL_K if "retrieval" in chosen},
        per_user=per_user,
        retention=tuple(retention),
        consolidated=tuple(consolidated),
        answers=answers,
        about=_about(plum, exams, questions),
    )


def _checked(plum: Plum, exams: Sequence[Exam], arms: list[str]) -> list[Arm]:
    unknown = [arm for arm in arms if arm not in get_args(Arm)]
    if unknown or not arms:
        raise InvalidInputError(
            f"{', '.join(unknown) or 'no arm'} can't be compared; the arms are "
            f"{', '.join(get_args(Arm))}"
        )
    if not exams:
        raise InvalidInputError("there is nobody to compare on; give a file with sessions")
    if "stranger" in arms and len(exams) < 2:
        raise InvalidInputError(
            "the arm 'stranger' asks another person's adapter and needs chats of two people; give "
            "another file, or leave the arm out"
        )
    return [arm for arm in get_args(Arm) if arm in arms]


def _check_unused(plum: Plum, exams: Sequence[Exam]) -> None:
    here = plum.journal.sessions.counts()
    in_use = [exam.user_id for exam in exams if exam.user_id in here]
    if in_use:
        raise InvalidInputError(
            f"{', '.join(in_use)} already has chats in {plum.home.root}, which would be measured "
            "with the new ones; compare in a home of its own"
        )


def _check_learned(plum: Plum, exams: Sequence[Exam], questions: Any) -> None:
    settings = json.loads(json.dumps(asdict(plum.learning)))  # as they are in a manifest
    del settings["gate"]  # it decides what is published, and changes nothing of it
    maker = plum.question_maker(questions).name
    for exam in exams:
        there = {s.session_id: s.state for s in plum.journal.sessions.all(exam.user_id)}
        adapter = plum.memory_named("parametric").recall(exam.user_id, "").adapter
        if unasked := there.keys() - {s.session_id for s in exam.sessions}:
            raise InvalidInputError(
                f"{plum.home.root} has chats of {exam.user_id!r} that are not to be asked about "
                f"({', '.join(sorted(unasked))}), which would be measured with the others; ask for "
                "all of them, or begin with an empty home"
            )
        if adapter is None:
            continue
        manifest = plum.adapters.check(adapter)
        others = [name for name, v in settings.items() if manifest.settings.get(name) != v]
        if maker != manifest.question_maker:
            others.append("questions")
        if others:
            raise InvalidInputError(
                f"{exam.user_id!r} was learned with other settings than are given now "
                f"({', '.join(others)}); give the same, or begin with an empty home"
            )


def _check_over(plum: Plum, exam: Exam) -> None:
    """Refuse to ask about what is neither learned nor couldn't be.

    Raises:
        InvalidInputError: a session of the home is still open, forgotten, or will be tried again.
    """
    over = (SessionState.LEARNED, SessionState.FAILED)
    states = {s.session_id: s.state for s in plum.journal.sessions.all(exam.user_id)}
    left = [s.session_id for s in exam.sessions if states.get(s.session_id) not in over]
    if left:
        raise InvalidInputError(
            f"{', '.join(left)} of {exam.user_id!r} can't be asked about in {plum.home.root}: "
            "neither learned nor given up, but open, forgotten or to be tried again; begin with an "
            "empty home"
        )


def _check_context(plum: Plum, exams: Sequence[Exam]) -> None:
    """Refuse what doesn't fit into a prompt now, not after an hour of learning.

    Raises:
        InvalidInputError: a session, or those that a question needs together, are longer than the
            model's window, less room for an answer.
    """
    window = getattr(plum.engine.base.model.config, "max_position_embeddings", None)
    for exam in exams:
        for session in exam.sessions:
            text = whole_session(session).snippets[0].text
            tokens = plum.engine.count_tokens(text)
            if window is not None and tokens > window - _ROOM_FOR_ANSWER:
                raise InvalidInputError(
                    f"session {session.session_id!r} of {exam.user_id!r} has {tokens} tokens and "
                    f"doesn't fit into the model's window of {window} with a question; leave out "
                    "the arm 'context', or the session"
                )
        for needs in {question.needs for question in exam.questions if question.needs}:
            found = whole_sessions(_sessions(exam, needs)).snippets
            tokens = sum(plum.engine.count_tokens(snippet.text) for snippet in found)
            if window is not None and tokens > window - _ROOM_FOR_ANSWER:
                raise InvalidInputError(
                    f"a question about {exam.user_id!r} needs {len(needs)} sessions with {tokens} "
                    f"tokens, which don't fit into the model's window of {window} with it; leave "
                    "out the arm 'context', or read fewer sessions"
                )


def _sessions(exam: Exam, session_ids: Sequence[str]) -> list[Session]:
    return [session for session in exam.sessions if session.session_id in session_ids]


def _with_k(arms: Sequence[Arm]) -> list[str]:
    return [
        name
        for arm in arms
        for name in ([f"retrieval@{k}" for k in RETRIEVAL_K] if arm == "retrieval" else [arm])
    ]


def _retained(
    plum: Plum, exam: Exam, learned: int, asking: Callable[[Asking], None] | None
) -> RetentionPoint:
    ids = [session.session_id for session in exam.sessions[:learned]]
    graded = ask_each(plum, exam, exam.about(ids), "parametric", exam.user_id, "retention", asking)
    return RetentionPoint(
        user_id=exam.user_id,
        learned=learned,
        session_id=ids[-1],
        so_far=summarise(graded),
        newest=summarise([g for g in graded if g.session_id == ids[-1]]),
        first=summarise([g for g in graded if g.session_id == ids[0]]),
    )


def _ask_all(
    plum: Plum,
    exam: Exam,
    exams: Sequence[Exam],
    arm: str,
    asking: Callable[[Asking], None] | None,
) -> list[Graded]:
    who = exam.user_id
    if arm == "stranger":
        position = [e.user_id for e in exams].index(exam.user_id)
        who = exams[(position + 1) % len(exams)].user_id
    return ask_each(plum, exam, exam.questions, arm, who, arm, asking)


def ask_each(
    plum: Plum,
    exam: Exam,
    questions: Sequence[ExamQuestion],
    arm: str,
    who: str,
    shown: str,
    asking: Callable[[Asking], None] | None,
) -> list[Graded]:
    """Ask one arm these questions of `exam`.

    Args:
        plum: The home.
        exam: Whose questions they are.
        questions: Some of the exam's, or all.
        arm: Which memory answers; "retrieval@3" names its k.
        who: Whose memory it is: another person's for the arm "stranger".
        shown: What progress is reported as.
        asking: Called after each question.
    """
    if questions:
        # Loading the model, the index or an adapter is not part of an answer's time.
        _ask(plum, exam, who, questions[0], arm)
    graded = []
    for number, question in enumerate(questions, start=1):
        graded.append(_ask(plum, exam, who, question, arm))
        if asking is not None:
            asking(Asking(exam.user_id, shown, number, len(questions)))
    return graded


def _ask(plum: Plum, exam: Exam, who: str, question: ExamQuestion, arm: str) -> Graded:
    given = answer_of(plum, exam, who, question, arm, closed=question.closed)
    return grade(exam.user_id, question, given)


def answer_of(
    plum: Plum,
    exam: Exam,
    who: str,
    question: ExamQuestion,
    arm: str,
    *,
    closed: bool,
    max_new_tokens: int = ANSWER_TOKENS,
) -> Answer:
    """One arm's answer; see `ask_each` for its arguments, and `Plum.ask` for the last two."""
    memory, _, k = arm.partition("@")
    memory = {"floor": "none", "stranger": "parametric"}.get(memory, memory)
    context: Session | list[Session] = _sessions(exam, question.needs)
    if not question.needs:
        context = next(s for s in exam.sessions if s.session_id == question.session_id)
    return plum.ask(
        who,
        question.question,
        memory=memory,
        closed=closed,
        k=int(k) if k else _HEADLINE_K,
        context=context if memory == "context" else None,
        max_new_tokens=max_new_tokens,
    )


def _about(plum: Plum, exams: Sequence[Exam], questions: Any) -> dict[str, Any]:
    resolved = plum.resolved()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": resolved.id,
        "model_fingerprint": resolved.fingerprint,
        "question_maker": plum.question_maker(questions).name,
        "people": {exam.user_id: len(exam.sessions) for exam in exams},
        "learning": asdict(plum.learning),
        "questions": asdict(plum.question_settings),
        "machine": machine(),
    }
