"""The application: what is said before a command, and the options that commands share."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from plum_langchain import __version__
from plum_langchain.cli import terminal
from plum_langchain.errors import InvalidInputError

if TYPE_CHECKING:
    from plum_langchain.plum import Plum


class MemoryChoice(StrEnum):
    """The memories by name (`memories.base.MEMORY_NAMES`, which is slow to import)."""

    parametric = "parametric"
    retrieval = "retrieval"
    hybrid = "hybrid"
    none = "none"


class RetentionChoice(StrEnum):
    """What may be kept of a learned session (`settings.Retention`)."""

    transcript = "transcript"
    questions = "questions"
    nothing = "nothing"


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        with terminal.errors_as_sentences():
            try:
                return super().invoke(ctx)
            except Exception as error:
                self._say_where_it_goes(error)
                raise

    def _say_where_it_goes(self, error: Any) -> None:
        # Told by its attribute: Click's class for what is no option of a command can't be imported
        # from Typer, some releases of which bring a Click of their own.
        option = getattr(error, "option_name", None)
        mine = next((param for param in self.params if option in param.opts), None)
        if mine is not None:
            value = "" if getattr(mine, "is_flag", False) else f" {mine.metavar}"
            before = f"plum {option}{value} {error.ctx.info_name} ..."
            error.message = f"{option} goes before the command: {before}"
            error.possibilities = None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # it fills paragraphs
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

User = Annotated[str, typer.Option("--user", metavar="USER", help="Whose chats and memory.")]
AnyUser = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="Only this user; everyone by default.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead, and nothing else.")
]
NoGate = Annotated[
    bool,
    typer.Option(
        "--no-gate", help="Publish whatever was learned, however little of it is recalled."
    ),
]
MemoryOption = Annotated[
    MemoryChoice, typer.Option("--memory", help="What remembers: the weights, Chroma, both, none.")
]


@dataclass(frozen=True)
class _Opening:
    """What was said before the command: which home, with which keys, which base model."""

    home: str | None
    model: str | None
    keys: str | None

    @contextlib.contextmanager
    def plum(self, **options: Any) -> Iterator["Plum"]:
        """The home, open for the length of the block."""
        from plum_langchain.plum import Plum

        plum = Plum(
            self.home, model=self.model, keys=self.keys, progress=terminal.working, **options
        )
        try:
            yield plum
        finally:
            plum.close()


def _print_version(wanted: bool) -> None:
    if wanted:
        terminal.show(f"plum-langchain {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: plum import chats.jsonl, then plum consolidate --user ana")
def options(
    ctx: typer.Context,
    home: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where everything is kept; $PLUM_HOME or ~/.plum."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Base model: a Hugging Face id, a directory or an alias; by default the one this "
            "home was trained on, else SmolLM2-135M-Instruct.",
        ),
    ] = None,
    keys: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Where the keys of an encrypted home are kept, outside of it; $PLUM_KEYS. A new "
            "home becomes an encrypted one.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Long-term memory for chatbots, in the model's weights."""
    # An unset shell variable must not silently mean the default home.
    for name, value in (("--home", home), ("--model", model), ("--keys", keys)):
        if value is not None and not value.strip():
            raise InvalidInputError(f"{name} is empty; name one, or leave the option out")
    ctx.obj = _Opening(home, model, keys)
