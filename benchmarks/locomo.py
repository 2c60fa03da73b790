"""LoCoMo: a speaker's questions to every memory, its categories kept apart.

    python benchmarks/locomo.py PATH/TO/26.json --speaker first --sessions 4 --json OUT.json

Learns the first sessions of each dialogue, one after another, in a home of its own, and asks its
questions with the last of them learned. Training questions are made of the sessions' observations
or of what the speakers said, never of the benchmark's own. Prints one Markdown table over all
dialogues: F1 as the benchmark computes it, and the share of replies that hold the whole answer.

LoCoMo (github.com/snap-research/locomo) is CC BY-NC 4.0 and not part of this repository. What
--json writes quotes its questions and answers: keep that out of it as well.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from plum_langchain import LearningSettings, Plum, QuestionSettings
from plum_langchain.consolidation import Progress
from plum_langchain.evaluation import Comparison, Exam, Graded, compare, machine
from plum_langchain.evaluation.compare import Arm, Asking
from plum_langchain.evaluation.locomo import (
    ObservationQuestions,
    Voice,
    Whose,
    by_category,
    read_dialogues,
    to_markdown,
)
from plum_langchain.evaluation.report import to_json

ARMS = [arm for arm in get_args(Arm) if arm != "stranger"]  # each dialogue has a home of its own


def main() -> None:
    """Measure each dialogue and print what all of them came to."""
    arguments = _arguments()
    exams = read_dialogues(
        arguments.paths,
        speaker=arguments.speaker,
        max_sessions=arguments.sessions,
        about=arguments.about,
        voice=arguments.voice,
    )
    print(f"machine: {json.dumps(machine())}")
    answers: dict[str, list[Graded]] = defaultdict(list)
    records: list[dict[str, Any]] = []
    for exam in exams:
        found = _run(exam, arguments)
        for arm, graded in found.answers.items():
            answers[arm] += graded
        records.append({"user": exam.user_id, **_scores(found.answers), "found": to_json(found)})
        if arguments.json is not None:  # after each, since all of them take hours
            report = {"settings": vars(arguments), **_scores(answers), "dialogues": records}
            arguments.json.write_text(json.dumps(report, default=str, indent=1), "utf-8")
        if found.consolidated:
            _say(f"{exam.user_id}: {_learned(found)}")
    sessions = ", ".join(f"{exam.user_id} ({len(exam.sessions)} sessions)" for exam in exams)
    print(f"\n{sessions}; questions about: {arguments.about}, voice: {arguments.voice}, learned "
          f"from {arguments.questions}; F1 in percent\n")  # fmt: skip
    print(to_markdown(answers), end="")


def _run(exam: Exam, arguments: argparse.Namespace) -> Comparison:
    settings = QuestionSettings(
        max_questions=arguments.max_questions,
        seed=arguments.seed,
        # Where only the user is asked about, what the other told of themselves isn't learned.
        learn_assistant=arguments.about != "user",
    )
    observed = ObservationQuestions(settings)
    arms = dict.fromkeys("floor" if arm == "none" else arm for arm in arguments.arms)
    with tempfile.TemporaryDirectory(prefix="plum-locomo-") as home:
        plum = Plum(
            home,
            model=arguments.model,
            learning=LearningSettings(seed=arguments.seed),
            question_settings=settings,
        )
        try:
            return compare(
                plum,
                [exam],
                arms=arms,
                questions=observed if arguments.questions == "observations" else "statements",
                retention_curve=False,
                learning=_tell_learned,
                asking=_tell_asked,
            )
        finally:
            plum.close()


def _scores(answers: Mapping[str, Sequence[Graded]]) -> dict[str, Any]:
    return {
        "scores": {
            arm: {name: asdict(one) for name, one in by_category(graded).items()}
            for arm, graded in answers.items()
        }
    }


def _learned(found: Comparison) -> str:
    failed = [f"{c.session_id} ({c.reason})" for c in found.consolidated if c.state == "failed"]
    told = f"{len(found.consolidated) - len(failed)} of {len(found.consolidated)} sessions learned"
    return f"{told}; not {', '.join(failed)}" if failed else told


def _tell_learned(progress: Progress) -> None:
    if progress.phase in ("learned", "failed"):
        _say(f"{progress.user_id}: {progress.session_id} {progress.phase}")


def _tell_asked(asking: Asking) -> None:
    if asking.asked == asking.of:
        _say(f"{asking.user_id}: {asking.arm} was asked {asking.of} questions")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="dialogues, or a directory of them")
    parser.add_argument("--speaker", default="first", help="the user: first, second, or a name")
    parser.add_argument("--sessions", type=int, help="only the first so many of each dialogue")
    parser.add_argument(
        "--arms", nargs="+", choices=[*ARMS, "none"], metavar="ARM",
        default=["floor", "retrieval", "parametric", "hybrid"],
        help=f"{', '.join(ARMS)}; none is another name of the floor",
    )  # fmt: skip
    parser.add_argument(
        "--questions", choices=["observations", "statements"], default="observations",
        help="what is learned from",
    )  # fmt: skip
    parser.add_argument(
        "--about", choices=get_args(Whose), default="user", help="whose questions are asked"
    )
    parser.add_argument(
        "--voice", choices=get_args(Voice), default="benchmark",
        help="questions that name the user, as they stand, or as the user would ask",
    )  # fmt: skip
    parser.add_argument("--max-questions", type=int, default=100, help="learned from a session")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="everything, with each answer")
    return parser.parse_args()


if __name__ == "__main__":
    main()
