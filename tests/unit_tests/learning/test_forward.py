"""Packed batches have the losses and gradients of separate ones, or are not used at all."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plum_langchain import LearningSettings
from plum_langchain.learning.encode import Sample
from plum_langchain.learning.forward import (
    Forward,
    PackedForward,
    PlainForward,
    choose_forward,
    why_not_packed,
)
from plum_langchain.learning.layers import DecoderLayers
from plum_langchain.learning.lora import attached
from plum_langchain.learning.packing import ROUND, pack, shared_prefix

VOCABULARY = 97
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}


def make_model(kind: str, **changes: Any) -> Any:
    """A random model of an architecture, with weights large enough that every token matters."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(8)
            else:
                parameter.data.add_(0.3 * torch.randn(parameter.shape))
    return model.eval().requires_grad_(False)


def samples(number: int, *, prefix: int = 6, seed: int = 0) -> list[Sample]:
    """Random samples behind a common beginning, of different lengths."""
    rng = random.Random(seed)
    shared = [rng.randrange(1, VOCABULARY) for _ in range(prefix)]
    found = []
    for _ in range(number):
        question = [rng.randrange(1, VOCABULARY) for _ in range(rng.randrange(2, 9))]
        answer = [rng.randrange(1, VOCABULARY) for _ in range(rng.randrange(1, 5))]
        ids = (*shared, *question, *answer)
        start = prefix + len(question)
        weights = tuple(
            rng.choice((1.0, 10.0) if i >= start else (0.0, 1.0, 10.0)) for i in range(len(ids))
        )
        found.append(Sample(ids, weights, start, start + len(answer)))
    return found


def gradients(model: Any, forward: Forward, batch: Sequence[Sample]) -> tuple[float, torch.Tensor]:
    """Loss, and the gradient of all that is trained as one vector."""
    trained = [p for p in model.parameters() if p.requires_grad]
    loss = forward(batch).mean()
    loss.backward()
    found = torch.cat([p.grad.flatten() for p in trained])
    for parameter in trained:
        parameter.grad = None
    return float(loss.detach()), found


def adapted(model: Any, upper_layers: float = 1.0) -> Any:
    """The model with an adapter that changes something."""
    return attached(model, None, LearningSettings(rank=4, alpha=8, upper_layers=upper_layers))


def disturb(model: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.uniform_(-0.2, 0.2, generator=generator)


# -- the same numbers --------------------------------------------------------------------------

KINDS = ["Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "Phi3"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_losses_and_gradients_are_those_of_separate_samples(
    kind: str, attention: str
) -> None:
    model = make_model(kind, attn_implementation=attention)
    everything = samples(9)
    with adapted(model):
        disturb(model)
        assert why_not_packed(model, everything) is None
        packed = PackedForward(model, everything)
        for batch in (everything[:8], everything[8:], everything[2:4]):
            loss, gradient = gradients(model, PlainForward(model), batch)
            quick_loss, quick_gradient = gradients(model, packed, batch)
            assert quick_loss == pytest.approx(loss, rel=1e-4)
            assert (quick_gradient - gradient).norm() < 1e-4 * gradient.norm()


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3", "Mistral"])
def test_lower_layers_run_once_change_nothing(kind: str) -> None:
    model = make_model(kind)
    everything = samples(9)
    with adapted(model, upper_layers=0.4) as (_, frozen):
        disturb(model)
        assert frozen == 2
        assert why_not_packed(model, everything, frozen=frozen) is None
        packed = PackedForward(model, everything, frozen=frozen)
        # The second and third time nothing below is run any more.
        for batch in (everything[:6], everything[3:], everything[:6][::-1]):
            loss, gradient = gradients(model, PlainForward(model), batch)
            quick_loss, quick_gradient = gradients(model, packed, batch)
            assert quick_loss == pytest.approx(loss, rel=1e-4)
            assert (quick_gradient - gradient).norm() < 1e-4 * gradient.norm()


def test_a_frozen_layer_is_run_once_for_each_sample() -> None:
    model = make_model("Llama")
    everything = samples(6)
    seen = []
    model.model.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    packed = PackedForward(model, everything, frozen=2)
    for batch in (everything[:4], everything[2:], everything):
        packed(batch)
    some = [everything[:4], everything[4:]]  # what each batch brings that was not there before
    assert seen == [pack(fresh, 6).ids.shape[1] for fresh in some]


def test_of_what_hardly_comes_again_nothing_is_kept() -> None:
    model = make_model("Llama")
    everything = samples(6)
    with adapted(model, upper_layers=0.4) as (_, frozen):
        packed = PackedForward(model, everything, frozen=frozen, passing=everything[4:])
        for _ in range(2):
            loss, gradient = gradients(model, PlainForward(model), everything)
            quick_loss, quick_gradient = gradients(model, packed, everything)
            assert quick_loss == pytest.approx(loss, rel=1e-4)
            assert (quick_gradient - gradient).norm() < 1e-4 * gradient.norm()
            assert set(packed._below) == set(everything[:4])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 9), st.integers(0, 1000))
def test_any_batch_behind_any_prefix(number: int, prefix: int, seed: int) -> None:
    model = _llama()
    batch = samples(number, prefix=prefix, seed=seed)
    with torch.no_grad():
        plain, packed = PlainForward(model)(batch), PackedForward(model, batch)(batch)
    assert float(packed.mean()) == pytest.approx(float(plain.mean()), rel=1e-4)
    assert packed.recalled().tolist() == plain.recalled().tolist()
    for sample in range(number):
        theirs = packed.nll[packed.sample == sample], plain.nll[plain.sample == sample]
        assert torch.allclose(*theirs, rtol=1e-3, atol=1e-3)


_MADE: list[Any] = []


def _llama() -> Any:
    if not _MADE:
        _MADE.append(make_model("Llama"))
    return _MADE[0]


def test_no_token_is_there_twice_and_no_prediction_without_weight() -> None:
    batch = samples(4)
    packed = pack(batch, shared_prefix(batch))
    tokens = 6 + sum(len(sample.ids) - 1 - 6 for sample in batch)
    # Those of the prefix once for all.
    prefix = sum(any(sample.weights[place] for sample in batch) for place in range(1, 6))
    predictions = prefix + sum(sum(w > 0 for w in sample.weights[6:]) for sample in batch)
    assert packed.ids.shape[1] == ROUND * math.ceil(tokens / ROUND)
    assert len(packed.targets) == ROUND * math.ceil(predictions / ROUND)
    assert (packed.weights > 0).sum() == predictions
    # What fills up is seen by nobody but itself.
    assert not packed.visible[0, 0, :tokens, tokens:].any()
    total = sum(sum(sample.weights[1:]) for sample in batch)
    assert float(packed.weights.sum()) == pytest.approx(total)


def test_with_weight_on_the_answers_alone_nothing_else_is_predicted() -> None:
    batch = []
    for sample in samples(4):
        weights = (0.0,) * sample.answer_start + (1.0,) * (len(sample.ids) - sample.answer_start)
        batch.append(replace(sample, weights=weights))
    packed = pack(batch, shared_prefix(batch))
    answers = sum(len(sample.ids) - sample.answer_start for sample in batch)
    assert len(packed.targets) == ROUND * math.ceil(answers / ROUND)
    assert int((packed.owner >= 0).sum()) == answers

    plain, found = PlainForward(_llama())(batch), PackedForward(_llama(), batch)(batch)
    assert float(found.mean()) == pytest.approx(float(plain.mean()), rel=1e-4)


def test_an_answer_without_weight_is_still_looked_at() -> None:
    batch = [replace(sample, weights=(0.0,) * len(sample.ids)) for sample in samples(2)]
    packed = pack(batch, shared_prefix(batch))
    answers = sum(sample.answer_end - sample.answer_start for sample in batch)
    assert int((packed.owner >= 0).sum()) == answers


def test_the_prefix_ends_before_an_answer_however_alike_samples_are() -> None:
    sample = samples(1)[0]
    assert shared_prefix([sample, sample]) == sample.answer_start
    assert shared_prefix([sample]) == sample.answer_start


# -- models that can't -------------------------------------------------------------------------


def test_a_model_that_mixes_neighbours_is_found_out_and_gets_plain_batches(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = make_model("Llama")
    forward = type(model).forward

    def deaf(self: Any, attention_mask: Any = None, **inputs: Any) -> Any:
        if attention_mask is not None and attention_mask.dim() == 4:
            length = attention_mask.shape[-1]  # all that came before is seen
            attention_mask = torch.full((length, length), -1e9).triu(1)[None, None]
        return forward(self, attention_mask=attention_mask, **inputs)

    model.forward = deaf.__get__(model)
    everything = samples(5)
    assert "see each other" in (why_not_packed(model, everything) or "")
    chosen, reason = choose_forward(model, everything, packed=True, frozen=0, pad_id=0)
    assert isinstance(chosen, PlainForward)
    assert reason and "padded" in reason
    assert "see each other" in caplog.text


def test_a_model_that_counts_positions_itself_is_found_out() -> None:
    model = make_model("Llama")
    forward = type(model).forward
    model.forward = (lambda self, position_ids=None, **inputs: forward(self, **inputs)).__get__(
        model
    )
    assert "other losses" in (why_not_packed(model, samples(5)) or "")


@pytest.mark.parametrize("kind", ["Mamba", "Bloom"])
def test_architectures_without_such_attention_get_plain_batches(kind: str) -> None:
    import transformers

    shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "n_head": 4, "num_hidden_layers": 2}
    config = getattr(transformers, f"{kind}Config")(**shape, n_layer=2, state_size=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    chosen, reason = choose_forward(model, samples(4), packed=True, frozen=0, pad_id=0)
    assert isinstance(chosen, PlainForward)
    assert reason


def test_a_model_that_adds_to_what_enters_it_is_packed_without_the_cut() -> None:
    model = make_model(
        "GPT2", n_embd=32, n_head=4, n_layer=3
    )  # its positions are added to the embeddings, so to a cut's too
    everything = samples(5)
    chosen, reason = choose_forward(model, everything, packed=True, frozen=2, pad_id=0)
    assert isinstance(chosen, PackedForward)
    assert reason and "run at every step" in reason
    with torch.no_grad():
        plain = PlainForward(model)(everything).mean()
        assert float(chosen(everything).mean()) == pytest.approx(float(plain), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        # It multiplies whatever is embedded, a cut's hidden states included.
        ("Granite", {"embedding_multiplier": 12.0}),
        # It looks up a layer's rotary frequencies by its place among those it has.
        (
            "Gemma3Text",
            {
                "head_dim": 8,
                "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
            },
        ),
    ],
)
def test_a_cut_that_would_change_a_model_is_not_made(
    kind: str, changes: dict[str, Any], dtype: Any
) -> None:
    model = make_model(kind, **changes).to(dtype)
    chosen, reason = choose_forward(model, samples(6), packed=True, frozen=1, pad_id=0)
    assert isinstance(chosen, PackedForward)
    assert reason and "run at every step" in reason


def test_a_window_shorter_than_the_longest_sample_is_seen() -> None:
    model = make_model("Mistral", sliding_window=12)

    def sample(length: int) -> Sample:
        return Sample(tuple(range(1, length + 1)), (1.0,) * length, length - 3, length)

    short = [sample(length) for length in (8, 9, 10, 11, 12)]
    assert why_not_packed(model, short) is None
    assert "other losses" in (why_not_packed(model, [*short, sample(50)]) or "")


def test_plain_is_used_when_asked_for() -> None:
    chosen, reason = choose_forward(_llama(), samples(3), packed=False, frozen=0, pad_id=0)
    assert (chosen.name, reason) == ("plain", None)


def test_rounding_of_half_precision_is_no_reason() -> None:
    model = make_model("Llama").to(torch.bfloat16)
    for seed in range(5):
        assert why_not_packed(model, samples(6, seed=seed)) is None


# -- layers ------------------------------------------------------------------------------------


def test_layers_are_counted_from_the_output() -> None:
    layers = DecoderLayers(make_model("Llama", num_hidden_layers=6))
    assert len(layers) == 6
    shares = (1.0, 0.5, 1 / 3, 0.34, 0.01)
    assert [layers.first_of_upper(share) for share in shares] == [0, 3, 4, 4, 5]
    linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert set(layers.linear_modules()) == linear


def test_a_cut_model_is_whole_again_after_an_error() -> None:
    model = make_model("Llama")
    before = list(model.model.layers)
    with pytest.raises(RuntimeError, match="on the way"):
        with DecoderLayers(model).without_below(2):
            assert len(model.model.layers) == 1
            raise RuntimeError("on the way")
    assert list(model.model.layers) == before
