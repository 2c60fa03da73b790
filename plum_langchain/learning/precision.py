"""Training a float32 adapter on a model of lower precision."""

from collections.abc import Sequence

import torch


class MasterWeights:
    """Float32 weights that the optimizer moves, beside the copies the model computes with.

    An adapter in float32 on a bfloat16 model has everything cast to and fro at each of its layers;
    one in bfloat16 would lose most of what a step adds. So the model gets copies in its own dtype,
    and each step is added to the masters ("Mixed Precision Training", arXiv 1710.03740, section
    3.1). Where the model computes in float32 the two are one.

    Args:
        trained: The parameters, float32, as they stand in the model.
        dtype: The model's.
    """

    def __init__(self, trained: Sequence[torch.nn.Parameter], dtype: torch.dtype) -> None:
        self._trained = list(trained)
        self._apart = dtype != torch.float32
        self.masters = self._trained
        if self._apart:
            self.masters = [torch.nn.Parameter(p.detach().clone()) for p in self._trained]
            for parameter in self._trained:
                parameter.data = parameter.data.to(dtype)

    def take_gradients(self) -> None:
        """Add what `backward` left at the copies to the masters' gradients."""
        if self._apart:
            for master, parameter in zip(self.masters, self._trained, strict=True):
                gradient, parameter.grad = parameter.grad, None
                if gradient is not None:
                    sum_so_far = 0 if master.grad is None else master.grad
                    master.grad = gradient.float() + sum_so_far

    def give_out(self) -> None:
        """Let the copies follow the masters."""
        if self._apart:
            for master, parameter in zip(self.masters, self._trained, strict=True):
                parameter.data.copy_(master.data)

    def restore(self) -> None:
        """Put the masters themselves into the model, to be saved."""
        if self._apart:
            for master, parameter in zip(self.masters, self._trained, strict=True):
                parameter.data = master.data
