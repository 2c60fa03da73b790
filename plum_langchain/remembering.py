"""Learning: what of a `Plum` turns finished chats into generations, now or in the background."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from plum_langchain.adapters import AdapterStore
from plum_langchain.consolidation import Consolidated, Consolidator, Schedule
from plum_langchain.consolidation.progress import ProgressCallback
from plum_langchain.errors import InvalidInputError
from plum_langchain.forgetting import Forgetter
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.models import ResolvedModel
from plum_langchain.questions import question_maker
from plum_langchain.questions.maker import StoppableMaker
from plum_langchain.session import SessionState
from plum_langchain.settings import (
    HomeSettings,
    LearningSettings,
    QuestionSettings,
    ServingSettings,
)
from plum_langchain.writer import Writer

if TYPE_CHECKING:
    from apscheduler.schedulers.base import BaseScheduler
    from langchain_core.language_models import BaseChatModel

    from plum_langchain.questions.maker import QuestionMaker


class Remembering(ABC):
    """The part of a `Plum` that learns. `Plum` sets what is declared here."""

    home: Home
    journal: Journal
    adapters: AdapterStore
    learning: LearningSettings
    question_settings: QuestionSettings
    serving: ServingSettings
    settings: HomeSettings
    _forgetter: Forgetter
    _questions: "str | QuestionMaker | BaseChatModel | None"
    _writer: Writer

    @abstractmethod
    def resolved(self) -> ResolvedModel:
        """The base model on this disk."""

    def consolidate(
        self,
        user_id: str | None = None,
        *,
        questions: "str | QuestionMaker | BaseChatModel | None" = None,
        max_sessions: int | None = None,
        idle_seconds: float | None = None,
        progress: ProgressCallback | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Consolidated]:
        """Learn finished sessions now, in this thread; sessions idle for long are finished first.

        Args:
            user_id: Whose; everyone's by default (users held by another worker are passed over).
            questions: Instead of the one given at construction.
            max_sessions: At most so many of each user.
            idle_seconds: Finish open sessions that have been idle for so long; by default the
                home's own `settings.idle_seconds`.
            progress: Called as things happen.
            should_stop: Asked before every training step, and while questions are written.

        Raises:
            UnknownUserError: no chats of this user.
            InvalidInputError: max_sessions is not a positive number.
            InvalidInputError, ChatTemplateError, DivergedError, CacheError: the base model can't be
                taught to write the questions that are wanted, or be asked what it says to everyday
                prompts.
            BusyError: another worker holds this user.
            ModelNotFoundError: the base model is nowhere to be found.
            StoppedError: asked to stop; what was published stays.
            WrongBaseModelError: the user's adapter belongs to another base model.
            Exception: what else the question maker raises (an LLM that can't be reached). Its
                session is in line again, until `settings.max_tries` tries of it have failed.
        """
        if max_sessions is not None and max_sessions < 1:
            raise InvalidInputError(f"max_sessions must be at least 1 or None, not {max_sessions}")
        self._forgetter.resume()
        maker = self.question_maker(questions)
        sessions = self.journal.sessions
        if user_id is not None:
            sessions.require_user(user_id)
        idle = self.settings.idle_seconds if idle_seconds is None else idle_seconds
        sessions.finish_idle(idle, user_id=user_id)
        # Sessions still "learning" were left by a worker that died, or are held by a live one;
        # claiming their user tells, and puts the former back in line.
        waiting = sessions.users_with(SessionState.FINISHED, SessionState.LEARNING)
        users = [user_id] if user_id is not None else waiting
        if isinstance(maker, StoppableMaker) and set(users) & set(waiting):
            maker.prepare(should_stop)  # before anybody is claimed: it may take long
        consolidator = Consolidator(
            self.home,
            self.journal,
            self.adapters,
            self.resolved,
            learning=self.learning,
            serving=self.serving,
            settings=self.settings,
        )
        before = {user: self.journal.generations.head(user) for user in users}
        try:
            return consolidator.run(
                users,
                maker,
                max_sessions=max_sessions,
                progress=progress,
                should_stop=should_stop,
                skip_busy=user_id is None,
            )
        finally:
            if self.settings.retention != "transcript":
                head = self.journal.generations.head
                self._forgetter.wipe_disposed([u for u in users if head(u) != before[u]])

    def question_maker(
        self, questions: "str | QuestionMaker | BaseChatModel | None" = None
    ) -> "QuestionMaker":
        """What a session is turned into questions by.

        Args:
            questions: Instead of those given at construction.

        Raises:
            InvalidInputError: neither a maker nor a chat model that LangChain can make here.
        """
        chosen = self._questions if questions is None else questions
        return question_maker(chosen, self.question_settings, writer=self._writer)

    def schedule(
        self,
        *,
        interval: float | None = None,
        cron: str | None = None,
        when_idle: float | None = None,
        scheduler: "BaseScheduler | None" = None,
    ) -> Schedule:
        """Consolidate in the background until the returned schedule is stopped.

        A chat in the same process shares its cores with the training, and while questions are
        written it may wait some seconds for its turn with the model. Where another process
        computes at the same time, start both with the environment variable OMP_WAIT_POLICY=PASSIVE
        (the command line does): threads that spin while they wait slow each other down several
        times (docs/performance.md).

        Args:
            interval: Seconds between rounds.
            cron: A crontab line in UTC, instead.
            when_idle: Learn a session soon after it has been idle for so many seconds, instead.
            scheduler: Your own APScheduler 3 scheduler to put the job on.

        Raises:
            InvalidInputError: not exactly one of interval, cron and when_idle, or a wrong one.
        """
        return Schedule(
            lambda should_stop: self.consolidate(idle_seconds=when_idle, should_stop=should_stop),
            job_id=f"plum-consolidate-{self.home.owner('schedule')[:12]}",
            interval=interval,
            cron=cron,
            when_idle=when_idle,
            scheduler=scheduler,
        )
