"""The terminal: plain text, tables, JSON, errors of one sentence, Ctrl-C, and talking to a person.

Results go to standard output, as text or as one JSON document; everything said along the way goes
to standard error. Text of chats and models is never taken as markup or as terminal control codes.
"""

import contextlib
import json
import logging
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plum_langchain.errors import PlumError

INTERRUPTED = 130  # what shells report for a program ended by SIGINT: 128 + 2
_BROKEN_PIPE = 141  # the same for SIGPIPE: 128 + 13
_IO_ERROR = 74  # sysexits.h: EX_IOERR


# -- the process -------------------------------------------------------------------------------


def debugging() -> bool:
    """Whether `PLUM_DEBUG` asks for tracebacks and the libraries' own logs."""
    return os.environ.get("PLUM_DEBUG", "") not in ("", "0")


def prepare() -> None:
    """Make the terminal ours: no library's warnings or logs, no crash over a character.

    With `PLUM_DEBUG=1` warnings and logs are shown.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns after a fork
    # Threads that wait for work sleep instead of spinning: two processes that compute at once (a
    # chat and a consolidation) else take far more than twice as long (docs/performance.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if debugging():
        logging.basicConfig(level=logging.INFO)
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # A handler at the root keeps Python's last resort from printing what nobody handles.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def working(sentence: str) -> None:
    """Say what takes long; of the libraries' progress bars only that of downloads is let through.

    Called when a model is about to be converted, downloaded or taught, so transformers is needed
    anyway.
    """
    from huggingface_hub.utils import enable_progress_bars
    from transformers.utils import logging as transformers_logging

    say(sentence)
    transformers_logging.disable_progress_bar()  # turns off the Hub's as well
    if sys.stderr.isatty():
        enable_progress_bars()


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn what a user can meet into one sentence on standard error and an exit code."""
    try:
        yield
        sys.stdout.flush()  # a reader that has gone away shows here, not at interpreter exit
    except PlumError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough (`plum sessions | head`): no message. What is
        # still buffered must go somewhere when the interpreter exits.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_BROKEN_PIPE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; mend that and run the command again", _IO_ERROR)


def _fail(message: str, code: int) -> NoReturn:
    if debugging():
        traceback.print_exc()
    complain(message)
    raise typer.Exit(code) from None


class Interrupts:
    """Ctrl-C as a request: the first one is noted, a second one raises KeyboardInterrupt.

    Args:
        notice: Written to standard error at the first one.
    """

    def __init__(self, notice: str = "") -> None:
        self._notice = notice
        self._asked = threading.Event()
        self._previous: Any = None

    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._asked.is_set()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        if self._notice:
            # A signal handler may run in the middle of a print: no buffers, no locks here.
            os.write(2, f"{self._notice}\n".encode())

    def __enter__(self) -> "Interrupts":
        """Install the handler."""
        self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the earlier handler back."""
        signal.signal(signal.SIGINT, self._previous)


# -- plain text and JSON -----------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text as it may be shown: control characters, which could drive the terminal, replaced."""
    return _CONTROL.sub("\ufffd", text)


def say(text: str) -> None:
    """A line for the person at the terminal, on standard error."""
    typer.echo(plain(text), err=True)


def complain(message: str) -> None:
    """An error, on standard error."""
    say(f"Error: {message}")


def show(text: str) -> None:
    """A line of the result, on standard output."""
    typer.echo(plain(text))


def show_json(document: Mapping[str, Any]) -> None:
    """The result as one JSON document on standard output."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    typer.echo(json.dumps(document, ensure_ascii=encoding != "utf8", indent=2))


def count(number: int, noun: str) -> str:
    """`1 session`, `2 sessions`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # Rich would exit by itself; see errors_as_sentences


def make_console(*, stderr: bool = False) -> Console:
    """A Rich console that takes no text for markup and never wraps what goes to a file."""
    console = _Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a line per row, for grep and friends
    return console


def print_rich(*renderables: Any) -> None:
    """Tables and the like of Rich's, on standard output."""
    for renderable in renderables:
        make_console().print(renderable)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; numbers stand on the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rows = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], int | None) for row in rows)
        # Ids and reasons are folded, never cut: they are there to be copied.
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain("" if c is None else str(c)).replace("\n", " ")) for c in row))
    make_console().print(table)


# -- talking -----------------------------------------------------------------------------------


def interactive() -> bool:
    """Whether a person is typing."""
    return sys.stdin.isatty()


def replied(question: str) -> str:
    """What is replied, asked on standard error: standard output holds nothing but the result."""
    typer.echo(f"{question} ", err=True, nl=False)
    return sys.stdin.readline().strip()


def confirmed(question: str) -> bool:
    """Whether the reply is yes."""
    return replied(f"{question} [y/N]").lower() in ("y", "yes")


def messages() -> Iterator[str]:
    """What the user says, until `/quit` or the end of input; blank lines are passed over."""
    prompting = interactive()
    if prompting:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives input() editing and history)
    while True:
        try:
            line = input("you: ") if prompting else sys.stdin.readline()
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:
            if not prompting:
                raise
            say("\n(/quit or Ctrl-D ends the chat)")
            continue
        if not line and not prompting:
            return
        text = line.strip()
        if text == "/quit":
            return
        if text:
            yield text


def show_reply(pieces: Iterable[str], stopping: Callable[[], bool]) -> str:
    """Print a reply as it comes, until it ends or is stopped; returns what was shown."""
    if interactive():
        typer.echo("plum: ", nl=False)
    shown: list[str] = []
    try:
        for piece in pieces:
            shown.append(piece)
            typer.echo(plain(piece), nl=False)  # flushes
            if stopping():
                break
    except KeyboardInterrupt:  # pressed twice: not even the next token is waited for
        pass
    finally:
        typer.echo()
    return "".join(shown)
