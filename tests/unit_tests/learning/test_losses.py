"""The weighted loss is what a person would compute token by token."""

import math
from typing import Any

import pytest
import torch

from plum_langchain.learning import Sample, collate, weighted_cross_entropy

VOCABULARY = 23


def sample(generator: torch.Generator, length: int, heavy: float) -> Sample:
    ids = torch.randint(VOCABULARY, (length,), generator=generator).tolist()
    picked = torch.rand(length, generator=generator).tolist()
    weights = tuple(heavy if p < 0.4 else 1.0 for p in picked)
    return Sample(tuple(ids), weights, length // 2, length)


def batch(
    seed: int, lengths: tuple[int, ...], heavy: float = 10.0
) -> tuple[list[Sample], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    samples = [sample(generator, length, heavy) for length in lengths]
    shape = (len(lengths), max(lengths), VOCABULARY)
    return samples, 3 * torch.randn(shape, generator=generator)


def by_hand(samples: list[Sample], logits: torch.Tensor) -> float:
    """sum w * -log p / sum w, one token after another, in Python's floats."""
    total = weight = 0.0
    for row, one in enumerate(samples):
        for t in range(1, len(one.ids)):
            scores = [float(x) for x in logits[row, t - 1]]
            log_sum = math.log(sum(math.exp(x) for x in scores))
            total += one.weights[t] * (log_sum - scores[one.ids[t]])
            weight += one.weights[t]
    return total / weight


@pytest.mark.parametrize("lengths", [(7,), (9, 9), (3, 12, 2, 8), (2, 30)])
@pytest.mark.parametrize("heavy", [10.0, 1.0, 0.25])
def test_it_equals_the_loss_computed_by_hand(lengths: tuple[int, ...], heavy: float) -> None:
    for seed in range(3):
        samples, logits = batch(seed, lengths, heavy)
        ids, _, weights = collate(samples, pad_id=5)
        loss = weighted_cross_entropy(logits, ids, weights)
        assert float(loss) == pytest.approx(by_hand(samples, logits), abs=1e-5)


def test_equal_weights_are_plain_cross_entropy() -> None:
    samples, logits = batch(1, (11, 11), heavy=1.0)
    ids, _, weights = collate(samples, pad_id=0)
    plain = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1)
    )
    assert float(weighted_cross_entropy(logits, ids, weights)) == pytest.approx(float(plain))
    # Only their ratio counts.
    assert float(weighted_cross_entropy(logits, ids, 7 * weights)) == pytest.approx(float(plain))


def test_padding_changes_nothing() -> None:
    samples, logits = batch(2, (6, 14))
    ids, mask, weights = collate(samples, pad_id=3)
    assert mask.tolist() == [[1] * 6 + [0] * 8, [1] * 14]
    assert weights[0, 6:].tolist() == [0.0] * 8
    loss = weighted_cross_entropy(logits, ids, weights)

    logits, wide = logits.clone(), torch.nn.functional.pad(logits, (0, 0, 0, 5))
    wide_ids = torch.nn.functional.pad(ids, (0, 5), value=9)
    wide_weights = torch.nn.functional.pad(weights, (0, 5))
    assert float(weighted_cross_entropy(wide, wide_ids, wide_weights)) == pytest.approx(float(loss))
    logits[0, 6:] = 1000.0  # whatever the model makes of padding
    other_ids, _, _ = collate(samples, pad_id=17)
    assert float(weighted_cross_entropy(logits, other_ids, weights)) == pytest.approx(float(loss))


def test_the_first_column_is_not_used() -> None:
    samples, logits = batch(3, (8, 5))
    ids, _, weights = collate(samples, pad_id=0)
    loss = float(weighted_cross_entropy(logits, ids, weights))
    weights[:, 0] = 1e6
    ids[:, 0] = 1
    assert float(weighted_cross_entropy(logits, ids, weights)) == loss


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_half_precision_logits_give_a_float32_loss(dtype: Any, close: float) -> None:
    samples, logits = batch(4, (10, 7))
    ids, _, weights = collate(samples, pad_id=0)
    loss = weighted_cross_entropy(logits.to(dtype), ids, weights)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(by_hand(samples, logits), abs=close)
    # Computed in float32 throughout, not only cast at the end.
    assert float(loss) == pytest.approx(by_hand(samples, logits.to(dtype).float()), abs=1e-5)


def test_gradients_reach_every_position_that_predicts_something() -> None:
    samples, logits = batch(5, (4, 6))
    ids, _, weights = collate(samples, pad_id=0)
    logits.requires_grad_()
    weighted_cross_entropy(logits, ids, weights).backward()
    assert logits.grad is not None
    moved = logits.grad.abs().sum(-1) > 0
    assert moved.tolist() == [[True] * 3 + [False] * 3, [True] * 5 + [False]]
