"""What the command line and a comparison show of each user, one after another.

Both write to the one standard output, or ask all users in turn: they are no part of the storm.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from typer.testing import CliRunner

from plum_langchain import Plum
from plum_langchain.cli import app
from plum_langchain.evaluation.compare import compare
from plum_langchain.evaluation.exam import Exam, ExamQuestion
from plum_langchain.session import SessionState

Shown = tuple[str, str, str]
"""A face, a user, and what it showed in the user's name."""

TELLING = ("compare, parametric", "plum ask {asked}", "plum ask {asked} --json", "plum chat")
"""Faces that tell each user what they said."""

_LINES: tuple[tuple[str, ...], ...] = (
    ("ask", "{asked}"),
    ("ask", "{asked}", "--json"),
    ("ask", "{asked}", "--yes-no", "--json"),
    ("sessions",),
    ("sessions", "--json"),
    ("receipts", "--json"),
    ("chat",),
)


def command_line(home: Path, model: str, users: Mapping[str, str]) -> Iterator[Shown]:
    """Every command that shows something of one user.

    Args:
        home: Of the users.
        model: The base model.
        users: What each is to ask.

    Raises:
        AssertionError: a command failed.
    """
    for user, asked in users.items():
        for line in _LINES:
            command, *rest = (part.format(asked=asked) for part in line)
            options = ["--home", str(home), "--model", model, command, f"--user={user}"]
            said = f"{asked}\n" if command == "chat" else None
            result = CliRunner().invoke(app, [*options, *rest], input=said)
            assert result.exit_code == 0, (line, user, result.output, result.exception)
            yield f"plum {' '.join(line)}", user, result.output


def comparison(plum: Plum, users: Mapping[str, str]) -> Iterator[Shown]:
    """The answers of a comparison of all memories, learned before.

    Args:
        plum: A home that learned one session of each user.
        users: What each is to ask.
    """
    exams = []
    for user, asked in users.items():
        (session,) = plum.journal.sessions.all(user, SessionState.LEARNED)
        question = ExamQuestion(session.session_id, asked, "?", "open")
        exams.append(Exam(user, (session,), (question,)))
    arms = ("parametric", "retrieval", "hybrid", "context")
    found = compare(plum, exams, arms=arms, again=True)
    for arm, answers in found.answers.items():
        for graded in answers:
            yield f"compare, {arm}", graded.user_id, repr(asdict(graded))
