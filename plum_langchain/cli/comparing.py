"""Measuring: `plum compare`."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plum_langchain.cli import reports, terminal
from plum_langchain.cli.app import NoGate, app
from plum_langchain.cli.learning import chat_model_errors, check_recorded
from plum_langchain.cli.paper import PaperOptions, check_options, run_paper
from plum_langchain.errors import InvalidInputError, MissingFileError

if TYPE_CHECKING:
    from plum_langchain.plum import Plum

_PAPER = "The paper's experiments"


@app.command(
    epilog="Example: plum compare examples/chats/ana.jsonl --questions recorded --sessions 2 "
    "--picture memories.png"
)
def compare(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE.jsonl...", help="Sessions with `qa_test` questions."),
    ],
    arms: Annotated[
        str | None,
        typer.Option(
            metavar="ARM,...",
            help="floor, context, retrieval, parametric, hybrid; also stranger (another person's "
            "adapter).",
        ),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            metavar="statements|written|recorded|MODEL",
            help="Who makes the questions to learn from, as for consolidate; with --paper they "
            "are recorded ones by default.",
        ),
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N of each person.")
    ] = None,
    max_questions: Annotated[
        int | None, typer.Option(metavar="N", help="Learn from at most N questions a session.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="At most N epochs a session; 5 by default, more for a short one."
        ),
    ] = None,
    no_gate: NoGate = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of questions and training.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write everything as JSON.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png", help="Draw the arms and the retention, or a stream's forgetting."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="OUT.md", help="Write a report as Markdown.")
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="Run the experiments of the PLUM paper instead, and those it leaves open; --list "
            "tells how long; all of them take days.",
            rich_help_panel=_PAPER,
        ),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Only these experiments or groups of them; --list names them.",
            rich_help_panel=_PAPER,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.jsonl",
            help="Write each result as it comes; what is there already is not run again.",
            rich_help_panel=_PAPER,
        ),
    ] = None,
    listing: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Only list the experiments, with the paper's numbers and what they take.",
            rich_help_panel=_PAPER,
        ),
    ] = False,
    packed: Annotated[
        bool,
        typer.Option(
            "--packed",
            help="Train on packed batches: the same losses and gradients in less time.",
            rich_help_panel=_PAPER,
        ),
    ] = False,
) -> None:
    """Learn chats, then ask every memory questions it has never seen, and measure.

    What was recorded with the chats (facts, questions, `updates`) is learned with
    `--questions recorded` alone.

    Works in a home of its own that is deleted afterwards, so that nobody's memory is touched;
    with `--home` before the command in that one, which must not know these people yet.

    `--paper` runs the experiments of arXiv 2411.13405 and prints one table with the paper's numbers
    beside those found here. Ctrl-C loses no result: of a stream at most one session is learned
    again, and an experiment that is no stream starts again.
    """
    from plum_langchain.evaluation import ARMS, read_exams
    from plum_langchain.evaluation import compare as run
    from plum_langchain.evaluation.report import to_json, to_markdown, to_samples, to_table
    from plum_langchain.settings import LearningSettings, QuestionSettings

    for path in (json_file, picture, report, out):
        if path is not None:
            _check_writable(path)
    options = PaperOptions(only, out, listing, packed, report, picture, ctx.obj.model)
    if paper:
        plain = {
            "--arms": arms,
            "--epochs": epochs,
            "--no-gate": no_gate or None,
            "--json": json_file,
        }
        check_options(options, ctx.obj.home, plain)
    elif only is not None or out is not None or listing or packed:
        raise InvalidInputError(
            "--only, --out, --list and --packed are of --paper; say --paper as well, or leave them "
            "out"
        )
    exams = read_exams(files, max_sessions=sessions)
    wanted = [arm.strip() for arm in arms.split(",")] if arms is not None else list(ARMS)
    learning = LearningSettings(seed=seed)
    if epochs is not None:
        learning = replace(learning, epochs=epochs)
    if no_gate:
        learning = replace(learning, gate=None)
    asked = QuestionSettings(seed=seed)
    if max_questions is not None:
        asked = replace(asked, max_questions=max_questions)
    if paper:
        run_paper(options, exams, questions or "recorded", asked)
        return
    with _own_home(ctx, learning=learning, question_settings=asked) as plum:
        if questions == "recorded":
            check_recorded(exams)
        else:
            exams = [exam.of_text_alone() for exam in exams]
        with reports.ComparingDisplay() as display:
            with chat_model_errors(questions):
                found = run(
                    plum,
                    exams,
                    arms=wanted,
                    questions=questions,
                    learning=display.learning,
                    asking=display.asking,
                )
    terminal.print_rich(to_samples(found), to_table(found))
    if json_file is not None:
        text = json.dumps(to_json(found), ensure_ascii=False, indent=1, default=str)
        json_file.write_text(text + "\n", "utf-8")
    if report is not None:
        report.write_text(to_markdown(found), "utf-8")
    if picture is not None:
        from plum_langchain.evaluation.picture import draw

        draw(found, picture)
    if found.seconds_per_session is not None:
        size = reports.size(found.adapter_bytes or 0)
        terminal.show(
            f"Learning took {found.seconds_per_session:.0f} s a session; the adapter is {size}."
        )
    reports.show_failed(found.consolidated)


def _check_writable(path: Path) -> None:
    """Say now what would stop us from writing after minutes of learning."""
    if not path.absolute().parent.is_dir():
        raise MissingFileError(f"{path} can't be written: its directory is not there; make it")
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise MissingFileError(
            f"{path} can't be written: it is a directory, or you may not write there; name another"
        )


@contextlib.contextmanager
def _own_home(ctx: typer.Context, **options: Any) -> Iterator["Plum"]:
    from plum_langchain.plum import Plum

    with contextlib.ExitStack() as stack:
        home = ctx.obj.home or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="plum-compare-", ignore_cleanup_errors=True)
        )
        # None are left behind by a home that goes.
        keys: str | Literal[False] | None = ctx.obj.keys if ctx.obj.home else False
        plum = Plum(home, model=ctx.obj.model, keys=keys, progress=terminal.working, **options)
        stack.callback(plum.close)
        yield plum
