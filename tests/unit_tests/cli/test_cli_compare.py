"""`plum compare` from the command line, on the tiny model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.tiny import CHATS
from tests.unit_tests.cli.conftest import BRIEFLY, Run

QUICK = (*BRIEFLY, "--sessions", "1")


def test_a_comparison_is_shown_and_written(run: Run, tmp_path: Path, chats: Path) -> None:
    out = {name: tmp_path / f"out.{name}" for name in ("json", "png", "md")}
    result = run(
        *("compare", str(chats), *QUICK, "--arms", "floor,context,parametric"),
        *("--json", str(out["json"]), "--picture", str(out["png"]), "--report", str(out["md"])),
    )
    assert result.exit_code == 0, result.output
    assert "parametric (PLUM)" in result.stdout
    assert "Learning took" in result.stdout
    report = json.loads(out["json"].read_text("utf-8"))
    assert set(report["arms"]) == {"floor", "context", "parametric"}
    assert report["arms"]["parametric"]["n"] == 10
    assert report["about"]["learning"]["epochs"] == 1
    assert out["png"].read_bytes().startswith(b"\x89PNG")
    assert "| parametric (PLUM) |" in out["md"].read_text("utf-8")
    # The home named before the command keeps what was learned.
    assert json.loads(run("status", "--json").stdout)["users"][0]["serving"] == 1
    again = run("compare", str(chats), *QUICK)
    assert again.exit_code == 2
    assert "home of its own" in again.stderr


def test_without_a_home_nothing_of_the_user_is_touched(
    tmp_path: Path, tiny_model: Path, chats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plum_langchain.cli import app

    monkeypatch.setenv("PLUM_HOME", str(tmp_path / "mine"))
    line = ["--model", str(tiny_model), "compare", str(chats), "--arms", "floor", "--sessions", "1"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "mine").exists()


def test_no_keys_are_left_behind_by_a_home_that_goes(
    tmp_path: Path, tiny_model: Path, chats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plum_langchain.cli import app

    keys = tmp_path / "keys"
    monkeypatch.setenv("PLUM_KEYS", str(keys))
    line = ["--model", str(tiny_model), "compare", str(chats), "--arms", "floor", "--sessions", "1"]
    assert CliRunner().invoke(app, line).exit_code == 0
    assert not keys.exists()
    # A home that stays is encrypted with them.
    kept = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), *line])
    assert kept.exit_code == 0 and any(keys.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.jsonl"], 66, "nowhere.jsonl can't be read"),
        (["CHATS", "--arms", "telepathy"], 2, "telepathy"),
        (["CHATS", "--arms", "stranger"], 2, "two people"),
        (["CHATS", "--picture", "no/such/place.png"], 66, "its directory is not there"),
        (["CHATS", "--json", "."], 66, "it is a directory"),
        (["CHATS", "--questions", "no-such-model"], 2, "no-such-model"),
        (["CHATS", "--max-questions", "1"], 2, "max_questions must be at least 2"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    run: Run, chats: Path, arguments: list[str], code: int, said: str
) -> None:
    line = [str(chats) if part == "CHATS" else part for part in arguments]
    result: Result = run("compare", *line)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_broken_exam_question_says_so_before_anything_is_learned(
    run: Run, tmp_path: Path, home: Path
) -> None:
    record = json.loads((CHATS / "ana.jsonl").read_text("utf-8").splitlines()[0])
    record["qa_test"][2]["answer"] = 8
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record), "utf-8")
    result = run("compare", str(path), *QUICK)
    assert (result.exit_code, result.stdout) == (65, "")
    assert f"{path}, line 1: the `answer` of `qa_test[2]`" in result.stderr
    assert not home.exists()


def test_chats_without_recorded_questions_say_so_before_anything_is_learned(
    run: Run, tmp_path: Path
) -> None:
    record = json.loads((CHATS / "ana.jsonl").read_text("utf-8").splitlines()[0])
    for field in ("facts", "qa_train"):
        del record[field]
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record), "utf-8")
    result = run("compare", str(path), *QUICK)
    assert result.exit_code == 2
    assert "--questions statements" in result.stderr
