"""A retrieval index that is open when its process is forked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from plum_langchain import Plum
from plum_langchain.errors import PlumError
from tests.tiny import WordEmbeddings, session

def opened():
    return Plum(sys.argv[1], embeddings=WordEmbeddings())

def found(plum):
    return len(plum.recall("ana", "boat", memory="retrieval"))

plum = opened()
plum.add_session(session("ana", "one", "My boat is called Ida.", "I see."))
print(found(plum), flush=True)
if (child := os.fork()) == 0:
    try:
        for ours in (plum, opened()):
            try:
                print(found(ours), flush=True)
            except PlumError as error:
                print(type(error).__name__, error, flush=True)
            ours.close()
    finally:
        os._exit(0)
os.waitpid(child, 0)
print(found(plum), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_takes_no_index_of_its_parent_for_its_own(tmp_path: Path) -> None:
    line = [sys.executable, "-c", SCRIPT, str(tmp_path / "home")]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 0, done.stderr
    before, inherited, anew, after = done.stdout.splitlines()
    assert before == after == "1"
    assert inherited.startswith("PlumError this home was opened in process")
    assert anew.startswith("BusyError") and "in use by another process" in anew
