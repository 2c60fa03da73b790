"""Turns in one word, a session learned in one line, and processes that are killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plum_langchain.home import Home
from plum_langchain.journal import Generation, Journal
from plum_langchain.session import Question, Turn

IDLE = 1800.0
ROOT = Path(__file__).parents[3]


@contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory on a RAM disk where there is one: these tests commit, synced, by the thousand.

    What a killed process leaves behind doesn't depend on the disk, only what a power cut does.
    """
    ram = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=ram if os.access(ram, os.W_OK) else None) as directory:
        yield Path(directory)


def turns(*texts: str, ids: bool = False) -> list[Turn]:
    """Turns that alternate between user and assistant; with ids, the text is the id too."""
    return [
        Turn("assistant" if i % 2 else "user", text, f"id-{text}" if ids else None)
        for i, text in enumerate(texts)
    ]


def texts(found: Sequence[Turn]) -> list[str]:
    return [turn.content for turn in found]


def learn(
    journal: Journal,
    session_id: str,
    user_id: str = "ana",
    questions: Sequence[Question] = (Question("Is it so?", "Yes", "yes", (0,)),),
    metrics: dict[str, Any] | None = None,
) -> Generation:
    """All that the journal sees of a session being learned."""
    with journal.jobs.claim(user_id, "consolidate") as job:
        key = journal.generations.begin_learning(job, session_id)
        number = journal.generations.next_number(user_id)
        return journal.generations.publish(
            job,
            number=number,
            session_key=key,
            questions=questions,
            base_model="tiny/model",
            manifest_sha256=f"{number:064x}",
            metrics=metrics or {},
        )


PRELUDE = """
import os, signal, sys
from sqlalchemy import Engine, event
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from tests.unit_tests.journal.helpers import IDLE, learn, turns

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(statement):
    @event.listens_for(Engine, "after_cursor_execute")
    def watch(connection, cursor, executed, *rest):
        if executed.strip().startswith(statement):
            die()

journal = lambda: Journal(Home(sys.argv[1]).journal_url)
"""


def killed(home: Home, code: str) -> None:
    """Run code in a process of its own, which must end by SIGKILL from its own `die()`."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, str(home.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def open_together(directory: Path, processes: int, homes: int) -> dict[int, set[str]]:
    """Several processes open new homes at the same moments; what each saw of each home."""
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_open_many, args=(directory, homes, barrier, found))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    seen: dict[int, set[str]] = {}
    for _ in range(processes * homes):
        number, what = found.get(timeout=60)
        seen.setdefault(number, set()).add(what)
    for worker in workers:
        worker.join()
    return seen


def _open_many(directory: Path, homes: int, barrier: Any, found: Any) -> None:
    for number in range(homes):
        barrier.wait(30)
        try:
            home = Home(directory / str(number))
            journal = Journal(home.journal_url)
            journal.sessions.append("ana", f"t{os.getpid()}", turns("Hi"), idle_seconds=IDLE)
            journal.close()
            found.put((number, home.owner("ana")))
        except BaseException as error:
            found.put((number, repr(error)))
