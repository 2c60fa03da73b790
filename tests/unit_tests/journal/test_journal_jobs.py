"""Leases: one worker a user, dead ones are taken over, whoever lost the lease changes nothing."""

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from plum_langchain.errors import BusyError, LeaseLostError, PlumError, StoppedError
from plum_langchain.home import Home
from plum_langchain.journal import Job, Journal, jobs
from plum_langchain.session import Question, Session, SessionState
from tests.unit_tests.journal.helpers import killed, learn, turns

Open = Callable[..., Journal]


def add(journal: Journal, *names: str, user: str = "ana") -> None:
    for name in names:
        journal.sessions.add(Session(user, name, tuple(turns(f"{name} says", "so"))))


def state(journal: Journal, name: str = "s1") -> SessionState:
    return journal.sessions.get("ana", name).state


def test_one_job_of_a_user_at_a_time(open_journal: Open) -> None:
    mine, other = open_journal(), open_journal()
    with mine.jobs.claim("ana", "consolidate"):
        expected = f"'ana' is held by process {os.getpid()} on {socket.gethostname()} "
        with pytest.raises(BusyError) as raised, other.jobs.claim("ana", "forget"):
            pass
        assert expected in str(raised.value)
        with other.jobs.claim("bo", "consolidate"):
            running = {(j["user_id"], j["kind"]) for j in mine.jobs.running()}
            assert running == {("ana", "consolidate"), ("bo", "consolidate")}
    with other.jobs.claim("ana", "forget"):
        pass
    assert mine.jobs.running() == []


def test_of_many_that_claim_at_once_one_gets_it(open_journal: Open) -> None:
    journals = [open_journal() for _ in range(6)]
    start, ended = threading.Barrier(6), threading.Event()
    outcomes: list[str] = []

    def work(journal: Journal) -> None:
        start.wait()
        try:
            with journal.jobs.claim("ana", "consolidate"):
                outcomes.append("held")
                ended.wait(30)
        except BusyError:
            outcomes.append("busy")

    threads = [threading.Thread(target=work, args=(j,)) for j in journals]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(outcomes) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    ended.set()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["busy"] * 5 + ["held"]


def test_a_dead_workers_user_is_taken_over_at_once(home: Home, journal: Journal) -> None:
    add(journal, "s1")
    killed(
        home,
        """
with journal().jobs.claim("ana", "consolidate") as job:
    journal().generations.begin_learning(job, "s1")
    die()
""",
    )
    assert state(journal) == SessionState.LEARNING
    assert journal.jobs.running() == []  # a dead worker's job is nobody's
    with journal.jobs.claim("ana", "consolidate") as job:
        assert state(journal) == SessionState.FINISHED
        assert journal.jobs.heartbeat(job)
    assert learn(journal, "s1").number == 1


def test_a_worker_killed_in_the_middle_of_publishing_published_nothing(
    home: Home, journal: Journal
) -> None:
    add(journal, "s1", "s2")
    learn(journal, "s1")
    killed(home, 'die_after("INSERT INTO heads")\nlearn(journal(), "s2")\n')
    head = journal.generations.head("ana")
    assert head is not None and head.number == 1
    assert [g.number for g in journal.generations.all("ana")] == [1]
    assert len(journal.generations.replay_questions("ana")) == 1
    again = learn(journal, "s2")
    assert (len(again.learned), again.parent) == (2, 1)
    assert again.number == 3  # 2 was the dead worker's, and is never used again


def test_the_loser_of_an_expired_lease_changes_nothing(open_journal: Open) -> None:
    slow, quick = open_journal(lease_seconds=0.01), open_journal()
    add(slow, "s1")
    with ExitStack() as loses, ExitStack() as holds:
        lost = loses.enter_context(slow.jobs.claim("ana", "consolidate"))
        key = slow.generations.begin_learning(lost, "s1")
        number = slow.generations.next_number("ana")
        time.sleep(0.05)

        holder = holds.enter_context(quick.jobs.claim("ana", "consolidate"))
        quick.generations.begin_learning(holder, "s1")
        mine = quick.generations.next_number("ana")
        assert mine != number  # so that neither writes into the other's directory

        attempts: list[Callable[[], object]] = [
            lambda: slow.jobs.heartbeat(lost),
            lambda: slow.generations.begin_learning(lost, "s1"),
            lambda: slow.generations.fail(lost, key, "?"),
            lambda: slow.generations.prune(lost, 1),
            lambda: slow.generations.rollback(lost, 1),
            lambda: slow.forgettings.erase(lost, ["s1"]),
            lambda: slow.generations.kept_under(lost),
            lambda: _publish(slow, lost, number, key),
        ]
        for attempt in attempts:
            with pytest.raises(LeaseLostError, match=r"lost its lease .* nothing was changed"):
                attempt()
        loses.close()
        # Not even its end puts the session back in line: the holder is learning it.
        assert state(quick) == SessionState.LEARNING
        assert quick.generations.head("ana") is None

        published = _publish(quick, holder, mine, key)
        with pytest.raises(LeaseLostError):
            _publish(slow, lost, number, key)
        assert quick.generations.all("ana") == [published]
    assert state(quick) == SessionState.LEARNED


def _publish(journal: Journal, job: Job, number: int, key: int) -> object:
    return journal.generations.publish(
        job,
        number=number,
        session_key=key,
        questions=[Question("Is it so?", "Yes", "yes")],
        base_model="tiny/model",
        manifest_sha256="0" * 64,
        metrics={},
    )


def test_a_heartbeat_renews_the_lease(open_journal: Open) -> None:
    short, long = open_journal(lease_seconds=0.01), open_journal(lease_seconds=60)
    with short.jobs.claim("ana", "consolidate") as job:
        assert long.jobs.heartbeat(job)
        time.sleep(0.05)
        with pytest.raises(BusyError), short.jobs.claim("ana", "forget"):
            pass


def test_a_request_to_stop_reaches_the_heartbeat(open_journal: Open) -> None:
    worker, other = open_journal(), open_journal()
    assert not other.jobs.request_stop("ana")
    with worker.jobs.claim("ana", "consolidate") as job, worker.jobs.claim("bo", "forget") as bos:
        assert worker.jobs.heartbeat(job)
        assert other.jobs.request_stop("ana")
        assert not worker.jobs.heartbeat(job)
        assert worker.jobs.heartbeat(bos)
    with worker.jobs.claim("ana", "consolidate") as job:
        assert worker.jobs.heartbeat(job)  # the request was for the job that ran then


def test_a_patient_claim_asks_the_holder_to_stop_and_waits(open_journal: Open) -> None:
    worker, other = open_journal(), open_journal()
    held = threading.Event()

    def work() -> None:
        with worker.jobs.claim("ana", "consolidate") as job:
            held.set()
            while worker.jobs.heartbeat(job):
                time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(30)
    with other.jobs.claim("ana", "forget", patience=30) as job:
        assert job.kind == "forget"
    thread.join()


def test_patience_has_an_end(open_journal: Open) -> None:
    worker, other = open_journal(), open_journal()
    with worker.jobs.claim("ana", "consolidate"):
        with pytest.raises(BusyError), other.jobs.claim("ana", "forget", patience=0.15):
            pass


@pytest.mark.parametrize("error", [StoppedError("stop"), ValueError("bug"), KeyboardInterrupt()])
def test_what_was_being_learned_goes_back_in_line(journal: Journal, error: BaseException) -> None:
    add(journal, "s1")
    with pytest.raises(type(error)), journal.jobs.claim("ana", "consolidate") as job:
        journal.generations.begin_learning(job, "s1")
        raise error
    assert state(journal) == SessionState.FINISHED
    assert journal.jobs.running() == []


def test_leaving_without_publishing_puts_it_back_in_line_too(journal: Journal) -> None:
    add(journal, "s1")
    add(journal, "b1", user="bo")
    with journal.jobs.claim("bo", "consolidate") as bos:
        journal.generations.begin_learning(bos, "b1")
        with journal.jobs.claim("ana", "consolidate") as job:
            journal.generations.begin_learning(job, "s1")
        assert state(journal) == SessionState.FINISHED
        assert journal.sessions.get("bo", "b1").state == SessionState.LEARNING  # another's job


@pytest.mark.parametrize("fails", [True, False])
def test_a_job_whose_end_could_not_be_written_keeps_nobody_waiting(
    open_journal: Open, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    journal = open_journal()

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "_close", full)
        # What went wrong first is told.
        expected = StoppedError("asked to stop") if fails else PlumError("database or disk is full")
        with pytest.raises(type(expected), match=str(expected)):
            with journal.jobs.claim("ana", "consolidate"):
                if fails:
                    raise expected
    with journal.jobs.claim("ana", "forget"):
        assert [job["kind"] for job in journal.jobs.running()] == ["forget"]
    assert journal.jobs.running() == []
