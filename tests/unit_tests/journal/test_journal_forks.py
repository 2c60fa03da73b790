"""A home that is open when its process is forked, as where a server preloads its application."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

BEGINNING = """
import os, sys
from plum_langchain.home import Home
from plum_langchain.errors import PlumError
from plum_langchain.journal import Journal
from plum_langchain.session import Turn

url = Home(sys.argv[1]).journal_url

def say(journal, text):
    journal.sessions.append("ana", "chat", [Turn("user", text)], idle_seconds=1e6)

def in_a_child(function):
    if (child := os.fork()) == 0:
        try:
            function()
        except PlumError as error:
            print(error, flush=True)
        finally:
            os._exit(0)
    return child

journal = Journal(url)
say(journal, "one")
"""

WHILE_CLOSED = """
ours, theirs = os.pipe(), os.pipe()

def child():
    journal = Journal(url)
    say(journal, "two")
    os.write(theirs[1], b".")
    os.read(ours[0], 1)  # until the parent has closed its own, as the last that has it open
    say(journal, "three")

one = in_a_child(child)
os.read(theirs[0], 1)
journal.close()
os.write(ours[1], b".")
os.waitpid(one, 0)
"""
"""A child speaks in a journal of its own, before and after its parent has closed its own."""

LOOK = "journal = Journal(url); print([t.content for t in journal.sessions.all('ana')[0].turns])"


def run(home: Path, script: str) -> str:
    """What a process says, in which nothing else has begun a thread."""
    line = [sys.executable, "-c", script, str(home)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def look(home: Path) -> str:
    return run(home, BEGINNING.rsplit("journal = ", 1)[0] + LOOK).strip()


def test_what_a_child_says_in_a_journal_of_its_own_stays(tmp_path: Path) -> None:
    run(tmp_path, BEGINNING + WHILE_CLOSED)
    assert look(tmp_path) == "['one', 'two', 'three']"


def test_what_was_opened_before_the_fork_is_refused_after_it(tmp_path: Path) -> None:
    script = """
os.waitpid(in_a_child(lambda: say(journal, "two")), 0)
say(journal, "three")  # the parent goes on
"""
    said = run(tmp_path, BEGINNING + script)
    assert "is a fork; open one in each process after the fork" in said
    assert look(tmp_path) == "['one', 'three']"


def test_a_child_of_a_fork_in_the_midst_is_refused(tmp_path: Path) -> None:
    script = """
with journal._database.read():
    os.waitpid(in_a_child(lambda: Journal(url)), 0)
"""
    said = run(tmp_path, BEGINNING + script)
    assert said.count("was forked while") == 1 and "start the process by 'spawn'" in said


@pytest.mark.parametrize("then", ["pass", "journal.close()"])
def test_what_was_in_use_at_a_fork_is_closed_before_the_next(tmp_path: Path, then: str) -> None:
    script = f"""
with journal._database.read():
    os.waitpid(in_a_child(lambda: None), 0)
    {then}
"""
    run(tmp_path, BEGINNING + script + WHILE_CLOSED)
    assert look(tmp_path) == "['one', 'two', 'three']"
