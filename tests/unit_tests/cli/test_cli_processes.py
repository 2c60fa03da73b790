"""`plum` as a program of its own: start-up, signals, pipes, and two processes on one home."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import Plum
from plum_langchain.session import SessionState
from tests.tiny import CHATS
from tests.unit_tests.cli.conftest import LEARN, Run


@pytest.fixture
def command(home: Path, tiny_model: Path) -> Callable[..., list[str]]:
    """The command line of `plum --home HOME --model TINY ...` as a process."""

    def command(*arguments: str) -> list[str]:
        program = [sys.executable, "-m", "plum_langchain.cli"]
        return [*program, "--home", str(home), "--model", str(tiny_model), *arguments]

    return command


def until(happened: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_help_is_there_at_once_and_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "peft", "chromadb", "langchain_core", "sqlalchemy")
    program = (
        "import sys; from typer.testing import CliRunner; from plum_langchain.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"assert not set({heavy}) & set(sys.modules)"
    )
    seconds = []
    while not seconds or (seconds[-1] >= 1.0 and len(seconds) < 5):  # the machine may be busy
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        seconds.append(time.perf_counter() - started)
    assert seconds[-1] < 1.0, seconds


def test_a_reader_that_goes_away_is_no_error(
    run: Run, chats: Path, command: Callable[..., list[str]]
) -> None:
    run("import", str(chats))
    process = subprocess.Popen(
        command("sessions"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (128 + signal.SIGPIPE, "")


def test_ctrl_c_keeps_what_is_learned_and_a_second_process_gets_it(
    run: Run, home: Path, command: Callable[..., list[str]]
) -> None:
    run("import", str(CHATS / "ana.jsonl"))
    plum = Plum(home)
    learn = (*LEARN, "--epochs", "8")
    learner = subprocess.Popen(
        command(*learn), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def counts() -> dict[str, int]:
        return plum.journal.sessions.counts()["ana"]

    until(lambda: counts().get(SessionState.LEARNED) and counts().get(SessionState.LEARNING))
    learner.send_signal(signal.SIGINT)
    output, said = learner.communicate(timeout=60)
    assert learner.returncode == 130 and output == ""
    kept, waiting = counts()[SessionState.LEARNED], counts()[SessionState.FINISHED]
    assert set(counts()) == {SessionState.LEARNED, SessionState.FINISHED} and waiting > 0
    assert plum.journal.jobs.running() == []
    lines = said.splitlines()
    assert [line.split(":")[0] for line in lines[:kept]] == [
        f"ana · {s.session_id}" for s in plum.journal.sessions.all("ana", SessionState.LEARNED)
    ]
    plural = "session" if kept == 1 else "sessions"
    assert lines[kept:] == [
        "Stopping at the next step; press Ctrl-C again to stop at once.",
        f"Stopped. {kept} {plural} learned and kept; {waiting} still in line for the next "
        "`plum consolidate`.",
    ]

    question = ("ask", "--user", "ana", "Who?", "--json")
    assert json.loads(run(*question).stdout)["generation"] == kept  # this process is the second
    assert run(*question).stderr == ""  # the first may have taught the model to judge
    plum.close()
