"""Two processes that learn at once: threads that spin while they wait, and threads that sleep.

    python benchmarks/two_processes.py

Each trains on one example session, on all cores: first one process alone, then two at once, under
each setting of OpenMP's in turn. A fair half of the machine would be a ratio of 2. GOMP_SPINCOUNT
is of GNU's OpenMP, which torch brings along on Linux.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import CHATS, shown, spread

from plum_langchain import LearningSettings, QuestionSettings
from plum_langchain.errors import StoppedError
from plum_langchain.evaluation import machine
from plum_langchain.importers import read_sessions
from plum_langchain.learning import StepProgress, learn
from plum_langchain.models import load_model, resolve_model
from plum_langchain.questions import question_maker

THREADS = {
    "default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
}
"""Environments to compare."""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    if arguments.worker:
        print(_learn(arguments.seconds))
        return
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(arguments.rounds):
        for threads in THREADS:
            for number in (1, 2):
                found = _run(threads, number, arguments.seconds)
                rates.setdefault((threads, number), []).extend(found)
    rows = [
        "| threads | alone, steps a second | beside another, times as long |",
        "|" + " --- |" * 3,
    ]
    report = {}
    for threads in THREADS:
        alone, together = rates[threads, 1], _pairs(rates[threads, 2])
        slower = [a / one for a, both in zip(alone, together, strict=True) for one in both]
        report[threads] = {"alone": spread(alone), "slower": spread(slower)}
        rows.append(f"| {threads} | {shown(spread(alone), 2)} | {shown(spread(slower), 1)} |")
    print("\n".join(rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({**report, "machine": machine()}, indent=1), "utf-8")


def _run(threads: str, number: int, seconds: float) -> list[float]:
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--worker", "--seconds", str(seconds)]
    started = [
        subprocess.Popen(
            command, env=environment | THREADS[threads], stdout=subprocess.PIPE, text=True
        )
        for _ in range(number)
    ]
    return [float(process.communicate()[0]) for process in started]


def _learn(seconds: float) -> float:
    """Training steps a second, without those of the first epochs, in which kernels are prepared."""
    base = load_model(resolve_model("smollm2"), device="cpu")
    session, _ = next(iter(read_sessions(CHATS / "ana.jsonl")))
    questions = question_maker("recorded", QuestionSettings(max_questions=100)).make(session)
    clock: list[float] = []

    def progress(step: StepProgress) -> None:
        if step.epoch > 2:
            clock.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as place, contextlib.suppress(StoppedError):
        learn(
            base.model,
            base.tokenizer,
            questions,
            Path(place),
            settings=LearningSettings(
                epochs=1000, patience=None, recite=False, rewordings=0, everyday_per_batch=0
            ),
            progress=progress,
            should_stop=lambda: bool(clock) and clock[-1] - clock[0] > seconds,
        )
    return (len(clock) - 1) / (clock[-1] - clock[0])


def _pairs(values: list[float]) -> list[tuple[float, float]]:
    return list(zip(values[::2], values[1::2], strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
