"""What the base model expects of everyday exchanges is known exactly, and kept by training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plum_langchain.errors import StoppedError
from plum_langchain.learning import Exchange, encoder_for, learn
from plum_langchain.learning.forward import PackedForward, PlainForward, why_not_packed
from plum_langchain.learning.rehearsal import rehearsed, save_expected, with_expected
from plum_langchain.models import LoadedModel
from tests.unit_tests.learning.learnable import FAST, QUESTIONS, peft_answer, peft_model
from tests.unit_tests.learning.test_forward import adapted, disturb, gradients, make_model, samples

EXCHANGES = [
    Exchange("Hello there", "Good day, how are you?", True),
    Exchange("What is a river?", "Water that flows to", False),
    Exchange("Bread is made from flour and water.", "Yes.", True),
]


def never() -> bool:
    return False


def expected_alone(model: Any, ids: tuple[int, ...]) -> torch.Tensor:
    """(T, V): what the model makes of the tokens before each place; row 0 is nothing's."""
    with torch.inference_mode():
        p = model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)
    return torch.cat([torch.zeros(1, p.shape[1]), p[:-1]])


def test_what_is_expected_is_what_the_model_says_of_each_place_alone() -> None:
    model = make_model("Llama")
    found = rehearsed(model, samples(11), never)
    assert [(s.ids, s.weights) for s in found] == [(s.ids, s.weights) for s in samples(11)]
    for sample in found:
        assert sample.expected is not None
        p = expected_alone(model, sample.ids)
        assert sample.expected.shares.shape == (len(sample.ids), 32)
        for place in range(1, len(sample.ids)):
            best = p[place].topk(32)
            torch.testing.assert_close(sample.expected.shares[place], best.values)
            kept = p[place][sample.expected.tokens[place]]
            torch.testing.assert_close(kept, best.values)


def test_what_is_kept_is_of_the_same_samples(tmp_path: Path) -> None:
    found = rehearsed(make_model("Llama"), samples(5), never)
    save_expected(found, tmp_path / "kept")
    for one, again in zip(found, with_expected(samples(5), tmp_path / "kept"), strict=True):
        assert one.expected is not None and again.expected is not None
        assert one.expected.tokens.equal(again.expected.tokens)
        assert one.expected.tokens.dtype == again.expected.tokens.dtype
        assert one.expected.shares.equal(again.expected.shares)
    with pytest.raises(RuntimeError, match="split"):
        with_expected(samples(4), tmp_path / "kept")


@pytest.mark.parametrize("frozen_share", [1.0, 0.4])
def test_packed_and_plain_agree_on_a_batch_of_both_kinds(frozen_share: float) -> None:
    model = make_model("Llama")
    everything = samples(9)
    batch = [*everything[:4], *rehearsed(model, everything[4:], never)]
    with adapted(model, frozen_share) as (_, frozen):
        disturb(model)
        assert why_not_packed(model, batch, frozen=frozen) is None
        loss, gradient = gradients(model, PlainForward(model), batch)
        quick_loss, quick_gradient = gradients(
            model, PackedForward(model, batch, frozen=frozen), batch
        )
    assert quick_loss == pytest.approx(loss, rel=1e-4)
    assert (quick_gradient - gradient).norm() < 1e-4 * gradient.norm()
    with adapted(model):
        disturb(model)
        hard, _ = gradients(model, PlainForward(model), everything)
    assert loss != pytest.approx(hard, rel=1e-2)  # something else than the tokens that stand there


def test_the_model_as_it_is_has_nothing_to_learn_from_them() -> None:
    model = make_model("Llama")
    everything = samples(6)
    with adapted(model):  # a fresh adapter adds nothing
        _, gradient = gradients(model, PackedForward(model, everything), everything)
        kept = rehearsed(model, everything, never)
        _, none = gradients(model, PackedForward(model, kept), kept)
    assert none.norm() < 1e-3 * gradient.norm()


def test_training_leaves_them_nearer_to_what_they_were(loaded: LoadedModel, tmp_path: Path) -> None:
    encoder = encoder_for(loaded.tokenizer, FAST)
    exchanges = [encoder.encode_exchange(exchange) for exchange in EXCHANGES]
    kept = rehearsed(loaded.model, exchanges, never)

    def drift(name: str, beside: int) -> float:
        (tmp_path / name).mkdir()
        settings = replace(FAST, everyday_per_batch=beside)
        done = learn(
            loaded.model, loaded.tokenizer, QUESTIONS, tmp_path / name,
            settings=settings, everyday=kept,
        )  # fmt: skip
        assert done.recalled == 1.0
        for question in QUESTIONS:
            assert peft_answer(loaded, tmp_path / name, question.question) == question.answer
        ids = tuple(loaded.tokenizer.encode("Bread is made from flour and water."))
        p, q = (
            expected_alone(m, ids)[1:] for m in (loaded.model, peft_model(loaded, tmp_path / name))
        )
        return float((p * (p / q).log()).sum(-1).mean())

    assert drift("with", 3) < drift("without", 0) / 2


def test_it_can_be_stopped() -> None:
    asked: list[int] = []

    def soon() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(StoppedError, match="of 200"):
        rehearsed(make_model("Llama"), samples(200), soon)
    assert len(asked) == 3


def test_a_tiny_vocabulary_is_kept_whole() -> None:
    model = make_model("Llama", vocab_size=20)
    few = [replace(s, ids=tuple(i % 20 for i in s.ids)) for s in samples(2)]
    (first, _) = rehearsed(model, few, never)
    assert first.expected is not None
    assert first.expected.shares[1:].sum(-1).tolist() == pytest.approx([1.0] * (len(first.ids) - 1))
