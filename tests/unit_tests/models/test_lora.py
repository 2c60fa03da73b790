"""One adapter's matrices beside a linear layer: the formula, and nothing of it afterwards."""

from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from plum_langchain.models.lora import LoraLayer, LoraSwitch


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
    for rank, seed in ((4, 0), (4, 1), (2, 2), (6, 3), (4, 4)):
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


@pytest.mark.parametrize("tokens", [1, 40])
def test_in_bfloat16_it_is_the_formula_within_its_digits(tokens: int) -> None:
    layer = LoraLayer(linear("bias").bfloat16())
    a, b = matrices(4)
    layer.use((a.bfloat16(), b))
    x = torch.randn(1, tokens, 12).bfloat16()
    assert layer(x).dtype == torch.bfloat16
    exact = linear("bias")(x.float()) + x.float() @ a.T @ b
    torch.testing.assert_close(layer(x).float(), exact, rtol=0.05, atol=0.3)


class Doubling(torch.nn.Linear):
    """A layer that does more than its product."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_layer_that_does_more_than_its_product_still_does() -> None:
    base = Doubling(12, 20).requires_grad_(False)
    layer = LoraLayer(base)
    a, b = matrices(4)
    layer.use((a, b))
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(layer(x), base(x) + x @ a.T @ b)


@each_kind
@pytest.mark.parametrize("rank", [4, 6])
def test_its_weights_are_in_memory_once(kind: str, rank: int) -> None:
    layer = LoraLayer(linear(kind))
    layer.use(matrices(4))
    layer.use(matrices(rank))
    held = {t.untyped_storage().data_ptr() for t in (layer.base.weight, layer._both)}
    assert len(held) == 1


def test_nothing_of_an_adapter_stays_when_it_is_taken_off() -> None:
    layer = LoraLayer(linear("bias"))
    layer.use(matrices(4))
    layer.use(None)
    assert layer.matrices is None
    assert layer._both is not None
    assert not layer._both[20:].any()


def test_a_switch_that_fails_halfway_leaves_nobody_s_answers_behind() -> None:
    """The next one, be it to the same adapter or to the base, is made in full."""
    model = torch.nn.Sequential(linear("bias"), torch.nn.Linear(20, 12).requires_grad_(False))
    a, b = matrices(4)
    other = torch.randn(4, 20), torch.randn(4, 12)
    ana, bob = {"0": (a, b), "1": other}, {"0": matrices(4, seed=9), "1": (other[0][:, :3], b)}
    switch, x = LoraSwitch(model), torch.randn(3, 12)
    plain = model(x)
    switch.use(ana)
    hers = model(x)
    with pytest.raises(RuntimeError):
        switch.use(bob)
    switch.use(ana)
    assert torch.equal(model(x), hers)
    with pytest.raises(RuntimeError):
        switch.use(bob)
    switch.use(None)
    assert torch.equal(model(x), plain)


def test_a_first_switch_in_inference_mode_does_not_forbid_later_ones() -> None:
    model = torch.nn.Sequential(linear("bias"))
    switch = LoraSwitch(model)
    with torch.inference_mode():
        switch.use({"0": matrices(4)})
    switch.use({"0": matrices(4, seed=1)})
    a, b = matrices(4, seed=1)
    x = torch.randn(3, 12)
    torch.testing.assert_close(model(x), linear("bias")(x) + x @ a.T @ b)
