"""A linear read-out: from what a model's middle layer holds, and from words, to Yes or No."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

L2 = 0.1
"""Of the standardised weights. Measured: docs/experiments.md, "Recite, then judge"."""


@dataclass(frozen=True)
class Head:
    """Logistic regression on D standardised features.

    Attributes:
        layer: Whose output the model's part of the features is (1 is the first layer's).
        mean: (D,)
        scale: (D,)
        weight: (D,)
        bias: ()
    """

    layer: int
    mean: torch.Tensor
    scale: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """From (n, D) to (n,): the log odds of Yes."""
        return (features - self.mean) / self.scale @ self.weight + self.bias

    def save(self, path: Path) -> None:
        """As safetensors."""
        tensors = {
            name: getattr(self, name).contiguous() for name in ("mean", "scale", "weight", "bias")
        }
        save_file(tensors, path, metadata={"layer": str(self.layer)})

    @classmethod
    def load(cls, path: Path) -> "Head":
        """As `save` left it."""
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(layer=int(file.metadata()["layer"]), **tensors)


def fit(layer: int, features: torch.Tensor, yes: torch.Tensor) -> Head:
    """The head that tells these examples best apart; always the same for the same ones.

    Args:
        layer: Of the features.
        features: (n, D)
        yes: (n,), 1.0 or 0.0
    """
    with torch.inference_mode(False), torch.enable_grad():
        features, yes = features.clone(), yes.clone()  # those of inference mode take no gradient
        mean, scale = features.mean(0), features.std(0) + 1e-5
        x = (features - mean) / scale
        weight = torch.zeros(x.shape[1], requires_grad=True)
        bias = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(x @ weight + bias, yes)
            loss = loss + L2 / 2 * weight @ weight
            loss.backward()
            return loss

        optimizer.step(loss)
    return Head(layer, mean, scale, weight.detach(), bias.detach())


def best_layer(
    features: dict[int, torch.Tensor], yes: torch.Tensor, groups: Sequence[str]
) -> tuple[int, float]:
    """The layer whose head judges best those it was not fitted on, and its log loss on them.

    Args:
        features: (n, D) of each layer.
        yes: (n,)
        groups: Of each example; one group after another is left out and judged.
    """
    losses = {}
    for layer, all_features in features.items():
        logits = torch.empty(len(yes))
        for group in set(groups):
            out = torch.tensor([one == group for one in groups])
            head = fit(layer, all_features[~out], yes[~out])
            logits[out] = head.logits(all_features[out])
        losses[layer] = float(-logsigmoid(torch.where(yes > 0, logits, -logits)).mean())
    layer = min(losses, key=losses.__getitem__)
    return layer, losses[layer]
