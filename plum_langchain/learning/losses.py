"""The loss of PLUM: cross-entropy over the whole sample, question and answer weighted lambda."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plum_langchain.learning.encode import Sample

if TYPE_CHECKING:
    import torch


def collate(
    samples: Sequence[Sample], pad_id: int
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Samples padded on the right into one batch.

    Returns:
        ids (B, T) int64, attention mask (B, T) int64, weights (B, T) float32; the weight of a
        padding token is 0.
    """
    import torch

    length = max(len(sample.ids) for sample in samples)
    ids = torch.full((len(samples), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(samples), length), dtype=torch.long)
    weights = torch.zeros((len(samples), length), dtype=torch.float32)
    for row, sample in enumerate(samples):
        size = len(sample.ids)
        ids[row, :size] = torch.tensor(sample.ids)
        mask[row, :size] = 1
        weights[row, :size] = torch.tensor(sample.weights)
    return ids, mask, weights


def weighted_cross_entropy(
    logits: "torch.Tensor", ids: "torch.Tensor", weights: "torch.Tensor"
) -> "torch.Tensor":
    """sum_t w_t * -log p(id_t | ids before t) / sum_t w_t, over all samples of a batch.

    With all weights equal it is plain cross-entropy (PLUM, arXiv 2411.13405, section 3).

    Args:
        logits: (B, T, V), of the model run on `ids`.
        ids: (B, T) int64.
        weights: (B, T) float; `weights[:, t]` weighs the prediction of `ids[:, t]`. Column 0 is
            not used: nothing predicts the first token.

    Returns:
        A scalar, in nats, in float32 whatever the logits' dtype.
    """
    import torch

    targets, target_weights = ids[:, 1:], weights[:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), targets, reduction="none"
    )
    return (losses * target_weights).sum() / target_weights.sum()
