"""A batch goes through the model in parts, and is trained on as one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from plum_langchain import LearningSettings
from plum_langchain.adapters.manifest import WEIGHTS
from plum_langchain.learning import Learned, forward, learn
from plum_langchain.learning.encode import Sample
from plum_langchain.learning.forward import Forward
from plum_langchain.learning.losses import TokenLosses
from plum_langchain.learning.parts import in_parts
from plum_langchain.learning.precision import MasterWeights
from plum_langchain.models import LoadedModel
from tests.unit_tests.learning.learnable import FAST, QUESTIONS


@contextmanager
def spied() -> Iterator[list[int]]:
    """How many samples go through the model at once, time after time."""
    chosen = forward.choose_forward
    sizes: list[int] = []

    def choose(*args: Any, **options: Any) -> tuple[Forward, str | None]:
        run, why = chosen(*args, **options)

        class Spy:
            name = run.name

            def __call__(self, batch: Sequence[Sample]) -> TokenLosses:
                sizes.append(len(batch))
                return run(batch)

        return Spy(), why

    with mock.patch.object(forward, "choose_forward", choose):
        yield sizes


def learned_into(directory: Path, loaded: LoadedModel, settings: LearningSettings) -> Learned:
    directory.mkdir()
    return learn(loaded.model, loaded.tokenizer, QUESTIONS, directory, settings=settings)


@pytest.mark.parametrize("packed", [True, False])
def test_parts_have_the_losses_and_the_steps_of_the_whole(
    loaded: LoadedModel, tmp_path: Path, packed: bool
) -> None:
    """Whatever the weights of their tokens, which are as many as they happen to be."""
    settings = replace(FAST, epochs=5, packed=packed, answer_weight=10.0, question_weight=1.0)
    with spied() as sizes:
        whole = learned_into(tmp_path / "a", loaded, replace(settings, tokens_at_once=None))
    assert set(sizes) == {4}
    with spied() as sizes:
        parts = learned_into(tmp_path / "b", loaded, replace(settings, tokens_at_once=1))
    assert set(sizes) == {1}
    assert parts.losses == pytest.approx(whole.losses, rel=1e-3)
    one, two = (load_file(tmp_path / name / WEIGHTS) for name in ("a", "b"))
    # Not to the bit: their gradients are added in another order.
    assert all((one[key] - two[key]).abs().max() < 1e-3 for key in one)


def test_the_gradients_of_parts_are_added_in_float32() -> None:
    """In bfloat16, which has 8 digits, 256 + 1 is 256."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    weights = MasterWeights([parameter], torch.bfloat16)
    for gradient in (256.0, 1.0, 1.0):
        parameter.grad = torch.full((1,), gradient, dtype=torch.bfloat16)
        weights.take_gradients()
    (master,) = weights.masters
    assert master.grad is not None
    assert master.grad.tolist() == [258.0]


@given(st.lists(st.integers(2, 600), min_size=1, max_size=20), st.integers(1, 900))
def test_no_part_is_much_larger_than_the_others(lengths: list[int], tokens: int) -> None:
    batch = [Sample((7,) * n, (1.0,) * n, 1, n) for n in lengths]
    parts = in_parts(batch, tokens)
    assert [sample for part in parts for sample in part] == batch
    for part in parts:
        bound = 1.5 * tokens + len(part[0].ids) / 2 + len(part[-1].ids) / 2
        assert len(part) == 1 or sum(len(sample.ids) for sample in part) <= bound


def test_parts_are_equal_and_as_many_as_the_tokens_need() -> None:
    def sizes(lengths: list[int], tokens: int | None) -> list[int]:
        batch = [Sample((7,) * n, (1.0,) * n, 1, n) for n in lengths]
        parts = in_parts(batch, tokens)
        assert [sample for part in parts for sample in part] == batch
        return [len(part) for part in parts]

    assert sizes([40] * 16, 512) == [16]  # 1.25 times as many
    assert sizes([55] * 16, 512) == [8, 8]
    assert sizes([100] * 16, 512) == [5, 6, 5]
    assert sizes([40] * 12 + [500] * 4, 512) == [12, 1, 1, 1, 1]
    assert sizes([300, 10, 10, 300, 10, 10], 330) == [3, 3]
    assert sizes([55] * 16, None) == [16]
    assert sizes([600, 600, 600], 100) == [1, 1, 1]
    assert sizes([10], 512) == [1]
