"""Going back: `plum forget`, `plum rollback`."""

from dataclasses import asdict
from typing import Annotated

import typer

from plum_langchain.cli import reports, terminal
from plum_langchain.cli.app import AsJson, User, app
from plum_langchain.cli.learning import count_sessions
from plum_langchain.errors import InvalidInputError, UnknownSessionError
from plum_langchain.session import Session, SessionState


@app.command(epilog="Example: plum forget --user ana --session ana-s03")
def forget(
    ctx: typer.Context,
    user: User,
    session: Annotated[
        str | None, typer.Option(metavar="SESSION", help="The session to forget.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget all of the user's.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a session, or all of a user's, from the journal, the weights and the index.

    What was learned together with it is learned again, without it, by the next consolidation.
    """
    if (session is not None) == everything:
        raise InvalidInputError("say what to forget: --session SESSION or --all, one of them")
    with ctx.obj.plum() as plum:
        plum.journal.sessions.require_user(user)
        there = [s for s in plum.journal.sessions.all(user) if s.state != SessionState.FORGOTTEN]
        doomed = [s for s in there if everything or s.session_id == session]
        if session is not None and not doomed:
            raise UnknownSessionError(
                f"user {user!r} has no session {session!r} to forget; `plum sessions --user "
                f"{user!r}` lists them"
            )
        if doomed and not yes and not _confirmed(user, doomed):
            terminal.say("Nothing was forgotten.")
            raise typer.Exit(1)
        receipt = plum.forget(user, session, all_sessions=everything)
    if as_json:
        record = asdict(receipt)
        terminal.show_json(
            {"user": record.pop("user_id"), **record, "at": receipt.at.isoformat("T", "seconds")}
        )
    else:
        reports.show_receipt(receipt)


def _confirmed(user: str, doomed: list[Session]) -> bool:
    terminal.say(f"To be forgotten of user {user!r}, for good:")
    for session in doomed:
        turns = terminal.count(len(session.turns), "turn")
        topic = f": {session.topic}" if session.topic else ""
        terminal.say(f"  {session.session_id} ({session.state}, {turns}){topic}")
    if not terminal.interactive():
        raise InvalidInputError(
            "forgetting can't be undone and there is no terminal to confirm it at; add --yes"
        )
    return terminal.confirmed("Forget?")


@app.command(epilog="Example: plum rollback --user ana --generation 2")
def rollback(
    ctx: typer.Context,
    user: User,
    generation: Annotated[
        int, typer.Option(min=0, metavar="N", help="The one to serve again; 0: the base model.")
    ],
    as_json: AsJson = False,
) -> None:
    """Serve an earlier generation; sessions learned since go back in line."""
    with ctx.obj.plum() as plum:
        destroyed = plum.rollback(user, generation)
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
