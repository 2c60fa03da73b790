"""Consolidation in the background: real schedulers, real (tiny) training."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler

from plum_langchain import LearningSettings
from plum_langchain.consolidation.schedule import _trigger
from plum_langchain.errors import InvalidInputError, PlumError
from plum_langchain.session import Question, Session, SessionState
from tests.tiny import FixedQuestions, session

FOREVER = LearningSettings(
    rank=4, alpha=8, epochs=1_000_000, learning_rate=1e-6, everyday_per_batch=0
)


def wait_for(found: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def states(plum: Any, user: str = "ana") -> list[SessionState]:
    return [s.state for s in plum.journal.sessions.all(user)]


def learned(plum: Any, number: int = 1, user: str = "ana") -> Callable[[], bool]:
    return lambda: states(plum, user).count(SessionState.LEARNED) == number


def jobs_of(scheduler: Any) -> list[Any]:
    return list(scheduler.get_jobs())


@pytest.fixture
def chats(plum: Any) -> Any:
    plum.add_session(session())
    return plum


# -- when a round comes ------------------------------------------------------------------------


def test_by_interval_and_only_until_it_is_stopped(chats: Any) -> None:
    with chats.schedule(interval=0.1) as schedule:
        wait_for(learned(chats))
        chats.add_session(session("ana", "s2"))
        wait_for(learned(chats, 2))
    assert not schedule.running and schedule.last_error is None
    chats.add_session(session("ana", "s3"))
    time.sleep(0.3)
    assert states(chats)[-1] == SessionState.FINISHED
    schedule.stop()  # stopping twice is fine


def test_by_cron_in_utc(plum: Any) -> None:
    scheduler = BackgroundScheduler(timezone="Asia/Tokyo")
    scheduler.start(paused=True)
    try:
        with plum.schedule(cron="30 3 * * *", scheduler=scheduler):
            (job,) = jobs_of(scheduler)
            due = job.next_run_time.astimezone(UTC)
            assert (due.hour, due.minute) == (3, 30)
    finally:
        scheduler.shutdown()


@pytest.mark.parametrize(
    ("weekdays", "due"),
    [
        ("0", "Sun"),
        ("7", "Sun"),
        ("01", "Mon"),
        ("6", "Sat"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("5-7", "Fri Sat Sun"),
        ("0-2", "Mon Tue Sun"),
        ("*/3", "Wed Sat Sun"),
        ("MON-FRI/2", "Mon Wed Fri"),
        ("sat,0", "Sat Sun"),
        ("fri-sun", "Fri Sat Sun"),
        ("*", "Mon Tue Wed Thu Fri Sat Sun"),
    ],
)
def test_weekdays_are_a_crontabs(weekdays: str, due: str) -> None:
    trigger = _trigger(None, f"0 3 * * {weekdays}", None)
    monday, found = datetime(2026, 11, 30, tzinfo=UTC), []
    while (at := trigger.get_next_fire_time(None, monday)) < datetime(2026, 12, 7, tzinfo=UTC):
        found.append(f"{at:%a}")
        monday = at + timedelta(minutes=1)
    assert " ".join(found) == due


def test_when_a_session_has_been_idle(plum: Any) -> None:
    memory = plum.memory("ana", "today")
    with plum.schedule(when_idle=1.0):
        for _ in range(5):
            memory.save_context({"input": "My bakery."}, {"output": "Yes?"})
            assert states(plum) == [SessionState.OPEN]
            time.sleep(0.25)
        wait_for(learned(plum))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "exactly one of interval, cron and when_idle; 0 were given"),
        ({"interval": 5, "cron": "0 3 * * *"}, "2 were given"),
        ({"interval": 5, "when_idle": 60}, "2 were given"),
        ({"interval": 5, "cron": "0 3 * * *", "when_idle": 60}, "3 were given"),
        ({"interval": 0}, "more than 0 seconds, not 0"),
        ({"interval": -1}, "more than 0 seconds, not -1"),
        ({"when_idle": -1}, "when_idle must be 0 seconds or more, not -1"),
        ({"cron": "every night"}, r"'every night' is not a crontab line.*'0 3 \* \* \*'"),
        ({"cron": "0 25 * * *"}, "is not a crontab line"),
        ({"cron": "0 3 * * 8"}, "is not a crontab line"),
        ({"cron": "0 3 * * 1,5-1"}, "is not a crontab line"),
        ({"cron": ""}, "is not a crontab line"),
    ],
)
def test_a_wrong_schedule_is_refused_and_changes_nothing(
    plum: Any, given: dict[str, Any], told: str
) -> None:
    settings, threads = plum.settings, threading.active_count()
    with pytest.raises(InvalidInputError, match=told):
        plum.schedule(**given)
    assert plum.settings == settings
    assert threading.active_count() == threads


# -- on a scheduler of the caller's ------------------------------------------------------------


def test_on_a_scheduler_that_is_started_later_and_stays(chats: Any) -> None:
    scheduler = BackgroundScheduler()
    ticks: list[int] = []
    scheduler.add_job(lambda: ticks.append(1), "interval", seconds=0.05)
    schedule = chats.schedule(interval=0.1, scheduler=scheduler)
    scheduler.start()
    try:
        wait_for(learned(chats))
        schedule.stop()
        before = len(ticks)
        wait_for(lambda: len(ticks) > before)  # the caller's own job goes on
        assert len(jobs_of(scheduler)) == 1
    finally:
        scheduler.shutdown()


def test_on_a_scheduler_that_is_shut_down_first(chats: Any) -> None:
    scheduler = BackgroundScheduler()
    scheduler.start()
    schedule = chats.schedule(interval=0.1, scheduler=scheduler)
    wait_for(learned(chats))
    scheduler.shutdown()
    schedule.stop()
    assert not schedule.running


def test_on_a_scheduler_that_pickles_its_jobs_into_a_database(chats: Any, tmp_path: Path) -> None:
    store = SQLAlchemyJobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    scheduler = BackgroundScheduler(jobstores={"default": store})
    scheduler.start()
    try:
        with chats.schedule(interval=0.1, scheduler=scheduler):
            wait_for(learned(chats))
            assert store.get_all_jobs() == []
    finally:
        scheduler.shutdown()


async def test_on_an_asyncio_scheduler_the_loop_stays_free(chats: Any) -> None:
    scheduler = AsyncIOScheduler()
    scheduler.start()
    try:
        schedule = chats.schedule(interval=0.1, scheduler=scheduler)
        gaps, last, done = [], time.monotonic(), learned(chats)
        for _ in range(1000):
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
            if len(gaps) > 20 and done():
                break
        assert done()
        # A round takes longer than that; were it run in the loop, one gap would hold it all.
        assert sorted(gaps)[-2] < 0.5
        await asyncio.to_thread(schedule.stop)
        assert jobs_of(scheduler) == []
    finally:
        scheduler.shutdown()


def test_scheduling_again_replaces_the_job(plum: Any, open_plum: Callable[..., Any]) -> None:
    scheduler = BackgroundScheduler()
    scheduler.start(paused=True)
    try:
        first = plum.schedule(interval=1000, scheduler=scheduler)
        second = plum.schedule(interval=2000, scheduler=scheduler)
        (job,) = jobs_of(scheduler)
        assert job.trigger.interval.total_seconds() == 2000
        first.stop()
        assert jobs_of(scheduler) == [job]  # the first takes its own away, not the second's
        other = open_plum("another home").schedule(interval=3000, scheduler=scheduler)
        assert len(jobs_of(scheduler)) == 2
        second.stop()
        other.stop()
        assert jobs_of(scheduler) == []
    finally:
        scheduler.shutdown()


# -- while a round is under way ----------------------------------------------------------------


def test_the_chat_goes_on_while_a_session_is_learned(open_plum: Callable[..., Any]) -> None:
    plum = open_plum(learning=FOREVER)
    plum.add_session(session())
    with plum.schedule(interval=0.05) as schedule:
        wait_for(lambda: states(plum) == [SessionState.LEARNING])
        reply = plum.chat_model("ana").invoke("Hello")
        memory = plum.memory("ana", "today")
        memory.save_context({"input": "Hello"}, {"output": reply.content})
        assert reply.response_metadata["generation"] is None
        assert states(plum) == [SessionState.LEARNING, SessionState.OPEN]
        assert schedule.running
    assert states(plum) == [SessionState.FINISHED, SessionState.OPEN]


def test_stopping_takes_seconds_and_the_session_is_learned_later(
    open_plum: Callable[..., Any],
) -> None:
    plum = open_plum(learning=FOREVER)
    plum.add_session(session())
    schedule = plum.schedule(interval=0.05)
    wait_for(lambda: states(plum) == [SessionState.LEARNING])
    time.sleep(0.3)  # into the training
    started = time.monotonic()
    schedule.stop()
    assert time.monotonic() - started < 5
    assert not schedule.running and schedule.last_error is None
    assert states(plum) == [SessionState.FINISHED]
    assert plum.status()["jobs"] == []
    again = open_plum()
    again.consolidate()
    assert states(again) == [SessionState.LEARNED]
    assert again.journal.generations.head("ana").learned


class Waiting(FixedQuestions):
    """Makes questions once it is let."""

    def __init__(self) -> None:
        self.asked, self.let = threading.Event(), threading.Event()

    def make(self, session: Session) -> list[Question]:
        self.asked.set()
        assert self.let.wait(20)
        return super().make(session)


def test_a_round_that_does_not_stop_in_time_is_told_and_can_be_waited_for(
    open_plum: Callable[..., Any],
) -> None:
    maker = Waiting()
    plum = open_plum(questions=maker)
    plum.add_session(session())
    schedule = plum.schedule(interval=0.05)
    assert maker.asked.wait(10)
    with pytest.raises(PlumError, match=r"did not stop within 0 s.*call stop\(\) again"):
        schedule.stop(timeout=0.1)
    maker.let.set()
    schedule.stop()
    assert states(plum) == [SessionState.FINISHED]


def test_a_round_that_fails_is_told_and_the_next_one_comes(
    open_plum: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(FixedQuestions):
        calls = 0

        def make(self, session: Session) -> list[Question]:
            Failing.calls += 1
            if Failing.calls == 1:
                raise ConnectionError("the LLM that makes questions is down")
            return super().make(session)

    plum = open_plum(questions=Failing())
    plum.add_session(session())
    errors: list[Any] = []
    with caplog.at_level(logging.ERROR, "plum_langchain"):
        with plum.schedule(interval=0.4) as schedule:
            wait_for(lambda: schedule.last_error is not None)
            errors.append(schedule.last_error)
            wait_for(lambda: learned(plum)() and not schedule.running)
            assert schedule.last_error is None
    assert isinstance(errors[0], ConnectionError)
    assert "failed (ConnectionError); the next round tries again" in caplog.text
    assert "is down" not in caplog.text  # an error may quote a chat


def test_two_schedules_on_one_home_learn_each_session_once(open_plum: Callable[..., Any]) -> None:
    one, two = open_plum(), open_plum()  # the same home, opened twice
    users = ["ana", "bob", "carl"]
    for user in users:
        for n in range(2):
            one.add_session(session(user, f"s{n}", f"{user} has {n} geese.", "Fine."))
    with one.schedule(interval=0.05) as first, two.schedule(interval=0.05) as second:
        wait_for(lambda: all(learned(one, 2, user)() for user in users), 40)
        assert first.last_error is None and second.last_error is None
    for user in users:
        generations = one.journal.generations.all(user, kept_only=False)
        published = [g for g in generations if g.manifest_sha256]
        assert [len(g.learned) for g in published] == [1, 2]


# -- at the end of the program -----------------------------------------------------------------

PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from plum_langchain import LearningSettings, Plum, ServingSettings
from plum_langchain.consolidation import schedule
from tests.tiny import FixedQuestions

class Slow(FixedQuestions):
    def make(self, session):
        time.sleep(600)

home, model, slow = sys.argv[2:]
training = slow == "training"
if training:
    import peft  # so that what is under way is training, and not the import
plum = Plum(
    home,
    model=model,
    questions=FixedQuestions() if training else Slow(),
    learning=LearningSettings(
        rank=4, alpha=8, epochs=1_000_000, learning_rate=1e-6, everyday_per_batch=0
    ),
    serving=ServingSettings(device="cpu", dtype="float32", scope=None),
)
if not training:
    schedule._SECONDS_AT_EXIT = 0.3
plum.schedule(interval=0.05)
while not (any(plum.home.adapters.glob("*/.writing-*")) if training else plum.status()["jobs"]):
    time.sleep(0.05)
time.sleep(0.2)
print(time.time())
"""


@pytest.mark.parametrize("slow", ["questions", "training"])
def test_a_program_ends_in_mid_round_and_nothing_is_lost(
    chats: Any, tiny_model: Path, slow: str
) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, root, str(chats.home.root), str(tiny_model), slow],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert time.time() - float(done.stdout) < 8
    assert "Traceback" not in done.stderr
    chats.consolidate("ana")
    assert states(chats) == [SessionState.LEARNED]
    assert chats.status()["jobs"] == []
