"""The weighted cross-entropy of a batch, token by token."""

from dataclasses import dataclass

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

    def mean(self) -> torch.Tensor:
        """The training loss: `weighted_mean` of the tokens (PLUM, arXiv 2411.13405, section 3)."""
        return weighted_mean(self.nll, self.weights)

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
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")


def weighted_mean(nll: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of all tokens, sum w * -log p / sum w; with equal weights it is plain cross-entropy."""
    return (nll * weights).sum() / weights.sum()
