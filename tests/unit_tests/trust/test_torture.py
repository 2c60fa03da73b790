"""A few tries of most kinds of the torture (`make torture`): killed, robbed, crossed."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from plum_langchain.testing.memory import HOSTILE_IDS
from tests.torture import storm

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def tortured(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Any]:
    """What a short torture found; made by the first of pytest's workers that asks for it.

    It is a program of its own, since it forks: a process in which other tests have run has threads.
    """
    directory = tmp_path_factory.getbasetemp()
    kept = (directory if worker_id == "master" else directory.parent) / "torture.json"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            line = ("-m", "tests.torture", *PARTS, "--few", "4", "--jobs", "1", "--json", str(kept))
            done = subprocess.run(
                [sys.executable, *line], cwd=ROOT, capture_output=True, text=True, timeout=300
            )
            assert kept.exists(), done.stderr[-4000:]
    found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


PARTS = ("crashes", "faults", "machine")
"""Workers paused past their lease (`processes`) go by the clock: `make torture` has them."""


LEAST = {
    "crashes": {"kills": 2, "durable steps": 400},
    "faults": {"faults": 4, "calls that failed": 1},
    "machine": {"operations": 5},
}
"""So much must have happened, or nothing was proved."""


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_lost_or_undone(part: str, tortured: dict[str, Any]) -> None:
    assert tortured[part]["wrong"] == []
    counts = tortured[part]["counts"]
    assert {what: counts.get(what, 0) >= least for what, least in LEAST[part].items()} == {
        what: True for what in LEAST[part]
    }, counts


def test_no_canary_crosses_in_a_storm_of_questions(tmp_path: Path, tiny_model: Path) -> None:
    report = storm.storm(tmp_path, tiny_model, HOSTILE_IDS[:2], 120, random.Random(0))
    assert report.wrong == []
    assert report.counts["questions"] >= 120
    # Each sees their own: there is something that could cross.
    assert report.counts["own canaries seen"] > report.counts["questions"] / 2
