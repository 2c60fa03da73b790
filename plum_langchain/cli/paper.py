"""`plum compare --paper`: the experiments of the PLUM paper on one's own chats."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.cli import reports, terminal
from plum_langchain.cli.learning import chat_model_errors, check_recorded
from plum_langchain.errors import InvalidInputError

if TYPE_CHECKING:
    from plum_langchain.evaluation import Exam
    from plum_langchain.evaluation.paper import Experiment, Results, Setup
    from plum_langchain.evaluation.paper.results import Record
    from plum_langchain.plum import Plum
    from plum_langchain.settings import LearningSettings, QuestionSettings


@dataclass(frozen=True)
class PaperOptions:
    """What was said after `plum compare --paper`."""

    only: str | None
    out: Path | None
    listing: bool
    packed: bool
    report: Path | None
    picture: Path | None
    model: str | None


def check_options(options: PaperOptions, home: str | None, others: Mapping[str, object]) -> None:
    """Refuse what doesn't go together.

    Args:
        options: As given.
        home: As given before the command.
        others: Options of a plain comparison, by name; those that were given aren't None.

    Raises:
        InvalidInputError: with what was given, and what to do.
    """
    given = [name for name, value in others.items() if value is not None]
    if home is not None:
        given.append("--home")
    if given:
        raise InvalidInputError(
            f"{', '.join(given)} can't be given with --paper, whose experiments choose that "
            "themselves; leave it out, or compare without --paper"
        )
    if options.listing and (options.report or options.picture):
        raise InvalidInputError(
            "--list only lists the experiments and has nothing for --report or --picture; leave it "
            "out, or them"
        )
    if options.out is None and not options.listing:
        raise InvalidInputError(
            "--paper writes each result as it comes, so that it may be interrupted and go on; name "
            "the file with --out FILE.jsonl, or look first with --list"
        )


def run_paper(
    options: PaperOptions,
    exams: "Sequence[Exam]",
    questions: str,
    asked: "QuestionSettings",
) -> None:
    """Run the chosen experiments, or list them.

    Args:
        options: As given.
        exams: The people.
        questions: Who makes the questions to learn from.
        asked: What is asked about, and the seed of everything.
    """
    from plum_langchain.evaluation.paper import Results, check_people
    from plum_langchain.evaluation.paper.report import curves, to_markdown

    experiments = _chosen(options.only, exams)
    if options.picture is not None and not any(e.order == "stream" for e in experiments):
        raise InvalidInputError(
            "--picture draws the forgetting curve of a stream, and none is among the experiments "
            "chosen; add one with --only, or leave --picture out"
        )
    results = Results(options.out) if options.out is not None else None
    if options.listing or results is None:
        done = _done(experiments, results, options, exams, questions, asked)
        _list(experiments, exams, done, asked, options.packed)
        return
    check_people(experiments, exams)
    if questions == "recorded" and any(e.arm == "parametric" for e in experiments):
        check_recorded(exams)
    with _setup(options, results.path, exams, questions, asked) as setup, results.alone():
        found = _run(experiments, setup, results, questions)
    text = to_markdown(experiments, setup, found)
    terminal.show(text.rstrip("\n"))
    if options.report is not None:
        options.report.write_text(text, "utf-8")
    if options.picture is not None:
        from plum_langchain.evaluation.picture import draw_forgetting

        title = f"What {Path(setup.model.id).name} keeps of the sessions it learned first"
        draw_forgetting(curves(experiments, found), options.picture, title=title)


def _chosen(only: str | None, exams: "Sequence[Exam]") -> "Sequence[Experiment]":
    """Those that were named; else all that can be run on these chats, and a word on the others."""
    from plum_langchain.evaluation.paper import choose, why_not

    if only is not None:
        return choose([name.strip() for name in only.split(",")])
    found = []
    for experiment in choose():
        if (why := why_not(experiment, exams)) is not None:
            terminal.say(f"{experiment.name} is left out: it {why}.")
        else:
            found.append(experiment)
    return found


def _done(
    experiments: "Sequence[Experiment]",
    results: "Results | None",
    options: PaperOptions,
    exams: "Sequence[Exam]",
    questions: str,
    asked: "QuestionSettings",
) -> dict[str, bool]:
    """By name, whether its result is there.

    Only where the file holds a result of one of them is it asked whether that is of this model and
    this question maker, for which the one is looked for and the other made.
    """
    if results is None or results.experiments().isdisjoint(e.name for e in experiments):
        return {}
    with _setup(options, results.path, exams, questions, asked) as setup:
        return {e.name: results.result(setup.run(e)) is not None for e in experiments}


def _run(
    experiments: "Sequence[Experiment]", setup: "Setup", results: "Results", questions: str
) -> dict[str, "Record"]:
    """What they found, by name."""
    from plum_langchain.evaluation.paper import run_experiment

    found = {}
    for experiment in experiments:
        if results.result(setup.run(experiment)) is not None:
            terminal.say(f"{experiment.name}: its result is in {results.path}")
        else:
            terminal.say(f"{experiment.name}: {experiment.title}")
        with reports.ComparingDisplay() as display:
            with chat_model_errors(questions):
                found[experiment.name] = run_experiment(
                    experiment,
                    setup,
                    results,
                    learning=display.learning,
                    asking=display.asking,
                )
    return found


@contextlib.contextmanager
def _setup(
    options: PaperOptions,
    out: Path,
    exams: "Sequence[Exam]",
    questions: str,
    asked: "QuestionSettings",
) -> "Iterator[Setup]":
    """What the experiments have in common, for the length of the block.

    Who makes the questions may write them with the base model: that of a home of its own, which
    stays open for it and in which nothing is learned.
    """
    from plum_langchain.evaluation.paper import BASE, Setup
    from plum_langchain.plum import Plum

    def open_plum(home: Path, learning: "LearningSettings") -> "Plum":
        return Plum(
            home,
            model=options.model,
            keys=False,  # none are left behind by a home that goes
            progress=terminal.working,
            learning=learning,
            question_settings=asked,
        )

    with contextlib.ExitStack() as stack:
        home = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="plum-paper-", ignore_cleanup_errors=True)
        )
        plum = stack.enter_context(contextlib.closing(open_plum(Path(home), BASE)))
        model = plum.resolved()
        with chat_model_errors(questions):
            maker = plum.question_maker(questions)
        yield Setup(
            exams,
            model=model,
            maker=maker,
            question_settings=asked,
            open_plum=open_plum,
            homes=Path(f"{out}.homes"),
            base=replace(BASE, seed=asked.seed, packed=options.packed),
        )


def _list(
    experiments: "Sequence[Experiment]",
    exams: "Sequence[Exam]",
    done: Mapping[str, bool],
    asked: "QuestionSettings",
    packed: bool,
) -> None:
    from plum_langchain.evaluation.paper.report import estimate, to_list

    terminal.show_table(*to_list(experiments, exams, done))
    terminal.show(estimate(experiments, exams, done, asked.max_questions, packed=packed))
