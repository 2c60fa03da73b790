"""Going back: `plum forget`, `plum receipts`, `plum rollback`."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from plum_langchain.cli import reports, terminal
from plum_langchain.cli.app import AsJson, NoGate, User, app
from plum_langchain.cli.learning import Questions, chat_model_errors, count_sessions
from plum_langchain.errors import InvalidInputError, MissingKeyError, UnknownSessionError
from plum_langchain.session import Session, SessionState

if TYPE_CHECKING:
    from plum_langchain.forgetting import Mention

LoseLater = Annotated[
    bool,
    typer.Option(
        "--lose-later",
        help="Forget later sessions too, of which nothing is kept to learn them again.",
    ),
]


@app.command(epilog="Example: plum forget --user ana --session ana-s03")
def forget(
    ctx: typer.Context,
    user: User,
    session: Annotated[
        str | None, typer.Option(metavar="SESSION", help="The session to forget.")
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Forget what was said about this, in any session."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget all of the user's.")] = False,
    relearn: Annotated[
        bool, typer.Option("--relearn", help="Learn what came after it again at once.")
    ] = False,
    questions: Questions = None,
    no_gate: NoGate = False,
    lose_later: LoseLater = False,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Ask the weights about it, before and after.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a session, a subject, or all of a user's, from the journal, the weights and the index.

    What was learned after it is learned again, without it, by the next consolidation. The receipt
    says what is gone and proves it; `plum receipts` shows it again.
    """
    from plum_langchain.settings import LearningSettings

    if [session is not None, about is not None, everything].count(True) != 1:
        raise InvalidInputError(
            "say what to forget: --session SESSION, --about TEXT or --all, one of them"
        )
    learning = LearningSettings(gate=None) if no_gate else LearningSettings()
    with ctx.obj.plum(learning=learning) as plum:
        plum.journal.sessions.require_user(user)
        found: list[Mention] | None = None
        if about is None:
            try:
                there = [s for s in plum.journal.sessions.all(user) if not _is_gone(s)]
                doomed = [s for s in there if everything or s.session_id == session]
                lines = [_described(one) for one in doomed]
                if session is not None and doomed:
                    also = [m for m in plum.mentions(user, session=session) if m.again]
                    lines += [_quoted(mention) for mention in also]
            except MissingKeyError as error:
                if not everything:
                    raise
                lines = [f"everything, which can't be read any more ({error})"]
            if session is not None and not doomed:
                raise UnknownSessionError(
                    f"user {user!r} has no session {session!r} to forget; `plum sessions --user "
                    f"{user!r}` lists them"
                )
        else:
            found = plum.mentions(user, about)
            if not found:
                terminal.say(f"Nothing was found about {about!r}.")
                raise typer.Exit(1)
            found = found if yes else _chosen(user, found)
            lines = []
        if found == [] or (lines and not yes and not _confirmed(user, lines)):
            terminal.say("Nothing was forgotten.")
            raise typer.Exit(1)
        notice = "Stopping at the next step; what is forgotten stays forgotten."
        with (
            terminal.Interrupts(notice) as interrupts,
            reports.LearningDisplay(interrupts.asked) if relearn else nullcontext() as display,
            chat_model_errors(questions),
        ):
            receipt = plum.forget(
                user,
                session,
                about=found,
                all=everything,
                relearn=relearn,
                questions=questions,
                lose_later=lose_later,
                probe=probe,
                progress=display,
                should_stop=interrupts.asked,
            )
    if as_json:
        terminal.show_json(receipt.to_json())
    else:
        reports.show_receipt(receipt)


def _is_gone(session: Session) -> bool:
    return session.state == SessionState.FORGOTTEN


def _described(session: Session) -> str:
    turns = terminal.count(len(session.turns), "turn")
    topic = f": {session.topic}" if session.topic else ""
    return f"{session.session_id} ({session.state}, {turns}){topic}"


def _quoted(mention: "Mention") -> str:
    text = " ".join(mention.text.split())
    short = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    if mention.again:
        short += " (tells it again, and goes with it)"
    if mention.turn is None:
        return f"{mention.session_id}, whole (only its questions are kept): {short}"
    return f"{mention.session_id}, turn {mention.turn} ({mention.role}): {short}"


_SHOWN = 160  # characters of a turn


def _chosen(user: str, found: "list[Mention]") -> "list[Mention]":
    """Those of the numbered ones that are to go."""
    terminal.say(f"Found of user {user!r}:")
    again = [mention for mention in found if mention.again]
    found = [mention for mention in found if not mention.again]
    for number, mention in enumerate(found, start=1):
        terminal.say(f"  {number}. {_quoted(mention)}")
    for mention in again:
        terminal.say(f"  -  {_quoted(mention)}")
    _require_terminal()
    reply = terminal.replied("Forget which, for good? [numbers, all, NONE]").casefold()
    if reply == "all":
        return found
    wanted = set(re.split(r"[\s,]+", reply)) - {"", "none"}
    wrong = wanted - {str(number) for number in range(1, len(found) + 1)}
    if wrong:
        raise InvalidInputError(
            f"{', '.join(sorted(wrong))} is none of the numbers 1 to {len(found)}; nothing was "
            "forgotten"
        )
    return [mention for number, mention in enumerate(found, 1) if str(number) in wanted]


def _confirmed(user: str, lines: Sequence[str]) -> bool:
    terminal.say(f"To be forgotten of user {user!r}, for good:")
    for line in lines:
        terminal.say(f"  {line}")
    _require_terminal()
    return terminal.confirmed("Forget?")


def _require_terminal() -> None:
    if not terminal.interactive():
        raise InvalidInputError(
            "forgetting can't be undone and there is no terminal to confirm it at; add --yes"
        )


@app.command(epilog="Example: plum receipts --user ana")
def receipts(ctx: typer.Context, user: User, as_json: AsJson = False) -> None:
    """Show what was forgotten of a user, oldest first."""
    with ctx.obj.plum() as plum:
        plum.journal.sessions.require_user(user)
        found = plum.receipts(user)
    if as_json:
        terminal.show_json(found)
    elif not found:
        terminal.say(f"Nothing was ever forgotten of user {user!r}.")
    else:
        reports.show_receipts(found)


@app.command(epilog="Example: plum rollback --user ana --generation 2")
def rollback(
    ctx: typer.Context,
    user: User,
    generation: Annotated[
        int, typer.Option(min=0, metavar="N", help="The one to serve again; 0: the base model.")
    ],
    lose_later: LoseLater = False,
    as_json: AsJson = False,
) -> None:
    """Serve an earlier generation; sessions learned since go back in line."""
    with ctx.obj.plum() as plum:
        destroyed = plum.rollback(user, generation, lose_later=lose_later)
        waiting = count_sessions(plum, user, SessionState.FINISHED)
    if as_json:
        document = {"user": user, "serving": generation, "generations_destroyed": destroyed}
        terminal.show_json({**document, "waiting": waiting})
    else:
        serving = f"Generation {generation} of {user}" if generation else "The base model"
        given_up = ", ".join(map(str, destroyed)) or "none"
        terminal.show(
            f"{serving} is served (given up: {given_up}); "
            f"{terminal.count(waiting, 'session')} in line to be learned."
        )
