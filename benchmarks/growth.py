"""Whether a session's cost grows with the sessions learned before it, and how much memory it takes.

    python benchmarks/growth.py --json growth.json

The forty example sessions are given to one user and learned one after another, through the whole of
a consolidation: claim, questions, training, publication, pruning. Epochs are fixed, so that every
session is the same amount of work. The first session has nothing to replay and is left out of the
ratio.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import CHATS, named, peak_mib

from plum_langchain import LearningSettings, Plum, QuestionSettings
from plum_langchain.evaluation import machine
from plum_langchain.importers import read_sessions
from plum_langchain.models import load_model, resolve_model

USER = "everybody"


def main() -> None:
    """Learn them and print a row for every session."""
    arguments = _arguments()
    if arguments.loaded:
        base = load_model(resolve_model(arguments.model), device="cpu", dtype="float32")
        # Weights are mapped from their file; they are in memory once they were used.
        base.model(**base.tokenizer("hello", return_tensors="pt"))
        print(peak_mib())
        return
    command = [sys.executable, __file__, "--loaded", "--model", arguments.model]
    loaded = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    learning = LearningSettings(
        **{"patience": None, "epochs": arguments.epochs, "gate": None, **named(arguments.settings)}
    )
    questions = QuestionSettings(max_questions=arguments.max_questions)
    rows: list[dict[str, Any]] = []
    print("| session | questions | seconds | peak memory, MiB | adapter, bytes |")
    print("|" + " --- |" * 5)
    with tempfile.TemporaryDirectory() as home:
        plum = Plum(
            home, model=arguments.model, learning=learning, question_settings=questions,
            questions=arguments.questions,
        )  # fmt: skip
        for path in sorted(CHATS.glob("*.jsonl")):
            for session, _ in read_sessions(path):
                name = f"{session.user_id}, {session.session_id}"
                plum.add_session(replace(session, user_id=USER, session_id=name, thread_id=name))
        for number in range(1, arguments.sessions + 1):
            (done,) = plum.consolidate(USER, max_sessions=1)
            if done.state != "learned":
                raise SystemExit(f"{done.session_id} was not learned: {done.reason}")
            row = {
                "session": number,
                "seconds": done.seconds,
                "learning_seconds": done.metrics["seconds"],
                "peak_mib": peak_mib(),
                "adapter_bytes": done.adapter_bytes,
                "questions": done.questions,
                "slow_because": done.metrics["slow_because"],
            }
            rows.append(row)
            print(
                f"| {number} | {done.questions} | {row['learning_seconds']:.1f} "
                f"| {row['peak_mib']:.0f} "
                f"| {row['adapter_bytes']} |",
                flush=True,
            )
        plum.close()
    late = statistics.median(row["learning_seconds"] for row in rows[-10:])
    early = statistics.median(row["learning_seconds"] for row in rows[1:11] or rows)
    report = {
        "rows": rows,
        "ratio_late_to_early": late / early,
        "loaded_mib": loaded,
        "ratio_peak_to_loaded": rows[-1]["peak_mib"] / loaded,
        "machine": machine(),
    }
    whole = statistics.median(row["seconds"] / row["learning_seconds"] for row in rows)
    print(f"\na session takes {whole:.2f} times as long as the training in it")
    print(f"the last ten sessions take {late / early:.2f} times as long as sessions 2 to 11")
    print(
        f"peak memory is {report['ratio_peak_to_loaded']:.2f} times that of a process with the "
        f"model loaded in float32 ({loaded:.0f} MiB)"
    )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1), "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="LearningSettings")
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--max-questions", type=int, default=48, help="of each session")
    parser.add_argument("--questions", default="recorded")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--loaded", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
