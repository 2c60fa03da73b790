"""The weighted loss is what a person would compute token by token."""

import math
from typing import Any

import pytest
import torch

from plum_langchain.learning.losses import TokenLosses, token_nll

VOCABULARY = 23


def tokens(seed: int, number: int, heavy: float = 10.0) -> tuple[torch.Tensor, ...]:
    """Logits (N, V), targets (N,) and weights (N,) of which some are `heavy`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((number, VOCABULARY), generator=generator)
    targets = torch.randint(VOCABULARY, (number,), generator=generator)
    picked = torch.rand(number, generator=generator) < 0.4
    return logits, targets, torch.where(picked, heavy, 1.0)


def by_hand(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> float:
    """sum w * -log p / sum w, one token after another, in Python's floats."""
    total = weight = 0.0
    for row, target, w in zip(logits, targets.tolist(), weights.tolist(), strict=True):
        scores = [float(x) for x in row]
        log_sum = math.log(sum(math.exp(x) for x in scores))
        total += w * (log_sum - scores[target])
        weight += w
    return total / weight


def loss_of(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    nobodys = torch.full_like(targets, -1)
    return TokenLosses(token_nll(logits, targets), weights, nobodys, 0).mean()


@pytest.mark.parametrize("number", [1, 7, 40])
@pytest.mark.parametrize("heavy", [10.0, 1.0, 0.25])
def test_it_equals_the_loss_computed_by_hand(number: int, heavy: float) -> None:
    for seed in range(3):
        batch = tokens(seed, number, heavy)
        assert float(loss_of(*batch)) == pytest.approx(by_hand(*batch), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("number", [1, 64, 65, 200])
def test_losses_and_gradients_are_those_of_cross_entropy(number: int, dtype: torch.dtype) -> None:
    """Whatever number of rows is computed at once."""
    logits, targets, weights = tokens(5, number)
    ours = logits.to(dtype).requires_grad_()
    theirs = logits.to(dtype).requires_grad_()
    nll = token_nll(ours, targets)
    expected = torch.nn.functional.cross_entropy(theirs.float(), targets, reduction="none")
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll, expected)
    (nll * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_equal_weights_are_plain_cross_entropy() -> None:
    logits, targets, ones = tokens(1, 22, heavy=1.0)
    plain = float(torch.nn.functional.cross_entropy(logits, targets))
    assert float(loss_of(logits, targets, ones)) == pytest.approx(plain)
    # Only their ratio counts.
    assert float(loss_of(logits, targets, 7 * ones)) == pytest.approx(plain)


def test_the_means_of_the_parts_of_a_batch_add_up_to_its_own() -> None:
    logits, targets, weights = tokens(6, 30)
    whole = loss_of(logits, targets, weights)
    parts = [
        TokenLosses(token_nll(logits[rows], targets[rows]), weights[rows], targets[rows], 1)
        for rows in (slice(0, 11), slice(11, 12), slice(12, 30))
    ]
    together = sum(float(part.mean(float(weights.sum()))) for part in parts)
    assert together == pytest.approx(float(whole))


def test_what_has_no_weight_changes_nothing() -> None:
    logits, targets, weights = tokens(2, 9)
    loss = float(loss_of(logits, targets, weights))
    more, others, _ = tokens(3, 4)
    padded = (
        torch.cat([logits, 100 * more]),
        torch.cat([targets, others]),
        torch.cat([weights, torch.zeros(4)]),
    )
    assert float(loss_of(*padded)) == pytest.approx(loss)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_half_precision_logits_give_a_float32_loss(dtype: Any, close: float) -> None:
    logits, targets, weights = tokens(4, 17)
    loss = loss_of(logits.to(dtype), targets, weights)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(by_hand(logits, targets, weights), abs=close)
    # Computed in float32 throughout, not only cast at the end.
    exact = by_hand(logits.to(dtype).float(), targets, weights)
    assert float(loss) == pytest.approx(exact, abs=1e-5)


def test_an_answer_is_recalled_when_each_of_its_tokens_is_likelier_than_not() -> None:
    likely, unlikely = -math.log(0.51), -math.log(0.49)
    losses = TokenLosses(
        nll=torch.tensor([9.0, likely, likely, unlikely, likely, 9.0]),
        weights=torch.ones(6),
        sample=torch.tensor([-1, 0, 0, 1, 1, -1]),
        samples=2,
    )
    assert losses.recalled().tolist() == [True, False]
