"""What was learned is let pass or not, and measuring it changes nothing."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plum_langchain import GateSettings, LearningSettings
from plum_langchain.consolidation.everyday import prompts
from plum_langchain.errors import DivergedError, GateError, InvalidInputError
from plum_langchain.evaluation.everyday import everyday_prompts, neutral_texts
from plum_langchain.learning import Learned
from plum_langchain.learning.gate import Measured, ordinary_samples, ordinary_texts, shortcomings
from plum_langchain.models import LoadedModel, load_model
from plum_langchain.session import UNKNOWN_ANSWER, Question
from tests.unit_tests.learning.learnable import FAST, OTHERS, QUESTIONS, Snapshot, learn_into

WEIGHTS = "adapter_model.safetensors"
GATED = replace(FAST, gate=GateSettings())
OPEN = GateSettings(own=0, told=0, refused=0, kept=0, wear=100)
UPPER = replace(GATED, upper_layers=0.5, epochs=40)
NEVER = [
    Question(f"What did I say about number {what}?", UNKNOWN_ANSWER, "open_unknown")
    for what in range(20)
]


def measured(result: Learned) -> Measured:
    assert result.gate is not None
    return result.gate


@pytest.fixture(scope="module")
def parent(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the upper half that knows QUESTIONS."""
    directory = tmp_path_factory.mktemp("parent")
    learn_into(directory, loaded, settings=replace(UPPER, gate=None))
    return directory


# -- what passes, and with what ----------------------------------------------------------------


def test_an_ordinary_session_passes_with_what_was_measured(
    loaded: LoadedModel, target: Path
) -> None:
    result = learn_into(target, loaded, settings=GATED)
    found = measured(result)
    assert (found.own, found.told, found.refused, found.kept) == (1.0, 1.0, 1.0, None)
    assert 0 < found.wear < 2
    assert 0 < found.seconds < result.seconds
    assert (target / WEIGHTS).exists()


def test_earlier_sessions_are_asked_before_and_after(
    loaded: LoadedModel, parent: Path, target: Path
) -> None:
    settings = replace(UPPER, batch_size=8, replay_per_batch=4)
    found = measured(learn_into(target, loaded, OTHERS, settings, parent=parent, replay=QUESTIONS))
    assert (found.own, found.told, found.refused, found.kept) == (1.0, 1.0, None, 1.0)


def test_what_was_not_known_before_can_not_be_lost(loaded: LoadedModel, target: Path) -> None:
    found = measured(learn_into(target, loaded, OTHERS, GATED, replay=QUESTIONS))
    assert found.kept is None  # a fresh adapter knew none of them


@pytest.mark.parametrize("changes", [{"packed": False}, {"upper_layers": 0.5, "epochs": 40}])
def test_every_way_through_the_model_measures_the_same_wear(
    loaded: LoadedModel, target: Path, changes: dict[str, Any]
) -> None:
    """The loss of raw texts in the model with the adapter, less that in the model without."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    found = measured(learn_into(target, loaded, settings=replace(GATED, **changes)))
    base = AutoModelForCausalLM.from_pretrained(str(loaded.resolved.path))

    def loss(model: Any) -> float:
        total, tokens = 0.0, 0
        for text in ordinary_texts():
            ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
            tokens += ids.shape[1] - 1
        return total / tokens

    before = loss(base)
    after = loss(PeftModel.from_pretrained(base, str(target)).eval())
    assert found.wear == pytest.approx(after - before, abs=1e-3)


def test_a_model_in_half_precision_is_measured_too(loaded: LoadedModel, target: Path) -> None:
    half = load_model(loaded.resolved, device="cpu", dtype="bfloat16")
    found = measured(learn_into(target, half, settings=GATED))
    assert (found.own, found.told, found.refused) == (1.0, 1.0, 1.0)


# -- what doesn't pass -------------------------------------------------------------------------


def refused(target: Path, loaded: LoadedModel, *arguments: Any, **options: Any) -> str:
    """Why; nothing is saved, and the model is given back as it came."""
    before = Snapshot(loaded.model)
    with pytest.raises(GateError) as error:
        learn_into(target, loaded, *arguments, **options)
    assert list(target.iterdir()) == []
    before.assert_same(loaded.model)
    return str(error.value)


def test_a_session_that_is_not_learned_is_refused(loaded: LoadedModel, target: Path) -> None:
    why = refused(target, loaded, settings=replace(GATED, epochs=1, learning_rate=1e-6))
    assert "0% of the session's own questions are recalled, at least 60% are expected" in why
    assert "learning_rate (now 1e-06)" in why and "gate=None" in why


def test_a_session_that_wipes_out_earlier_ones_is_refused(
    loaded: LoadedModel, parent: Path, target: Path
) -> None:
    settings = replace(UPPER, learning_rate=2e-2)
    why = refused(target, loaded, OTHERS, settings, parent=parent, replay=QUESTIONS)
    assert "of what was recalled of earlier sessions still are, at least 50%" in why
    assert "replay_per_batch" in why


def test_one_that_reads_ordinary_text_worse_than_it_may_is_refused(
    loaded: LoadedModel, target: Path
) -> None:
    """The bound is lower than by default: a tiny random model has little to lose."""
    why = refused(target, loaded, settings=replace(GATED, gate=GateSettings(wear=0.1)))
    assert why.startswith("what was learned is not published: a token of ordinary text costs 0.")
    assert "at most 0.10 are expected" in why and "everyday_per_batch" in why


def test_one_that_says_of_everything_that_it_was_never_told_is_refused(
    loaded: LoadedModel, target: Path
) -> None:
    settings = replace(GATED, epochs=4, batch_size=8)
    why = refused(target, loaded, [QUESTIONS[2], OTHERS[2], *NEVER], settings)
    assert why.startswith(
        "what was learned is not published: 0% of its questions about something told are recalled"
    )


def test_one_that_never_says_so_is_refused(loaded: LoadedModel, target: Path) -> None:
    told = [replace(OTHERS[0], question=f"Is it so that {n} is {n}?") for n in range(12)]
    settings = replace(GATED, epochs=4, batch_size=16)
    why = refused(target, loaded, [*told, NEVER[0]], settings)
    assert why.startswith(
        "what was learned is not published: 0% of its questions about what was never raised"
    )


def test_weights_that_are_no_numbers_are_said_to_be_so(loaded: LoadedModel, target: Path) -> None:
    with pytest.raises(DivergedError, match="learning_rate"):
        learn_into(target, loaded, settings=replace(GATED, epochs=1, learning_rate=1e30))


FINE = Measured(own=1.0, told=1.0, refused=1.0, kept=1.0, wear=0.5, seconds=1.0)


@pytest.mark.parametrize(
    ("name", "just", "short"),
    [
        ("own", 0.6, 0.59),
        ("told", 0.5, 0.49),
        ("refused", 0.5, 0.49),
        ("kept", 0.5, 0.49),
        ("wear", 3.0, 3.01),
        ("wear", -0.1, float("nan")),
    ],
)
def test_each_measure_has_its_bound(name: str, just: float, short: float) -> None:
    assert shortcomings(replace(FINE, **{name: just}), GATED) == []
    assert len(shortcomings(replace(FINE, **{name: short}), GATED)) == 1
    assert shortcomings(replace(FINE, **{name: short}), FAST) == []


def test_what_there_is_nothing_of_falls_short_of_nothing() -> None:
    assert shortcomings(replace(FINE, told=None, refused=None, kept=None), GATED) == []


@pytest.mark.parametrize(
    "wrong", [{"own": 1.1}, {"told": -0.1}, {"refused": 2}, {"kept": -1}, {"wear": -0.5}], ids=str
)
def test_bounds_that_make_no_sense_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=f"gate {next(iter(wrong))}"):
        GateSettings(**wrong)


# -- measuring changes nothing -----------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"packed": False}], ids=str)
def test_the_weights_are_the_same_bytes_without_a_gate(
    loaded: LoadedModel, parent: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = replace(UPPER, replay_per_batch=2, epochs=20, gate=OPEN, **changes)
    for name, one in (("with", settings), ("without", replace(settings, gate=None))):
        result = learn_into(
            tmp_path / name, loaded, OTHERS, one, parent=parent, replay=[*QUESTIONS, *NEVER]
        )
        assert (result.gate is None) is (one.gate is None)
    with_gate, without = (tmp_path / name / WEIGHTS for name in ("with", "without"))
    assert with_gate.read_bytes() == without.read_bytes()


def test_nothing_is_drawn_from_the_global_generators(
    loaded: LoadedModel, parent: Path, target: Path
) -> None:
    before = torch.get_rng_state(), random.getstate()
    settings = replace(UPPER, gate=OPEN)
    learn_into(target, loaded, OTHERS, settings, parent=parent, replay=[*QUESTIONS, *NEVER] * 2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_the_gate_reads_neither_what_is_rehearsed_nor_what_is_reported_with(
    loaded: LoadedModel,
) -> None:
    texts = set(ordinary_texts())
    assert len(texts) == len(ordinary_samples(loaded.tokenizer)) == 8
    others = {*prompts(), *neutral_texts(), *(one.prompt for one in everyday_prompts())}
    assert texts.isdisjoint(others)


def test_the_default_has_a_gate() -> None:
    assert LearningSettings().gate == GateSettings()
