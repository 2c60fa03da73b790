"""Recall of unseen questions under different settings, one row each (docs/experiments.md).

    python benchmarks/recall.py --people ana bo --sessions 3 --vary learning_rate=1e-3,2e-3

Each run learns the first sessions of each person, one after another, in a fresh home and asks the
`qa_test` questions about them. Settings are tuned on ana and bo only; chidi and dara are reported.
Prints a Markdown table and, with --json, writes everything behind it.
"""

import argparse
import ast
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from common import CHATS, CORRECTIONS, changed, hold_out

from plum_langchain import LearningSettings, Plum, QuestionSettings, ServingSettings
from plum_langchain.evaluation import (
    Comparison,
    Everyday,
    compare,
    everyday_ability,
    machine,
    read_exams,
)
from plum_langchain.evaluation.metrics import Graded, grade, summarise
from plum_langchain.evaluation.paper import PAPER
from plum_langchain.evaluation.picture import draw
from plum_langchain.evaluation.report import percent, to_json
from plum_langchain.session import Kind


def main() -> None:
    """Run every combination of the varied settings with every seed."""
    arguments = _arguments()
    varied = [_varied(text) for text in arguments.vary]
    combinations = list(itertools.product(*(values for _, values in varied)))
    paths = [CHATS / f"{person}.jsonl" for person in arguments.people]
    exams = read_exams(paths, max_sessions=arguments.sessions)
    if arguments.questions != "recorded":
        exams = [exam.of_text_alone() for exam in exams]
    print(f"machine: {json.dumps(machine())}")
    names = [name for name, _ in varied]
    header = [*names, "seed", "balanced", "95%", "yes", "adjacent", "same slot", "open",
              "first session", "own recalled", "epochs", "s/session"]  # fmt: skip
    if arguments.everyday:
        header += ["everyday replies that suit", "that leak", "loss of neutral text"]
    for memory in arguments.corrections:
        header += [f"corrections, {memory}", "new is true", "old is denied", "open"]
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header), flush=True)
    records = []
    for values, seed in itertools.product(combinations, arguments.seeds):
        settings = dict(zip(names, values, strict=True))
        record, found = _run(exams, settings, seed, arguments)
        if arguments.picture is not None:
            draw(found, arguments.picture)
        records.append(record)
        print("| " + " | ".join([*map(str, values), str(seed), *record["row"]]) + " |", flush=True)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(records, default=str, indent=1), "utf-8")


def _run(
    exams: list[Any], settings: dict[str, Any], seed: int, arguments: argparse.Namespace
) -> tuple[dict[str, Any], Comparison]:
    start = PAPER if arguments.paper else LearningSettings()
    learning = replace(start, seed=seed, **settings)
    asked = QuestionSettings(max_questions=arguments.max_questions, seed=seed)
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        home = arguments.home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plum = Plum(home, model=arguments.model, learning=learning, question_settings=asked)
        if arguments.held_out:
            hold_out(plum, arguments.people)
        found = compare(
            plum, exams, arms=arguments.arms, questions=arguments.questions, retention_curve=False,
            again=True,
        )  # fmt: skip
        chatted, always = [], []
        if arguments.everyday:
            chatted = [everyday_ability(plum, exams[0].user_id, "none")]
            chatted += [everyday_ability(plum, exam.user_id, "parametric") for exam in exams]
            alone = Plum(
                home, model=arguments.model, learning=learning, serving=ServingSettings(scope=None)
            )
            always = [everyday_ability(alone, exam.user_id, "parametric") for exam in exams]
            alone.close()
        corrected = {
            memory: [g for exam in exams for g in _corrections(plum, exam.user_id, memory)]
            for memory in arguments.corrections
        }
        plum.close()
    summary = found.arms["parametric"]
    learned = [c for c in found.consolidated if c.state == "learned"]
    if len(found.consolidated) < sum(len(exam.sessions) for exam in exams):
        learned = []  # of those that were learned before it isn't known here
    recalled = [c.metrics["recalled"] for c in learned]
    epochs = [c.metrics["epochs"] for c in learned]
    begun = {exam.user_id: exam.sessions[0].session_id for exam in exams}
    first = summarise([g for g in found.answers["parametric"] if g.session_id == begun[g.user_id]])
    low, high = summary.ci95 or (None, None)
    row = [
        percent(summary.balanced_accuracy),
        f"{percent(low)}-{percent(high)}",
        percent(summary.yes),
        percent(summary.no_adjacent),
        percent(summary.no_same_slot),
        percent(summary.open),
        percent(first.balanced_accuracy),
        f"{statistics.mean(recalled):.2f}" if learned else "-",
        f"{statistics.mean(epochs):.1f}" if learned else "-",
        f"{found.seconds_per_session:.0f}" if learned and found.seconds_per_session else "-",
    ]
    if chatted:
        row += _everyday_cells(chatted[0], chatted[1:], always)
    kinds: list[Kind | None] = [None, "yes", "no_same_slot", "open"]
    for of_memory in corrected.values():
        row += [_right(of_memory, kind) for kind in kinds]
    record = {
        "settings": settings,
        "seed": seed,
        "everyday": [asdict(one) for one in chatted],
        "everyday_always_the_adapter": [asdict(one) for one in always],
        "corrections": {
            memory: [asdict(one) for one in of_memory] for memory, of_memory in corrected.items()
        },
        "row": row,
        "seconds": time.perf_counter() - began,
        "comparison": to_json(found),
    }
    return record, found


def _corrections(plum: Plum, user_id: str, memory: str) -> list[Graded]:
    return [
        grade(user_id, one, plum.ask(user_id, one.question, memory=memory, closed=one.closed))
        for one in changed(user_id)
    ]


def _right(answers: Sequence[Graded], kind: Kind | None) -> str:
    of_kind = [one.correct for one in answers if kind in (None, one.kind)]
    return f"{percent(sum(of_kind) / len(of_kind))} of {len(of_kind)}"


def _everyday_cells(
    base: Everyday, served: Sequence[Everyday], always: Sequence[Everyday]
) -> list[str]:
    """The base model's, all people's behind an arrow, and in brackets if the adapter did it all."""
    suits, alone = (sum(one.suits for one in all_) / len(all_) for all_ in (served, always))
    loss, loss_alone = (sum(one.loss for one in all_) / len(all_) for all_ in (served, always))
    leaks, leaks_alone = (sum(one.leaks for one in all_) for all_ in (served, always))
    return [
        f"{percent(base.suits)} → {percent(suits)} ({percent(alone)})",
        f"{leaks} ({leaks_alone})",
        f"{base.loss:.3f} → {loss:.3f} ({loss_alone:.3f})",
    ]


def _varied(text: str) -> tuple[str, list[Any]]:
    """`name=a,b,c`: a setting and Python literals, or words for one that is text."""
    name, _, values = text.partition("=")
    defaults = {
        field.name: getattr(LearningSettings(), field.name) for field in fields(LearningSettings)
    }
    if name not in defaults:
        raise SystemExit(f"{name!r} is no learning setting; they are {', '.join(defaults)}")
    if isinstance(defaults[name], str):
        return name, values.split(",")
    return name, [ast.literal_eval(value) for value in values.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", nargs="+", default=["ana", "bo"])
    parser.add_argument("--sessions", type=int, default=2, help="of each person")
    parser.add_argument("--max-questions", type=int, default=150, help="of each session")
    parser.add_argument("--questions", default="recorded")
    parser.add_argument("--arms", nargs="+", default=["floor", "parametric"])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--paper", action="store_true", help="start from the paper's settings")
    parser.add_argument("--vary", nargs="*", default=[], metavar="NAME=V1,V2")
    parser.add_argument(
        "--everyday", action="store_true", help="chat with each person's adapter as well"
    )
    parser.add_argument(
        "--corrections", nargs="*", default=None, choices=["parametric", "retrieval", "hybrid"],
        help="ask these memories (parametric) for what later sessions changed as well; for all ten "
        "sessions of a person",
    )  # fmt: skip
    parser.add_argument(
        "--held-out", action="store_true",
        help="teach judge and writer anew, without these people (ana and bo are among their "
        "examples)",
    )  # fmt: skip
    parser.add_argument(
        "--home", type=Path,
        help="learn there instead of in a temporary place; what is learned there already isn't "
        "learned again, so that learning may be stopped, and goes on with the same options",
    )  # fmt: skip
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG of the arms (of the last row)")
    arguments = parser.parse_args()
    if arguments.corrections is None:
        arguments.corrections = []
    elif not arguments.corrections:
        arguments.corrections = ["parametric"]
    if arguments.corrections and not all(map(changed, arguments.people)):
        parser.error(f"--corrections needs people that {CORRECTIONS} asks about")
    if arguments.home and (arguments.vary or len(arguments.seeds) > 1):
        parser.error("--home holds what one row learned; leave out --vary and give one seed")
    if arguments.corrections and arguments.sessions < 10:
        parser.error("--corrections asks for what any session changed; it needs --sessions 10")
    return arguments


if __name__ == "__main__":
    main()
