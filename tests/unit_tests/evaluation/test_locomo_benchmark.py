"""The LoCoMo benchmark's command line: refused before hours pass, and nothing found is lost."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import InvalidInputError
from plum_langchain.evaluation import Comparison, Exam, compare
from tests.unit_tests.evaluation.test_locomo import dialogue, write

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import locomo as benchmark


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The benchmark with these arguments."""

    def with_arguments(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["locomo.py", *map(str, arguments)])
        return benchmark.main()

    return with_arguments


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / name, dialogue()) for name in ("26.json", "30.json", "41.json")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.json"], "nowhere.json can't be read"),
        (["26.json", "--speaker", "Zoe"], "nobody is called 'Zoe'"),
        (["26.json", "--max-questions", "1"], "max_questions must be at least 2"),
        (["26.json", "--json", "missing/out.json"], "there is no directory missing; make it"),
        (["26.json", "--json", "."], "can't be written"),
        (["26.json", "--questions", "statements", "--voice", "benchmark"], "use --voice user"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    run: Callable[..., int],
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(files[0].parent)
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    found = capsys.readouterr()
    assert said in found.err and not found.out


@pytest.mark.parametrize(
    ("error", "measured"),
    [
        (InvalidInputError("26:Ines is too long; leave it out"), ["26:Ines", "41:Ines"]),
        (MemoryError(), ["26:Ines"]),
        (KeyboardInterrupt(), ["26:Ines"]),
    ],
)
def test_a_dialogue_that_fails_takes_nothing_of_the_others(
    run: Callable[..., int],
    files: list[Path],
    open_plum: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    measured: list[str],
) -> None:
    plum = open_plum()

    def measure(exam: Exam, _: object) -> Comparison:
        if exam.user_id == "30:Ines":
            raise error
        return compare(plum, [exam], arms=["floor"])

    monkeypatch.setattr(benchmark, "_run", measure)
    out = files[0].parent / "out" / "found.json"
    out.parent.mkdir()
    if isinstance(error, InvalidInputError):
        assert run(*files, "--json", out) == 1
    else:
        with pytest.raises(type(error)):
            run(*files, "--json", out)
    found = capsys.readouterr()
    table = [line for line in found.out.splitlines() if line.startswith("|")]
    assert len(table) == 3 and f"all (n={6 * len(measured)})" in table[0]
    assert [one["user"] for one in json.loads(out.read_text())["dialogues"]] == measured
    if isinstance(error, InvalidInputError):
        assert f"30:Ines could not be measured: {error}" in found.err


def test_the_table_says_what_each_memory_was_told(
    run: Callable[..., int],
    files: list[Path],
    open_plum: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure(exam: Exam, arguments: Any) -> Comparison:
        return compare(open_plum(arguments.questions), [exam], arms=["floor"])

    monkeypatch.setattr(benchmark, "_run", measure)
    assert run(files[0]) == 0
    assert "voice: benchmark" in (told := capsys.readouterr().out)
    assert "begins with its speaker's name" in told and "date of its session behind it" in told
    assert run(files[0], "--questions", "statements") == 0
    assert "voice: user" in (told := capsys.readouterr().out)
    assert "neither says who that is" in told and "and no dates" in told
