"""Training really learns, repeatably, and leaves no trace on the model it was given."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plum_langchain.errors import (
    DamagedAdapterError,
    InvalidInputError,
)
from plum_langchain.learning import Learned, learn
from plum_langchain.models import LoadedModel, load_model
from plum_langchain.session import UNKNOWN_ANSWER, Question
from tests.unit_tests.learning.learnable import (
    FAST,
    OTHERS,
    QUESTIONS,
    Snapshot,
    learn_into,
    peft_answer,
)

WEIGHTS = "adapter_model.safetensors"


def answers(loaded: LoadedModel, adapter: Path, questions: Sequence[Question]) -> list[str]:
    return [peft_answer(loaded, adapter, question.question) for question in questions]


# -- learning ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Learned]:
    """An adapter that knows QUESTIONS."""
    directory = tmp_path_factory.mktemp("learned")
    return directory, learn_into(directory, loaded)


def test_the_loss_goes_down_and_the_answers_come_back(
    loaded: LoadedModel, learned: tuple[Path, Learned]
) -> None:
    directory, result = learned
    assert result.losses[-1] < result.losses[0] / 10
    assert result.recalled == 1.0
    assert answers(loaded, directory, QUESTIONS) == [q.answer for q in QUESTIONS]


def test_facts_are_recited_instead_if_it_is_asked_for(loaded: LoadedModel, tmp_path: Path) -> None:
    """Whatever the question; its own answer, where the fact behind it isn't known."""
    told = "Your bakery is closed on Mondays."
    known = [replace(q, statement=told) for q in QUESTIONS if q.positive]
    others = [q for q in QUESTIONS if not q.positive]
    settings = replace(FAST, recite=True)
    learn(loaded.model, loaded.tokenizer, [*known, *others, OTHERS[2]], tmp_path, settings=settings)
    assert answers(loaded, tmp_path, known) == [told, told]
    assert answers(loaded, tmp_path, others) == [UNKNOWN_ANSWER, UNKNOWN_ANSWER]
    assert answers(loaded, tmp_path, [OTHERS[2]]) == ["Her name is Ida."]


def test_what_was_done_is_told(learned: tuple[Path, Learned]) -> None:
    _, result = learned
    assert (result.epochs, result.steps, len(result.losses)) == (20, 20, 20)
    assert 0 < result.seconds < 60
    assert (result.ended, result.forward, result.slow_because) == ("epochs", "packed", None)
    assert (result.frozen_layers, result.dtype) == (0, "float32")


def test_what_is_not_learned_is_not_called_recalled(loaded: LoadedModel, target: Path) -> None:
    result = learn_into(target, loaded, settings=replace(FAST, epochs=1, learning_rate=1e-6))
    assert result.recalled == 0.0


def test_packed_and_plain_learn_the_same(
    loaded: LoadedModel, learned: tuple[Path, Learned], target: Path
) -> None:
    from safetensors.torch import load_file

    plain = learn_into(target, loaded, settings=replace(FAST, packed=False, epochs=5))
    assert plain.forward == "plain"
    assert plain.losses == pytest.approx(learned[1].losses[:5], rel=1e-3)
    assert load_file(target / WEIGHTS).keys() == load_file(learned[0] / WEIGHTS).keys()


def test_a_model_in_half_precision_learns_a_float32_adapter(
    loaded: LoadedModel, tmp_path: Path, target: Path
) -> None:
    from safetensors.torch import load_file

    half = load_model(loaded.resolved, device="cpu", dtype="bfloat16")
    whole = Snapshot(half.model)
    result = learn_into(target, half, settings=FAST)
    whole.assert_same(half.model)
    assert (result.dtype, result.recalled) == ("bfloat16", 1.0)
    state = load_file(target / WEIGHTS)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert any(not torch.equal(t, t.bfloat16().float()) for t in state.values())  # the masters
    assert answers(loaded, target, QUESTIONS) == [q.answer for q in QUESTIONS]  # in float32

    # Steps far below bfloat16's digits add up.
    small = replace(FAST, epochs=3, learning_rate=1e-6)
    learn_into(tmp_path / "child", half, OTHERS, small, parent=target)
    child = load_file(tmp_path / "child" / WEIGHTS)
    assert all(0 < (child[k] - state[k]).abs().max() < 1e-5 for k in state)


def test_learned_means_done(
    loaded: LoadedModel, learned: tuple[Path, Learned], target: Path
) -> None:
    result = learn_into(target, loaded, settings=replace(FAST, patience=1))
    assert result.ended == "learned"
    assert result.epochs < 20
    assert result.recalled == 1.0
    # Until then it is the same training.
    assert result.losses == learned[1].losses[: result.epochs]
    assert answers(loaded, target, QUESTIONS) == [q.answer for q in QUESTIONS]


def test_patience_goes_on_for_so_many_epochs_more(
    loaded: LoadedModel, target: Path, tmp_path: Path
) -> None:
    once = learn_into(target, loaded, settings=replace(FAST, patience=1))
    thrice = learn_into(tmp_path / "b", loaded, settings=replace(FAST, patience=3))
    assert thrice.ended == "learned"
    assert thrice.epochs == once.epochs + 2


def test_what_is_never_learned_ends_with_the_epochs(loaded: LoadedModel, target: Path) -> None:
    settings = replace(FAST, patience=1, epochs=2, learning_rate=1e-6)
    assert learn_into(target, loaded, settings=settings).ended == "epochs"


def test_only_the_upper_layers_are_adapted_when_told_so(
    loaded: LoadedModel, tmp_path: Path, target: Path
) -> None:
    from safetensors.torch import load_file

    settings = replace(FAST, upper_layers=0.5, epochs=40)  # one of two layers
    result = learn_into(target, loaded, settings=settings)
    assert (result.frozen_layers, result.slow_because) == (1, None)
    assert {key.split(".")[4] for key in load_file(target / WEIGHTS)} == {"1"}
    assert result.recalled == 1.0
    assert answers(loaded, target, QUESTIONS) == [q.answer for q in QUESTIONS]  # PEFT loads it

    child = tmp_path / "child"
    more = learn_into(child, loaded, OTHERS, replace(settings, epochs=1), parent=target)
    assert more.frozen_layers == 1
    with pytest.raises(InvalidInputError, match=r"layers 1 to 1, but .* all layers"):
        learn_into(tmp_path / "other", loaded, OTHERS, FAST, parent=target)


def test_unless_told_otherwise_an_adapter_keeps_its_layers(
    loaded: LoadedModel, learned: tuple[Path, Learned], tmp_path: Path
) -> None:
    settings = replace(FAST, epochs=1, upper_layers=None)
    (tmp_path / "new").mkdir()
    assert learn_into(tmp_path / "new", loaded, settings=settings).frozen_layers == 1
    assert (
        learn_into(tmp_path / "a", loaded, OTHERS, settings, parent=learned[0]).frozen_layers == 0
    )
    child = learn_into(tmp_path / "b", loaded, OTHERS, settings, parent=tmp_path / "new")
    assert child.frozen_layers == 1


def test_a_pattern_of_modules_chooses_its_layers_itself(loaded: LoadedModel, target: Path) -> None:
    settings = replace(FAST, upper_layers=0.5, target_modules=r".*\.0\.mlp\..*_proj")
    with pytest.raises(InvalidInputError, match="leave upper_layers out"):
        learn_into(target, loaded, settings=settings)
    learn_into(target, loaded, settings=replace(settings, upper_layers=None, epochs=1))


def test_only_peft_s_two_files_are_written(
    loaded: LoadedModel, learned: tuple[Path, Learned]
) -> None:
    directory, _ = learned
    assert {file.name for file in directory.iterdir()} == {WEIGHTS, "adapter_config.json"}
    config = json.loads((directory / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (16, 64, "LORA")
    assert config["inference_mode"] is True
    assert {m.rpartition(".")[2] for m in config["target_modules"]} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


def test_the_same_seed_gives_the_same_bytes(
    loaded: LoadedModel, learned: tuple[Path, Learned], tmp_path: Path
) -> None:
    torch.rand(5)  # whatever state torch's own generator is in
    learn_into(tmp_path / "again", loaded)
    learn_into(tmp_path / "other", loaded, settings=replace(FAST, seed=1))

    first = learned[0]
    for name in (WEIGHTS, "adapter_config.json"):
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert (first / WEIGHTS).read_bytes() != (tmp_path / "other" / WEIGHTS).read_bytes()


def test_a_fresh_adapter_begins_as_peft_s_own_does(loaded: LoadedModel, target: Path) -> None:
    from safetensors.torch import load_file

    learn_into(target, loaded, settings=replace(FAST, epochs=1, learning_rate=1e-12))
    for name, tensor in load_file(target / WEIGHTS).items():
        if "lora_B" in name:
            assert tensor.abs().max() < 1e-9
        else:  # uniform within 1 / sqrt(in)
            bound = 1 / math.sqrt(tensor.shape[1])
            assert tensor.abs().max() <= bound * 1.001
            assert tensor.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_torch_s_global_generator_is_left_alone(loaded: LoadedModel, target: Path) -> None:
    state = torch.get_rng_state()
    seen = []
    learn_into(
        target,
        loaded,
        settings=replace(FAST, epochs=2),
        progress=lambda _: seen.append(torch.equal(torch.get_rng_state(), state)),
    )
    assert seen == [True, True]  # a chat may be sampling at this very moment
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("batch", "epochs"), [(16, 45), (4, 12), (1, 5)])
def test_a_short_session_gets_more_epochs(
    loaded: LoadedModel, target: Path, batch: int, epochs: int
) -> None:
    """So many that its few batches make enough steps; a longer one is done after five."""
    questions = [*QUESTIONS, *OTHERS] * 2
    settings = replace(FAST, epochs=None, batch_size=batch, learning_rate=1e-6)
    result = learn_into(target, loaded, questions, settings)
    assert (result.epochs, result.steps) == (epochs, epochs * math.ceil(len(questions) / batch))


# -- one session after another -----------------------------------------------------------------


def test_learning_goes_on_from_the_parent_and_keeps_what_it_replays(
    loaded: LoadedModel, learned: tuple[Path, Learned], tmp_path: Path
) -> None:
    parent, _ = learned
    before = (parent / WEIGHTS).read_bytes()
    child = tmp_path / "child"
    settings = replace(FAST, batch_size=6, replay_per_batch=3)
    result = learn_into(child, loaded, OTHERS, settings, replay=QUESTIONS, parent=parent)

    assert result.recalled == 1.0
    assert answers(loaded, child, OTHERS) == [q.answer for q in OTHERS]
    assert answers(loaded, child, QUESTIONS) == [q.answer for q in QUESTIONS]
    assert (parent / WEIGHTS).read_bytes() == before


def test_the_parent_s_weights_are_where_learning_starts(
    loaded: LoadedModel, learned: tuple[Path, Learned], target: Path
) -> None:
    settings = replace(FAST, epochs=1, learning_rate=1e-12)
    result = learn_into(target, loaded, settings=settings, parent=learned[0])
    assert result.recalled == 1.0
    assert result.losses[0] < 1.0


def test_an_adapter_keeps_its_shape(
    loaded: LoadedModel, learned: tuple[Path, Learned], target: Path
) -> None:
    whole = Snapshot(loaded.model)
    for change in ({"rank": 8}, {"alpha": 16}, {"target_modules": ("q_proj",)}):
        with pytest.raises(InvalidInputError, match=rf"{next(iter(change))}.* can't change its"):
            learn_into(target, loaded, settings=replace(FAST, **change), parent=learned[0])
    whole.assert_same(loaded.model)


def test_a_parent_that_does_not_fit_is_refused(
    loaded: LoadedModel, learned: tuple[Path, Learned], tmp_path: Path, target: Path
) -> None:
    from safetensors.torch import load_file, save_file

    whole = Snapshot(loaded.model)
    parent = tmp_path / "parent"
    parent.mkdir()
    config = (learned[0] / "adapter_config.json").read_text()
    (parent / "adapter_config.json").write_text(config)
    state = load_file(learned[0] / WEIGHTS)
    state.pop(next(iter(state)))
    save_file(state, parent / WEIGHTS)

    with pytest.raises(DamagedAdapterError, match="don't fit"):
        learn_into(target, loaded, parent=parent)
    whole.assert_same(loaded.model)
    assert not list(target.iterdir())
