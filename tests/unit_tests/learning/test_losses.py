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


def expected_tokens(seed: int, number: int, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are expected, and how likely: (N, K) both."""
    generator = torch.Generator().manual_seed(seed)
    p = (2 * torch.randn((number, VOCABULARY), generator=generator)).softmax(-1)
    best = p.topk(kept)
    return best.indices, best.values


@pytest.mark.parametrize("kept", [1, 4, VOCABULARY])
@pytest.mark.parametrize("number", [3, 65])
def test_what_is_expected_is_compared_with_all_that_is_kept_of_it(number: int, kept: int) -> None:
    """Token by token, and with everything else as one."""
    logits, _, weights = tokens(7, number)
    targets, shares = expected_tokens(8, number, kept)
    ours, theirs = logits.clone().requires_grad_(), logits.double().requires_grad_()
    nll = token_nll(ours, targets, shares)
    p, q = theirs.softmax(-1), shares.double()
    expected = (q * (q / p.gather(1, targets)).log()).sum(1)
    if kept < VOCABULARY:
        others = torch.ones_like(p).scatter(1, targets, 0.0)
        rest = 1 - q.sum(1)
        expected = expected + rest * (rest / (p * others).sum(1)).log()
    torch.testing.assert_close(nll.double(), expected, rtol=1e-4, atol=1e-5)
    (nll * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-3, atol=1e-4)


def test_whoever_expects_the_same_has_nothing_to_learn() -> None:
    logits, _, _ = tokens(9, 40)
    best = logits.softmax(-1).topk(6)
    same = logits.clone().requires_grad_()
    losses = token_nll(same, best.indices, best.values)
    assert float(losses.abs().max()) < 1e-5
    losses.sum().backward()
    assert same.grad is not None
    assert float(same.grad.abs().max()) < 1e-5


def test_one_expected_token_among_several_columns_is_the_plain_loss() -> None:
    logits, targets, _ = tokens(10, 70)
    several = torch.nn.functional.pad(targets[:, None], (0, 3))
    shares = torch.zeros(several.shape)
    shares[:, 0] = 1.0
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    # Beside them a place that expects something of everything else, with columns it doesn't need.
    both = torch.cat([shares, torch.tensor([[0.4, 0.3, 0.0, 0.0]])])
    wider = torch.cat([several, torch.tensor([[3, 5, 0, 0]])])
    last = torch.cat([ours, ours[:1].detach()])
    narrow = token_nll(ours[:1].detach(), wider[-1:, :2], both[-1:, :2])
    nll, expected = token_nll(last, wider, both), token_nll(theirs, targets)
    torch.testing.assert_close(nll[-1:], narrow)
    nll = nll[:-1]
    torch.testing.assert_close(nll, expected)
    nll.sum().backward()
    expected.sum().backward()
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
