"""A verdict on a statement: with what it is fitted, where that is kept, and whose it isn't."""

import sys
from pathlib import Path

import pytest
import torch

from plum_langchain.models import Engine
from plum_langchain.verdicts import judge as module
from plum_langchain.verdicts.judge import Judge, fitted
from plum_langchain.verdicts.pairs import Pair, shipped_pairs
from tests.unit_tests.models.conftest import Shelf, chat, reply

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from verdicts import pairs_of  # the script that writes them

STATEMENT = "Your bakery is closed on Mondays."
PAIRS = [
    Pair("ana", f"Your bakery opens at {hour}.", f"Does it open at {asked}?", hour == asked)
    for hour in (5, 6, 7, 8)
    for asked in (5, 6, 7, 8, hour, hour, hour)
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of pairs instead of all that are shipped."""
    monkeypatch.setattr(module, "shipped_pairs", lambda: PAIRS)


def test_the_shipped_pairs_are_those_of_the_examples() -> None:
    assert shipped_pairs() == pairs_of("ana", "bo")
    assert {pair.of for pair in shipped_pairs()}.isdisjoint({"chidi", "dara"})  # who is reported


def test_even_a_random_model_s_verdict_goes_by_the_words(engine: Engine) -> None:
    judge = Judge(engine, PAIRS)
    right = [
        (judge.probability(f"Your bakery opens at {hour}.", f"Does it open at {asked}?") > 0.5)
        == (hour == asked)
        for hour in (9, 11)
        for asked in (9, 10, 11)
    ]
    assert all(right)


@pytest.mark.usefixtures("few")
def test_it_is_fitted_once_for_a_model(
    engine: Engine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Judge(engine).probability(STATEMENT, "Is it closed on Mondays?")
    (kept,) = (cache / "verdicts").iterdir()
    assert kept.name == Judge(engine).name
    assert kept.name.startswith(engine.base.resolved.fingerprint)

    monkeypatch.setattr(module, "fitted", None)  # a second fit would be an error
    assert Judge(engine).probability(STATEMENT, "Is it closed on Mondays?") == before


@pytest.mark.usefixtures("few")
def test_nothing_half_written_is_ever_found(
    engine: Engine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("plum_langchain.verdicts.head.Head.save", full)
        with pytest.raises(OSError, match="No space"):
            Judge(engine).probability(STATEMENT, "Is it?")
    assert not list((cache / "verdicts").iterdir())
    assert 0 < Judge(engine).probability(STATEMENT, "Is it?") < 1


def test_an_adapter_has_no_part_in_it(shelf: Shelf, engine: Engine) -> None:
    judge = Judge(engine, PAIRS)
    before = judge.probability(STATEMENT, "Is it closed on Mondays?")
    reply(engine, shelf.refs["ana"])
    assert judge.probability(STATEMENT, "Is it closed on Mondays?") == before


def test_the_pairs_of_one_person_are_told_apart_by_statement(engine: Engine) -> None:
    assert 1 <= fitted(engine, PAIRS).layer <= 2


# -- what it reads -----------------------------------------------------------------------------


def test_states_are_those_of_the_chat_read_alone(engine: Engine) -> None:
    """Whatever is read beside it, of whatever length."""
    chats = [chat("Is it?"), chat("Is my bakery closed on Mondays, or when?"), chat("Am I?")]
    together = engine.states(chats, [1, 2])
    assert set(together) == {1, 2}
    for row, one in enumerate(chats):
        alone = engine.states([one], [1, 2])
        for layer in (1, 2):
            torch.testing.assert_close(together[layer][row], alone[layer][0])
    assert together[1].shape == (3, engine.base.model.config.hidden_size)
    assert together[1].dtype == torch.float32


def test_many_chats_are_read_in_order(engine: Engine) -> None:
    chats = [chat(f"Is it {n}?") for n in range(40)]
    found = engine.states(chats, [1])[1]
    torch.testing.assert_close(found[37], engine.states([chats[37]], [1])[1][0])
