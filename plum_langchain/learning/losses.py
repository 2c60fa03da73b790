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


def token_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log p of each target, in float32 whatever the logits' dtype.

    Args:
        logits: (N, V); row n predicts target n.
        targets: (N,) int64.

    Returns:
        (N,) float32, in nats.
    """
    nll: torch.Tensor = _SlicedNll.apply(logits, targets)
    return nll


_SLICE = 64
"""Rows whose float32 probabilities are in memory at once: of all rows of a batch they would be the
largest tensors of a training step."""


class _SlicedNll(torch.autograd.Function):
    """Cross-entropy that keeps the logits alone for its gradient, p - 1 at the target.

    What it computes on the way has one place, used again and again: pieces of this size that come
    and go leave the heap full of holes.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        highest = logits.amax(-1, keepdim=True).float()
        total = torch.empty_like(highest)
        for rows, place in _slices(logits):
            exponentials = place.copy_(logits[rows]).sub_(highest[rows]).exp_()
            torch.sum(exponentials, -1, keepdim=True, out=total[rows])
        log_total = total.log_().add_(highest)
        ctx.save_for_backward(logits, targets, log_total)
        return (log_total - logits.gather(1, targets[:, None]).float())[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets, log_total = ctx.saved_tensors
        (upstream,) = gradients
        gradient = torch.empty_like(logits)
        for rows, place in _slices(logits):
            p = place.copy_(logits[rows]).sub_(log_total[rows]).exp_()
            p[range(len(p)), targets[rows]] -= 1
            gradient[rows] = p.mul_(upstream[rows, None])
        return gradient, None


def _slices(logits: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Slices of rows, each with the place for as many float32 values."""
    whole = logits.new_empty((min(_SLICE, len(logits)), logits.shape[1]), dtype=torch.float32)
    for start in range(0, len(logits), _SLICE):
        rows = slice(start, min(start + _SLICE, len(logits)))
        yield rows, whole[: rows.stop - start]
