"""LoRA at serving: two small matrices for each linear layer, switched in a moment.

PEFT's own layers do this too, and training uses them. Serving has no use for what they add (casts,
dropout, several active adapters at once, a search through all modules at every switch), and decodes
one token at a time, where every small product is felt; see `products` and docs/performance.md. What
is computed is the same: W x + (alpha / r) B A x (LoRA, arXiv 2106.09685, equation 3).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from plum_langchain.adapters.manifest import CONFIG
from plum_langchain.adapters.weights import read_weights
from plum_langchain.encryption.box import Seal
from plum_langchain.errors import DamagedAdapterError
from plum_langchain.models.products import (
    Beside,
    Layer,
    LowRank,
    Merged,
    OwnProduct,
    PerRow,
    Product,
    as_rows,
)

_BEFORE = "base_model.model."  # PEFT's names of tensors begin so

LoraWeights = Mapping[Any, Beside | Merged]
"""An adapter, as each product of the model it was loaded for is to use it."""


class LoraSwitch:
    """Puts one adapter at a time onto a model, or none.

    Args:
        model: A causal LM that is only ever asked, never trained. Its linear layers are replaced.
        siblings: Names of layers, those together that are given the same input
            (`products.siblings`); a layer that isn't named stays as it is, and an adapter for it is
            computed beside it.
        merge: Add each adapter to a copy of the weights it is for.
    """

    def __init__(
        self, model: Any, siblings: Sequence[Sequence[str]] = (), *, merge: bool = False
    ) -> None:
        self._model = model
        self._merge = merge
        self._names: dict[Product | OwnProduct, Sequence[str]] = {}
        self._current: LoraWeights | None = None
        self._apart: bool | None = None
        with torch.inference_mode(False), torch.no_grad():
            for names in siblings:
                layers = [self._model.get_submodule(name) for name in names]
                self._replace(Product(layers), names)

    def load(
        self, directory: Path, *, seal: Seal | None = None, merge: bool | None = None
    ) -> LoraWeights:
        """Read an adapter in PEFT's layout, for this model.

        Args:
            directory: With PEFT's two files.
            seal: What opens the weights, where they are encrypted.
            merge: As for the switch; None for what that says.

        Raises:
            DamagedAdapterError: it is no plain LoRA adapter, or doesn't fit the model's layers.
        """
        config = json.loads((directory / CONFIG).read_text("utf-8"))
        unknown = [name for name in _CHANGES_THE_FORMULA if config.get(name)]
        if config.get("peft_type") != "LORA" or unknown:
            raise DamagedAdapterError(
                f"the adapter in {directory} is not plain LoRA (peft_type "
                f"{config.get('peft_type')!r}, {', '.join(unknown) or 'no options'}); go back with "
                "Plum.rollback(user_id, 0) and learn the chats anew"
            )
        scale = config["lora_alpha"] / config["r"]
        tensors = read_weights(directory, seal, device=str(self._model.device))
        found: dict[str, LowRank] = {}
        for name in [key for key in tensors if key.endswith(".lora_A.weight")]:
            module = name.removeprefix(_BEFORE).removesuffix(".lora_A.weight")
            a = tensors.pop(name)
            b = tensors.pop(name.replace("lora_A", "lora_B"), None)
            layer = self._linear(module)
            if layer is None or b is None or not _fits(layer, a, b):
                raise _misfit(directory, name, self._model)
            if len(a) != config["r"] or len(a) > max(b.shape[0], a.shape[1]):
                raise DamagedAdapterError(
                    f"{name!r} of the adapter in {directory} is of rank {len(a)}, where its "
                    f"{CONFIG} says {config['r']} and its layer has {b.shape[0]} x {a.shape[1]} "
                    "weights; it is not loaded. Go back with Plum.rollback(user_id, generation) "
                    "to one that is whole"
                )
            found[module] = self._as_used(a, (b * scale).T, layer.weight.dtype)
        if tensors:
            raise _misfit(directory, next(iter(tensors)), self._model)
        return self.adapter(found, merge=merge)

    def adapter(self, matrices: Mapping[str, LowRank], *, merge: bool | None = None) -> LoraWeights:
        """What to `use`, from the matrices of each module; `merge` as for `load`."""
        products = {}
        merged = self._merge if merge is None else merge
        # Tensors made in inference mode could never be changed outside of it.
        with torch.inference_mode(False), torch.no_grad():
            for module in matrices:
                layer = self._model.get_submodule(module)
                if not isinstance(layer, Layer):
                    self._replace(OwnProduct(layer), [module])
                product = self._model.get_submodule(module).product
                if product not in products:
                    own = [matrices.get(name) for name in self._names[product]]
                    products[product] = product.adapted(own, merge=merged)
        return products

    def use(self, weights: LoraWeights | None) -> None:
        """Answer with this adapter from now on; with none, the base model."""
        if weights is self._current:
            return
        self._current = _HALF_SWITCHED
        for product in self._names:
            product.use(weights.get(product) if weights else None)
        self._current = weights

    def use_per_row(self, weights: Sequence[LoraWeights | None]) -> None:
        """Answer each row of a batch with an adapter of its own, until the next `use`.

        Args:
            weights: Of each row, None for the base model; none of them is merged.
        """
        self._current = _HALF_SWITCHED
        distinct = {id(found): found for found in weights if found}
        rows = {
            key: torch.tensor([n for n, found in enumerate(weights) if id(found) == key])
            for key in distinct
        }
        for product in self._names:
            of = [
                (rows[key], adapter)
                for key, found in distinct.items()
                if isinstance(adapter := found.get(product), Beside)
            ]
            product.use(PerRow(len(weights), tuple(of)) if of else None)

    @property
    def rows_apart(self) -> bool:
        """Whether each layer is given the rows of a batch apart, as `use_per_row` needs it.

        Found by watching the model read two rows of three tokens; experts, say, are given the
        tokens of all rows in a heap. For the caller alone, as the model is.
        """
        if self._apart is None:
            self._apart = self._look_whether_apart()
        return self._apart

    def _look_whether_apart(self) -> bool:
        apart: list[bool] = []

        def watch(_: Any, args: tuple[Any, ...]) -> None:
            apart.append(args[0].dim() == 3 and args[0].shape[:2] == (2, 3))

        layers = [module for module in self._model.modules() if isinstance(module, Layer)]
        hooks = [layer.register_forward_pre_hook(watch) for layer in layers]
        try:
            with torch.inference_mode():
                ids = torch.zeros(2, 3, dtype=torch.long, device=self._model.device)
                self._model(input_ids=ids, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return all(apart)  # of a model without such layers it will be asked again

    def _linear(self, module: str) -> Any:
        try:
            found = self._model.get_submodule(module)
        except AttributeError:
            return None
        return found if getattr(found, "weight", None) is not None else None

    def _as_used(
        self, a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """On a CPU in float32, which is quicker for a token at a time; else as the model's own."""
        on_cpu = a.device.type == "cpu"
        kind = torch.promote_types(dtype, torch.float32) if on_cpu else dtype
        return a.to(kind), b.contiguous().to(kind)

    def _replace(self, product: Product | OwnProduct, names: Sequence[str]) -> None:
        self._apart = None
        self._names[product] = names  # first: what stands in the model is always switched
        for part, name in enumerate(names):
            owner, _, child = name.rpartition(".")
            stands_in = Layer(product, part, self._model.get_submodule(name))
            setattr(self._model.get_submodule(owner), child, stands_in)


_HALF_SWITCHED: LoraWeights = {}
"""What is in use while a switch takes place, and after one that was interrupted."""

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
    if isinstance(layer, Layer):
        outputs, inputs = layer.out_features, layer.in_features
    elif layer.weight.dim() == 2:
        outputs, inputs = as_rows(layer).shape
    else:
        return False
    return a.shape[1] == inputs and b.shape == (outputs, a.shape[0])


def _misfit(directory: Path, tensor: str, model: Any) -> DamagedAdapterError:
    return DamagedAdapterError(
        f"{tensor!r} of the adapter in {directory} has no layer in {type(model).__name__} that it "
        "fits; go back with Plum.rollback(user_id, generation) to one that does"
    )
