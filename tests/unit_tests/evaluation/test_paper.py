"""The paper's experiments as data, their file of results, and the table beside the paper's."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import BrokenRecordError, BusyError, InvalidInputError
from plum_langchain.evaluation.paper import (
    BASE,
    EXPERIMENTS,
    PAPER,
    Results,
    Setup,
    check_people,
    choose,
    why_not,
)
from plum_langchain.evaluation.paper.report import estimate, to_list, to_markdown
from tests.unit_tests.evaluation.paper import people

# -- the experiments as data --------------------------------------------------------------------


def test_the_papers_settings_are_the_papers() -> None:
    """arXiv 2411.13405; the learning rate is ours, and so is the replay, which experiments lack."""
    assert (PAPER.rank, PAPER.alpha, PAPER.target_modules) == (16, 64, "all-linear")
    assert (PAPER.batch_size, PAPER.epochs, PAPER.patience, PAPER.upper_layers) == (8, 10, None, 1)
    assert (PAPER.answer_weight, PAPER.question_weight, PAPER.frame_weight) == (10, 10, 1)
    assert not PAPER.recite and not PAPER.rewordings and not PAPER.everyday_per_batch
    assert PAPER.system_prompt and PAPER.final_learning_rate == 1  # the rate stays
    assert BASE.replay_per_batch == 0 and replace(BASE, replay_per_batch=2) == PAPER


LOSS = {
    "ce": (1, True),
    "ce-no-system": (1, False),
    "plum-no-system": (10, False),
    **{f"lambda-{value}": (value, True) for value in (2, 5, 15, 20)},
}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_an_experiment_changes_the_settings_it_names_and_no_others(experiment: Any) -> None:
    wanted: dict[str, Any] = {}
    factor, prompted = LOSS.get(experiment.name, (10, True))
    if factor != 10:
        wanted |= {"answer_weight": factor, "question_weight": factor}
    if not prompted:
        wanted |= {"system_prompt": None}
    if experiment.name.startswith("epochs-"):
        wanted |= {"epochs": int(experiment.name.removeprefix("epochs-"))}
    if experiment.name in ("replay", "stream"):
        wanted |= {"replay_per_batch": 2}
    base, got = asdict(BASE), asdict(experiment.settings())
    assert {name: got[name] for name in got if got[name] != base[name]} == wanted
    assert experiment.settings(replace(BASE, seed=7)).seed == 7
    changes = [wanted, experiment.questions != "none", experiment.order == "mixed"]
    assert sum(map(bool, changes)) <= 1  # one at a time
    if experiment.order == "stream":
        assert experiment.questions == "none" and set(wanted) <= {"replay_per_batch"}


def test_the_papers_numbers_are_those_it_reports_and_no_others() -> None:
    reported = {e.name: e.paper for e in EXPERIMENTS if e.paper is not None}
    assert reported == {
        "zero-shot": 50.0,
        "rag": 86.5,
        "context": 89.5,
        "plum": 81.5,
        "plum-no-system": 75.0,
        "ce": 41.0,
        "ce-no-system": 17.0,
    }
    said = {e.name: e.says for e in EXPERIMENTS if e.says}
    assert said["epochs-20"] == "incoherent text"
    assert "no sign of forgetting" in said["stream-no-replay"]
    assert "stream" not in said and "replay" not in said  # the paper replays nothing


def test_experiments_are_chosen_by_name_and_by_group() -> None:
    assert choose() == EXPERIMENTS
    assert len({e.name for e in EXPERIMENTS}) == len(EXPERIMENTS)
    names = [e.name for e in choose(["context", "lambda"])]
    assert names == ["context", "plum", "ce", "lambda-2", "lambda-5", "lambda-15", "lambda-20"]
    epochs = [e.settings().epochs for e in choose(["epochs"])]
    assert sorted(str(n) for n in epochs) == sorted(["1", "5", "10", "15", "20"])
    with pytest.raises(InvalidInputError, match=r"'lamda' is no experiment.*groups are baselines"):
        choose(["lamda", "plum"])


def test_what_an_experiment_takes_is_told() -> None:
    exams = people(2)
    takes = {e.name: (e.trainings(exams), e.session_epochs(exams)) for e in EXPERIMENTS}
    assert takes["zero-shot"] == takes["rag"] == (0, 0)
    assert takes["plum"] == (4, 40) and takes["epochs-20"] == (4, 80)
    assert takes["mixed"] == (2, 40) and takes["stream"] == (4, 40)
    columns, rows = to_list(choose(["loss"]), exams, {"ce": True})
    shown = {str(row[0]): dict(zip(columns, row, strict=True)) for row in rows}
    assert shown["plum-no-system"]["paper"] == "75.0%"
    assert [name for name, row in shown.items() if row[""] == "done"] == ["ce"]
    told = estimate(choose(["loss"]), exams, {"ce": True}, 50)
    assert "3 of 4 experiments with 12 trainings" in told and "120 times" in told
    assert "12 s" in told and "0.4 hours" in told


def test_what_cannot_be_run_is_refused_beforehand() -> None:
    one = people(1)[:1]
    with pytest.raises(InvalidInputError, match=r"'negatives-unrelated'.*two people"):
        check_people(EXPERIMENTS, one)
    with pytest.raises(InvalidInputError, match=r"'stream'.*needs two"):
        check_people(choose(["stream"]), one)
    check_people(choose(["loss", "mixed"]), one)
    check_people(EXPERIMENTS, people(1))
    names = [e.name for e in EXPERIMENTS if why_not(e, one)]
    assert names == ["negatives-unrelated", "stream", "stream-no-replay"]


# -- the file and the table ---------------------------------------------------------------------


def test_a_line_that_was_not_written_to_its_end_is_cut_off(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    Results(out).add({"kind": "result", "run": "a", "found": 1})
    with out.open("a") as file:
        file.write('{"kind": "result", "run": "b", "fou')
    results = Results(out)
    assert results.result("a") and results.result("b") is None
    results.add({"kind": "result", "run": "b", "found": 2})
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["run"], r["found"]) for r in records] == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("torn", ["{", '{"kind": "result", "run": "a", "fou'])
def test_a_first_line_that_was_not_written_to_its_end_is_cut_off(tmp_path: Path, torn: str) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text(torn)
    results = Results(out)
    assert results.result("a") is None and out.read_text() == torn  # reading changes nothing
    for run in ("a", "b"):
        results.add({"kind": "result", "run": run})
    assert [json.loads(line)["run"] for line in out.read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize("torn", ["", '{"kind": "result", "ru'])
def test_what_another_process_wrote_is_not_written_over(tmp_path: Path, torn: str) -> None:
    out = tmp_path / "out.jsonl"
    Results(out).add({"kind": "result", "run": "a"})
    with out.open("a") as file:
        file.write(torn)
    ours, theirs = Results(out), Results(out)
    theirs.add({"kind": "result", "run": "b", "found": "in hours"})
    written = out.read_bytes()
    with pytest.raises(BusyError, match=r"another one has changed it.*start this one again"):
        ours.add({"kind": "result", "run": "c"})
    assert out.read_bytes() == written
    theirs.add({"kind": "result", "run": "d"})
    assert [json.loads(line)["run"] for line in out.read_text().splitlines()] == ["a", "b", "d"]


@pytest.mark.skipif(sys.platform == "win32", reason="files can't be locked")
def test_one_process_at_a_time_may_run(tmp_path: Path) -> None:
    ours, theirs = Results(tmp_path / "out.jsonl"), Results(tmp_path / "out.jsonl")
    with ours.alone():
        with pytest.raises(BusyError, match=r"written by another process.*name another file"):
            with theirs.alone():
                raise AssertionError("two at once")
        ours.add({"kind": "result", "run": "a"})
    with theirs.alone():
        pass


@pytest.mark.parametrize("text", ["no JSON at all", "no JSON\n", '{"user": "ana"}\n', "[]\n"])
def test_another_file_is_not_taken_for_results(tmp_path: Path, text: str) -> None:
    out = tmp_path / "mine.jsonl"
    out.write_text(text)
    with pytest.raises(BrokenRecordError, match=r"line 1: this is no result.*name another file"):
        Results(out)
    assert out.read_text() == text


def test_the_table_has_the_papers_number_beside_ours(set_up: Callable[..., Setup]) -> None:
    setup = set_up()
    summary = {
        "balanced_accuracy": 0.66, "ci95": (0.5, 0.81), "yes": 0.75, "no_adjacent": 1.0,
        "no_same_slot": 0.12, "open": None, "n": 20,
    }  # fmt: skip
    record = {
        "summary": summary,
        "said_right": 0.43,
        "neutral_loss": 3.4561,
        "people": {"ana": 1, "bo": 1},
        "trainings": 2,
        "sessions": [
            {"user": "ana", "state": "learned", "recalled": 0.985, "seconds": 241.6, "steps": 130},
            {"user": "bo", "state": "failed", "recalled": None, "seconds": 0.1, "steps": None},
        ],
        "machine": {"processor": "EPYC", "cores": 2},
    }
    text = to_markdown(choose(["loss", "epochs-20"]), setup, {"ce": record})
    header, _, *rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    table = {
        row[1].strip(): {name.strip(): cell.strip() for name, cell in zip(header, row, strict=True)}
        for row in rows
    }
    assert [*table] == ["plum", "plum-no-system", "ce", "ce-no-system", "epochs-20"]
    papers = {name: row["paper"] for name, row in table.items()}
    assert (
        papers["plum"] == "81.5%" and papers["ce"] == "41.0%" and papers["ce-no-system"] == "17.0%"
    )
    assert papers["epochs-20"] == "incoherent text"
    assert table["plum"]["ours, as said"] == "not run" and table["plum"]["ours, scored"] == "-"
    ours = table["ce"]
    assert (ours["ours, as said"], ours["ours, scored"], ours["95% interval"]) == (
        "43%", "66%", "50%-81%",
    )  # fmt: skip
    assert (ours["yes"], ours["no, same slot"], ours["open"]) == ("75%", "12%", "-")
    assert (ours["loss of neutral text"], ours["own questions recalled"]) == ("3.456", "0.98")
    assert (ours["sessions learned"], ours["s a session"]) == ("1 of 2", "242")
    assert ours["steps a session"] == "130"
    assert "ana (1 sessions), bo (1 sessions)" in text and "EPYC (2 cores)" in text
    assert "at most 4 a session" in text and "seed 0" in text
