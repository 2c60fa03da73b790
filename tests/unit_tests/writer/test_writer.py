"""A writer: what it is taught, what it writes, and which of it is kept."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from plum_langchain.models import Engine, load_model
from plum_langchain.questions.maker import Wanted, Wish
from plum_langchain.verdicts import Judge
from plum_langchain.writer import Writer
from plum_langchain.writer import writer as module
from plum_langchain.writer.examples import Written, shipped_examples
from plum_langchain.writer.train import train
from tests.unit_tests.learning.learnable import Snapshot
from tests.unit_tests.models.conftest import Shelf, reply

OPENS = "Your bakery opens at 7."
SOLD = "Your boat is sold."
ASKED: dict[tuple[str, Wanted], str] = {
    (OPENS, "yes"): "Does it open at 7?",
    (OPENS, "no"): "Does it open at 9?",
    (OPENS, "open"): "When does it open?",
    (SOLD, "yes"): "Is the boat sold?",
    (SOLD, "open"): "Where is the boat",
}
EXAMPLES = [
    Written("ana", statement, wanted, question)
    for (statement, wanted), question in ASKED.items()
    for _ in range(48)
]
WISHES = [Wish(statement, wanted) for statement, wanted in ASKED]


class Opinion:
    """A judge that holds what it is told to."""

    def __init__(self, yes: dict[str, float], fits: dict[str, float] | None = None) -> None:
        self.yes, self.fits = yes, fits or {}
        self.asked: list[tuple[str, str]] = []

    def read(
        self, asked: Sequence[tuple[str, str]], *, should_stop: Callable[[], bool] | None = None
    ) -> list[tuple[float, float]]:
        assert asked, "a judge can't read nothing"
        self.asked += asked
        return [(self.yes.get(q, 1.0), self.fits.get(q, 1.0)) for _, q in asked]


def writer(engine: Engine, opinion: Opinion) -> Writer:
    return Writer(engine, cast(Judge, opinion))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def quick(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taught once, at a rate at which a tiny model learns five questions by heart."""
    from dataclasses import replace

    from plum_langchain.writer import train as taught

    monkeypatch.setattr(
        taught, "_SETTINGS", replace(taught._SETTINGS, learning_rate=2e-2, epochs=12)
    )
    monkeypatch.setattr(module, "shipped_examples", lambda: EXAMPLES)
    monkeypatch.setenv("PLUM_CACHE", str(cache))


def test_it_writes_as_it_was_taught_and_keeps_what_is_judged_so(engine: Engine) -> None:
    opinion = Opinion({"Does it open at 9?": 0.1})
    found = writer(engine, opinion).write(WISHES, seed=0)
    by_wish = dict(zip(ASKED, found, strict=True))
    for wish in ((OPENS, "yes"), (OPENS, "no"), (OPENS, "open"), (SOLD, "yes")):
        assert ASKED[wish] in by_wish[wish]
    assert by_wish[SOLD, "open"] == []  # no question: nothing asks at its end
    assert all(len(texts) == len(set(texts)) for texts in found)
    assert {statement for statement, _ in opinion.asked} == {OPENS, SOLD}


def test_a_model_that_writes_no_questions_gives_none(engine: Engine) -> None:
    mute = [Written("ana", SOLD, "open", "It is gone") for _ in range(240)]
    assert Writer(engine, cast(Judge, Opinion({})), mute).write([Wish(SOLD, "open")], seed=0) == [
        []
    ]


def test_what_does_not_fit_or_is_judged_otherwise_is_left_out(engine: Engine) -> None:
    taken = {"Does it open at 9?": 0.9, "Does it open at 7?": 0.2}
    opinion = Opinion(taken, fits={"Is the boat sold?": 0.4})
    found = dict(zip(ASKED, writer(engine, opinion).write(WISHES, seed=0), strict=True))
    assert "Does it open at 9?" not in found[OPENS, "no"]
    assert "Does it open at 7?" not in found[OPENS, "yes"]
    assert "Is the boat sold?" not in found[SOLD, "yes"]
    assert "When does it open?" in found[OPENS, "open"]  # whatever Yes there is to it


def test_the_same_seed_writes_the_same(engine: Engine) -> None:
    one = writer(engine, Opinion({}))
    assert one.write(WISHES, seed=3) == one.write(WISHES, seed=3)
    assert one.write([], seed=3) == []


def test_a_user_s_adapter_has_no_part_in_it(shelf: Shelf, engine: Engine) -> None:
    one = writer(engine, Opinion({}))
    before = one.write(WISHES, seed=0)
    told = reply(engine, shelf.refs["ana"])
    assert one.write(WISHES, seed=0) == before
    assert reply(engine, shelf.refs["ana"]) == told


def test_teaching_leaves_no_trace_and_names_the_model(engine: Engine, tmp_path: Path) -> None:
    base = load_model(engine.base.resolved, device="cpu", dtype="float32")
    before = Snapshot(base.model)
    train(base, EXAMPLES[:32], tmp_path)
    before.assert_same(base.model)
    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == base.resolved.id


def test_it_is_taught_once_for_a_model(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path))
    first = Writer(engine, cast(Any, Opinion({}))).write(WISHES, seed=0)
    (kept,) = (path for path in (tmp_path / "writers").iterdir() if path.is_dir())
    assert kept.name.startswith(engine.base.resolved.fingerprint)
    monkeypatch.setattr(Writer, "teach", None)  # a second time would be an error
    assert Writer(engine, cast(Any, Opinion({}))).write(WISHES, seed=0) == first


def test_the_shipped_examples_are_of_nobody_who_is_reported() -> None:
    examples = shipped_examples()
    people = Counter(one.of for one in examples)
    assert len(people) == 8 and people.keys().isdisjoint({"chidi", "dara"})
    kinds = Counter(one.wanted for one in examples)
    assert min(kinds.values()) > 400
    assert {one.of for one in examples if one.wanted == "open"} == {"ana", "bo"}
    assert all(
        one.question.endswith("?") and one.statement.endswith((".", "!")) for one in examples
    )


def test_no_example_is_a_question_that_is_examined() -> None:
    chats = Path(__file__).parents[3] / "examples" / "chats"
    asked = {
        question["question"]
        for path in chats.glob("*.jsonl")
        for line in path.read_text("utf-8").splitlines()
        for question in json.loads(line)["qa_test"]
    }
    assert not asked & {one.question for one in shipped_examples()}
