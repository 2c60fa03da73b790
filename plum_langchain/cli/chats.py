"""Chats in: `plum import`, `plum chat`, `plum sessions`."""

import contextlib
import secrets
from collections.abc import Generator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plum_langchain.cli import reports, terminal
from plum_langchain.cli.app import AnyUser, AsJson, MemoryChoice, MemoryOption, User, app
from plum_langchain.errors import (
    InvalidInputError,
    PlumError,
    SessionStateError,
    UnknownSessionError,
)
from plum_langchain.session import Session, SessionState, Turn, check_id
from plum_langchain.settings import ServingSettings

if TYPE_CHECKING:
    from plum_langchain.chat_models import ChatPlum
    from plum_langchain.plum import Plum


_IMPORTED = ("added", "grown", "unchanged", "forgotten")


class Source(StrEnum):
    """Where chats come from."""

    jsonl = "jsonl"
    chatgpt = "chatgpt"
    claude = "claude"


@app.command("import", epilog="Example: plum import export.zip --from chatgpt --user ana")
def import_(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What to import.")],
    source: Annotated[
        Source,
        typer.Option(
            "--from",
            help="jsonl has one session a line; chatgpt and claude are their data exports, "
            "as downloaded.",
        ),
    ] = Source.jsonl,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER", help="Whose chats they are; of jsonl instead of what each line says."
        ),
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what can't be read, and tell it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import finished chats.

    All files are read before anything is added: a broken record changes nothing, unless it is to be
    skipped. Importing a file again adds only what is new, of chats that went on as well.
    """
    from plum_langchain.importers import read_chatgpt, read_claude, read_sessions

    if user is not None:
        check_id(user, "user id")
    elif source != Source.jsonl:
        raise InvalidInputError(
            f"an export of {source} doesn't tell whose chats they are; name the user with --user"
        )
    skipped: list[str] = []

    def skip(error: PlumError) -> None:
        skipped.append(str(error))

    on_broken = skip if skip_broken else None
    read: dict[Path, list[Session]] = {}
    for path in files:
        if source == Source.jsonl or user is None:
            found = read_sessions(path, user=user, on_broken=on_broken)
            read[path] = [session for session, _ in found]
        else:
            reader = {Source.chatgpt: read_chatgpt, Source.claude: read_claude}[source]
            read[path] = list(reader(path, user, on_broken=on_broken))
    if skipped and not any(read.values()):
        raise InvalidInputError(
            f"nothing in {', '.join(map(str, files))} can be read as {source}; {skipped[0]}"
        )
    imported: list[dict[str, Any]] = []
    with ctx.obj.plum() as plum:
        for path, sessions in read.items():
            report: dict[str, Any] = {"file": str(path), **dict.fromkeys(_IMPORTED, 0)}
            imported.append(report)
            for session in sessions:
                try:
                    report[plum.add_session(session)] += 1
                except SessionStateError as error:
                    if skip_broken:
                        skipped.append(f"{path}: {error}")
                        continue
                    added = sum(r["added"] + r["grown"] for r in imported)
                    raise SessionStateError(
                        f"{path}: {error} ({terminal.count(added, 'session')} before it were "
                        "added and stay)"
                    ) from error
    if as_json:
        terminal.show_json({"files": imported, "skipped": skipped})
    else:
        for told in skipped:
            terminal.say(f"Skipped: {told}")
        reports.show_imported(imported)


@app.command(epilog="Example: plum chat --user ana --memory hybrid")
def chat(
    ctx: typer.Context,
    user: User,
    session: Annotated[
        str | None,
        typer.Option(metavar="SESSION", help="Begin this one, or go on with it if it is open."),
    ] = None,
    memory: MemoryOption = MemoryChoice.parametric,
) -> None:
    """Chat with the model that remembers USER.

    What asks for something that USER told is answered from memory, the rest by the base model.
    Every message is in the journal before it is answered. Ctrl-C stops a reply; /quit or Ctrl-D
    ends the chat and finishes its session, ready to be learned. Messages may also be piped in,
    one a line.
    """
    check_id(user, "user id")
    name = session or f"chat-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    serving = ServingSettings(merge=True, max_adapters=1)  # one user is asked, again and again
    with ctx.obj.plum(serving=serving) as plum:
        opened = _open_session(plum, user, name)
        # Loading comes first: a model that is missing shows before anything has been said, and
        # the first reply is not kept waiting.
        plum.engine.base  # noqa: B018
        if plum.journal.generations.head(user) is None:
            reports.say_not_learned(user, memory)
        elif memory in (MemoryChoice.parametric, MemoryChoice.hybrid):
            plum.is_for_memory([{"role": "user", "content": "Hello"}])
        last = _talk(plum, opened, plum.chat_model(user, memory=str(memory)))
        if last is None:
            terminal.say("Nothing was said; no session was begun.")
            return
        plum.finish(user, last)
    terminal.say(f"Session {last!r} is finished; `plum consolidate --user {user!r}` learns it.")


def _open_session(plum: "Plum", user: str, name: str) -> Session:
    try:
        found = plum.journal.sessions.get(user, name)
    except UnknownSessionError:
        return Session(user, check_id(name, "session id"), thread_id=name)
    if found.state != SessionState.OPEN:
        raise SessionStateError(
            f"session {name!r} of user {user!r} is {found.state} and takes no more turns; begin "
            "one with another id"
        )
    return found


def _talk(plum: "Plum", opened: Session, model: "ChatPlum") -> str | None:
    """The chat itself; returns the id of the session that is open at its end, if there is one."""
    user, thread = opened.user_id, opened.thread_id or opened.session_id
    said = [(turn.role, turn.content) for turn in opened.turns if turn.content]
    session = opened.session_id if said else None

    def save(turn: Turn) -> str:
        # The first message goes to the session that was named. Those after it follow the thread,
        # which begins a new session when the chat has been silent for long.
        session_id = plum.journal.sessions.append(
            user,
            thread,
            [turn],
            idle_seconds=plum.settings.idle_seconds,
            session_id=None if begun else opened.session_id,
        )
        said.append((turn.role, turn.content))
        return session_id

    begun = False
    for text in terminal.messages():
        with terminal.Interrupts() as interrupts:
            session, before, begun = save(Turn("user", text)), session, True
            if before not in (None, session):
                terminal.say(f"Session {before!r} was idle and is finished; this is {session!r}.")
            try:
                with contextlib.closing(_reply(model, said)) as pieces:
                    reply = terminal.show_reply(pieces, interrupts.asked)
            except PlumError as error:
                if not terminal.interactive():
                    raise
                terminal.complain(str(error))
                continue
            if reply.strip():
                save(Turn("assistant", reply))
    return session


def _reply(model: "ChatPlum", said: list[tuple[Any, str]]) -> Generator[str, None, None]:
    """The reply in pieces; a chat that outgrew the model's window loses its beginning."""
    begin = 0
    while True:
        started = False
        try:
            for chunk in model.stream(said[begin:]):
                started = True
                yield str(chunk.text)
        except InvalidInputError:
            if started or begin + 2 >= len(said):
                raise
            begin += 2
            continue
        if begin:
            terminal.say(
                f"(The first {begin} messages no longer fit into what the model can read.)"
            )
        return


@app.command(epilog="Example: plum sessions --user ana")
def sessions(ctx: typer.Context, user: AnyUser = None, as_json: AsJson = False) -> None:
    """List sessions: where each stands on its way into the weights."""
    with ctx.obj.plum() as plum:
        if user is not None:
            plum.journal.sessions.require_user(user)
        records = [reports.session_record(s) for s in plum.journal.sessions.all(user)]
    if as_json:
        terminal.show_json({"sessions": records})
    else:
        reports.show_sessions(records)
