"""Linear layers as serving runs them: few products, and weights laid out as the CPU reads them.

Decoding a token reads every weight once, and takes about as long as the reading does. oneDNN reads
its own block layout faster than the rows of a matrix, and layers that are given the same input
(queries, keys and values; a gate and what it lets through) are read as one. What that brings is in
docs/performance.md.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from plum_langchain.errors import ModelNotFoundError

LowRank = tuple[torch.Tensor, torch.Tensor]
"""A (r, in) and B (r, out) of one layer, B scaled: the layer is to make x W^T + x A^T B."""

_FEW = 8
"""Rows up to which a CPU multiplies by matrices as small as an adapter's sooner in float32."""


@dataclass(frozen=True)
class Beside:
    """An adapter of a product that is computed beside the base weights.

    Attributes:
        a: The A of all adapted layers, one below the other (sum of r, in).
        b: The B (r, out) of each layer; None for one that isn't adapted.
    """

    a: torch.Tensor
    b: tuple[torch.Tensor | None, ...]

    @classmethod
    def of(cls, matrices: Sequence[LowRank | None]) -> "Beside":
        """From the matrices of each layer, None for one that isn't adapted."""
        return cls(
            torch.cat([found[0] for found in matrices if found]),
            tuple(found and found[1] for found in matrices),
        )

    def added_to(self, parts: Sequence[torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
        """What the layers make of x (..., in), given what they make of it without an adapter."""
        rows = x.reshape(-1, x.shape[-1])
        few = rows.device.type == "cpu" and len(rows) <= _FEW
        kind = torch.promote_types(x.dtype, torch.float32) if few else x.dtype
        down = linear(rows.to(kind), self.a.to(kind))  # (rows, sum of r)
        ranks = [len(b) for b in self.b if b is not None]
        for_each = iter(down.split(ranks, -1))
        made = []
        for y, b in zip(parts, self.b, strict=True):
            if b is None:
                made.append(y)
                continue
            flat = y.reshape(-1, y.shape[-1]).to(kind)
            made.append(torch.addmm(flat, next(for_each), b.to(kind)).to(y.dtype).view(y.shape))
        return made


@dataclass(frozen=True)
class PerRow:
    """Adapters of a product for the rows of a batch.

    Attributes:
        rows: Of the batch.
        of: Which rows (a tensor of their numbers) each of them is for; other rows have none.
    """

    rows: int
    of: tuple[tuple[torch.Tensor, Beside], ...]

    def added_to(self, parts: Sequence[torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
        """As `Beside.added_to`, of x (batch, T, in).

        Raises:
            RuntimeError: x isn't the rows of the batch; whose they are isn't known then.
        """
        if x.dim() != 3 or len(x) != self.rows:
            raise RuntimeError(f"a layer was given {tuple(x.shape)} of a batch of {self.rows}")
        made = [y.clone() for y in parts]
        for rows, adapter in self.of:
            own = adapter.added_to([y[rows] for y in parts], x[rows])
            for y, mine in zip(made, own, strict=True):
                y[rows] = mine
        return made


@dataclass(frozen=True)
class Merged:
    """An adapter of a product that is added to its weights: weight is theirs, laid out."""

    weight: torch.Tensor


class OwnProduct:
    """The one product of a layer that may do more than multiply: it is called as it stands."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._adapter: Beside | PerRow | None = None

    def use(self, adapter: "Beside | PerRow | Merged | None") -> None:
        """Compute with this adapter from now on, or without."""
        assert not isinstance(adapter, Merged)
        self._adapter = adapter

    def adapted(self, matrices: Sequence[LowRank | None], *, merge: bool) -> Beside:
        """An adapter to use, beside the layer even if `merge`: what the layer does isn't known."""
        return Beside.of(matrices)

    def take(self, x: torch.Tensor, part: int) -> torch.Tensor:
        """What the layer makes of x (..., in)."""
        y: torch.Tensor = self._layer(x)
        return self._adapter.added_to([y], x)[0] if self._adapter else y


class Product:
    """One input times the weights of all the layers that are given it.

    Args:
        layers: Side by side; torch's Linear or transformers' Conv1D, all of one dtype and device,
            and of the same input.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        rows = [as_rows(layer).detach() for layer in layers]
        self._sizes = [len(part) for part in rows]
        self._packs = rows[0].device.type == "cpu" and _packs(rows[0].dtype)
        self._weight = self._laid_out(rows[0] if len(rows) == 1 else torch.cat(rows))
        self._bias: torch.Tensor | None = None
        if any(layer.bias is not None for layer in layers):
            biases = [layer.bias for layer in layers]
            zeros = [rows[0].new_zeros(size) for size in self._sizes]
            pairs = zip(biases, zeros, strict=True)
            self._bias = torch.cat([zero if bias is None else bias for bias, zero in pairs])
        self._adapter: Beside | PerRow | Merged | None = None
        self._input: torch.Tensor | None = None
        self._made: Sequence[torch.Tensor] = ()
        self._taken: set[int] = set()

    def use(self, adapter: Beside | PerRow | Merged | None) -> None:
        """Compute with this adapter from now on, or without."""
        self._adapter = adapter
        self._input, self._made = None, ()

    def adapted(self, matrices: Sequence[LowRank | None], *, merge: bool) -> Beside | Merged:
        """An adapter to use.

        Args:
            matrices: Of each layer; None for one that isn't adapted.
            merge: Add them to a copy of the weights: nothing more to compute then, but as much more
                memory, and some time to make it.
        """
        if not merge:
            return Beside.of(matrices)
        dense = self._weight.to_dense() if self._packs else self._weight.clone()
        for part, found in zip(dense.split(self._sizes), matrices, strict=True):
            if found:
                a, b = (
                    matrix.to(torch.promote_types(part.dtype, torch.float32)) for matrix in found
                )
                part.copy_(torch.addmm(part.to(a.dtype), b.T, a))
        return Merged(self._laid_out(dense))

    def take(self, x: torch.Tensor, part: int) -> torch.Tensor:
        """What layer number `part` makes of x (..., in).

        What the others make of it is computed with it, and kept until they are asked for the same.
        """
        if len(self._sizes) == 1:
            return self._compute(x)[0]
        if x is not self._input or part in self._taken:
            self._input, self._made, self._taken = x, self._compute(x), set()
        found = self._made[part]
        self._taken.add(part)
        if len(self._taken) == len(self._sizes):
            self._input, self._made = None, ()
        return found

    def _compute(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        adapter = self._adapter
        weight = adapter.weight if isinstance(adapter, Merged) else self._weight
        if self._packs:
            y = torch.ops.mkldnn._linear_pointwise(x, weight, self._bias, "none", [], "")
        else:
            y = linear(x, weight, self._bias)
        parts: Sequence[torch.Tensor] = y.split(self._sizes, -1)
        return adapter.added_to(parts, x) if isinstance(adapter, Beside | PerRow) else parts

    def _laid_out(self, rows: torch.Tensor) -> torch.Tensor:
        return _packed(rows) if self._packs else rows


@dataclass(frozen=True)
class Outline:
    """What can be told of a layer's weight or bias without having it.

    It is no tensor, so that who computes with it gets an error; torch multiplies by tensors without
    data as if they had some.
    """

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class Layer(torch.nn.Module):
    """Stands in a model for a linear layer whose product is computed elsewhere.

    Args:
        product: What computes it. Of an `OwnProduct`, weight and bias are here as before; of others
            only their outlines, the weight's as torch's Linear has it.
        part: Which of the product's layers it is.
        like: The layer it stands for.
    """

    def __init__(self, product: Product | OwnProduct, part: int, like: Any) -> None:
        super().__init__()
        self.product, self.part = product, part
        self.out_features, self.in_features = as_rows(like).shape
        bias = getattr(like, "bias", None)
        own = isinstance(product, OwnProduct)
        self.weight = like.weight if own else _outline(as_rows(like))
        self.bias = bias if own or bias is None else _outline(bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # as in torch's Linear
        """From (..., in) to (..., out); without gradients."""
        return self.product.take(input, self.part)


def multiplies(layer: Any) -> bool:
    """Whether a layer does no more than multiply by its weights and add its bias.

    One with hooks or a forward of its own may do more, as accelerate's have; tensors of another
    type than torch's, as quantized ones, may not be what they seem.
    """
    return (
        type(layer) in (torch.nn.Linear, Conv1D)
        and type(layer.weight) is torch.nn.Parameter
        and type(layer.weight.data) is torch.Tensor
        and layer.weight.is_floating_point()
        and "forward" not in vars(layer)
        and not layer._forward_pre_hooks
        and not layer._forward_hooks
    )


def as_rows(layer: Any) -> torch.Tensor:
    """A layer's weight, (out, in); Conv1D keeps it the other way round."""
    weight: torch.Tensor = layer.weight
    return weight.T if isinstance(layer, Conv1D) else weight


def siblings(model: Any) -> list[list[str]]:
    """The names of the layers that multiply, those that are given the same input together.

    Found by watching a causal LM read one token; a layer that isn't called then is left out, for
    its weights may be used in other ways. So is one that shares its weights with another module,
    which would keep them in memory beside the product's; but not the output matrix, for which it is
    worth it.

    Raises:
        ModelNotFoundError: the model can't read a token.
    """
    layers = _of_their_own(model)
    calls: list[tuple[str, bool]] = []  # of which layer; whether with the input of the one before
    last: tuple[torch.Tensor, torch.Tensor] | None = None  # that input, and a copy of what it was

    def watch(name: str, args: tuple[Any, ...]) -> None:
        nonlocal last
        given = args[0] if args else None
        same = last is not None and given is last[0] and torch.equal(given, last[1])
        calls.append((name, same))
        if not same:
            last = None if given is None else (given, given.clone())

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: watch(name, args))
        for name, layer in layers.items()
    ]
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device))
    except Exception as error:  # whatever a model pleases
        raise ModelNotFoundError(
            f"{type(model).__name__} could not read a single token ({error}); give a causal "
            "language model that is asked with input_ids alone"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    times = Counter(name for name, _ in calls)
    groups: list[list[str]] = []
    joins = False  # whether the group before may take in another
    for name, same in calls:
        if times[name] == 1 and joins and same:
            groups[-1].append(name)
        elif [name] not in groups:
            groups.append([name])
        joins = times[name] == 1
    return groups


def _of_their_own(model: Any) -> dict[str, Any]:
    """The layers that multiply by weights nobody else has, and the output matrix."""
    places = list(model.named_modules(remove_duplicate=False))
    owners = Counter(weight for _, module in places for weight in module._parameters.values())
    output = model.get_output_embeddings()
    return {
        name: module
        for name, module in places
        if multiplies(module) and (module is output or owners[module.weight] == 1)
    }


def _outline(tensor: torch.Tensor) -> Outline:
    return Outline(tensor.shape, tensor.dtype, tensor.device)


def _packed(rows: torch.Tensor) -> torch.Tensor:
    """In oneDNN's block layout, as inductor packs the constants of a compiled model."""
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(rows, 1)
    return packed


@functools.cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether this build of torch and this CPU multiply by packed weights, and rightly.

    The operators are torch's own but not documented, so they are tried.
    """
    rows = torch.arange(-17.0, 18).view(7, 5).to(dtype)
    x = torch.linspace(-1, 1, 15).view(3, 5).to(dtype)
    try:
        with torch.no_grad():
            packed = _packed(rows)
            found = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
            right = torch.allclose(found, linear(x, rows), rtol=0.02, atol=0.02)
            return right and torch.equal(packed.to_dense(), rows)
    except (AttributeError, RuntimeError):
        return False
