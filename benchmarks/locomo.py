"""LoCoMo: a speaker's questions to every memory, its categories kept apart.

    python benchmarks/locomo.py PATH/TO/26.json --speaker first --sessions 4 --json OUT.json

Learns the first sessions of each dialogue, one after another, in a home of its own, and asks its
questions with the last of them learned. Training questions are made of the sessions' observations
or of what the speakers said, never of the benchmark's own. Prints one Markdown table over all
dialogues, also when one of them can't be measured: F1 as the benchmark computes it, and the share
of replies that hold the whole answer; and under it what each memory was and wasn't told.

LoCoMo (github.com/snap-research/locomo) is CC BY-NC 4.0 and not part of this repository. What
--json writes quotes its questions and answers: keep that out of it as well.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from plum_langchain import LearningSettings, Plum, QuestionSettings
from plum_langchain.consolidation import Progress
from plum_langchain.errors import PlumError
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


def main() -> int:
    """Measure each dialogue and print what all of them came to; 1 if one couldn't be measured."""
    arguments, exams = _arguments()
    print(f"machine: {json.dumps(machine())}")
    answers: dict[str, list[Graded]] = defaultdict(list)
    records: list[dict[str, Any]] = []
    measured: list[Exam] = []
    try:
        for exam in exams:
            try:
                found = _run(exam, arguments)
            except PlumError as error:  # the next has a home of its own
                _say(f"{exam.user_id} could not be measured: {error}")
                continue
            measured.append(exam)
            for arm, graded in found.answers.items():
                answers[arm] += graded
            records.append(
                {"user": exam.user_id, **_scores(found.answers), "found": to_json(found)}
            )
            if arguments.json is not None:  # after each, since all of them take hours
                report = {"settings": vars(arguments), **_scores(answers), "dialogues": records}
                arguments.json.write_text(json.dumps(report, default=str, indent=1), "utf-8")
            if found.consolidated:
                _say(f"{exam.user_id}: {_learned(found)}")
    finally:  # whatever ends it: what there is took hours
        if measured:
            _show(measured, answers, arguments)
    return int(len(measured) < len(exams))


def _show(
    exams: Sequence[Exam], answers: Mapping[str, Sequence[Graded]], arguments: argparse.Namespace
) -> None:
    sessions = ", ".join(f"{exam.user_id} ({len(exam.sessions)} sessions)" for exam in exams)
    print(f"\n{sessions}; questions about: {arguments.about}, voice: {arguments.voice}, learned "
          f"from {arguments.questions}; F1 in percent\n")  # fmt: skip
    print(to_markdown(answers), end="")
    print(f"\n{_told(arguments)}", flush=True)


def _told(arguments: argparse.Namespace) -> str:
    """What each memory knows besides what was said, which a comparison has to be read with."""
    observed = arguments.questions == "observations"
    names = (
        "every turn in a prompt begins with its speaker's name"
        if arguments.voice == "benchmark"
        else 'the user is "I" in questions and "User" in prompts, and neither says who that is'
    )
    learned = (
        "the adapter learns an LLM's notes, which name the speaker and leave out what it found not "
        "worth noting, each with the date of its session behind it (which costs F1 and not "
        "containment)"
        if observed
        else "the adapter learns what was said, and no dates"
    )
    mixed = (
        "The adapter isn't told that the user is the one its notes name. "
        if observed and arguments.voice == "user"
        else ""
    )
    return (
        f"Known to whom: {names}. Retrieval, hybrid and context read each session's date in the "
        f"prompt; {learned}. {mixed}The floor knows nothing. Context reads all sessions that hold "
        "the evidence. What counts as right for adversarial questions is taught to adapters alone, "
        "so they are not in all.\n"
    )


def _run(exam: Exam, arguments: argparse.Namespace) -> Comparison:
    settings = _questions(arguments)
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


def _questions(arguments: argparse.Namespace) -> QuestionSettings:
    return QuestionSettings(
        max_questions=arguments.max_questions,
        seed=arguments.seed,
        # Where only the user is asked about, what the other told of themselves isn't learned.
        learn_assistant=arguments.about != "user",
    )


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


def _arguments() -> tuple[argparse.Namespace, list[Exam]]:
    """What was asked for, and the dialogues; what can't be used is refused before hours pass."""
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
        "--voice", choices=get_args(Voice),
        help="questions that name the user, as they stand, or as the user would ask; by default "
        "the user's where statements are learned from",
    )  # fmt: skip
    parser.add_argument("--max-questions", type=int, default=150, help="learned from a session")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="everything, with each answer")
    arguments = parser.parse_args()
    _settle(arguments, parser)
    try:
        exams = read_dialogues(
            arguments.paths,
            speaker=arguments.speaker,
            max_sessions=arguments.sessions,
            about=arguments.about,
            voice=arguments.voice,
        )
        _questions(arguments)
    except PlumError as error:
        parser.error(str(error))
    return arguments, exams


def _settle(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Fill in the voice, and refuse what would spoil hours of measuring, or lose what they found.

    Ends the program with a sentence (as `parser.error` does) where something can't be used.
    """
    by_statements = arguments.questions == "statements"
    arguments.voice = arguments.voice or ("user" if by_statements else "benchmark")
    if by_statements and arguments.voice == "benchmark":
        parser.error(
            "--questions statements with --voice benchmark would take the name before each turn "
            "for a part of its first sentence; use --voice user, or --questions observations"
        )
    path = arguments.json
    if path is None:
        return
    if not path.parent.is_dir():
        parser.error(f"--json {path}: there is no directory {path.parent}; make it first")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        parser.error(f"--json {path} can't be written; name a file that can be")


if __name__ == "__main__":
    sys.exit(main())
