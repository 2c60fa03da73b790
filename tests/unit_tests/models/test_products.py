"""Layers of the same input as one product, packed or not: what each makes stays what it is."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from plum_langchain.errors import ModelNotFoundError
from plum_langchain.models import products
from plum_langchain.models.lora import LoraSwitch
from plum_langchain.models.products import (
    Layer,
    LowRank,
    OwnProduct,
    Product,
    multiplies,
    siblings,
)

WIDTH = 12


def layer(kind: str, out: int = 20) -> Any:
    """A layer from 12 to `out`, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(out)
        if kind == "sideways":
            made: torch.nn.Module = Conv1D(out, WIDTH)
            torch.nn.init.normal_(made.bias)
        else:
            made = torch.nn.Linear(WIDTH, out, bias=kind == "bias")
    return made.requires_grad_(False)


def matrices(rank: int, out: int = 20, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, WIDTH, generator=generator), torch.randn(
        rank, out, generator=generator
    )


@pytest.fixture(params=["packed", "rows"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Weights in oneDNN's layout, where this machine has it, or as they are."""
    if request.param == "rows":
        monkeypatch.setattr(products, "_packs", lambda dtype: False)
    elif not products._packs(torch.float32):
        pytest.skip("this build of torch doesn't multiply by packed weights")
    return str(request.param)


each_kind = pytest.mark.parametrize("kind", ["no bias", "bias", "sideways"])
merging = pytest.mark.parametrize("merge", [False, True], ids=["beside", "merged"])


@each_kind
@merging
@pytest.mark.usefixtures("layout")
def test_what_is_added_is_the_formula(kind: str, merge: bool) -> None:
    product, plain = Product([layer(kind)]), layer(kind)
    backwards = torch.randn(5, WIDTH, 2).transpose(1, 2)
    for x in (torch.randn(WIDTH), torch.randn(1, 1, WIDTH), torch.randn(2, 9, WIDTH), backwards):
        product.use(None)
        expected = plain(x.contiguous())  # Conv1D takes nothing else
        torch.testing.assert_close(product.take(x, 0), expected)
        for rank, seed in ((4, 0), (2, 1)):
            a, b = matrices(rank, seed=seed)
            product.use(product.adapted([(a, b)], merge=merge))
            torch.testing.assert_close(product.take(x, 0), expected + x @ a.T @ b)


@merging
@pytest.mark.usefixtures("layout")
def test_layers_side_by_side_are_what_each_is_alone(merge: bool) -> None:
    """With and without biases, of several sizes, and not all of them adapted."""
    kinds = [("bias", 20), ("no bias", 8), ("sideways", 31)]
    product = Product([layer(*kind) for kind in kinds])
    found = [matrices(4, 20), None, matrices(2, 31)]
    for x in (torch.randn(1, 1, WIDTH), torch.randn(2, 9, WIDTH)):
        for adapted in (None, product.adapted(found, merge=merge)):
            product.use(adapted)
            for part in (2, 0, 1):
                expected = layer(*kinds[part])(x)
                pair = found[part]
                if adapted and pair:
                    expected = expected + x @ pair[0].T @ pair[1]
                torch.testing.assert_close(product.take(x, part), expected)


@merging
@pytest.mark.parametrize("tokens", [1, 40])
@pytest.mark.usefixtures("layout")
def test_in_bfloat16_it_is_the_formula_within_its_digits(tokens: int, merge: bool) -> None:
    product = Product([layer("bias").bfloat16(), layer("bias", 8).bfloat16()])
    a, b = matrices(4)
    product.use(product.adapted([(a, b), None], merge=merge))
    x = torch.randn(1, tokens, WIDTH).bfloat16()
    made = product.take(x, 0)
    assert made.dtype == torch.bfloat16
    exact = layer("bias")(x.float()) + x.float() @ a.T @ b
    torch.testing.assert_close(made.float(), exact, rtol=0.05, atol=0.3)


def test_an_input_that_changed_in_its_place_is_read_again() -> None:
    product = Product([layer("bias"), layer("bias", 8)])
    x = torch.randn(3, WIDTH)
    product.take(x, 0)
    x.add_(1)
    torch.testing.assert_close(product.take(x, 0), layer("bias")(x))
    torch.testing.assert_close(product.take(x, 1), layer("bias", 8)(x))


def test_what_was_made_before_a_switch_is_not_taken_after_it() -> None:
    product = Product([layer("bias"), layer("bias", 8)])
    product.use(product.adapted([matrices(4), matrices(4, 8)], merge=False))
    x = torch.randn(3, WIDTH)
    product.take(x, 0)
    product.use(None)
    torch.testing.assert_close(product.take(x, 1), layer("bias", 8)(x))


def test_nothing_is_kept_once_all_have_theirs() -> None:
    product = Product([layer("bias"), layer("bias", 8)])
    x = torch.randn(3, WIDTH)
    for part in (0, 1):
        product.take(x, part)
    assert product._input is None
    assert not product._made


class Doubling(torch.nn.Linear):
    """A layer that does more than its product."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


@merging
def test_a_layer_that_does_more_than_its_product_still_does(merge: bool) -> None:
    base = Doubling(WIDTH, 20).requires_grad_(False)
    product = OwnProduct(base)
    a, b = matrices(4)
    x = torch.randn(2, 5, WIDTH)
    product.use(product.adapted([(a, b)], merge=merge))
    torch.testing.assert_close(product.take(x, 0), base(x) + x @ a.T @ b)
    product.use(None)
    assert torch.equal(product.take(x, 0), base(x))


def test_a_layer_in_a_model_tells_its_shape_and_has_no_weights_of_its_own() -> None:
    like = layer("sideways").bfloat16()
    stands_in = Layer(Product([like]), 0, like)
    assert stands_in.weight.shape == (20, WIDTH)
    assert stands_in.bias.shape == (20,)
    assert stands_in.weight.dtype == stands_in.bias.dtype == torch.bfloat16
    assert stands_in.weight.device == torch.device("cpu")
    assert (stands_in.in_features, stands_in.out_features) == (WIDTH, 20)
    assert not list(stands_in.parameters())
    assert not list(stands_in.buffers())


def test_who_multiplies_by_the_weight_of_a_layer_in_a_model_gets_an_error() -> None:
    """Not what happens to be in memory, as with a tensor on the meta device."""
    stands_in = Layer(Product([layer("bias")]), 0, layer("bias"))
    with pytest.raises(TypeError, match="must be Tensor, not Outline"):
        torch.nn.functional.linear(torch.randn(3, WIDTH), stands_in.weight)


@pytest.mark.parametrize("number", [1, 2])
def test_weights_are_in_memory_once(number: int, layout: str) -> None:
    layers = [layer("bias"), layer("bias", 8)][:number]
    kept = weakref.ref(layers[0].weight)
    address = layers[0].weight.data_ptr()
    product = Product(layers)
    if layout == "rows" and number == 1:
        assert product._weight.data_ptr() == address
    del layers
    assert kept() is None


# -- which layers multiply ---------------------------------------------------------------------


class OfAnotherType(torch.Tensor):
    """As quantized weights are."""


def another_type() -> torch.nn.Linear:
    made = torch.nn.Linear(WIDTH, 20)
    made.weight = torch.nn.Parameter(made.weight.detach().as_subclass(OfAnotherType))
    return made


def offloaded() -> torch.nn.Linear:
    """As accelerate does it: the layer's own forward is wrapped."""
    made = torch.nn.Linear(WIDTH, 20)
    made.forward = lambda x: torch.nn.functional.linear(x, made.weight, made.bias)  # type: ignore[method-assign]
    return made


def with_a_hook(kind: str) -> torch.nn.Linear:
    made = torch.nn.Linear(WIDTH, 20)
    getattr(made, kind)(lambda *_: None)
    return made


@pytest.mark.parametrize(
    "make",
    [
        lambda: Doubling(WIDTH, 20),
        lambda: torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(WIDTH, 20)),
        another_type,
        offloaded,
        lambda: with_a_hook("register_forward_hook"),
        lambda: with_a_hook("register_forward_pre_hook"),
        lambda: torch.nn.Embedding(WIDTH, 20),
        lambda: torch.nn.Conv1d(WIDTH, 20, 1),
    ],
)
def test_what_may_do_more_than_multiply_is_left_alone(make: Callable[[], Any]) -> None:
    assert not multiplies(make())
    assert multiplies(torch.nn.Linear(WIDTH, 20))


# -- which are siblings ------------------------------------------------------------------------

SMALL: dict[str, Any] = {"vocab_size": 50, "num_hidden_layers": 2}


def llama(**changes: Any) -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**SMALL, **sizes, **changes)).eval()


def gpt2() -> Any:
    sizes = {"vocab_size": 50, "n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(**sizes)).eval()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (llama, "q_proj k_proj v_proj, o_proj, gate_proj up_proj, down_proj"),
        (gpt2, "c_attn, c_proj, c_fc, c_proj"),
    ],
)
def test_siblings_are_the_layers_that_are_given_the_same_input(
    make: Callable[[], Any], expected: str
) -> None:
    found = siblings(make())
    short = [" ".join(name.rpartition(".")[2] for name in group) for group in found]
    assert ", ".join(short) == f"{expected}, {expected}, lm_head"
    for group in found:  # of one layer, not of two that have equal names
        assert len({name.rpartition(".")[0] for name in group}) == 1


class Odd(torch.nn.Module):
    """Reads a token in odd ways, and a product that is right for all of its layers has none."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(4, WIDTH)
        for name in ("twice", "never", "named", "by_weight", "first", "second", "third"):
            self.add_module(name, torch.nn.Linear(WIDTH, WIDTH))
        self.tied = torch.nn.Linear(WIDTH, WIDTH)
        self.tied.weight = self.by_weight.weight
        self.again = self.at_two_places = torch.nn.Linear(WIDTH, WIDTH)

    def get_output_embeddings(self) -> None:
        return None

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(input_ids)
        made = self.twice(x) + self.first(x) + self.twice(x) + self.named(input=x)
        made += torch.nn.functional.linear(x, self.by_weight.weight) + self.tied(x)
        made += self.again(x) + self.at_two_places(x) + self.second(x)
        x.mul_(2)  # the same tensor is another input now
        made += self.third(x)
        return made


def test_a_layer_used_otherwise_is_alone_or_left_out() -> None:
    """Of what is given the same: one is called more than once, one by name, one after a change."""
    assert siblings(Odd()) == [["twice"], ["first"], ["named"], ["second"], ["third"]]


def test_an_odd_model_computes_the_same_with_its_siblings_replaced() -> None:
    model, tokens = Odd().requires_grad_(False), torch.tensor([[1, 2, 3]])
    expected = model(tokens)
    LoraSwitch(model, siblings(model))
    torch.testing.assert_close(model(tokens), expected)


def test_an_output_matrix_that_is_the_embeddings_too_is_a_product() -> None:
    model = llama(tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert siblings(model)[-1] == ["lm_head"]


def test_a_model_that_reads_no_token_is_refused() -> None:
    model = llama()
    model.model.embed_tokens = torch.nn.Linear(3, 3)
    with pytest.raises(ModelNotFoundError, match="LlamaForCausalLM could not read a single token"):
        siblings(model)
    assert not any(module._forward_pre_hooks for module in model.modules())


# -- whether to pack ---------------------------------------------------------------------------


def test_operators_that_are_missing_or_wrong_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = products._packs.__wrapped__

    def missing(rows: torch.Tensor) -> torch.Tensor:
        raise AttributeError("_reorder_linear_weight")

    monkeypatch.setattr(products, "_packed", missing)
    assert not tried(torch.float32)
    monkeypatch.undo()

    if not tried(torch.float32):
        pytest.skip("this build of torch doesn't multiply by packed weights")
    packed = torch.ops.mkldnn._reorder_linear_weight
    monkeypatch.setattr(products, "_packed", lambda rows: packed(rows.flip(0), 1))
    assert not tried(torch.float32)
