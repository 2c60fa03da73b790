"""A home on the tiny model, driven through the command line in this process."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.tiny import CHATS

Run = Callable[..., Result]

BRIEFLY = ("--questions", "recorded", "--max-questions", "4", "--epochs", "1", "--no-gate")
LEARN = ("consolidate", *BRIEFLY)


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two sessions of a shipped example file."""
    path = tmp_path_factory.mktemp("chats") / "ana.jsonl"
    lines = (CHATS / "ana.jsonl").read_text("utf-8").splitlines()[:2]
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the home is, or will be."""
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, tiny_model: Path) -> Run:
    """Runs `plum --home HOME --model TINY ...`; nothing may escape as a traceback."""

    def run(*arguments: str, model: str = str(tiny_model), **options: Any) -> Result:
        from plum_langchain.cli import app

        line = ["--home", str(home), "--model", model, *arguments]
        result = CliRunner().invoke(app, line, **options)
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    return run


@pytest.fixture(scope="session")
def learned_template(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, chats: Path
) -> Path:
    """A home in which both sessions were imported and learned, to be copied."""
    from plum_langchain.cli import app

    template = tmp_path_factory.mktemp("template") / "home"
    for command in (("import", str(chats)), LEARN):
        line = ["--home", str(template), "--model", str(tiny_model), *command]
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
    return template


@pytest.fixture
def learned(learned_template: Path, home: Path) -> Path:
    """`home`, with both sessions learned: generations 1 and 2."""
    shutil.copytree(learned_template, home)
    return home


def states(run: Run) -> dict[str, str]:
    """Each session's state, as `plum sessions` tells it."""
    result = run("sessions", "--json")
    return {s["session"]: s["state"] for s in json.loads(result.stdout)["sessions"]}


def contents(home: Path) -> dict[str, list[Any]]:
    """What the journal holds of chats and of what is served (not who has worked on what)."""
    with contextlib.closing(sqlite3.connect(home / "journal.db")) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("sessions", "turns", "questions", "heads")
        }
