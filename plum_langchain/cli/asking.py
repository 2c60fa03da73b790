"""Asking: `plum ask`, `plum status`."""

from typing import Annotated

import typer

from plum_langchain.cli import reports, terminal
from plum_langchain.cli.app import AsJson, MemoryChoice, MemoryOption, User, app
from plum_langchain.errors import InvalidInputError


@app.command(epilog="Example: plum ask --user ana 'Which day is my bakery closed?'")
def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="In the user's own voice.")],
    user: User,
    memory: MemoryOption = MemoryChoice.parametric,
    k: Annotated[
        int, typer.Option("--k", min=1, metavar="N", help="Exchanges that Chroma recalls.")
    ] = 3,
    yes_no: Annotated[
        bool, typer.Option("--yes-no", help="Answer Yes or No, with its probability.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask one question of a user's memory."""
    if not question.strip():
        raise InvalidInputError("the question is empty; write it after the options, in quotes")
    if any("\ud800" <= c <= "\udfff" for c in question):  # how Python shows undecodable bytes
        raise InvalidInputError("the question is not UTF-8 text; check the terminal's encoding")
    with ctx.obj.plum() as plum:
        answer = plum.ask(user, question, memory=str(memory), closed=yes_no, k=k)
    if answer.generation is None:
        reports.say_not_learned(user, memory)
    if as_json:
        terminal.show_json(reports.answer_record(answer))
    else:
        reports.show_answer(answer)


@app.command(epilog="Example: plum status --json")
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the home: its model, its users, what is served for each, who is working."""
    with ctx.obj.plum() as plum:
        document = plum.status()
    if as_json:
        terminal.show_json(document)
    else:
        reports.show_status(document)
