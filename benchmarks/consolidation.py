"""How long learning a session takes: this package against TRL's SFTTrainer and the plain way.

    python -m pip install trl
    python benchmarks/consolidation.py --json consolidation.json

Each run takes one session of each person (run 1 their first, run 2 their second, ...) and learns it
from the same recorded questions, from the base model on, in one process after another:

* trl      Hugging Face TRL's SFTTrainer with PEFT, prompt and completion as its documentation has
           them, in the quickest of its settings that run on this hardware (docs/performance.md)
* plain    this package's reference, the paper's way: separate padded samples, full logits, float32,
           10 epochs
* default  this package as it comes, but for what is learned

All learn the same: bare answers ("Yes", "No", the value) to the questions as they are, since a
trainer knows nothing of reciting, of rewordings and of everyday exchanges. Then each arm's adapters
are asked what no arm was trained on: the `qa_test` questions, and those of the recorded questions
that the selection of about 100 leaves out, which ask about the same facts in other words. A second
is a second of training a session: from its questions to the adapter on disk, without the loading of
the model. Ratios are taken within a run.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common import CHATS, named, peak_mib, shelve, shown, spread

from plum_langchain import LearningSettings, QuestionSettings, ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.adapters.manifest import CONFIG, WEIGHTS
from plum_langchain.consolidation.everyday import everyday_samples
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.exam import ExamQuestion
from plum_langchain.evaluation.metrics import Graded, grade, summarise
from plum_langchain.evaluation.paper import PAPER
from plum_langchain.learning import encoder_for, learn
from plum_langchain.memories.answer import answer
from plum_langchain.memories.base import Recalled
from plum_langchain.models import Engine, LoadedModel, load_model, resolve_model
from plum_langchain.questions import question_maker
from plum_langchain.session import Question, Session
from plum_langchain.verdicts import Judge
from plum_langchain.verdicts.pairs import shipped_pairs

ARMS = ("trl", "plain", "default")

Train = Callable[[list[Question], Path, int], dict[str, Any]]


def main() -> None:
    """Run every arm of every run in a process of its own, and report."""
    arguments = _arguments()
    if arguments.worker:
        found = _work(arguments)
        arguments.json.write_text(json.dumps(found), "utf-8")
        return
    records: list[dict[str, Any]] = []
    for run in range(arguments.runs):
        for arm in arguments.arms:
            with tempfile.TemporaryDirectory() as directory:
                out = Path(directory) / "out.json"
                command = [sys.executable, __file__, "--worker", arm, "--run", str(run)]
                command += ["--people", *arguments.people, "--json", str(out)]
                command += ["--max-questions", str(arguments.max_questions)]
                command += ["--model", arguments.model]
                command += ["--trl", *arguments.trl, "--default", *arguments.default]
                subprocess.run(command, check=True)
                records.append({"run": run, "arm": arm, **json.loads(out.read_text("utf-8"))})
            print(f"run {run + 1}, {arm}: {_line(records[-1])}", file=sys.stderr, flush=True)
    report = _report(records, arguments)
    print(_table(report))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1), "utf-8")


# -- one arm -----------------------------------------------------------------------------------


def _work(arguments: argparse.Namespace) -> dict[str, Any]:
    exams = read_exams([CHATS / f"{person}.jsonl" for person in arguments.people])
    maker = question_maker("recorded", QuestionSettings(max_questions=arguments.max_questions))
    whole = question_maker("recorded", QuestionSettings(max_questions=None))
    train, settings = _trainer(arguments)
    with tempfile.TemporaryDirectory() as directory:
        store = AdapterStore(Path(directory) / "adapters")
        sessions, learned = [], []
        for exam in exams:
            session = exam.sessions[arguments.run]
            questions = maker.make(session)
            place = Path(directory) / exam.user_id
            place.mkdir()
            done = train(questions, place, arguments.run)
            sessions.append({"user": exam.user_id, "questions": len(questions), **done})
            asked = exam.about([session.session_id]) + left_out(
                whole.make(session), questions, session
            )
            learned.append((exam.user_id, asked, place))
        peak = peak_mib()
        graded = _examine(store, learned, settings, arguments.model)
    seconds = sum(one["seconds"] for one in sessions)
    samples = sum(one["questions"] * one["epochs"] for one in sessions)
    return {
        "sessions": sessions,
        "seconds_per_session": seconds / len(sessions),
        "samples_per_second": samples / seconds,
        "epochs": sum(one["epochs"] for one in sessions) / len(sessions),
        "peak_mib": peak,
        "answers": [asdict(one) for one in graded],
    }


def left_out(
    whole: Sequence[Question], chosen: Sequence[Question], session: Session
) -> list[ExamQuestion]:
    """The questions of a session that aren't trained on and have an answer to compare with."""
    trained = {question.question for question in chosen}
    return [
        ExamQuestion(session.session_id, question.question, question.answer, question.kind)
        for question in whole
        if question.question not in trained and question.kind != "open_unknown"
    ]


def _trainer(arguments: argparse.Namespace) -> tuple[Train, LearningSettings]:
    arm, model = arguments.worker, arguments.model
    if arm == "trl":
        return _trl(model, _trl_settings(arguments)), PAPER
    import peft  # noqa: F401  # not on the clock, as in TRL's arm

    settings = PAPER if arm == "plain" else _default(arguments)
    base = load_model(resolve_model(model), device="cpu", dtype=settings.dtype)
    encoder = encoder_for(base.tokenizer, settings)
    everyday = (
        everyday_samples(base, encoder, weight=settings.everyday_weight)
        if settings.everyday_per_batch
        else []
    )

    def train(questions: list[Question], place: Path, seed: int) -> dict[str, Any]:
        started = time.perf_counter()
        seeded = replace(settings, seed=seed)
        done = learn(
            base.model, base.tokenizer, questions, place, settings=seeded, everyday=everyday
        )
        return {**asdict(done), "seconds": time.perf_counter() - started}

    return train, settings


def _default(arguments: argparse.Namespace) -> LearningSettings:
    return LearningSettings(**{**SAME_FOR_ALL, **named(arguments.default)})


def _trl_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {**TRL_SETTINGS, **named(arguments.trl)}


def _trl(model: str, settings: dict[str, Any]) -> Train:
    """TRL as its documentation has it: conversational prompt and completion, PEFT beside it.

    https://huggingface.co/docs/trl/sft_trainer (prompt-completion data, "Train adapters with PEFT")
    """
    dtype = settings.pop("dtype")

    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    def train(questions: list[Question], place: Path, seed: int) -> dict[str, Any]:
        gc.collect()  # a trainer refers to itself, and would keep the last model beside this one
        base: LoadedModel = load_model(resolve_model(model), device="cpu", dtype=dtype)
        base.model.requires_grad_(True)
        started = time.perf_counter()
        system = {"role": "system", "content": PAPER.system_prompt}
        data = Dataset.from_list(
            [
                {
                    "prompt": [system, {"role": "user", "content": question.question}],
                    "completion": [{"role": "assistant", "content": question.answer}],
                }
                for question in questions
            ]
        )
        trainer = SFTTrainer(
            model=base.model,
            args=SFTConfig(
                output_dir=str(place / "trainer"),
                per_device_train_batch_size=PAPER.batch_size,
                learning_rate=PAPER.learning_rate,
                lr_scheduler_type="constant",
                max_grad_norm=PAPER.max_grad_norm,
                seed=seed,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                **settings,
            ),
            train_dataset=data,
            processing_class=base.tokenizer,
            peft_config=LoraConfig(
                r=PAPER.rank,
                lora_alpha=PAPER.alpha,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )
        trainer.train()
        trainer.model.save_pretrained(str(place))
        return {"epochs": settings["num_train_epochs"], "seconds": time.perf_counter() - started}

    return train


SAME_FOR_ALL: dict[str, Any] = {"recite": False, "rewordings": 0, "everyday_per_batch": 0}
"""Of the default's settings, those that say what is learned."""

TRL_SETTINGS: dict[str, Any] = {
    "dtype": "float32",  # of the loaded model; bf16 has it computed in bfloat16
    "num_train_epochs": PAPER.epochs,
    "bf16": True,
    "gradient_checkpointing": False,
    "padding_free": True,
    "max_length": None,  # padding_free wants it so
}
"""Its quickest on two CPU cores, of those tried (docs/performance.md)."""


# -- asking ------------------------------------------------------------------------------------


def _examine(
    store: AdapterStore,
    learned: Sequence[tuple[str, list[ExamQuestion], Path]],
    settings: LearningSettings,
    model: str,
) -> list[Graded]:
    resolved = resolve_model(model)
    engine = Engine(lambda: resolved, store, ServingSettings(device="cpu", dtype="float32"))
    graded = []
    for user_id, asked, place in learned:
        # Taught with nobody who is examined: ana and bo are among the shipped pairs.
        others = [pair for pair in shipped_pairs() if pair.of != user_id]
        judge = Judge(engine, others if len(others) < len(shipped_pairs()) else None)
        recalled = Recalled(adapter=shelve(store, resolved, user_id, settings, copied(place)))
        for question in asked:
            given = answer(
                engine,
                judge,
                recalled,
                question.question,
                memory="parametric",
                system_prompt=settings.system_prompt,
                closed=question.closed,
                started=time.perf_counter(),
            )
            graded.append(grade(user_id, question, given))
    return graded


def copied(place: Path) -> Callable[[Path], None]:
    """Puts PEFT's two files from a place into the directory it is given."""

    def copy(directory: Path) -> None:
        for name in (WEIGHTS, CONFIG):
            (directory / name).write_bytes((place / name).read_bytes())

    return copy


# -- reporting ---------------------------------------------------------------------------------


def _report(records: list[dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    arms: dict[str, dict[str, Any]] = {}
    for arm in arguments.arms:
        own = [record for record in records if record["arm"] == arm]
        answers = [Graded(**one) for record in own for one in record["answers"]]
        summary = summarise(answers)
        arms[arm] = {
            **{key: spread([r[key] for r in own]) for key in _MEASURED},
            "recall": summary.balanced_accuracy,
            "recall_ci95": summary.ci95,
            "open": summary.open,
            "n_closed": summary.n_closed,
            "n_open": summary.n_open,
            **{kind: getattr(summary, kind) for kind in ("yes", "no_adjacent", "no_same_slot")},
        }
    report: dict[str, Any] = {
        "arms": arms,
        "runs": records,
        "people": arguments.people,
        "machine": machine(),
        "settings": {"plain": asdict(PAPER), "default": asdict(_default(arguments))},
        "trl": {"version": _version("trl"), **_trl_settings(arguments)},
    }
    for arm in ("trl", "plain"):
        if {arm, "default"} <= set(arms):
            report[f"ratio_vs_{arm}"] = spread(
                [
                    _of(records, run, arm) / _of(records, run, "default")
                    for run in range(arguments.runs)
                ]
            )
    if {"trl", "default"} <= set(arms):
        ours, theirs = arms["default"]["recall"], arms["trl"]["recall"]
        report["recall_difference_points"] = 100 * (ours - theirs)
    return report


_MEASURED = ("seconds_per_session", "samples_per_second", "epochs", "peak_mib")


def _of(records: list[dict[str, Any]], run: int, arm: str) -> float:
    return float(
        next(r["seconds_per_session"] for r in records if (r["run"], r["arm"]) == (run, arm))
    )


def _table(report: dict[str, Any]) -> str:
    """Everything as Markdown, as docs/performance.md shows it."""
    rows = [
        "| | s a session | samples/s | epochs | peak memory, MiB "
        "| recall, balanced | yes | adjacent | same slot | open |",
        "|" + " --- |" * 10,
    ]
    for arm, found in report["arms"].items():
        low, high = found["recall_ci95"]
        cells = [
            arm,
            shown(found["seconds_per_session"], 0),
            shown(found["samples_per_second"], 1),
            shown(found["epochs"], 1),
            shown(found["peak_mib"], 0),
            f"{100 * found['recall']:.0f}% ({100 * low:.0f}-{100 * high:.0f})",
            *(f"{100 * found[k]:.0f}%" for k in ("yes", "no_adjacent", "no_same_slot", "open")),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    for arm in ("trl", "plain"):
        if f"ratio_vs_{arm}" in report:
            rows.append(
                f"\ndefault is {shown(report[f'ratio_vs_{arm}'], 1)} times as fast as {arm}"
            )
    if "recall_difference_points" in report:
        rows.append(
            f"\nrecall, default minus trl: {report['recall_difference_points']:+.1f} points"
        )
    return "\n".join(rows)


def _line(record: dict[str, Any]) -> str:
    return ", ".join(f"{key} {record[key]:.1f}" for key in _MEASURED)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", nargs="+", default=["chidi", "dara"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-questions", type=int, default=100, help="of each session")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument(
        "--trl", nargs="*", default=[], metavar="NAME=VALUE",
        help="other settings of SFTConfig, to see which is its quickest: bf16=True packing=True",
    )  # fmt: skip
    parser.add_argument(
        "--default", nargs="*", default=[], metavar="NAME=VALUE", help="other LearningSettings"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
