"""The weighted cross-entropy of a batch, token by token."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

_LN_2 = 0.6931471805599453  # -log p of a token with p = 1/2


@dataclass(frozen=True)
class TokenLosses:
    """What a model made of a batch: one entry for each token it had to predict.

    A token that several samples share (their common prefix) may be one entry, with the sum of
    their weights.

    Attributes:
        nll: (N,) float32, -log p of each token, in nats.
        weights: (N,) float32.
        sample: (N,) int64, which sample of the batch an answer's token belongs to; -1 for a token
            that is not part of an answer.
        samples: How many samples the batch has.
    """

    nll: torch.Tensor
    weights: torch.Tensor
    sample: torch.Tensor
    samples: int

    def mean(self, weight: float | None = None) -> torch.Tensor:
        """The training loss: sum w * -log p / sum w (PLUM, arXiv 2411.13405, section 3).

        With equal weights it is plain cross-entropy.

        Args:
            weight: The sum of the weights to divide by, where these tokens are a part of a batch:
                the means of its parts then add up to its own.
        """
        total = (self.nll * self.weights).sum()
        return total / (self.weights.sum() if weight is None else weight)

    def recalled(self) -> torch.Tensor:
        """(samples,) bool: whether every token of a sample's answer has p > 0.5.

        Greedy decoding gives those answers (the criterion of arXiv 2605.30260).
        """
        with torch.no_grad():
            missed = self.sample[(self.nll >= _LN_2) & (self.sample >= 0)]
            recalled = torch.ones(self.samples, dtype=torch.bool, device=self.nll.device)
            recalled[missed] = False
            return recalled


def token_nll(
    logits: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor | None = None
) -> torch.Tensor:
    """-log p of each target, in float32 whatever the logits' dtype.

    With `shares` several tokens are expected at a place, and it is how far p is from what is
    expected: sum q log(q / p) over the targets and, as if it were one token, everything else.

    Args:
        logits: (N, V); row n predicts target n.
        targets: (N,) int64, or (N, K); those of a row that have a share are all different.
        shares: (N, K), each at least 0, of a sum of at most 1; the rest is everything else's.

    Returns:
        (N,) float32, in nats; 0 is the least.
    """
    if shares is None:
        targets, shares = targets[:, None], torch.ones_like(targets[:, None], dtype=torch.float32)
    nll: torch.Tensor = _SlicedNll.apply(logits, targets, shares)
    rest = (1 - shares.sum(1)).clamp_min(0)
    return nll + torch.xlogy(shares, shares).sum(1) + torch.xlogy(rest, rest)


_SLICE = 64
"""Rows whose float32 probabilities are in memory at once: of all rows of a batch they would be the
largest tensors of a training step."""

_LEAST = 1e-6
"""A probability that everything else has at least, and a share that counts as one."""


class _SlicedNll(torch.autograd.Function):
    """Cross-entropy that keeps the logits alone for its gradient.

    With q_k of the targets k, Q their sum and S the sum of their p_k, the loss is -sum q_k log p_k
    - (1 - Q) log(1 - S). With c = (1 - Q) / (1 - S) its gradient is p (Q - c S) everywhere, and
    c p_k - q_k more at the targets; for one target with q = 1 that is p, less 1 at the target.

    What is computed on the way has one place, used again and again: pieces of this size that come
    and go leave the heap full of holes.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor
    ) -> torch.Tensor:
        highest = logits.amax(-1, keepdim=True).float()
        total = torch.empty_like(highest)
        for rows, place in _slices(logits):
            exponentials = place.copy_(logits[rows]).sub_(highest[rows]).exp_()
            torch.sum(exponentials, -1, keepdim=True, out=total[rows])
        log_total = total.log_().add_(highest)
        log_p = logits.gather(1, targets).float() - log_total
        rest = 1 - shares.sum(1, keepdim=True)
        rest = torch.where(rest > _LEAST, rest, 0.0)
        p_k = log_p.exp() * (shares > 0)
        left = (1 - p_k.sum(1, keepdim=True)).clamp_min(_LEAST)
        ctx.save_for_backward(logits, targets, shares, log_total, rest / left)
        return (-(shares * log_p).sum(1, keepdim=True) - rest * left.log())[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, targets, shares, log_total, c = ctx.saved_tensors
        (upstream,) = gradients
        gradient = torch.empty_like(logits)
        for rows, place in _slices(logits):
            p = place.copy_(logits[rows]).sub_(log_total[rows]).exp_()
            p_k = p.gather(1, targets[rows]) * (shares[rows] > 0)
            everywhere = shares[rows].sum(1, keepdim=True) - c[rows] * p_k.sum(1, keepdim=True)
            p.mul_(everywhere).scatter_add_(1, targets[rows], c[rows] * p_k - shares[rows])
            gradient[rows] = p.mul_(upstream[rows, None])
        return gradient, None, None


def _slices(logits: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Slices of rows, each with the place for as many float32 values."""
    whole = logits.new_empty((min(_SLICE, len(logits)), logits.shape[1]), dtype=torch.float32)
    for start in range(0, len(logits), _SLICE):
        rows = slice(start, min(start + _SLICE, len(logits)))
        yield rows, whole[: rows.stop - start]
