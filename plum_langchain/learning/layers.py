"""A decoder's layers: which carry LoRA, and running only some of them.

When only the upper layers are trained, what the frozen ones below make of a sample is the same in
every epoch. So a model can be cut in two: the lower part run once, the upper part at every step.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from plum_langchain.errors import InvalidInputError
from plum_langchain.learning.packing import ROUND, padded


class DecoderLayers:
    """The stack of equal layers of a causal LM of transformers.

    Args:
        model: A causal LM; PEFT's layers may be on it.

    Raises:
        InvalidInputError: it has no such stack.
    """

    def __init__(self, model: Any) -> None:
        self._decoder = model.get_decoder()
        depth = model.config.get_text_config().num_hidden_layers
        stacks = [
            (name, child)
            for name, child in self._decoder.named_children()
            if isinstance(child, torch.nn.ModuleList) and len(child) == depth
        ]
        if len(stacks) != 1:
            raise InvalidInputError(
                f"{type(model).__name__} has {len(stacks)} stacks of {depth} layers where one was "
                "expected, so its upper layers can't be told; use LearningSettings("
                "upper_layers=1.0), which adapts them all"
            )
        self._name, self._stack = stacks[0]

    def __len__(self) -> int:
        return len(self._stack)

    def first_of_upper(self, share: float) -> int:
        """Index of the first layer of the upper `share` of them; at least one layer is upper."""
        return len(self) - max(1, math.floor(share * len(self) + 0.5))

    def linear_modules(self) -> list[str]:
        """The names of linear modules within the layers ("q_proj", "down_proj", ...)."""
        from transformers.pytorch_utils import Conv1D

        return sorted(
            {
                name.rpartition(".")[2]
                for name, module in self._stack.named_modules()
                if isinstance(module, torch.nn.Linear | Conv1D)
            }
        )

    def run_below(self, number: int, **inputs: torch.Tensor) -> torch.Tensor:
        """`upto`, without gradient."""
        with torch.no_grad():
            return self.upto(number, **inputs)

    def upto(self, number: int, **inputs: torch.Tensor) -> torch.Tensor:
        """What the first `number` layers make of the inputs.

        Args:
            number: Of layers; with 0 the embeddings as they enter the first.
            **inputs: The decoder's: `input_ids` (B, T), `attention_mask`, `position_ids`.

        Returns:
            Hidden states (B, T, H).
        """
        end = _End()
        # A decoder runs so many layers as its configuration says: behind the last there is no room.
        behind = [*self._stack[:number], end]
        if number == len(self):
            behind = [*self._stack[:-1], _Then(self._stack[-1], end)]
        with self._only(torch.nn.ModuleList(behind)):
            self._decoder(**inputs, use_cache=False)
        if end.hidden is None:
            raise RuntimeError("the decoder did not run its layers")
        return end.hidden

    def at_end(self, number: int, texts: Sequence[Sequence[int]], pad_id: int) -> torch.Tensor:
        """What the first `number` layers make of the last token of each text, read side by side.

        Args:
            number: Of layers.
            texts: B of them, as token ids.
            pad_id: What to pad with.

        Returns:
            (B, H) float32, on the CPU.
        """
        ids, mask = (t.to(self._decoder.device) for t in padded(texts, pad_id, ROUND))
        hidden = self.upto(number, input_ids=ids, attention_mask=mask)
        ends = torch.tensor([len(text) - 1 for text in texts])
        return hidden[torch.arange(len(texts)), ends].float().cpu()

    @contextmanager
    def without_below(self, number: int) -> Iterator[None]:
        """The model without its first `number` layers, for the length of the block.

        It is then fed by `inputs_embeds`, with what `run_below` returned.
        """
        with self._only(self._stack[number:]):
            yield

    @contextmanager
    def recorded(self, first: int) -> Iterator[list[list[torch.Tensor]]]:
        """All tensors given to the layers from `first` on, layer by layer, while the block runs."""
        seen: list[list[torch.Tensor]] = []

        def note(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(list(_tensors([args, kwargs])))

        hooks = [
            layer.register_forward_pre_hook(note, with_kwargs=True) for layer in self._stack[first:]
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def _only(self, layers: torch.nn.Module) -> Iterator[None]:
        setattr(self._decoder, self._name, layers)
        try:
            yield
        finally:
            setattr(self._decoder, self._name, self._stack)


def _tensors(given: Any) -> Iterator[torch.Tensor]:
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))
    elif isinstance(given, list | tuple):
        for item in given:
            yield from _tensors(item)


class _End(torch.nn.Module):
    """Stands after the last layer wanted and keeps what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        self.hidden = hidden_states
        return hidden_states


class _Then(torch.nn.Module):
    """A layer with `_End` behind it."""

    def __init__(self, layer: torch.nn.Module, end: _End) -> None:
        super().__init__()
        self.layer = layer
        self.end = end

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # what a decoder reads off its layers (a kind of attention)
            return getattr(super().__getattr__("layer"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        made = self.layer(*args, **kwargs)
        self.end(made[0] if isinstance(made, tuple) else made)
        return made
