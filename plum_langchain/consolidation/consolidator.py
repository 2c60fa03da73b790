"""One job from claim to publish: a user's finished sessions, one after another, into weights.

Each session becomes one generation that starts from the last. A session that can't be learned, or
whose generation the gate (`learning/gate.py`) doesn't let pass, is marked failed with its reason
and the next one goes on; a session that is interrupted goes back in line. So does one whose
question maker raises something else (an LLM that can't be reached), but only so often: that is a
try of the session, and when its tries are used up it is failed. The base model it trains is its own
object, never the one that serves chats.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from plum_langchain.adapters import AdapterRef, AdapterStore, Manifest
from plum_langchain.consolidation.base import TrainedBase, load_base
from plum_langchain.consolidation.prepare import (
    Made,
    choose_replay,
    correct,
    fit_questions,
    make_questions,
    noted_updates,
)
from plum_langchain.consolidation.progress import Consolidated, Progress, ProgressCallback
from plum_langchain.encryption.box import ALGORITHM
from plum_langchain.errors import (
    BusyError,
    CacheError,
    ChatTemplateError,
    DamagedAdapterError,
    DivergedError,
    EncryptionError,
    GateError,
    LeaseLostError,
    ModelNotFoundError,
    PlumError,
    QuestionError,
    StoppedError,
    WrongBaseModelError,
    loggable,
)
from plum_langchain.home import Home
from plum_langchain.journal import Job, Journal
from plum_langchain.journal.heartbeat import beating
from plum_langchain.learning import learn
from plum_langchain.learning.lora import check_shape
from plum_langchain.models import ResolvedModel, release_memory
from plum_langchain.questions.maker import QuestionMaker
from plum_langchain.questions.recorded import recorded_updates
from plum_langchain.session import Question, Session, SessionState
from plum_langchain.settings import HomeSettings, LearningSettings, ServingSettings

logger = logging.getLogger(__name__)


KEPT = "kept"
"""Names the maker of questions that were kept in place of their chat, and are learned again."""


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
        self._base: TrainedBase | None = None

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
            max_sessions: At most so many of each user, one or more.
            progress: Called as things happen, in this thread.
            should_stop: Asked before every training step, and while a `StoppableMaker` is at it.
            skip_busy: Pass over users whom another worker holds or claims, instead of raising.

        Whatever is raised, what was published stays and the session at hand goes back in line.
        Trouble with one user (a damaged adapter, an LLM that refuses a chat) keeps nobody else
        waiting: the first of it is raised at the end.

        Whatever but a QuestionError the question maker raises counts as one try of the session,
        in the journal; the user's later sessions wait, for they are learned in their order. After
        `HomeSettings.max_tries` of them the session is failed instead of raising, and the later
        ones are learned.

        Raises:
            StoppedError: asked to stop.
            BusyError: another worker holds a user.
            WrongBaseModelError: a user's adapter belongs to another base model.
            DamagedAdapterError: a user's adapter is not what was published.
            ChatTemplateError, ModelNotFoundError: the base model can't be used, or isn't there.
            CacheError, DivergedError: as `everyday_samples`.
            Exception: whatever else the question maker raises, an LLM's network errors above all,
                while the session has tries left.
        """
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
                except (ChatTemplateError, ModelNotFoundError, CacheError, DivergedError):
                    raise  # the base model's, and so everybody's
                except Exception as error:
                    logger.error("user %r can't be learned (%s)", user_id, loggable(error))
                    trouble = trouble or error
        finally:
            if self._base is not None:  # half a gigabyte that nothing needs until the next run
                self._base = None
                release_memory()
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
            self._store.sweep(owner, lambda: self._journal.generations.kept_under(job))
            lease = self._settings.lease_seconds
            with beating(
                self._journal.jobs, job, lease_seconds=lease, should_stop=should_stop
            ) as stopping:
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
            learned_before = self._journal.generations.replay_questions(user_id)
            made_by = maker.name
            if session.kept == "questions":  # its transcript was disposed of
                made_by = KEPT
                kept = self._journal.generations.questions_kept(user_id, session_id)
                made = Made(kept, recorded_updates(session))
            else:
                made = make_questions(maker, session, learned_before, stopping)
        except QuestionError as error:
            return self._failed(job, session, key, error, progress, started)
        except _NO_TRY:
            raise
        except Exception as error:
            if stopping():  # whoever stops us may have closed the maker's connection as well
                raise
            return self._tried(job, session, key, error, progress, started)
        progress(Progress(user_id, session_id, "loading", questions=len(made.questions)))
        base = self._base_model(stopping)
        try:
            questions = fit_questions(made.questions, base.encoder, seed=self._learning.seed)
            questions = correct(made.updates, questions, learned_before, base.encoder)
            ref, manifest = self._train(
                session, key, questions, made.left_out, learned_before, base, parent, made_by,
                progress, stopping,
            )  # fmt: skip
        except (QuestionError, ChatTemplateError, DivergedError, GateError) as error:
            return self._failed(job, session, key, error, progress, started)
        adapter_bytes = self._store.bytes_of(ref)  # while it may still fail
        self._journal.generations.publish(
            job,
            number=ref.generation,
            session_key=key,
            questions=questions,
            base_model=manifest.base_model,
            manifest_sha256=ref.manifest_sha256,
            metrics=manifest.metrics,
            updates=[*made.updates, *noted_updates(made.questions)],
        )
        progress(Progress(user_id, session_id, "learned", questions=len(questions)))
        return Consolidated(
            user_id=user_id,
            session_id=session_id,
            state="learned",
            generation=ref.generation,
            seconds=time.perf_counter() - started,
            questions=len(questions),
            question_maker=manifest.question_maker,
            metrics=manifest.metrics,
            adapter_bytes=adapter_bytes,
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
        reason = str(error)
        self._journal.generations.fail(job, key, reason)
        return _report_failed(session, reason, error, progress, started)

    def _tried(
        self,
        job: Job,
        session: Session,
        key: int,
        error: Exception,
        progress: ProgressCallback,
        started: float,
    ) -> Consolidated:
        """Count a failed try; raises its error again while there are more."""
        why = f"{type(error).__name__}: {error}"
        if len(why) > _MAX_REASON:
            why = f"{why[: _MAX_REASON - 1]}…"
        reason = self._journal.generations.count_try(job, key, why)
        if reason is None:
            progress(Progress(session.user_id, session.session_id, "put back"))
            raise error
        return _report_failed(session, reason, error, progress, started)

    def _train(
        self,
        session: Session,
        key: int,
        questions: Sequence[Question],
        left_out: Mapping[str, int],
        learned_before: Mapping[int, Sequence[Question]],
        base: TrainedBase,
        parent: AdapterRef | None,
        made_by: str,
        progress: ProgressCallback,
        stopping: Callable[[], bool],
    ) -> tuple[AdapterRef, Manifest]:
        user_id, owner = session.user_id, self._home.owner(session.user_id)
        number = self._journal.generations.next_number(user_id)
        seal = self._journal.generations.seal(user_id, number)
        kept: list[Manifest] = []

        def fill(directory: Path) -> Manifest:
            result = learn(
                base.loaded.model,
                base.loaded.tokenizer,
                questions,
                directory,
                settings=self._learning,
                # Seeded by how many sessions there are before, not by the generation's number: what
                # is learned again after a forgetting is what it would be had that never been said.
                replay=choose_replay(
                    learned_before,
                    questions,
                    base.encoder,
                    seed=self._learning.seed + len(learned_before),
                ),
                everyday=base.everyday,
                parent=parent.path if parent else None,
                seal=seal,
                parent_seal=parent.seal if parent else None,
                progress=lambda step: progress(
                    Progress(user_id, session.session_id, "learning", step, len(questions))
                ),
                should_stop=stopping,
            )
            manifest = Manifest(
                generation=number,
                base_model=base.loaded.resolved.id,
                base_fingerprint=base.loaded.resolved.fingerprint,
                session_keys=(*learned_before, key),
                settings=asdict(self._learning),
                question_maker=made_by,
                metrics={
                    **asdict(result),
                    "questions": len(questions),
                    "left_out": dict(left_out),
                },
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                encryption=ALGORITHM if seal else None,
            )
            kept.append(manifest)
            return manifest

        return self._store.write(owner, number, fill), kept[0]

    def _base_model(self, stopping: Callable[[], bool]) -> TrainedBase:
        if self._base is None:
            # A template that can't be used is the model's fault: it must not fail the sessions.
            self._base = load_base(self._resolve(), self._serving.device, self._learning, stopping)
        return self._base

    def _parent(self, user_id: str) -> AdapterRef | None:
        head = self._journal.generations.head(user_id)
        if head is None:
            return None
        owner = self._home.owner(user_id)
        ref = self._store.ref(owner, head.number, head.manifest_sha256, head.seal)
        manifest = self._store.check(ref)
        base = self._resolve()
        if manifest.base_fingerprint != base.fingerprint:
            raise WrongBaseModelError(
                f"user {user_id!r} has an adapter trained on {manifest.base_model} (fingerprint "
                f"{manifest.base_fingerprint}), but {base.id} ({base.fingerprint}) is open; open "
                f"the home with model={manifest.base_model!r}, or use another home"
            )
        check_shape(ref.path, self._learning)
        return ref


_MAX_REASON = 1000  # characters kept of another's error: a server may reply with a page of HTML

# What a maker may pass on that says nothing about its session: a stop, a lease that is gone, or,
# if the LLM it asks is one of this home's own, a base model or an adapter that can't be used.
_NO_TRY = (
    BusyError,
    ChatTemplateError,
    DamagedAdapterError,
    EncryptionError,
    LeaseLostError,
    ModelNotFoundError,
    StoppedError,
    WrongBaseModelError,
)


def _report_failed(
    session: Session, reason: str, error: Exception, progress: ProgressCallback, started: float
) -> Consolidated:
    user_id, session_id = session.user_id, session.session_id
    progress(Progress(user_id, session_id, "failed"))
    # The reason may quote the chat. It is kept in the journal, where forgetting erases it; a log
    # can't be made to forget.
    logger.warning(
        "session %r of user %r failed (%s); the journal holds the reason",
        session_id,
        user_id,
        type(error).__name__,
    )
    return Consolidated(
        user_id, session_id, "failed", reason, seconds=time.perf_counter() - started
    )


def _silent(_: Progress) -> None:
    pass


def _never() -> bool:
    return False
