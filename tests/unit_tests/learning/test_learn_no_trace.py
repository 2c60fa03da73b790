"""A run of learning that is stopped, fails or is refused leaves no trace, and progress is told."""

import math
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plum_langchain import LearningSettings
from plum_langchain.errors import (
    InvalidInputError,
    PlumError,
    QuestionError,
    QuestionTooLongError,
    StoppedError,
)
from plum_langchain.learning import StepProgress
from plum_langchain.models import LoadedModel
from tests.unit_tests.learning.learnable import (
    FAST,
    OTHERS,
    QUESTIONS,
    Snapshot,
    learn_into,
)

# -- no trace ----------------------------------------------------------------------------------


def test_the_model_is_given_back_as_it_came(loaded: LoadedModel, tmp_path: Path) -> None:
    whole = Snapshot(loaded.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT warns where it finds itself already
        learn_into(tmp_path / "a", loaded, settings=replace(FAST, epochs=1))
        whole.assert_same(loaded.model)
        learn_into(tmp_path / "b", loaded, settings=replace(FAST, epochs=1), parent=tmp_path / "a")
    whole.assert_same(loaded.model)


def test_stopping_ends_within_a_step_saves_nothing_and_leaves_no_trace(
    loaded: LoadedModel, target: Path
) -> None:
    whole = Snapshot(loaded.model)
    steps: list[StepProgress] = []
    with pytest.raises(StoppedError, match="at step 3 of 20"):
        learn_into(target, loaded, progress=steps.append, should_stop=lambda: len(steps) == 3)
    assert len(steps) == 3
    assert not list(target.iterdir())
    whole.assert_same(loaded.model)

    with pytest.raises(StoppedError, match="at step 0"):
        learn_into(target, loaded, progress=steps.append, should_stop=lambda: True)
    assert len(steps) == 3


def test_an_error_on_the_way_leaves_no_trace(loaded: LoadedModel, target: Path) -> None:
    whole = Snapshot(loaded.model)

    def break_down(_: StepProgress) -> None:
        raise RuntimeError("the terminal went away")

    with pytest.raises(RuntimeError, match="the terminal went away"):
        learn_into(target, loaded, progress=break_down)
    whole.assert_same(loaded.model)
    assert not list(target.iterdir())


@pytest.mark.parametrize("modules", [("nope",), ("q_proj", "input_layernorm"), ()])
def test_modules_that_can_not_be_adapted_are_named(
    loaded: LoadedModel, target: Path, modules: tuple[str, ...]
) -> None:
    whole = Snapshot(loaded.model)
    with pytest.raises(InvalidInputError, match=r"target_modules.*LlamaForCausalLM"):
        learn_into(target, loaded, settings=replace(FAST, target_modules=modules))
    whole.assert_same(loaded.model)


def test_an_embedding_can_not_be_adapted(loaded: LoadedModel, target: Path) -> None:
    whole = Snapshot(loaded.model)
    settings = replace(FAST, target_modules=("q_proj", "embed_tokens"))
    with pytest.raises(InvalidInputError, match=r"embed_tokens, an embedding; only linear modules"):
        learn_into(target, loaded, settings=settings)
    whole.assert_same(loaded.model)


# -- progress, and things that can't be learned ------------------------------------------------


def test_progress_counts_epochs_and_steps(loaded: LoadedModel, target: Path) -> None:
    seen: list[StepProgress] = []
    # 7 questions, 4 of them fresh in a batch of 6: two steps an epoch
    settings = replace(FAST, epochs=3, batch_size=6, replay_per_batch=2)
    result = learn_into(
        target, loaded, [*QUESTIONS, *OTHERS], settings, replay=QUESTIONS, progress=seen.append
    )

    assert [(p.epoch, p.step) for p in seen] == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]
    assert {(p.epochs, p.steps) for p in seen} == {(3, 6)}
    assert all(math.isfinite(p.loss) and p.loss > 0 for p in seen)
    assert result.steps == 6
    for epoch, loss in enumerate(result.losses, start=1):
        of_epoch = [p.loss for p in seen if p.epoch == epoch]
        assert loss == pytest.approx(sum(of_epoch) / len(of_epoch))


@pytest.mark.parametrize(("rate", "epochs"), [(1e30, 5), (1e37, 1)])
def test_a_diverging_loss_is_an_error_and_saves_nothing(
    loaded: LoadedModel, target: Path, rate: float, epochs: int
) -> None:
    whole = Snapshot(loaded.model)
    with pytest.raises(PlumError, match=r"nothing was saved\. Lower learning_rate"):
        learn_into(target, loaded, settings=replace(FAST, learning_rate=rate, epochs=epochs))
    assert not list(target.iterdir())
    whole.assert_same(loaded.model)


def test_nothing_to_learn_is_an_error(loaded: LoadedModel, target: Path) -> None:
    with pytest.raises(QuestionError, match="no questions"):
        learn_into(target, loaded, [])
    with pytest.raises(QuestionTooLongError, match="max_sample_tokens"):
        learn_into(target, loaded, settings=replace(FAST, max_sample_tokens=10))
    assert not list(target.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"alpha": -1},
        {"epochs": 0},
        {"upper_layers": 0.0},
        {"upper_layers": 1.5},
        {"patience": 0},
        {"final_learning_rate": 1.5},
        {"dtype": "float16"},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"max_grad_norm": 0.0},
        {"answer_weight": 0.0},
        {"question_weight": -1.0},
        {"frame_weight": -1.0},
        {"max_sample_tokens": 0},
        {"replay_per_batch": 16},
        {"replay_per_batch": -1},
        {"everyday_per_batch": -1},
        {"rewordings": -1},
        {"tokens_at_once": 0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong: dict[str, Any]) -> None:
    name = next(iter(wrong))
    with pytest.raises(InvalidInputError, match=name):
        LearningSettings(**wrong)


def test_two_who_set_the_generator_aside_do_not_mix() -> None:
    from plum_langchain.learning.randomness import set_aside

    drawn: list[list[float]] = []

    def draw() -> None:
        with set_aside():
            torch.manual_seed(7)
            drawn.append([])
            for _ in range(200):
                drawn[-1].append(float(torch.rand(())))

    state = torch.get_rng_state()
    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == [drawn[0]] * 4
    assert torch.equal(torch.get_rng_state(), state)
