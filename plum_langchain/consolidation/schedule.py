"""Consolidation in the background of a chatbot: one APScheduler job.

Each round finishes idle sessions and learns what is finished, one user at a time. All durable
state is in the journal, so nothing is lost when a round is missed, stopped or killed, and two
schedulers on one home are harmless: a user held by one is passed over by the other.
"""

import atexit
import contextlib
import logging
import math
import re
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import InvalidInputError, PlumError, StoppedError, loggable

if TYPE_CHECKING:
    from apscheduler.schedulers.base import BaseScheduler

logger = logging.getLogger(__name__)

_JOB_STORE = "plum"
"""A job store in memory of our own: a caller's scheduler may pickle its jobs into a database, and
this one holds a live object. What must be durable is in the journal."""

_SECONDS_AT_EXIT = 10.0
"""How long the end of the program waits for the round under way: what it does at once is shorter,
and an LLM call that isn't must not hold up whoever pressed Ctrl-C."""

RunOnce = Callable[[Callable[[], bool]], Any]


class Schedule:
    """A scheduled consolidation; `stop()` it, or use it in a `with` block.

    The scheduler's job only wakes a worker thread of ours: an executor's thread would keep the
    interpreter from exiting until hours of training are over, and a round that is still under way
    when the next is due needs no second one. At exit a schedule stops by itself.

    Args:
        run_once: Does one round; is given a function that says whether to stop.
        job_id: Stable, so that scheduling again replaces the job instead of doubling it.
        interval: Seconds between rounds.
        cron: A crontab line, in UTC, instead of an interval ("0 3 * * *"; "30 2 * * 1-5" from
            Monday to Friday). With a day of the month and a weekday both have to be right.
        when_idle: Instead of both: look for idle sessions often enough that one is learned soon
            after it has been idle for so many seconds.
        scheduler: An APScheduler 3 scheduler of the caller's, running or to be started by them;
            `stop()` leaves it running. By default a BackgroundScheduler of our own.

    Raises:
        InvalidInputError: not exactly one of interval, cron and when_idle; or a wrong one.
    """

    def __init__(
        self,
        run_once: RunOnce,
        *,
        job_id: str,
        interval: float | None = None,
        cron: str | None = None,
        when_idle: float | None = None,
        scheduler: "BaseScheduler | None" = None,
    ) -> None:
        from apscheduler.executors.debug import DebugExecutor
        from apscheduler.jobstores.base import JobLookupError
        from apscheduler.schedulers.background import BackgroundScheduler

        self._run_once = run_once
        self._job_id = job_id
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._running = False
        self.last_error: Exception | None = None
        """Why the last round failed; None if it didn't."""
        trigger = _trigger(interval, cron, when_idle)
        self._own = scheduler is None
        self._scheduler = scheduler or BackgroundScheduler(
            # Runs the job in the scheduler's own thread: a pool can't be used once the program
            # ends, and setting an event needs none.
            executors={"default": DebugExecutor()},
            timezone="UTC",
            daemon=True,
        )
        self._worker = threading.Thread(target=self._work, name="plum-schedule", daemon=True)
        with contextlib.suppress(ValueError):  # it is there already
            self._scheduler.add_jobstore("memory", alias=_JOB_STORE)
        # `replace_existing` works at once only on a running scheduler: one that is still to be
        # started would hold both jobs until then.
        with contextlib.suppress(JobLookupError):
            self._scheduler.remove_job(job_id, _JOB_STORE)
        self._scheduler.add_job(
            self._due.set,
            trigger,
            id=job_id,
            jobstore=_JOB_STORE,
            replace_existing=True,
            coalesce=True,  # rounds missed while the machine slept are one round
            max_instances=1,
            misfire_grace_time=None,  # a late round is still wanted
        )
        self._worker.start()
        if self._own:
            self._scheduler.start()
        atexit.register(self._stop_at_exit)

    @property
    def running(self) -> bool:
        """Whether a round is under way."""
        return self._running

    def stop(self, timeout: float = 30.0) -> None:
        """Stop at the next training step, or the next texts that are written or judged.

        Returns when the round under way has ended.

        An interrupted session goes back in line. Stopping twice is fine.

        Args:
            timeout: Seconds to wait for the round under way.

        Raises:
            PlumError: the round did not end in time.
        """
        self._stopping.set()
        job = self._scheduler.get_job(self._job_id, _JOB_STORE)
        if job is not None and job.func == self._due.set:  # not that of a later schedule
            job.remove()
        self._due.set()
        self._worker.join(timeout)
        if self._worker.is_alive():
            raise PlumError(
                f"the consolidation under way did not stop within {timeout:.0f} s (one step of it "
                "takes longer, or an LLM call hangs); call stop() again to wait on"
            )
        if self._own and self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        atexit.unregister(self._stop_at_exit)

    def __enter__(self) -> "Schedule":
        """Scheduling began with construction."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _stop_at_exit(self) -> None:
        try:
            self.stop(timeout=_SECONDS_AT_EXIT)
        except PlumError:
            # The journal knows the round by its process: once that is gone, the next worker
            # takes the session over.
            logger.warning("the consolidation under way was cut off by the end of the program")

    def _work(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._stopping.is_set():
                return
            self._running = True
            try:
                self._run_once(self._stopping.is_set)
                self.last_error = None
            except StoppedError as error:
                logger.info("%s", error)
            except Exception as error:  # whatever it is, the next round must come
                self.last_error = error
                logger.error(
                    "background consolidation failed (%s); the next round tries again, "
                    "Schedule.last_error has the error",
                    loggable(error),
                )
            finally:
                self._running = False


def _trigger(interval: float | None, cron: str | None, when_idle: float | None) -> Any:
    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.interval import IntervalTrigger

    given = [x for x in (interval, cron, when_idle) if x is not None]
    if len(given) != 1:
        raise InvalidInputError(
            f"give exactly one of interval, cron and when_idle; {len(given)} were given"
        )
    if cron is not None:
        try:
            return CronTrigger.from_crontab(_with_weekdays_named(cron), timezone="UTC")
        except ValueError as error:
            raise InvalidInputError(
                f"{cron!r} is not a crontab line ({error}); e.g. '0 3 * * *' for 3 o'clock"
            ) from error
    if when_idle is not None and not 0 <= when_idle < math.inf:
        raise InvalidInputError(f"when_idle must be 0 seconds or more, not {when_idle}")
    seconds = interval if interval is not None else max(1.0, (when_idle or 0.0) / 4)
    if not 0 < seconds < math.inf:
        raise InvalidInputError(f"the interval must be more than 0 seconds, not {seconds}")
    return IntervalTrigger(seconds=seconds, timezone="UTC")


_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def _with_weekdays_named(cron: str) -> str:
    """The crontab line with each of its weekdays by name.

    APScheduler numbers them from Monday, where a crontab's 0 and 7 are Sunday; it refuses a range
    over Sunday, and leaves out the step of one between names.
    """
    fields = cron.split()
    if len(fields) != 5:
        return cron
    number = {name: str(n) for n, name in enumerate(_WEEKDAYS)}
    numbered = re.sub("|".join(number), lambda name: number[name[0]], fields[4].lower())
    days: list[str] = []
    for part in numbered.split(","):
        found = re.fullmatch(r"(?:\*|0*([0-7])(?:-0*([0-7]))?)(?:/0*([1-7]))?", part)
        if found is None:
            return cron  # APScheduler says what is wrong with it
        first, last, step = found.groups()
        begin, end = int(first or 0), int(last or 6)
        if first and not last and not step:
            end = begin
        elif last == "0":
            end = 7
        if begin > end:
            return cron
        days += [_WEEKDAYS[day % 7] for day in range(begin, end + 1, int(step or 1))]
    return " ".join([*fields[:4], ",".join(dict.fromkeys(days))])
