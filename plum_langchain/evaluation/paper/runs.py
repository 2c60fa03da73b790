"""One experiment from its chats to its result.

Each has a home of its own, which is gone afterwards. Only a stream's is kept while it isn't
through, so that it goes on where it was interrupted.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plum_langchain import __version__
from plum_langchain.consolidation import Consolidated, Progress
from plum_langchain.evaluation.compare import (
    HEADLINE_RETRIEVAL,
    Asking,
    answer_of,
    ask_each,
    compare,
)
from plum_langchain.evaluation.environment import machine
from plum_langchain.evaluation.everyday import neutral_loss
from plum_langchain.evaluation.exam import Exam
from plum_langchain.evaluation.metrics import Summary, summarise
from plum_langchain.evaluation.paper import arrange
from plum_langchain.evaluation.paper.experiments import BASE, Experiment
from plum_langchain.evaluation.paper.questions import Once, Rearranged, changed
from plum_langchain.evaluation.paper.results import Record, Results, digest
from plum_langchain.models import ResolvedModel
from plum_langchain.plum import Plum
from plum_langchain.questions.maker import QuestionMaker
from plum_langchain.questions.text import words_of
from plum_langchain.session import Session, SessionState
from plum_langchain.settings import LearningSettings, QuestionSettings

_FIRST_WORD_TOKENS = 4
"""Enough for a reply's first word, with a mark or a line break before it."""


class Setup:
    """What the experiments have in common.

    Args:
        exams: The people, with their sessions and questions; `check_people` has passed them.
        model: The base model.
        maker: Makes the questions to learn from.
        question_settings: What it was made with.
        open_plum: Opens a home with learning settings, on this base model.
        homes: Where streams keep their homes until they are through.
        base: The settings that experiments change.
    """

    def __init__(
        self,
        exams: Sequence[Exam],
        *,
        model: ResolvedModel,
        maker: QuestionMaker,
        question_settings: QuestionSettings,
        open_plum: Callable[[Path, LearningSettings], Plum],
        homes: Path,
        base: LearningSettings = BASE,
    ) -> None:
        self.exams = [arrange.without_updates(exam) for exam in exams]
        self.model = model
        made_with: object = asdict(question_settings)
        if maker.name == "written":  # with the base model: another writes others
            made_with = [made_with, model.fingerprint]
        self.maker = Once(maker, made_with)
        self.question_settings = question_settings
        self.open_plum = open_plum
        self.homes = homes
        self.base = base
        self._chats = digest(
            [
                (s.user_id, s.session_id, [(t.role, t.content) for t in s.turns], s.material)
                for exam in self.exams
                for s in exam.sessions
            ],
            [(exam.user_id, [asdict(q) for q in exam.questions]) for exam in self.exams],
        )

    def run(self, experiment: Experiment) -> str:
        """What stands for this experiment on these chats, questions, settings and weights.

        What it learns of a session is no part of it, for that is in the file (`Once`); nor is a
        gate that is off.
        """
        learning = asdict(experiment.settings(self.base))
        if learning["gate"] is None:
            del learning["gate"]
        return digest(
            __version__,
            experiment.name,
            experiment.questions,
            experiment.order,
            experiment.arm,
            self.model.fingerprint,
            learning,
            self.maker.name,
            asdict(self.question_settings),
            self._chats,
        )


@dataclass(frozen=True)
class _Callbacks:
    learning: Callable[[Progress], None] | None
    asking: Callable[[Asking], None] | None


def run_experiment(
    experiment: Experiment,
    setup: Setup,
    results: Results,
    *,
    learning: Callable[[Progress], None] | None = None,
    asking: Callable[[Asking], None] | None = None,
) -> Record:
    """Run an experiment, unless its result is there, and add its result to the file.

    Args:
        experiment: What to change.
        setup: On whose chats, with which model.
        results: Where to.
        learning: Called as sessions are learned.
        asking: Called as questions are asked.

    Raises:
        InvalidInputError: as `compare`.
        ModelNotFoundError, ChatTemplateError: the base model can't be used.
        BusyError: another process has written the file of results.
        Exception: what else the question maker raises, an LLM's network errors above all.
    """
    run = setup.run(experiment)
    found = results.result(run)
    if found is not None:
        _let_go(experiment, setup, run)  # it may have been interrupted before it could
        return found
    setup.maker.keep_in(results)
    calls = _Callbacks(learning, asking)
    if experiment.order == "stream":
        record = _stream(experiment, setup, results, run, calls)
    else:
        record = _at_once(experiment, setup, calls)
    result = {
        "kind": "result",
        "run": run,
        "experiment": experiment.name,
        "paper": experiment.paper,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **record,
        "people": {exam.user_id: len(exam.sessions) for exam in setup.exams},
        "trainings": experiment.trainings(setup.exams),
        "model": setup.model.id,
        "model_fingerprint": setup.model.fingerprint,
        "maker": setup.maker.name,
        "learning": asdict(experiment.settings(setup.base)),
        "questions": asdict(setup.question_settings),
        "version": __version__,
        "machine": machine(),
    }
    results.add(result)
    _let_go(experiment, setup, run)
    return result


# -- each person by themselves -----------------------------------------------------------------


def _at_once(experiment: Experiment, setup: Setup, calls: _Callbacks) -> dict[str, Any]:
    began = time.perf_counter()
    settings = experiment.settings(setup.base)
    exams, maker = setup.exams, setup.maker
    questions: QuestionMaker = maker
    if experiment.order == "mixed":
        exams, originals = arrange.mixed(exams)
        questions = Rearranged(maker, originals)
    questions = changed(questions, experiment.questions, exams, seed=settings.seed)
    with tempfile.TemporaryDirectory(prefix="plum-paper-", ignore_cleanup_errors=True) as home:
        with contextlib.closing(setup.open_plum(Path(home), settings)) as plum:
            found = compare(
                plum,
                exams,
                arms=[experiment.arm],
                questions=questions,
                retention_curve=False,
                learning=calls.learning,
                asking=calls.asking,
            )
            said = _said_right(plum, exams, experiment.arm, calls)
            loss = _neutral_loss(plum, exams, experiment.arm)
    learned = [_learned(result) for result in found.consolidated]
    shown = HEADLINE_RETRIEVAL if experiment.arm == "retrieval" else experiment.arm
    return {
        **_found(found.arms[experiment.arm], said, loss, learned),
        "per_user": {user: asdict(arms[shown]) for user, arms in found.per_user.items()},
        "seconds": time.perf_counter() - began,
    }


def _said_right(
    plum: Plum, exams: Sequence[Exam], arm: str, calls: _Callbacks
) -> tuple[int, int] | None:
    """How many closed questions are answered right in the reply itself, and of how many.

    As we read the paper, since its plain cross-entropy is right of fewer than half: a reply that is
    neither Yes nor No is wrong. A word is enough of it.
    """
    right = asked = 0
    for exam in exams:
        closed = [question for question in exam.questions if question.closed]
        for number, question in enumerate(closed, start=1):
            given = answer_of(
                plum,
                exam,
                exam.user_id,
                question,
                arm,
                closed=False,
                max_new_tokens=_FIRST_WORD_TOKENS,
            )
            right += words_of(given.text)[:1] == ["yes" if question.kind == "yes" else "no"]
            if calls.asking is not None:
                calls.asking(Asking(exam.user_id, f"{arm}, in its own words", number, len(closed)))
        asked += len(closed)
    return (right, asked) if asked else None


def _neutral_loss(plum: Plum, exams: Sequence[Exam], arm: str) -> float | None:
    """The people's mean; text in the prompt changes nothing about the model, so None there."""
    if arm == "floor":
        return neutral_loss(plum, exams[0].user_id, "none")
    if arm == "parametric":
        losses = [neutral_loss(plum, exam.user_id, "parametric") for exam in exams]
        return sum(losses) / len(losses)
    return None


def _learned(result: Consolidated) -> dict[str, Any]:
    return {
        "user": result.user_id,
        "session": result.session_id,
        "state": result.state,
        "reason": result.reason,
        "seconds": result.seconds,
        "questions": result.questions,
        "epochs": result.metrics.get("epochs"),
        "steps": result.metrics.get("steps"),
        "recalled": result.metrics.get("recalled"),
    }


def _learned_before(plum: Plum, session: Session) -> dict[str, Any]:
    """The same, as the journal tells it of the last session; it doesn't tell how long it took."""
    head = plum.journal.generations.head(session.user_id)
    learned = head is not None and session.state == SessionState.LEARNED
    metrics = head.metrics if head is not None and learned else {}
    return {
        "user": session.user_id,
        "session": session.session_id,
        "state": "learned" if learned else "failed",
        "reason": session.reason,
        "seconds": None,
        "questions": metrics.get("questions", 0),
        "epochs": metrics.get("epochs"),
        "steps": metrics.get("steps"),
        "recalled": metrics.get("recalled"),
    }


def _found(
    summary: Summary,
    said: tuple[int, int] | None,
    loss: float | None,
    learned: Sequence[Record],
) -> dict[str, Any]:
    return {
        "summary": asdict(summary),
        "said_right": said[0] / said[1] if said else None,
        "neutral_loss": loss,
        "sessions": list(learned),
    }


# -- one stream of everybody's sessions --------------------------------------------------------


def _home_of(experiment: Experiment, setup: Setup, run: str) -> Path:
    return setup.homes / f"{experiment.name}-{run}"


def _let_go(experiment: Experiment, setup: Setup, run: str) -> None:
    """Of a stream that is through: its home is needed no more."""
    shutil.rmtree(_home_of(experiment, setup, run), ignore_errors=True)
    with contextlib.suppress(OSError):  # another stream's is still there, or there was none
        setup.homes.rmdir()


def _stream(
    experiment: Experiment, setup: Setup, results: Results, run: str, calls: _Callbacks
) -> dict[str, Any]:
    """Learn the sessions one by one; from the middle on ask about the first half after each."""
    exam, originals = arrange.stream(setup.exams)
    ids = [session.session_id for session in exam.sessions]
    half = len(ids) // 2
    asked = exam.about(ids[:half])
    questions = Rearranged(setup.maker, originals)
    settings = experiment.settings(setup.base)

    def ask(number: int, plum: Plum) -> dict[str, Any]:
        newest = exam.about(ids[number - 1 : number])
        return {
            name: asdict(
                summarise(ask_each(plum, exam, qs, "parametric", exam.user_id, name, calls.asking))
            )
            for name, qs in (("first_half", asked), ("newest", newest))
        }

    home = _home_of(experiment, setup, run)
    with _gone_on(home, setup, settings, exam, results, run) as plum:
        for number in range(len(results.sessions(run)) + 1, len(ids) + 1):
            began = time.perf_counter()
            if number > _through(plum):
                (result,) = plum.consolidate(
                    exam.user_id, questions=questions, max_sessions=1, progress=calls.learning
                )
                learned = _learned(result)
            else:  # it was interrupted before this could be written
                last = plum.journal.sessions.get(exam.user_id, ids[number - 1])
                learned = _learned_before(plum, last)
            results.add(
                {
                    "kind": "session",
                    "run": run,
                    "experiment": experiment.name,
                    "number": number,
                    "further": number - half,
                    "session": ids[number - 1],
                    "learned": learned,
                    **(ask(number, plum) if number >= half else {}),
                    "seconds": time.perf_counter() - began,
                }
            )
        first_half = Exam(exam.user_id, exam.sessions, tuple(asked))
        said = _said_right(plum, [first_half], "parametric", calls)
        loss = _neutral_loss(plum, [exam], "parametric")
    records = results.sessions(run)
    curve = [r for r in records if "first_half" in r]
    return {
        **_found(
            Summary(**curve[-1]["first_half"]),
            said,
            loss,
            [r["learned"] for r in records],
        ),
        "curve": [{k: r[k] for k in ("further", "first_half", "newest")} for r in curve],
        "seconds": sum(r["seconds"] for r in records),
    }


@contextlib.contextmanager
def _gone_on(
    home: Path,
    setup: Setup,
    settings: LearningSettings,
    exam: Exam,
    results: Results,
    run: str,
) -> Iterator[Plum]:
    """The stream's home, as far as it was learned, or a new one if it doesn't fit the file."""
    done = len(results.sessions(run))
    if done and home.is_dir():
        with contextlib.closing(setup.open_plum(home, settings)) as plum:
            if _through(plum) in (done, done + 1):
                yield plum
                return
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    results.add({"kind": "begun", "run": run})
    with contextlib.closing(setup.open_plum(home, settings)) as plum:
        for session in exam.sessions:
            plum.add_session(session)
        yield plum


def _through(plum: Plum) -> int:
    """How many sessions of the stream are learned, or can't be."""
    states = plum.journal.sessions.counts().get(arrange.STREAM, {})
    return sum(states.get(s, 0) for s in (SessionState.LEARNED, SessionState.FAILED))
