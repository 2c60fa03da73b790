"""A linear function of what a layer holds at the end of a chat."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch.nn.functional import binary_cross_entropy_with_logits

_PENALTY = 3e-3
"""On the squared weights. Measured: docs/experiments.md, "What is asked of memory"."""


@dataclass(frozen=True)
class Readout:
    """Log odds from a hidden state.

    Attributes:
        layer: Whose output the state is (1 is the first layer's).
        weight: (H,)
        bias: ()
    """

    layer: int
    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def fitted(
        cls, layer: int, states: torch.Tensor, right: torch.Tensor, weights: torch.Tensor
    ) -> "Readout":
        """Logistic regression with a penalty on the squared weights.

        Args:
            layer: Whose output the states are.
            states: (n, H)
            right: (n,) of 0 and 1.
            weights: (n,) how much each counts.
        """
        mean, scale = states.mean(0), states.std(0) + 1e-6
        standard = (states - mean) / scale
        weight = torch.zeros(states.shape[1], requires_grad=True)
        bias = torch.zeros((), requires_grad=True)
        # Convex: the same numbers come out, wherever it begins.
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            each = binary_cross_entropy_with_logits(
                standard @ weight + bias, right, weight=weights, reduction="sum"
            )
            value = each / weights.sum() + _PENALTY * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        unscaled = weight.detach() / scale
        return cls(layer, unscaled, bias.detach() - (mean * unscaled).sum())

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(n,) of states (n, H)."""
        return states @ self.weight + self.bias

    def save(self, path: Path) -> None:
        """As safetensors."""
        tensors = {"weight": self.weight.contiguous(), "bias": self.bias}
        path.write_bytes(to_bytes(tensors, metadata={"layer": str(self.layer)}))

    @classmethod
    def load(cls, path: Path) -> "Readout":
        """As `save` left it."""
        with safe_open(path, "pt") as file:
            return cls(
                int(file.metadata()["layer"]), file.get_tensor("weight"), file.get_tensor("bias")
            )
