"""Adapters on a model and off again: the formula, and nothing of them afterwards."""

import pytest
import torch

from plum_langchain.models.lora import LoraSwitch
from plum_langchain.models.products import Layer

from .test_products import Doubling, layer, matrices, merging


def test_layers_are_adapted_that_no_siblings_were_named_for() -> None:
    model = torch.nn.Sequential(layer("bias"))
    switch = LoraSwitch(model)
    x, (a, b) = torch.randn(3, 12), matrices(4)
    assert not isinstance(model[0], Layer)
    switch.use(switch.adapter({"0": (a, b)}))
    torch.testing.assert_close(model(x), layer("bias")(x) + x @ a.T @ b)
    switch.use(None)
    torch.testing.assert_close(model(x), layer("bias")(x))


@merging
def test_a_switch_leaves_nothing_of_the_one_before(merge: bool) -> None:
    """Where the second adapts less than the first, the rest is the base model's."""
    model = torch.nn.Sequential(layer("bias", 12), layer("no bias", 20))
    switch = LoraSwitch(model, [["0"], ["1"]], merge=merge)
    x, (a, b) = torch.randn(3, 12), matrices(4, 20, seed=1)
    both = switch.adapter({"0": matrices(4, 12), "1": matrices(4, 20)})
    second = switch.adapter({"1": (a, b)})
    between = layer("bias", 12)(x)
    expected = layer("no bias", 20)(between) + between @ a.T @ b
    for _ in range(2):
        switch.use(both)
        assert not torch.allclose(model(x), expected)
        switch.use(second)
        torch.testing.assert_close(model(x), expected)
    switch.use(None)
    torch.testing.assert_close(model(x), layer("no bias", 20)(between))


def test_what_is_merged_elsewhere_is_beside_a_layer_of_its_own_kind() -> None:
    own = Doubling(12, 20).requires_grad_(False)
    switch = LoraSwitch(model := torch.nn.Sequential(own), merge=True)
    x, (a, b) = torch.randn(3, 12), matrices(4)
    switch.use(switch.adapter({"0": (a, b)}))
    torch.testing.assert_close(model(x), own(x) + x @ a.T @ b)


def test_a_layer_used_by_its_weight_is_still_itself_under_an_adapter() -> None:
    """Who takes the weight gets the weight; the adapter is for who calls the layer, as in PEFT."""

    class ByWeight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer("bias")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.inner.weight, self.inner.bias)

    switch = LoraSwitch(model := ByWeight())
    x = torch.randn(3, 12)
    switch.use(switch.adapter({"inner": matrices(4)}))
    assert torch.equal(model(x), layer("bias")(x))


@merging
def test_an_interrupted_switch_is_done_again(merge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the one before would be thought in use, and half of the layers had another's weights."""
    model = torch.nn.Sequential(layer("bias", 12), layer("no bias", 20))
    switch = LoraSwitch(model, [["0"], ["1"]], merge=merge)
    x = torch.randn(3, 12)
    first, second = (
        switch.adapter({"0": matrices(4, 12, seed=n), "1": matrices(4, 20, seed=n)}) for n in (0, 1)
    )
    switch.use(first)
    expected = model(x)
    with monkeypatch.context() as patched:
        patched.setattr(model[1].product, "use", interrupt)
        with pytest.raises(KeyboardInterrupt):
            switch.use(second)
        with pytest.raises(KeyboardInterrupt):
            switch.use(None)
    switch.use(first)
    assert torch.equal(model(x), expected)
    switch.use(None)
    torch.testing.assert_close(model(x), layer("no bias", 20)(layer("bias", 12)(x)))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@merging
@pytest.mark.parametrize("inside", [True, False])
def test_what_is_made_in_inference_mode_serves_outside_of_it_too(merge: bool, inside: bool) -> None:
    model = torch.nn.Sequential(layer("bias"))
    x, (a, b) = torch.randn(3, 12), matrices(4, seed=1)
    with torch.inference_mode():
        switch = LoraSwitch(model, [["0"]], merge=merge)
        switch.use(switch.adapter({"0": matrices(4)}))
    with torch.inference_mode(inside):
        switch.use(switch.adapter({"0": (a, b)}))
    torch.testing.assert_close(model(x), layer("bias")(x) + x @ a.T @ b)
