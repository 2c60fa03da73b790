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
    DivergedError,
    InvalidInputError,
    LeaseLostError,
    ModelNotFoundError,
    PlumError,
    QuestionError,
    StoppedError,
    WrongBaseModelError,
)
from plum_langchain.home import Home
from plum_langchain.journal import Job, Journal
from plum_langchain.learning import ChatTemplate, StepProgress, find_frame, learn
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
            skip_busy: Pass over users whom another worker holds or claims, instead of raising.

        Whatever is raised, what was published stays and the session at hand goes back in line.
        Trouble with one user (a damaged adapter, an LLM that refuses a chat) keeps nobody else
        waiting: the first of it is raised at the end.

        Raises:
            InvalidInputError: max_sessions is not a positive number.
            StoppedError: asked to stop.
            BusyError: another worker holds a user.
            WrongBaseModelError: a user's adapter belongs to another base model.
            DamagedAdapterError: a user's adapter is not what was published.
            ChatTemplateError, ModelNotFoundError: the base model can't be used, or isn't there.
            Exception: whatever else the question maker raises, an LLM's network errors above all.
        """
        if max_sessions is not None and max_sessions < 1:
            raise InvalidInputError(f"max_sessions must be at least 1 or None, not {max_sessions}")
        done: list[Consolidated] = []
        trouble: Exception | None = None
        progress, should_stop = progress or _silent, should_stop or _never
        try:
            for user_id in users:
                try:
                    done += self._run_user(user_id, maker, max_sessions, progress, should_stop)
                except (BusyError, LeaseLostError, StoppedError) as error:
                    # Another worker wants this user (to forget a chat, say), or has it.
                    if not skip_busy or should_stop():
                        raise
                    logger.info("passed over: %s", error)
                except (ChatTemplateError, ModelNotFoundError):
                    raise  # the base model's, and so everybody's
                except Exception as error:
                    # Its text may quote a chat, and a log can't be made to forget.
                    logger.error("user %r can't be learned (%s)", user_id, type(error).__name__)
                    trouble = trouble or error
        finally:
            self._base = None  # half a gigabyte that nothing needs until the next run
        if trouble is not None:
            raise trouble
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
        parent = self._parent(user_id)  # before questions are made: an LLM's cost money
        key = self._journal.generations.begin_learning(job, session_id)
        progress(Progress(user_id, session_id, "questions"))
        try:
            questions = maker.make(session)
            progress(Progress(user_id, session_id, "loading", questions=len(questions)))
        except QuestionError as error:
            return self._failed(job, session, key, error, progress, started)
        base = self._base_model()
        try:
            ref, manifest = self._train(
                session, key, questions, base, parent, maker, progress, stopping
            )
        except (QuestionError, ChatTemplateError, DivergedError) as error:
            return self._failed(job, session, key, error, progress, started)
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

    def _failed(
        self,
        job: Job,
        session: Session,
        key: int,
        error: PlumError,
        progress: ProgressCallback,
        started: float,
    ) -> Consolidated:
        user_id, session_id = session.user_id, session.session_id
        self._journal.generations.fail(job, key, str(error))
        progress(Progress(user_id, session_id, "failed"))
        # The reason may quote the chat. It is kept in the journal, where forgetting erases it; a
        # log can't be made to forget.
        logger.warning(
            "session %r of user %r failed (%s); the journal holds the reason",
            session_id,
            user_id,
            type(error).__name__,
        )
        return Consolidated(
            user_id, session_id, "failed", str(error), seconds=time.perf_counter() - started
        )

    def _train(
        self,
        session: Session,
        key: int,
        questions: Sequence[Question],
        base: LoadedModel,
        parent: AdapterRef | None,
        maker: QuestionMaker,
        progress: ProgressCallback,
        stopping: Callable[[], bool],
    ) -> tuple[AdapterRef, Manifest]:
        user_id, owner = session.user_id, self._home.owner(session.user_id)
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
            base = load_model(
                self._resolve(), device=self._serving.device, dtype=self._serving.dtype
            )
            # A template that can't be used is the model's fault: it must not fail the sessions.
            find_frame(ChatTemplate(base.tokenizer), self._learning.system_prompt)
            self._base = base
        return self._base

    def _parent(self, user_id: str) -> AdapterRef | None:
        head = self._journal.generations.head(user_id)
        if head is None:
            return None
        ref = self._store.ref(self._home.owner(user_id), head.number, head.manifest_sha256)
        manifest = self._store.check(ref)
        base = self._resolve()
        if manifest.base_fingerprint != base.fingerprint:
            raise WrongBaseModelError(
                f"user {user_id!r} has an adapter trained on {manifest.base_model} (fingerprint "
                f"{manifest.base_fingerprint}), but {base.id} ({base.fingerprint}) is open; open "
                f"the home with model={manifest.base_model!r}, or use another home"
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
            # A request to stop (to forget a chat) is seen at a beat, however long the lease.
            while not ended.wait(min(self._settings.lease_seconds / 6, _MAX_BEAT)):
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


_MAX_BEAT = 2.0  # seconds between heartbeats, at most

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
