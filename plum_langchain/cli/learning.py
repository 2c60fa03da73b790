"""Learning: `plum consolidate`, `plum retry`."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from plum_langchain.cli import reports, terminal
from plum_langchain.cli.app import AnyUser, AsJson, NoGate, RetentionChoice, User, app
from plum_langchain.errors import InvalidInputError, PlumError, StoppedError
from plum_langchain.session import SessionState
from plum_langchain.settings import WITHOUT_CHAT_MODEL

if TYPE_CHECKING:
    from plum_langchain.evaluation import Exam
    from plum_langchain.plum import Plum

Questions = Annotated[
    str | None,
    typer.Option(
        metavar="MAKER",
        help="Where questions come from: `statements` (made of the chat's sentences by rules), "
        "`written` (those, and more that the base model writes, which any other than the default "
        "one is first taught), `recorded` (with the chat), or the name LangChain has for a chat "
        "model, such as openai:gpt-4o-mini.",
        show_default="written with the default model, else statements",
    ),
]


@app.command(epilog="Example: plum consolidate --user ana --questions recorded")
def consolidate(
    ctx: typer.Context,
    user: AnyUser = None,
    questions: Questions = None,
    max_sessions: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N sessions of each user.")
    ] = None,
    max_questions: Annotated[
        int | None, typer.Option(metavar="N", help="At most N questions a session, balanced.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="At most N epochs a session; 5 by default, more for a short one."
        ),
    ] = None,
    no_gate: NoGate = False,
    retention: Annotated[
        RetentionChoice,
        typer.Option(
            help="What is kept of a session once it is learned; SECURITY.md tells what each leaves "
            "to be forgotten."
        ),
    ] = RetentionChoice.transcript,
    as_json: AsJson = False,
) -> None:
    """Learn finished sessions into each user's adapter.

    Ctrl-C stops at the next training step: sessions learned by then stay, the others stay in
    line. If a chat model fails to make a session's questions, that session stays in line too, with
    the user's later ones behind it; when it has been tried a few times in vain, it is failed. So is
    a session whose adapter is found to recall too little, or to have lost what was there before.
    The exit code is 1 if a session could not be learned.
    """
    from plum_langchain.settings import HomeSettings, LearningSettings, QuestionSettings

    learning, asking = LearningSettings(), QuestionSettings()
    if epochs is not None:
        learning = replace(learning, epochs=epochs)
    if no_gate:
        learning = replace(learning, gate=None)
    if max_questions is not None:
        asking = replace(asking, max_questions=max_questions)
    settings = HomeSettings(retention=retention.value)
    with ctx.obj.plum(learning=learning, question_settings=asking, settings=settings) as plum:
        notice = "Stopping at the next step; press Ctrl-C again to stop at once."
        with terminal.Interrupts(notice) as interrupts:
            display = reports.LearningDisplay(interrupts.asked)
            try:
                with display, chat_model_errors(questions):
                    results = plum.consolidate(
                        user,
                        questions=questions,
                        max_sessions=max_sessions,
                        progress=display,
                        should_stop=interrupts.asked,
                    )
            except (StoppedError, KeyboardInterrupt):
                if not interrupts.asked():  # stopped by another process; its error tells
                    raise
                waiting = count_sessions(plum, user, SessionState.FINISHED)
                terminal.say(
                    f"Stopped. {terminal.count(len(display.learned), 'session')} learned and "
                    f"kept; {waiting} still in line for the next `plum consolidate`."
                )
                raise typer.Exit(terminal.INTERRUPTED) from None
        if as_json:
            terminal.show_json({"sessions": [reports.consolidated_record(r) for r in results]})
        else:
            reports.show_consolidated(results)
        if not results:
            _say_nothing_to_learn(plum, user)
    if any(result.state == "failed" for result in results):
        raise typer.Exit(1)


@contextlib.contextmanager
def chat_model_errors(questions: str | None) -> Iterator[None]:
    """Turn what a named chat model raises (each provider has its own errors) into a sentence.

    Raises:
        PlumError: the chat model failed; sessions are still in line.
    """
    try:
        yield
    except PlumError:
        raise
    except Exception as error:
        if questions is None or questions in WITHOUT_CHAT_MODEL:
            raise  # no chat model was asked: a bug of ours
        why = " ".join(str(error).split())[:300]
        raise PlumError(
            f"the chat model {questions!r} that makes the questions failed "
            f"({type(error).__name__}: {why}); nothing was lost. Check its key, name and network, "
            "or use --questions statements"
        ) from error


def check_recorded(exams: "Iterable[Exam]") -> None:
    """Say before anything is learned that there is nothing to learn from.

    Raises:
        InvalidInputError: a session has no recorded questions.
    """
    for exam in exams:
        for session in exam.sessions:
            if not (session.material.get("facts") or session.material.get("qa_train")):
                raise InvalidInputError(
                    f"session {session.session_id!r} of {exam.user_id!r} has no recorded questions "
                    "(neither `facts` nor `qa_train`); use --questions statements, or a chat model"
                )


def _say_nothing_to_learn(plum: "Plum", user: str | None) -> None:
    terminal.say("Nothing to learn.")
    if number := count_sessions(plum, user, SessionState.OPEN):
        terminal.say(
            f"{terminal.count(number, 'session')} still open: learned once the chat is ended, or "
            f"idle for {plum.settings.idle_seconds / 60:.0f} minutes."
        )
    if number := count_sessions(plum, user, SessionState.FAILED):
        terminal.say(
            f"{terminal.count(number, 'session')} failed earlier; `plum sessions` tells why, "
            "`plum retry --user USER` puts them back in line."
        )
    if number := count_sessions(plum, user, SessionState.FINISHED, SessionState.LEARNING):
        terminal.say(
            f"{terminal.count(number, 'session')} of users whom another process is working on; "
            "`plum status` tells which."
        )


def count_sessions(plum: "Plum", user: str | None, *states: SessionState) -> int:
    """How many sessions of the user, or of everyone, are in one of `states`."""
    counts = plum.journal.sessions.counts()
    users = counts if user is None else [user]
    return sum(counts.get(u, {}).get(state, 0) for u in users for state in states)


@app.command(epilog="Example: plum retry --user ana --session ana-s03")
def retry(
    ctx: typer.Context,
    user: User,
    session: Annotated[
        str | None, typer.Option(metavar="SESSION", help="Only this one; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put sessions that failed to be learned back in line."""
    with ctx.obj.plum() as plum:
        plum.journal.sessions.require_user(user)
        if session is not None:
            plum.journal.sessions.get(user, session)
        number = plum.journal.sessions.retry(user, session)
    if as_json:
        terminal.show_json({"user": user, "retried": number})
    else:
        terminal.show(f"{terminal.count(number, 'session')} back in line.")
