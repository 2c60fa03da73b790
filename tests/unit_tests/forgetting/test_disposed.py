"""What isn't kept of a chat leaves the index and the files as well, however that is cut off."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from plum_langchain import HomeSettings
from plum_langchain.errors import BusyError
from tests.unit_tests.forgetting.helpers import ZEBRA, tell
from tests.unit_tests.homes import files_with

Open = Callable[..., Any]

KILLED = """
import os, signal, sys
from plum_langchain import HomeSettings, Plum, ServingSettings
from tests.tiny import WordEmbeddings
from tests.unit_tests.forgetting.helpers import TO_THE_LETTER, Facts

def die(told):
    if told.phase == "learned":
        os.kill(os.getpid(), signal.SIGKILL)

plum = Plum(
    sys.argv[1],
    model=sys.argv[2],
    questions=Facts(),
    learning=TO_THE_LETTER,
    embeddings=WordEmbeddings(),
    serving=ServingSettings(device="cpu", dtype="float32", scope=None),
    settings=HomeSettings(retention=sys.argv[3]),
)
for user in ("ana", "bob"):
    assert plum.retriever(user, memory="retrieval").invoke("zebra")
plum.consolidate("ana", progress=die)
"""


def killed_once_it_was_learned(plum: Any, model: Path, retention: str) -> None:
    """Both users' indexes are made; ana's chat is learned, and disposed of in the journal."""
    for user in ("ana", "bob"):
        tell(plum, user, "zebra", *ZEBRA)
    plum.close()
    line = [sys.executable, "-c", KILLED, str(plum.home.root), str(model), retention]
    done = subprocess.run(
        line,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert in_index(plum, "ana") and in_index(plum, "bob")


def in_index(plum: Any, user: str) -> bool:
    return bool(files_with(plum.home.retrieval / plum.home.owner(user), "I see."))


@pytest.mark.parametrize("retention", ["questions", "nothing"])
def test_a_kill_between_disposing_and_wiping_is_made_good_at_the_next_opening(
    open_taught: Open, learnable: Path, retention: str
) -> None:
    plum = open_taught()
    killed_once_it_was_learned(plum, learnable, retention)
    again = open_taught()  # one that keeps transcripts itself
    zebra = again.journal.sessions.get("ana", "zebra")
    assert (zebra.state, zebra.kept) == ("learned", retention)
    assert not in_index(again, "ana") and in_index(again, "bob")
    assert again.journal.forgettings.disposed() == []
    assert again.receipts("ana") == []  # nobody asked for one
    with FileLock(again.home.retrieval / "owner.lock").acquire(timeout=0):
        pass  # to have wiped is no reason to keep the indexes from other processes
    again.forget("bob", all=True)
    assert not files_with(again.home.root, "I see.")


def test_files_that_are_in_use_are_wiped_by_the_next_round(
    open_taught: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    plum = open_taught(settings=HomeSettings(retention="nothing"))
    tell(plum, "ana", "zebra", *ZEBRA)
    assert plum.retriever("ana", memory="retrieval").invoke("zebra")

    def busy() -> None:
        raise BusyError("somebody reads")

    with monkeypatch.context() as reading:
        reading.setattr(plum.journal, "scrub", busy)
        assert len(plum.consolidate("ana")) == 1
    assert not in_index(plum, "ana")  # which nobody else has in use
    assert len(plum.journal.forgettings.disposed("ana")) == 1
    assert plum.consolidate("ana") == plum.journal.forgettings.disposed() == []
    assert not files_with(plum.home.root, "I see.")


def test_what_another_process_has_in_use_is_wiped_once_it_is_free(
    open_taught: Open, learnable: Path
) -> None:
    """Be that at the end of the round that learned, or at an opening, or at the next round."""
    plum = open_taught(settings=HomeSettings(retention="nothing"))
    killed_once_it_was_learned(plum, learnable, "nothing")
    with FileLock(plum.home.retrieval / "owner.lock").acquire(timeout=0):
        again = open_taught(settings=HomeSettings(retention="nothing"))
        assert [one.user_id for one in again.consolidate()] == ["bob"]
        assert in_index(again, "ana") and in_index(again, "bob")
    assert again.consolidate() == []
    assert not files_with(again.home.root, "I see.")
    assert again.journal.forgettings.disposed() == []
