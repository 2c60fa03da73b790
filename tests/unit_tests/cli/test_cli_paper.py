"""`plum compare --paper` from the command line, on the tiny model."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plum_langchain.evaluation.paper import Results
from plum_langchain.questions.maker import Wish
from plum_langchain.writer import Writer
from tests.tiny import CHATS, records
from tests.unit_tests.cli.conftest import Run

Paper = Callable[..., Result]

TWO = (str(CHATS / "ana.jsonl"), str(CHATS / "bo.jsonl"))


@pytest.fixture
def paper(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paper:
    """Runs `plum --model TINY compare ... --paper`, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLUM_HOME", str(tmp_path / "mine"))

    def run(*arguments: str, model: str = str(tiny_model)) -> Result:
        from plum_langchain.cli import app

        result = CliRunner().invoke(app, ["--model", model, "compare", *arguments, "--paper"])
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    return run


def test_the_list_has_the_papers_numbers_and_needs_no_model(paper: Paper) -> None:
    result = paper(*TWO, "--list", "--sessions", "3", model="no-such-model")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "17.0%" in rows["ce-no-system"] and rows["ce-no-system"].split()[-2:] == ["6", "60"]
    assert "incoherent text" in rows["epochs-20"] and rows["epochs-20"].split()[-1] == "120"
    assert "25 of 25 experiments" in rows["To"] and "not packed" in result.stdout
    # Neither is a model needed, nor an LLM made, for a file without a result.
    maker = ("--questions", "nobody:no-such-llm", "--out", "new.jsonl", "--packed")
    listed = paper(*TWO, "--list", "--sessions", "3", *maker, model="no-such-model")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert "25 of 25 experiments" in listed.stdout and "not packed" not in listed.stdout


def test_what_cannot_be_run_on_these_chats_is_left_out_unless_it_is_named(
    paper: Paper, chats: Path
) -> None:
    result = paper(str(chats), "--list", "--sessions", "1", model="no-such-model")
    assert result.exit_code == 0 and "22 of 22 experiments" in result.stdout
    left_out = [line.partition(" is left out: it ")[::2] for line in result.stderr.splitlines()]
    assert [name for name, _ in left_out] == ["negatives-unrelated", "stream", "stream-no-replay"]
    assert "chats of two people" in left_out[0][1] and "needs two" in left_out[1][1]
    named = paper(str(chats), "--list", "--only", "negatives", model="no-such-model")
    assert named.exit_code == 0 and "negatives-unrelated" in named.stdout


def test_results_are_kept_and_shown_beside_the_papers(paper: Paper, tmp_path: Path) -> None:
    chosen = (*TWO, "--sessions", "1", "--max-questions", "4", "--only", "zero-shot,epochs-1")
    first = paper(*chosen, "--out", "out.jsonl", "--report", "out.md")
    assert first.exit_code == 0, first.output
    assert (tmp_path / "out.md").read_text("utf-8") == first.stdout
    rows = [line for line in first.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["zero-shot", "epochs-1"]
    assert rows[2].split("|")[3].strip() == "50.0%"
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    kinds = [r["kind"] for r in written]
    assert kinds == ["result", "questions", "questions", "result"]
    written = [r for r in written if r["kind"] == "result"]
    assert [r["experiment"] for r in written] == ["zero-shot", "epochs-1"]
    assert written[1]["learning"]["epochs"] == 1 and written[1]["learning"]["packed"] is False
    assert written[1]["maker"] == "recorded" and written[1]["questions"]["max_questions"] == 4
    assert not (tmp_path / "mine").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl", "out.md"}

    second = paper(*chosen, "--out", "out.jsonl")
    assert second.stdout == first.stdout
    assert second.stderr.count("its result is in out.jsonl") == 2
    listed = paper(*chosen, "--out", "out.jsonl", "--list")
    done = [line.split()[0] for line in listed.stdout.splitlines() if line.endswith(" done ")]
    assert done == ["zero-shot", "epochs-1"] and "0 of 2 experiments" in listed.stdout
    packed = paper(*chosen, "--out", "out.jsonl", "--list", "--packed")
    assert "2 of 2 experiments" in packed.stdout  # what was trained otherwise is another result


def test_no_keys_are_left_behind_by_homes_that_go(
    paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUM_KEYS", str(tmp_path / "keys"))
    result = paper(*TWO, "--sessions", "1", "--only", "zero-shot", "--out", "out.jsonl")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "keys").exists()


def test_the_base_model_may_write_the_questions(
    paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Any, wishes: Sequence[Wish], **_: object) -> list[list[str]]:
        assert self._engine.base  # it is there to write with
        return [[f"{wish.wanted}, quoth: {wish.statement}?"] for wish in wishes]

    monkeypatch.setattr(Writer, "write", write)
    chosen = (*TWO, "--sessions", "1", "--questions", "written", "--only", "epochs-1")
    first = paper(*chosen, "--max-questions", "24", "--out", "out.jsonl")
    assert first.exit_code == 0, first.output
    assert "questions for learning: written" in first.stdout
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    *made, result = records
    assert [r["maker"] for r in records] == ["written"] * 3
    assert all(any("quoth" in q["question"] for q in one["made"]) for one in made)
    assert [s["state"] for s in result["sessions"]] == ["learned", "learned"]
    listed = paper(*chosen, "--max-questions", "24", "--out", "out.jsonl", "--list")
    assert "0 of 1 experiments" in listed.stdout, listed.output


@pytest.mark.skipif(sys.platform == "win32", reason="files can't be locked")
def test_while_one_process_runs_another_may_list_and_no_more(paper: Paper, tmp_path: Path) -> None:
    chosen = (*TWO, "--sessions", "1", "--only", "zero-shot", "--out", "out.jsonl")
    with Results(tmp_path / "out.jsonl").alone():
        result = paper(*chosen)
        assert result.exit_code == 75 and "written by another process" in result.stderr
        assert paper(*chosen, "--list").exit_code == 0
    assert not (tmp_path / "out.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "--out FILE.jsonl"),
        (["--out", "no/such/place.jsonl"], 66, "its directory is not there"),
        (["--out", "o", "--arms", "floor", "--epochs", "3"], 2, "--arms, --epochs can't be given"),
        (["--out", "o", "--json", "all.json"], 2, "--json can't be given with --paper"),
        (["--out", "o", "--only", "telepathy"], 2, "'telepathy' is no experiment"),
        (["--out", "o", "--only", "negatives"], 2, "needs chats of two people"),
        (["--out", "o", "--only", "ce", "--picture", "c.png"], 2, "add one with --only"),
        (["--list", "--report", "r.md"], 2, "--list only lists"),
        (["--list", "--max-questions", "1"], 2, "max_questions must be at least 2"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    paper: Paper, chats: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    result = paper(str(chats), *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_home_and_options_of_its_own_belong_to_one_way_of_comparing(
    run: Run, chats: Path, home: Path
) -> None:
    result = run("compare", str(chats), "--paper", "--list")
    assert result.exit_code == 2 and "--home can't be given with --paper" in result.stderr
    assert not home.exists()
    for option in (["--only", "ce"], ["--out", "o.jsonl"], ["--list"], ["--packed"]):
        result = run("compare", str(chats), *option)
        assert result.exit_code == 2 and "say --paper as well" in result.stderr
    assert not home.exists()


def test_chats_without_recorded_questions_say_so_before_anything_is_learned(
    paper: Paper, tmp_path: Path
) -> None:
    record = records("ana")[0]
    for field in ("facts", "qa_train"):
        del record[field]
    (tmp_path / "mine.jsonl").write_text(json.dumps(record), "utf-8")
    result = paper("mine.jsonl", "--only", "ce", "--out", "o.jsonl")
    assert result.exit_code == 2 and "--questions statements" in result.stderr
    assert not (tmp_path / "o.jsonl").exists()
    for chosen in (["--questions", "statements"], ["--questions", "recorded"], []):
        assert paper("mine.jsonl", "--only", "ce", *chosen, "--list").exit_code == 0
