"""The lower layers of a BERT, in the few products that serving runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from plum_langchain.models.products import Product

if TYPE_CHECKING:
    from transformers import BertModel


class LowerLayers:
    """Computes what transformers' BertModel does up to a layer, in half the time for one message.

    A message has a dozen tokens, of which a layer takes little more than its calls and the reading
    of its weights: so there are few calls, and the weights are laid out as the CPU reads them.
    For one thread at a time. The model isn't changed; nothing of its other layers is kept.

    Args:
        model: Without gradients and dropout.
        count: How many layers.
    """

    def __init__(self, model: "BertModel", count: int) -> None:
        self._embeddings = model.embeddings
        self._layers = [_Layer(layer, model.config) for layer in model.encoder.layer[:count]]

    def states(self, ids: torch.Tensor, there: torch.Tensor) -> Sequence[torch.Tensor]:
        """The output of each layer, (n, T, D), the lowest first.

        Args:
            ids: Of tokens, (n, T).
            there: (n, T), which of the tokens there are; what stands at the others is undefined.
        """
        x = self._embeddings(input_ids=ids)
        seen = None if there.all() else there[:, None, None, :]  # of keys, by every head and query
        found = []
        for layer in self._layers:
            x = layer(x, seen)
            found.append(x)
        return found


class _Layer:
    def __init__(self, layer: Any, config: Any) -> None:
        attention, own = layer.attention, layer.attention.self
        self._heads = config.num_attention_heads
        self._looks = Product([own.query, own.key, own.value])
        self._joins = Product([attention.output.dense])
        self._after_attention = attention.output.LayerNorm
        self._widens = Product([layer.intermediate.dense])
        self._act = layer.intermediate.intermediate_act_fn
        self._narrows = Product([layer.output.dense])
        self._after_all = layer.output.LayerNorm

    def __call__(self, x: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        parts = (self._looks.take(x, part) for part in range(3))
        q, k, v = (part.unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in parts)
        looked = scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        x = self._after_attention(self._joins.take(looked, 0) + x)
        wide = self._act(self._widens.take(x, 0))
        out: torch.Tensor = self._after_all(self._narrows.take(wide, 0) + x)
        return out
