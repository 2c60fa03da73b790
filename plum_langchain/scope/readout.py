"""What is read off the states of a message's tokens: whether it asks for what the user told."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch.nn.functional import binary_cross_entropy_with_logits, dropout, gelu
from torch.nn.utils.rnn import pad_sequence

from plum_langchain.learning.randomness import set_aside

HEADS, WIDTH = 4, 64
_EPOCHS, _BATCH, _DROPOUT = 10, 64, 0.3
_RATE, _DECAY = 1e-3, 0.1
"""Measured, all of them: docs/experiments.md, "A reader of its own"."""


class Readout(torch.nn.Module):
    """Log odds, from the tokens that matter.

    Few of a message's tokens say what it asks for, so each of a few heads looks for its own and
    takes the mean of what they hold, weighted by how well they suit (attention with one learned
    query a head, as in arXiv 1703.03130).

    Args:
        size: Of a token's state (D).
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.suits = torch.nn.Linear(size, HEADS, bias=False)
        self.holds = torch.nn.Linear(size, WIDTH)
        self.odds = torch.nn.Linear(HEADS * WIDTH, 1)

    @classmethod
    def fitted(
        cls,
        states: Sequence[torch.Tensor],
        right: torch.Tensor,
        weights: torch.Tensor,
        *,
        seed: int = 0,
    ) -> "Readout":
        """Of least weighted cross-entropy.

        Args:
            states: Of each text's tokens, (t, D).
            right: (n,) of 0 and 1.
            weights: (n,) how much each text counts.
            seed: Of where it begins, of the batches and of the dropout.
        """
        weights = weights / weights.mean()
        with set_aside():
            torch.manual_seed(seed)
            readout = cls(states[0].shape[1])
            tokens = torch.cat(list(states)).float()
            readout.mean, readout.scale = tokens.mean(0), tokens.std(0) + 1e-6
            optimizer = torch.optim.AdamW(readout.parameters(), lr=_RATE, weight_decay=_DECAY)
            batches = list(_batches([len(one) for one in states], random.Random(seed)))
            for step, batch in enumerate(batches):
                optimizer.param_groups[0]["lr"] = _RATE * (1 - step / len(batches))
                padded, there = _padded([states[i] for i in batch])
                each = binary_cross_entropy_with_logits(
                    readout(padded, there), right[batch], weight=weights[batch]
                )
                optimizer.zero_grad()
                each.backward()
                optimizer.step()
        return readout.eval().requires_grad_(False)

    def forward(self, states: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """The log odds (n,) of texts.

        Args:
            states: (n, T, D)
            there: (n, T), which of the tokens there are.
        """
        standard = dropout((states.float() - self.mean) / self.scale, _DROPOUT, self.training)
        suits = self.suits(standard).masked_fill(~there[..., None], -torch.inf).softmax(1)
        found = torch.einsum("nth,ntw->nhw", suits, gelu(self.holds(standard))).flatten(1)
        odds: torch.Tensor = self.odds(dropout(found, _DROPOUT, self.training))
        return odds[:, 0]

    def save(self, path: Path) -> None:
        """As safetensors."""
        path.write_bytes(to_bytes({k: v.contiguous() for k, v in self.state_dict().items()}))

    @classmethod
    def load(cls, path: Path) -> "Readout":
        """As `save` left it."""
        tensors = load_file(path)
        with set_aside():  # the numbers drawn for its layers are nobody's
            readout = cls(len(tensors["mean"]))
        readout.load_state_dict(tensors)
        return readout.eval().requires_grad_(False)


def _batches(lengths: Sequence[int], rng: random.Random) -> Iterator[list[int]]:
    """Which texts go together, through all epochs; of like lengths, since all are padded."""
    for _ in range(_EPOCHS):
        order = list(range(len(lengths)))
        rng.shuffle(order)
        batches = []
        for start in range(0, len(order), _BATCH * 8):
            near = sorted(order[start : start + _BATCH * 8], key=lengths.__getitem__)
            batches += [near[i : i + _BATCH] for i in range(0, len(near), _BATCH)]
        rng.shuffle(batches)
        yield from batches


def _padded(states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(one) for one in states])
    there = torch.arange(int(lengths.max())) < lengths[:, None]
    return pad_sequence(list(states), batch_first=True), there
