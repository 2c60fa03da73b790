"""One adapter's matrices beside a linear layer: the formula, and nothing of it afterwards."""

from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from plum_langchain.models.lora import LoraLayer


def linear(kind: str) -> Any:
    """A layer from 12 to 20 with random weights."""
    torch.manual_seed(3)
    if kind == "sideways":
        layer: torch.nn.Module = Conv1D(20, 12)
        torch.nn.init.normal_(layer.bias)
    else:
        layer = torch.nn.Linear(12, 20, bias=kind == "bias")
    return layer.requires_grad_(False)


def matrices(rank: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, 12, generator=generator), torch.randn(rank, 20, generator=generator)


each_kind = pytest.mark.parametrize("kind", ["no bias", "bias", "sideways"])


@each_kind
@pytest.mark.parametrize("shape", [(12,), (1, 12), (2, 5, 12)])
def test_what_is_added_is_the_formula(kind: str, shape: tuple[int, ...]) -> None:
    layer = LoraLayer(linear(kind))
    x = torch.randn(shape)
    plain = linear(kind)(x)
    assert torch.equal(layer(x), plain)
    for rank, seed in ((4, 0), (4, 1), (2, 2)):
        a, b = matrices(rank, seed)
        layer.use((a, b))
        torch.testing.assert_close(layer(x), plain + x @ a.T @ b)


@each_kind
def test_the_base_layer_stays_what_it_is(kind: str) -> None:
    base, untouched = linear(kind), linear(kind)
    layer = LoraLayer(base)
    layer.use(matrices(4))
    assert torch.equal(base.weight, untouched.weight)
    x = torch.randn(2, 12)
    torch.testing.assert_close(base(x), untouched(x))
    layer.use(None)
    assert torch.equal(layer(x), base(x))


def test_its_weights_are_in_memory_once() -> None:
    layer = LoraLayer(linear("bias"))
    layer.use(matrices(4))
    held = {t.untyped_storage().data_ptr() for t in (layer.base.weight, layer._both)}
    assert len(held) == 1


def test_nothing_of_an_adapter_stays_when_it_is_taken_off() -> None:
    layer = LoraLayer(linear("bias"))
    layer.use(matrices(4))
    layer.use(None)
    assert layer.matrices is None
    assert layer._both is not None
    assert not layer._both[20:].any()
