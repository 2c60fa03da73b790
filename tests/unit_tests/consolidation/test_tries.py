"""A question maker that raises: tried again a few times, then failed, and nobody waits for ever."""

import errno
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import HomeSettings, Plum
from plum_langchain.consolidation.progress import Progress
from plum_langchain.errors import (
    BusyError,
    DamagedAdapterError,
    LeaseLostError,
    ModelNotFoundError,
    PlumError,
    StoppedError,
    WrongBaseModelError,
)
from plum_langchain.session import Question, Session
from tests.unit_tests.consolidation.helpers import OpenPlum, Questions, add


def standing(plum: Plum, user: str = "ana") -> dict[str, tuple[str, int]]:
    """State of each session, and how many tries of it have failed."""
    return {s.session_id: (s.state.value, s.tries) for s in plum.journal.sessions.all(user)}


# -- counted -----------------------------------------------------------------------------------


def test_after_its_last_try_a_session_fails_and_the_later_ones_are_learned_in_the_same_run(
    open_plum: OpenPlum, caplog: pytest.LogCaptureFixture
) -> None:
    plum = open_plum()
    add(plum, "ana", "s1", "s2", "s3")
    maker = Questions(s2=ConnectionError("refused: 'my PIN is 4711'"))
    seen: list[Progress] = []
    with caplog.at_level(logging.DEBUG):
        for tries in (1, 2):
            with pytest.raises(ConnectionError, match="4711"):
                plum.consolidate("ana", questions=maker, progress=seen.append)
            assert (seen[-1].session_id, seen[-1].phase) == ("s2", "put back")
            assert standing(plum) == {
                "s1": ("learned", 0),
                "s2": ("finished", tries),
                "s3": ("finished", 0),
            }
        waits = plum.journal.sessions.get("ana", "s2")
        told = "of 3 tries failed; the last: ConnectionError: refused: 'my PIN is 4711'"
        assert waits.reason == f"2 {told}"
        failed, learned = plum.consolidate("ana", questions=maker, progress=seen.append)

    assert maker.asked == ["s1", "s2", "s2", "s2", "s3"]
    assert (failed.session_id, failed.state, failed.reason) == ("s2", "failed", f"3 {told}")
    assert (learned.session_id, learned.state, learned.generation) == ("s3", "learned", 2)
    assert plum.journal.sessions.get("ana", "s2").reason == failed.reason
    assert "failed (ConnectionError)" in caplog.text
    assert "4711" not in caplog.text  # forgetting can't reach into a log
    assert plum.consolidate("ana", questions=maker) == []

    plum.journal.sessions.retry("ana")
    assert standing(plum)["s2"] == ("finished", 0)
    with pytest.raises(ConnectionError):
        plum.consolidate("ana", questions=maker)
    assert standing(plum)["s2"] == ("finished", 1)
    plum.consolidate("ana", questions=Questions())
    assert standing(plum)["s2"] == ("learned", 0)


def test_everybodys_round_goes_on_whosever_tries_are_used_up(open_plum: OpenPlum) -> None:
    plum = open_plum(settings=HomeSettings(max_tries=2))
    add(plum, "ana", "s1", "s2")
    add(plum, "bo", "b1")
    maker = Questions(s1=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        plum.consolidate(questions=maker)
    assert standing(plum, "bo") == {"b1": ("learned", 0)}
    done = plum.consolidate(questions=maker)
    assert [(c.session_id, c.state) for c in done] == [("s1", "failed"), ("s2", "learned")]


def test_with_one_try_the_first_error_fails_the_session(open_plum: OpenPlum) -> None:
    plum = open_plum(settings=HomeSettings(max_tries=1))
    add(plum, "ana", "s1")
    long = ValueError("<html>" * 10_000)
    (done,) = plum.consolidate("ana", questions=Questions(s1=long))
    assert done.reason is not None
    assert done.reason.startswith("1 of 1 tries failed; the last: ValueError: <html><html>")
    assert len(done.reason) < 1100


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "not iterable"),
        (["Did I?"], "'fixed' returned a str where a plum_langchain.Question"),
    ],
    ids=["nothing", "text"],
)
def test_a_maker_that_returns_no_questions_is_tried_no_more_than_one_that_raises(
    open_plum: OpenPlum, returned: Any, told: str
) -> None:
    plum = open_plum(settings=HomeSettings(max_tries=2))
    add(plum, "ana", "s1")
    maker = Questions(s1=lambda _: returned)
    with pytest.raises(TypeError, match=told):
        plum.consolidate("ana", questions=maker)
    (done,) = plum.consolidate("ana", questions=maker)
    assert done.state == "failed" and re.search(told, str(done.reason))


# -- not counted -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        WrongBaseModelError("another base"),
        DamagedAdapterError("not what was published"),
        ModelNotFoundError("no weights"),
        LeaseLostError("taken over"),
        BusyError("held"),
        StoppedError("asked to stop"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_about_the_session_is_no_try(
    open_plum: OpenPlum, trouble: BaseException
) -> None:
    plum = open_plum(settings=HomeSettings(max_tries=1))
    add(plum, "ana", "s1", "s2")
    with pytest.raises(type(trouble)):
        plum.consolidate("ana", questions=Questions(s1=trouble))
    assert standing(plum) == {"s1": ("finished", 0), "s2": ("finished", 0)}


def test_a_full_disk_is_no_try(open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch) -> None:
    plum = open_plum(settings=HomeSettings(max_tries=1))
    add(plum, "ana", "s1")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("plum_langchain.consolidation.consolidator.learn", full)
        with pytest.raises(PlumError, match="No space left"):
            plum.consolidate("ana")
    assert standing(plum) == {"s1": ("finished", 0)}
    assert plum.consolidate("ana")[0].state == "learned"


def test_an_error_of_a_maker_that_is_being_stopped_is_no_try(open_plum: OpenPlum) -> None:
    plum = open_plum(settings=HomeSettings(max_tries=1))
    add(plum, "ana", "s1")
    stopped = threading.Event()

    def shut_down(_: Session) -> list[Question]:
        stopped.set()  # whoever stops the program closes its connections too
        raise RuntimeError("the client has been closed")

    with pytest.raises(RuntimeError, match="has been closed"):
        plum.consolidate("ana", questions=Questions(s1=shut_down), should_stop=stopped.is_set)
    assert standing(plum) == {"s1": ("finished", 0)}


def test_an_error_after_another_worker_has_taken_over_is_no_try(
    open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = open_plum(settings=HomeSettings(lease_seconds=0.1, max_tries=1))
    other = open_plum()
    add(slow, "ana", "s1")
    # As if this process had hung: nothing renews its lease.
    monkeypatch.setattr(slow.journal.jobs, "heartbeat", lambda job: True)

    def hang(_: Session) -> list[Question]:
        time.sleep(0.2)
        with other.journal.jobs.claim("ana", "consolidate"):
            pass
        raise TimeoutError("no reply in time")

    with pytest.raises(LeaseLostError):
        slow.consolidate("ana", questions=Questions(s1=hang))
    assert standing(slow) == {"s1": ("finished", 0)}


CHILD = """
import os, signal, sys
from plum_langchain import Plum
from tests.tiny import FixedQuestions

class Killed(FixedQuestions):
    def make(self, session):
        os.kill(os.getpid(), signal.SIGKILL)

Plum(sys.argv[1], model=sys.argv[2], questions=Killed()).consolidate("ana")
"""


def test_a_process_killed_while_questions_are_made_is_no_try(
    open_plum: OpenPlum, tiny_model: Path
) -> None:
    plum = open_plum()
    add(plum, "ana", "s1")
    with pytest.raises(ConnectionError):
        plum.consolidate("ana", questions=Questions(s1=ConnectionError("no route to host")))
    before = plum.journal.sessions.get("ana", "s1")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(plum.home.root), str(tiny_model)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL
    assert standing(plum) == {"s1": ("learning", 1)}
    with plum.journal.jobs.claim("ana", "consolidate"):  # what the next worker does first
        assert plum.journal.sessions.get("ana", "s1") == before
    assert plum.consolidate("ana")[0].state == "learned"
