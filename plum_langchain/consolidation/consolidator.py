"""One job from claim to publish: a user's finished sessions, one after another, into weights.

Each session becomes one generation that starts from the last. A session that can't be learned is
marked failed with its reason and the next one goes on; a session that is interrupted goes back in
line. The base model it trains is its own object, never the one that serves chats.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from plum_langchain.adapters import AdapterRef, AdapterStore, Manifest
from plum_langchain.errors import (
    BusyError,
    ChatTemplateError,
    LeaseLostError,
    PlumError,
    QuestionError,
    StoppedError,
    WrongBaseModelError,
)
from plum_langchain.home import Home
from plum_langchain.journal import Job, Journal
from plum_langchain.learning import StepProgress, learn
from plum_langchain.models import LoadedModel, ResolvedModel, load_model
from plum_langchain.questions.maker import QuestionMaker
from plum_langchain.session import Question, Session, SessionState
from plum_langchain.settings import HomeSettings, LearningSettings, ServingSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Consolidated:
    """What became of one session. `seconds` is wall time from questions to publication."""

    user_id: str
    session_id: str
    state: Literal["learned", "failed"]
    reason: str | None = None
    generation: int | None = None
    seconds: float = 0.0
    questions: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    adapter_bytes: int = 0


@dataclass(frozen=True)
class Progress:
    """Sent to the progress callback: what is being done for which session.

    `step` is there while learning; `questions` once they are made.
    """

    user_id: str
    session_id: str
    phase: Literal["loading", "questions", "learning", "learned", "failed"]
    step: StepProgress | None = None
    questions: int = 0


ProgressCallback = Callable[[Progress], None]


class Consolidator:
    """Learns finished sessions. One instance may be used by one thread at a time."""

    def __init__(
        self,
        home: Home,
        journal: Journal,
        store: AdapterStore,
        resolve: Callable[[], ResolvedModel],
        *,
        learning: LearningSettings,
        serving: ServingSettings,
        settings: HomeSettings,
    ) -> None:
        self._home = home
        self._journal = journal
        self._store = store
        self._resolve = resolve
        self._learning = learning
        self._serving = serving
        self._settings = settings
        self._base: LoadedModel | None = None

    def run(
        self,
        users: Sequence[str],
        maker: QuestionMaker,
        *,
        max_sessions: int | None = None,
        progress: ProgressCallback | None = None,
        should_stop: Callable[[], bool] | None = None,
        skip_busy: bool = False,
    ) -> list[Consolidated]:
        """Learn the finished sessions of `users`, one user after the other.

        Args:
            users: Whose sessions.
            maker: Turns a session into questions.
            max_sessions: At most so many of each user.
            progress: Called as things happen, in this thread.
            should_stop: Asked before every training step.
            skip_busy: Pass over users whom another worker holds, instead of raising.

        Raises:
            StoppedError: asked to stop; what was published stays, the rest goes back in line.
            BusyError: another worker holds a user.
            WrongBaseModelError: the user's adapter belongs to another base model.
        """
        done: list[Consolidated] = []
        try:
            for user_id in users:
                try:
                    done += self._run_user(
                        user_id, maker, max_sessions, progress or _silent, should_stop or _never
                    )
                except BusyError as error:
                    if not skip_busy:
                        raise
                    logger.info("passed over: %s", error)
        finally:
            self._base = None  # half a gigabyte that nothing needs until the next run
        return done

    def _run_user(
        self,
        user_id: str,
        maker: QuestionMaker,
        max_sessions: int | None,
        progress: ProgressCallback,
        should_stop: Callable[[], bool],
    ) -> list[Consolidated]:
        owner = self._home.owner(user_id)
        done: list[Consolidated] = []
        with self._journal.jobs.claim(user_id, "consolidate") as job:
            kept = [g.number for g in self._journal.generations.all(user_id)]
            self._store.sweep(owner, kept)
            with self._beating(job, should_stop) as stopping:
                waiting = self._journal.sessions.all(user_id, SessionState.FINISHED)
                for session in waiting[:max_sessions]:
                    if stopping():
                        raise StoppedError(
                            f"consolidation of user {user_id!r} was asked to stop; "
                            f"{len(waiting) - len(done)} finished sessions are still in line"
                        )
                    done.append(self._learn_session(job, session, maker, progress, stopping))
            gone = self._journal.generations.prune(job, self._settings.keep_generations)
            self._store.remove(owner, gone)
        return done

    def _learn_session(
        self,
        job: Job,
        session: Session,
        maker: QuestionMaker,
        progress: ProgressCallback,
        stopping: Callable[[], bool],
    ) -> Consolidated:
        started = time.perf_counter()
        user_id, session_id = session.user_id, session.session_id
        key = self._journal.generations.begin_learning(job, session_id)
        try:
            progress(Progress(user_id, session_id, "questions"))
            questions = maker.make(session)
            progress(Progress(user_id, session_id, "loading", questions=len(questions)))
            ref, manifest = self._train(job, session, key, questions, maker, progress, stopping)
        except (QuestionError, ChatTemplateError) as error:
            self._journal.generations.fail(job, key, str(error))
            progress(Progress(user_id, session_id, "failed"))
            logger.warning("session %r of user %r failed: %s", session_id, user_id, error)
            return Consolidated(
                user_id, session_id, "failed", str(error), seconds=time.perf_counter() - started
            )
        self._journal.generations.publish(
            job,
            number=ref.generation,
            session_key=key,
            questions=questions,
            base_model=manifest.base_model,
            manifest_sha256=ref.manifest_sha256,
            metrics=manifest.metrics,
        )
        progress(Progress(user_id, session_id, "learned", questions=len(questions)))
        return Consolidated(
            user_id=user_id,
            session_id=session_id,
            state="learned",
            generation=ref.generation,
            seconds=time.perf_counter() - started,
            questions=len(questions),
            metrics=manifest.metrics,
            adapter_bytes=self._store.bytes_of(ref),
        )

    def _train(
        self,
        job: Job,
        session: Session,
        key: int,
        questions: Sequence[Question],
        maker: QuestionMaker,
        progress: ProgressCallback,
        stopping: Callable[[], bool],
    ) -> tuple[AdapterRef, Manifest]:
        user_id, owner = session.user_id, self._home.owner(session.user_id)
        base = self._base_model()
        parent = self._parent(user_id, base.resolved)
        number = self._journal.generations.next_number(user_id)
        learned_before = self._journal.generations.replay_questions(user_id)
        kept: list[Manifest] = []

        def fill(directory: Path) -> Manifest:
            result = learn(
                base.model,
                base.tokenizer,
                questions,
                directory,
                settings=self._learning,
                replay=_replay(learned_before, seed=self._learning.seed + number),
                parent=parent.path if parent else None,
                progress=lambda step: progress(
                    Progress(user_id, session.session_id, "learning", step, len(questions))
                ),
                should_stop=stopping,
            )
            manifest = Manifest(
                generation=number,
                base_model=base.resolved.id,
                base_fingerprint=base.resolved.fingerprint,
                session_keys=(*learned_before, key),
                settings=asdict(self._learning),
                question_maker=maker.name,
                metrics={**asdict(result), "questions": len(questions)},
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            kept.append(manifest)
            return manifest

        return self._store.write(owner, number, fill), kept[0]

    def _base_model(self) -> LoadedModel:
        if self._base is None:
            self._base = load_model(
                self._resolve(), device=self._serving.device, dtype=self._serving.dtype
            )
        return self._base

    def _parent(self, user_id: str, base: ResolvedModel) -> AdapterRef | None:
        head = self._journal.generations.head(user_id)
        if head is None:
            return None
        ref = self._store.ref(self._home.owner(user_id), head.number, head.manifest_sha256)
        manifest = self._store.check(ref)
        if manifest.base_fingerprint != base.fingerprint:
            raise WrongBaseModelError(
                f"user {user_id!r} has an adapter trained on {manifest.base_model}, but {base.id} "
                f"is open; open the home with model={manifest.base_model!r}, or use another home"
            )
        return ref

    @contextmanager
    def _beating(self, job: Job, should_stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
        """Keep the lease alive from a thread of its own: one LLM call may outlast a lease.

        Yields a function that tells whether to stop; it raises LeaseLostError if the lease is
        gone.
        """
        ended, stop, lost = threading.Event(), threading.Event(), threading.Event()

        def beat() -> None:
            while not ended.wait(self._settings.lease_seconds / 6):
                try:
                    if not self._journal.jobs.heartbeat(job):
                        stop.set()
                except LeaseLostError:
                    lost.set()
                    return
                except PlumError as error:  # a busy journal: the next beat is soon
                    logger.warning("heartbeat missed: %s", error)

        def stopping() -> bool:
            if lost.is_set():
                raise LeaseLostError(
                    f"the consolidation of user {job.user_id!r} lost its lease to another worker; "
                    "nothing was published"
                )
            return stop.is_set() or should_stop()

        thread = threading.Thread(target=beat, name="plum-heartbeat", daemon=True)
        thread.start()
        try:
            yield stopping
        finally:
            ended.set()
            thread.join()


_MAX_REPLAY = 256
"""Questions of earlier sessions considered for replay in one session: more than its batches can
use, and a bound on encoding, so that a session's cost doesn't grow with those before it."""


def _replay(learned_before: Mapping[int, Sequence[Question]], *, seed: int) -> list[Question]:
    everything = [question for questions in learned_before.values() for question in questions]
    return random.Random(seed).sample(everything, min(_MAX_REPLAY, len(everything)))


def _silent(_: Progress) -> None:
    pass


def _never() -> bool:
    return False
