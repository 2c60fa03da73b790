"""Consolidation that is stopped, killed or robbed, or meets an error: nothing is lost by it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import HomeSettings, Plum
from plum_langchain.consolidation.progress import Progress
from plum_langchain.errors import (
    BusyError,
    DamagedAdapterError,
    LeaseLostError,
    StoppedError,
    WrongBaseModelError,
)
from tests.tiny import save_tiny_model
from tests.unit_tests.consolidation.helpers import (
    QUICK,
    OpenPlum,
    Questions,
    add,
    head_ref,
    on_disk,
    says,
    served,
    states,
)

# -- stopped, killed, robbed -------------------------------------------------------------------


def test_stopping_puts_the_session_back_in_line_and_serves_the_earlier_generation(
    open_plum: OpenPlum,
) -> None:
    plum = open_plum()
    add(plum, "ana", "s1", "s2", "s3")
    seen: list[Progress] = []

    def stop() -> bool:
        return bool(seen) and (seen[-1].session_id, seen[-1].phase) == ("s2", "learning")

    with pytest.raises(StoppedError):
        plum.consolidate("ana", progress=seen.append, should_stop=stop)
    assert sum(p.session_id == "s2" and p.phase == "learning" for p in seen) == 1
    assert states(plum) == {"s1": "learned", "s2": "finished", "s3": "finished"}
    assert served(plum) == 1
    assert on_disk(plum) == ["00000001"]
    assert plum.status()["jobs"] == []
    assert says(plum) == says(plum)

    assert [c.session_id for c in plum.consolidate("ana")] == ["s2", "s3"]
    assert set(states(plum).values()) == {"learned"}


def test_a_stop_before_anything_changes_nothing(open_plum: OpenPlum) -> None:
    plum = open_plum()
    add(plum, "ana", "s1")
    maker = Questions()
    with pytest.raises(StoppedError, match="1 finished sessions are still in line"):
        plum.consolidate("ana", questions=maker, should_stop=lambda: True)
    assert (states(plum), maker.asked) == ({"s1": "finished"}, [])


def test_a_worker_asked_to_let_go_of_one_user_goes_on_with_the_others(
    open_plum: OpenPlum,
) -> None:
    plum = open_plum(settings=HomeSettings(lease_seconds=0.3), learning=replace(QUICK, epochs=2000))
    add(plum, "ana", "s1")

    def ask_to_stop(progress: Progress) -> None:
        if progress.phase == "learning" and progress.user_id == "ana":
            plum.journal.jobs.request_stop("ana")

    with pytest.raises(StoppedError):
        plum.consolidate("ana", progress=ask_to_stop)
    assert states(plum) == {"s1": "finished"}

    add(plum, "bo", "s1")
    maker = Questions(s1=None)
    quick = open_plum(settings=HomeSettings(lease_seconds=0.3), learning=QUICK)

    def ask_and_wait(progress: Progress) -> None:
        ask_to_stop(progress)
        if progress.phase == "learning" and progress.user_id == "ana":
            time.sleep(0.5)  # ten heartbeats

    done = quick.consolidate(questions=maker, progress=ask_and_wait)
    assert [(c.user_id, c.state) for c in done] == [("bo", "learned")]
    assert states(plum) == {"s1": "finished"}


CHILD = """
import sys
from plum_langchain import LearningSettings, Plum, ServingSettings
from tests.tiny import FixedQuestions

def main():
    plum = Plum(
        sys.argv[1],
        model=sys.argv[2],
        questions=FixedQuestions(),
        learning=LearningSettings(
            rank=4, alpha=8, epochs=1_000_000, learning_rate=1e-4, everyday_per_batch=0
        ),
        serving=ServingSettings(device="cpu", dtype="float32", scope=None),
    )
    plum.consolidate("ana", progress=lambda p: print(p.phase, flush=True))

main()
"""


@pytest.fixture
def training_child(tiny_model: Path) -> Iterator[Callable[[Plum], subprocess.Popen[str]]]:
    """Starts a process that consolidates ana's sessions, and is in the midst of training."""
    children: list[subprocess.Popen[str]] = []

    def start(plum: Plum) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(plum.home.root), str(tiny_model)],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == "learning":  # after the first training step
                return child
        raise AssertionError("the child ended before it trained")

    yield start
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def test_a_killed_worker_leaves_the_earlier_generation_serving_and_its_session_in_line(
    plum: Plum, training_child: Callable[[Plum], subprocess.Popen[str]]
) -> None:
    add(plum, "ana", "s1")
    plum.consolidate("ana")
    before = says(plum)
    add(plum, "ana", "s2")
    add(plum, "bo", "s1")

    child = training_child(plum)
    assert states(plum) == {"s1": "learned", "s2": "learning"}
    assert len(on_disk(plum)) == 2  # the other is half-written
    with pytest.raises(BusyError, match=f"process {child.pid}"):
        plum.consolidate("ana")
    assert [c.user_id for c in plum.consolidate()] == ["bo"]  # ana is passed over
    assert (served(plum), says(plum)) == (1, before)

    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert (served(plum), says(plum)) == (1, before)

    (done,) = plum.consolidate()
    assert (done.user_id, done.session_id, done.state) == ("ana", "s2", "learned")
    assert states(plum) == {"s1": "learned", "s2": "learned"}
    assert done.generation == served(plum)
    assert on_disk(plum) == ["00000001", f"{served(plum):08d}"]
    assert says(plum) != before


def test_a_worker_that_lost_its_lease_publishes_nothing(
    open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = open_plum(settings=HomeSettings(lease_seconds=0.2))
    other = open_plum()
    add(slow, "ana", "s1")
    # As if this process had hung: nothing renews its lease.
    monkeypatch.setattr(slow.journal.jobs, "heartbeat", lambda job: True)
    taken_over: list[Any] = []

    def hang(progress: Progress) -> None:
        if progress.phase == "learning" and not taken_over:
            time.sleep(0.3)
            taken_over.extend(other.consolidate("ana"))

    with pytest.raises(LeaseLostError):
        slow.consolidate("ana", progress=hang)
    (done,) = taken_over
    assert done.state == "learned"
    assert served(slow) == done.generation
    assert states(slow) == {"s1": "learned"}
    assert on_disk(slow) == [f"{done.generation:08d}"]
    assert other.adapters.check(head_ref(other)).generation == done.generation


# -- errors that are nobody's session's fault --------------------------------------------------


def test_an_unknown_error_goes_to_the_caller_and_the_session_back_in_line(
    open_plum: OpenPlum,
) -> None:
    plum = open_plum()
    add(plum, "ana", "s1", "s2", "s3")
    maker = Questions(s2=ConnectionError("the LLM's server is down"))
    with pytest.raises(ConnectionError, match="the LLM's server is down"):
        plum.consolidate("ana", questions=maker)
    assert states(plum) == {"s1": "learned", "s2": "finished", "s3": "finished"}
    assert (served(plum), on_disk(plum)) == (1, ["00000001"])
    assert plum.status()["jobs"] == []

    maker.special.clear()
    assert [c.session_id for c in plum.consolidate("ana", questions=maker)] == ["s2", "s3"]


def test_another_base_model_is_refused_before_anything_is_spent_and_nobody_else_waits(
    open_plum: OpenPlum, tmp_path: Path
) -> None:
    first = open_plum()
    add(first, "ana", "s1")
    first.consolidate("ana")
    add(first, "ana", "s2")
    add(first, "bo", "s1")

    other = save_tiny_model(tmp_path / "other", seed=1)
    second, maker = open_plum(model=str(other)), Questions()
    with pytest.raises(WrongBaseModelError) as caught:
        second.consolidate(questions=maker)
    for part in ("'ana'", first.resolved().id, str(other), second.resolved().fingerprint):
        assert part in str(caught.value)
    assert maker.asked == ["s1"]  # bo's; no question of ana's was made
    assert states(second, "bo") == {"s1": "learned"}
    assert (states(second), served(second)) == ({"s1": "learned", "s2": "finished"}, 1)
    with pytest.raises(WrongBaseModelError):
        second.consolidate("ana")

    assert [c.session_id for c in first.consolidate("ana")] == ["s2"]


def test_a_damaged_adapter_is_not_built_upon_and_nobody_else_waits(plum: Plum) -> None:
    add(plum, "ana", "s1")
    plum.consolidate()
    add(plum, "ana", "s2")
    add(plum, "bo", "s1")
    weights = head_ref(plum).path / "adapter_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)

    with pytest.raises(DamagedAdapterError, match="differs from its manifest"):
        plum.consolidate()
    assert states(plum) == {"s1": "learned", "s2": "finished"}
    assert states(plum, "bo") == {"s1": "learned"}
