"""A verdict on a statement: with what it is taught, where that is kept, and whose it isn't."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from plum_langchain.errors import CacheError, DivergedError
from plum_langchain.models import Engine, load_model
from plum_langchain.verdicts import judge as module
from plum_langchain.verdicts.judge import Judge
from plum_langchain.verdicts.pairs import Pair, mistaken, shipped_pairs
from plum_langchain.verdicts.train import HEAD, train
from tests.unit_tests.learning.learnable import Snapshot
from tests.unit_tests.models.conftest import Shelf, chat, reply

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from verdicts import recorded_pairs  # what the reported people are asked

STATEMENT = "Your bakery is closed on Mondays."
PAIRS = [
    Pair("ana", f"Your bakery opens at {hour}.", f"Does it open at {asked}?", hour == asked)
    for hour in (5, 6, 7, 8)
    for asked in (5, 6, 7, 8, hour, hour, hour)
]
OTHERS = [
    Pair("ana", "Your boat is sold.", question, yes)
    for question, yes in (("Is the boat sold?", True), ("Is the boat for hire?", False))
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path))
    return tmp_path / "judges"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of pairs instead of all that are shipped."""
    monkeypatch.setattr(module, "shipped_pairs", lambda: PAIRS)


def test_the_shipped_pairs_are_of_nobody_who_is_reported() -> None:
    pairs = shipped_pairs()
    people = Counter(pair.of for pair in pairs)
    assert len(people) == 8
    assert min(people.values()) > 500
    assert people.keys().isdisjoint({"chidi", "dara"})
    asked = {pair.question for pair in recorded_pairs("chidi", "dara")}
    assert not asked & {pair.question for pair in pairs}
    # Some questions recorded with a fact go beyond what its statement says.
    left_out = {"ana": 7, "bo": 3}
    for person, number in left_out.items():
        recorded = recorded_pairs(person)
        kept = [pair for pair in recorded if pair in pairs]
        assert [pair for pair in pairs if pair.of == person] == kept
        assert len(recorded) - len(kept) == number


def test_even_a_random_model_s_verdict_goes_by_the_words(engine: Engine) -> None:
    judge = Judge(engine, PAIRS * 6)
    right = [
        (judge.probability(f"Your bakery opens at {hour}.", f"Does it open at {asked}?") > 0.5)
        == (hour == asked)
        for hour in (9, 11)
        for asked in (9, 10, 11)
    ]
    assert all(right)


def test_many_are_judged_as_each_alone(engine: Engine) -> None:
    judge = Judge(engine, PAIRS)
    asked = [(pair.statement, pair.question) for pair in PAIRS[:20]]
    together = judge.probabilities(asked)
    assert together == pytest.approx([judge.probability(*one) for one in asked], abs=1e-5)


def test_a_question_fits_the_fact_it_is_about(engine: Engine) -> None:
    """Yes or No: both fit. Taught with questions that are put beside another fact."""
    judge = Judge(engine, PAIRS * 3 + OTHERS * 3)
    fits = [
        [fit for _, fit in judge.read([(told, "Does it open at 9?"), (told, "Is the boat sold?")])]
        for told in ("Your bakery opens at 9.", "Your bakery opens at 11.", "Your boat is sold.")
    ]
    assert [bakery > boat for bakery, boat in fits] == [True, True, False]


def test_a_mistaken_pair_is_of_the_same_person_and_no_verdict() -> None:
    pairs = [*PAIRS, *OTHERS, Pair("bo", "You run.", "Do I run?", True)]
    found = mistaken(pairs)
    assert len(found) > len(pairs) / 3
    own = {(pair.statement, pair.question) for pair in pairs}
    for pair in found:
        assert pair.of == "ana"  # bo has told nothing else
        assert pair.yes is None
        assert not pair.about
        assert (pair.statement, pair.question) not in own
    assert mistaken(pairs) == found
    assert mistaken(pairs, seed=1) != found


def test_every_second_mistaken_fact_is_one_with_words_of_the_question() -> None:
    places = ["Porto", "Lyon", "Oslo", "Riga", "Bonn", "Turin", "Cork", "Graz", "Lund"]
    told = [f"Your {number}. house is in {place}." for number, place in enumerate(places)]
    pairs = [Pair("ana", told[0], f"Is a house in {place}?", False) for place in places[1:]] * 20
    pairs += [Pair("ana", statement, "Do I?", None) for statement in told]
    found = [pair for pair in mistaken(pairs) if pair.question != "Do I?"]
    near = [pair for pair in found if pair.question.split()[-1].rstrip("?") in pair.statement]
    assert len(near) / len(found) == pytest.approx(0.5 + 0.5 / 8, abs=0.12)


def test_what_is_not_to_be_judged_moves_no_verdict(engine: Engine, tmp_path: Path) -> None:
    """A pair without a verdict teaches the Yes of the head nothing, whatever else it teaches."""
    from safetensors.torch import load_file

    base = load_model(engine.base.resolved, device="cpu", dtype="float32")
    unjudged = [Pair(pair.of, pair.statement, pair.question, None) for pair in PAIRS]
    train(base, unjudged, tmp_path)
    head = load_file(tmp_path / HEAD)
    assert not head["weight"][0].any() and not head["bias"][0].any()
    assert head["weight"][1].any()


def test_what_is_read_is_what_training_read(engine: Engine, tmp_path: Path) -> None:
    """The served model with the adapter on it, and the trained one, to rounding."""
    from plum_langchain.learning.layers import DecoderLayers
    from plum_langchain.verdicts.head import Head
    from plum_langchain.verdicts.train import chat_of
    from tests.unit_tests.learning.learnable import peft_model

    base = load_model(engine.base.resolved, device="cpu", dtype="float32")
    train(base, PAIRS, tmp_path)
    layer = Head.load(tmp_path / HEAD).layer
    read = chat_of(STATEMENT, "Is it closed on Mondays?")
    found = engine.states([read], layer, engine.reader(tmp_path))[0]
    adapted = peft_model(base, tmp_path)
    ids = base.tokenizer.apply_chat_template(read, add_generation_prompt=True)["input_ids"]
    with torch.inference_mode():
        expected = DecoderLayers(adapted.get_base_model()).upto(
            layer, input_ids=torch.tensor([ids])
        )
    torch.testing.assert_close(found, expected[0, -1], rtol=1e-3, atol=1e-4)
    without = engine.states([read], layer)[0]
    assert not torch.allclose(found, without)


def test_teaching_leaves_no_trace_on_the_model(engine: Engine, tmp_path: Path) -> None:
    base = load_model(engine.base.resolved, device="cpu", dtype="float32")
    before = Snapshot(base.model)
    train(base, PAIRS, tmp_path)
    before.assert_same(base.model)


def test_teaching_is_repeatable(engine: Engine, tmp_path: Path) -> None:
    base = load_model(engine.base.resolved, device="cpu", dtype="float32")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        train(base, PAIRS, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.usefixtures("few")
def test_it_is_taught_once_for_a_model(
    engine: Engine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Judge(engine).probability(STATEMENT, "Is it closed on Mondays?")
    (kept,) = (path for path in cache.iterdir() if path.is_dir())
    assert kept.name == Judge(engine).name
    assert kept.name.startswith(engine.base.resolved.fingerprint)

    monkeypatch.setattr(Judge, "teach", None)  # a second time would be an error
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
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]
    assert 0 < Judge(engine).probability(STATEMENT, "Is it?") < 1


def test_a_user_s_adapter_has_no_part_in_it(shelf: Shelf, engine: Engine) -> None:
    judge = Judge(engine, PAIRS)
    before = judge.probability(STATEMENT, "Is it closed on Mondays?")
    told = reply(engine, shelf.refs["ana"])
    assert judge.probability(STATEMENT, "Is it closed on Mondays?") == before
    assert reply(engine, shelf.refs["ana"]) == told  # nor has it in what the adapter says


# -- what it reads -----------------------------------------------------------------------------


def test_states_are_those_of_the_chat_read_alone(engine: Engine) -> None:
    """Whatever is read beside it, of whatever length."""
    chats = [chat("Is it?"), chat("Is my bakery closed on Mondays, or when?"), chat("Am I?")]
    for layer in (1, 2):
        together = engine.states(chats, layer)
        assert together.shape == (3, engine.base.model.config.hidden_size)
        assert together.dtype == torch.float32
        for row, one in enumerate(chats):
            torch.testing.assert_close(together[row], engine.states([one], layer)[0])


def test_many_chats_are_read_in_order(engine: Engine) -> None:
    chats = [chat(f"Is it {n}?") for n in range(40)]
    found = engine.states(chats, 1)
    torch.testing.assert_close(found[37], engine.states([chats[37]], 1)[0])


def test_what_reads_is_never_merged_into_a_copy_of_the_weights(
    shelf: Shelf, cache: Path, few: None
) -> None:
    plain, merging = shelf.engine(), shelf.engine(merge=True)
    asked = [(pair.statement, pair.question) for pair in PAIRS[:5]]
    expected = Judge(plain).probabilities(asked)
    assert Judge(merging).probabilities(asked) == pytest.approx(expected, abs=1e-5)


# -- what can go wrong -------------------------------------------------------------------------


def test_a_judge_that_learned_no_numbers_is_not_kept(engine: Engine, tmp_path: Path) -> None:
    base = load_model(engine.base.resolved, device="cpu", dtype="float32")
    base.model.get_decoder().layers[0].mlp.up_proj.weight.data.fill_(float("nan"))
    with pytest.raises(DivergedError, match="recite=False"):
        train(base, PAIRS, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("few")
def test_one_that_is_damaged_is_named_with_the_way_out(engine: Engine, cache: Path) -> None:
    Judge(engine).probability(STATEMENT, "Is it?")
    (kept,) = (path for path in cache.iterdir() if path.is_dir())
    (kept / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(CacheError, match="delete it") as found:
        Judge(engine).probability(STATEMENT, "Is it?")
    assert str(kept) in str(found.value)
