"""The last step of a verdict: from what a middle layer holds, and from words, to Yes or No.

And to whether statement and question are about the same matter at all.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes


@dataclass(frozen=True)
class Head:
    """Two linear functions of a normalised state and of standardised word counts.

    The first row of each tensor is of the log odds of Yes, the second of those that the question
    is about the statement's matter.

    Attributes:
        layer: Whose output the state is (1 is the first layer's).
        weight: (2, H) of the state.
        words: (2, W) of the word counts.
        mean: (W,) of the word counts it was trained on.
        scale: (W,) their standard deviations.
        bias: (2,)
    """

    layer: int
    weight: torch.Tensor
    words: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def blank(cls, layer: int, size: int, words: torch.Tensor) -> "Head":
        """A head that knows nothing yet, to be trained: it says even odds of everything.

        Args:
            layer: Whose output it reads.
            size: Of a state.
            words: (n, W) the word counts it will be trained on.
        """
        return cls(
            layer=layer,
            weight=torch.zeros(2, size, requires_grad=True),
            words=torch.zeros(2, words.shape[1], requires_grad=True),
            mean=words.mean(0),
            scale=words.std(0) + 1e-6,
            bias=torch.zeros(2, requires_grad=True),
        )

    @property
    def trained(self) -> list[torch.Tensor]:
        """What is to be moved."""
        return [self.weight, self.words, self.bias]

    def logits(self, states: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """The log odds of Yes and of being about the same matter, (n, 2).

        Args:
            states: (n, H)
            words: (n, W)
        """
        state = torch.nn.functional.layer_norm(states.float(), states.shape[1:])
        standard = (words - self.mean) / self.scale
        return state @ self.weight.T + standard @ self.words.T + self.bias

    def save(self, path: Path) -> None:
        """As safetensors."""
        tensors = {name: getattr(self, name).detach().contiguous() for name in _TENSORS}
        path.write_bytes(to_bytes(tensors, metadata={"layer": str(self.layer)}))

    @classmethod
    def load(cls, path: Path) -> "Head":
        """As `save` left it."""
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
            return cls(layer=int(file.metadata()["layer"]), **tensors)


_TENSORS = ("weight", "words", "mean", "scale", "bias")
