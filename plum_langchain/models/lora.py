"""LoRA at serving: two small matrices for each linear layer, switched in a moment.

PEFT's own layers do this too, and training uses them. Serving has no use for what they add (casts,
dropout, several active adapters at once, a search through all modules at every switch), and decodes
one token at a time, where every small product is felt; see docs/performance.md. What is computed is
the same: W x + (alpha / r) B A x (LoRA, arXiv 2106.09685, equation 3).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from plum_langchain.adapters.manifest import CONFIG, WEIGHTS
from plum_langchain.errors import DamagedAdapterError

_BEFORE = "base_model.model."  # PEFT's names of tensors begin so

LoraWeights = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""For each adapted module its A (r, in), and its scaled and transposed B (r, out)."""

_FEW = 8
"""Rows of a batch up to which a CPU multiplies by B more quickly in float32 than in bfloat16."""


class LoraLayer(torch.nn.Module):
    """A linear layer with room for one adapter's matrices.

    A stands below W in one matrix, so that one product makes both W x and A x. The base layer's own
    weight becomes a view of it: the model has its weights once. Only torch's Linear and
    transformers' Conv1D are known to do no more than that product; beside any other layer A has a
    product of its own.

    Args:
        base: The layer.
    """

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base = base
        self.matrices: tuple[torch.Tensor, torch.Tensor] | None = None
        self._joins = type(base) in (torch.nn.Linear, Conv1D) and base.weight.is_floating_point()
        self._out, _ = out_in(base)
        self._both: torch.Tensor | None = None  # (out + the largest r so far, in)
        self._bias: torch.Tensor | None = None  # (out + the largest r so far)

    def use(self, matrices: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        """Add this adapter's A (r, in) and scaled B (r, out) from now on, or nothing."""
        self.matrices = None
        if self._both is not None:
            self._both[self._out :] = 0  # nothing of a user stays behind
        if matrices is not None and self._joins:
            a, _ = matrices
            if self._both is None or len(self._both) < self._out + len(a):
                self._make_room(len(a))
            assert self._both is not None
            self._both[self._out : self._out + len(a)] = a
        self.matrices = matrices

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x (..., in) to (..., out); without gradients."""
        if self.matrices is None:
            plain: torch.Tensor = self.base(x)
            return plain
        a, b = self.matrices
        if self._both is None:
            out = self.base(x)
            return out + (torch.nn.functional.linear(x, a) @ b.to(x.dtype)).to(out.dtype)
        both = torch.nn.functional.linear(x, self._both, self._bias)
        rows = both.view(-1, len(self._both))
        if len(rows) <= _FEW:
            rows = rows.to(b.dtype)
        else:
            b = b.to(rows.dtype)
        out = torch.addmm(rows[:, : self._out], rows[:, self._out : self._out + len(b)], b)
        return out.to(both.dtype).view(*x.shape[:-1], self._out)

    def _make_room(self, rank: int) -> None:
        weight, bias = self.base.weight, self.base.bias
        rows = weight.T if isinstance(self.base, Conv1D) else weight
        self._both = torch.cat([rows, rows.new_zeros(rank, rows.shape[1])])
        self._bias = None if bias is None else torch.cat([bias, bias.new_zeros(rank)])
        view = self._both[: self._out]
        weight.data = view.T if isinstance(self.base, Conv1D) else view


def out_in(layer: Any) -> tuple[int, int]:
    """How many features a layer makes, and of how many; Conv1D keeps its weight (in, out)."""
    rows, columns = layer.weight.shape
    return (columns, rows) if isinstance(layer, Conv1D) else (rows, columns)


class LoraSwitch:
    """Puts one adapter at a time onto a model, or none.

    Args:
        model: A causal LM that is only ever asked, never trained.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._layers: dict[str, LoraLayer] = {}
        self._current: LoraWeights | None = None

    def load(self, directory: Path) -> LoraWeights:
        """Read an adapter in PEFT's layout, for this model.

        Raises:
            DamagedAdapterError: it is no plain LoRA adapter, or doesn't fit the model's layers.
        """
        from safetensors.torch import load_file

        config = json.loads((directory / CONFIG).read_text("utf-8"))
        unknown = [name for name in _CHANGES_THE_FORMULA if config.get(name)]
        if config.get("peft_type") != "LORA" or unknown:
            raise DamagedAdapterError(
                f"the adapter in {directory} is not plain LoRA (peft_type "
                f"{config.get('peft_type')!r}, {', '.join(unknown) or 'no options'}); go back with "
                "Plum.rollback(user_id, 0) and learn the chats anew"
            )
        scale = config["lora_alpha"] / config["r"]
        tensors = load_file(directory / WEIGHTS, device=str(self._model.device))
        found = {}
        for name in [key for key in tensors if key.endswith(".lora_A.weight")]:
            module = name.removeprefix(_BEFORE).removesuffix(".lora_A.weight")
            a = tensors.pop(name)
            b = tensors.pop(name.replace("lora_A", "lora_B"), None)
            layer = self._linear(module)
            if layer is None or b is None or not _fits(layer, a, b):
                raise _misfit(directory, name, self._model)
            dtype = layer.weight.dtype
            on_cpu = layer.weight.device.type == "cpu"
            for_b = torch.promote_types(dtype, torch.float32) if on_cpu else dtype
            found[module] = (a.to(dtype), (b * scale).T.contiguous().to(for_b))
        if tensors:
            raise _misfit(directory, next(iter(tensors)), self._model)
        return found

    def use(self, weights: LoraWeights | None) -> None:
        """Answer with this adapter from now on; with none, the base model."""
        if weights is self._current:
            return
        self._current = _HALF_SWITCHED  # should it end in an error, nobody is answered with it
        # Tensors made in inference mode could never be changed outside of it.
        with torch.inference_mode(False), torch.no_grad():
            for module in weights or ():
                if module not in self._layers:
                    self._layers[module] = self._make_room(module)
            for module, layer in self._layers.items():
                layer.use(weights.get(module) if weights else None)
        self._current = weights

    def _linear(self, module: str) -> Any:
        if module in self._layers:
            return self._layers[module].base
        try:
            found = self._model.get_submodule(module)
        except AttributeError:
            return None
        return found if getattr(found, "weight", None) is not None else None

    def _make_room(self, module: str) -> LoraLayer:
        owner, _, name = module.rpartition(".")
        layer = LoraLayer(self._model.get_submodule(module))
        setattr(self._model.get_submodule(owner), name, layer)
        return layer


_HALF_SWITCHED: LoraWeights = {}
"""Stands for a mixture: equal to no adapter and not to the base model, so any switch is made."""

_CHANGES_THE_FORMULA = (
    "use_dora",
    "use_rslora",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
)
"""Options of PEFT's LoraConfig with which the sum above is not what was trained."""


def _fits(layer: Any, a: torch.Tensor, b: torch.Tensor) -> bool:
    return (
        layer.weight.dim() == 2
        and a.shape[0] == b.shape[1]
        and out_in(layer) == (b.shape[0], a.shape[1])
    )


def _misfit(directory: Path, tensor: str, model: Any) -> DamagedAdapterError:
    return DamagedAdapterError(
        f"{tensor!r} of the adapter in {directory} has no layer in {type(model).__name__} that it "
        "fits; go back with Plum.rollback(user_id, generation) to one that does"
    )
