"""A batch of samples through the model, in two ways that give the same losses and gradients.

`PlainForward` is the paper's way and the one everybody would write: a row for each sample, padded,
with all logits. `PackedForward` does no more than the same numbers need: all samples of a batch are
one sequence behind the prefix they share, none is padded to the longest, logits are made only where
a token is predicted, and frozen lower layers are run once for each sample, not at every step.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from plum_langchain.learning.encode import Sample
from plum_langchain.learning.layers import DecoderLayers
from plum_langchain.learning.losses import TokenLosses, token_nll
from plum_langchain.learning.packing import ROUND, Packed, expected_at, pack, padded, shared_prefix

logger = logging.getLogger(__name__)


class Forward(Protocol):
    """Runs a batch and tells the loss of every token it had to predict."""

    name: str

    def __call__(self, batch: Sequence[Sample]) -> TokenLosses:
        """The losses of a batch, differentiable unless gradients are off."""
        ...

    def anew(self, samples: Sequence[Sample]) -> "Forward":
        """The same way for other samples, which leaves no trace on this one."""
        ...


class PlainForward:
    """Separate samples, padded on the right, with full logits.

    Args:
        model: A causal LM.
        pad_id: What to pad with.
        multiple_of: Pad to the next multiple of so many tokens from the longest on.
    """

    name = "plain"

    def __init__(self, model: Any, *, pad_id: int = 0, multiple_of: int = 1) -> None:
        self._model = model
        self._pad_id = pad_id  # masked and without weight, so any id will do
        self._multiple_of = multiple_of

    def __call__(self, batch: Sequence[Sample]) -> TokenLosses:
        """Run a batch; see `Forward`."""
        ids, mask = padded([s.ids for s in batch], self._pad_id, self._multiple_of)
        weights, owner = torch.zeros(ids.shape), torch.full(ids.shape, -1)
        for row, sample in enumerate(batch):
            weights[row, : len(sample.ids)] = torch.tensor(sample.weights)
            owner[row, sample.answer_start : sample.answer_end] = row
        wanted = ids[:, 1:].flatten().tolist()
        numbers = [row for row in range(len(batch)) for _ in range(ids.shape[1] - 1)]
        places = [
            min(place, len(sample.ids) - 1) for sample in batch for place in range(1, ids.shape[1])
        ]
        targets, shares = expected_at(batch, wanted, numbers, places)
        device = self._model.device
        logits = self._model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).logits
        nll = token_nll(
            logits[:, :-1].flatten(0, 1),
            targets.to(device),
            None if shares is None else shares.to(device),
        )
        weights, owner = (t[:, 1:].flatten().to(device) for t in (weights, owner))
        return TokenLosses(nll, weights, owner, len(batch))

    def anew(self, samples: Sequence[Sample]) -> "PlainForward":
        """See `Forward`; nothing is kept of samples here."""
        return self


class PackedForward:
    """All samples of a batch in one sequence; see `packing`.

    Args:
        model: A causal LM for which `why_not_packed` finds no reason.
        samples: All that will ever be in a batch; what they all begin with is the prefix.
        frozen: How many of the lower layers carry nothing that is trained. What they make of a
            sample (T x H numbers) is kept and used at every later step.
        passing: Samples that hardly come again, of which it isn't kept.
    """

    name = "packed"

    def __init__(
        self,
        model: Any,
        samples: Sequence[Sample],
        *,
        frozen: int = 0,
        passing: Iterable[Sample] = (),
    ) -> None:
        self._model = model
        self._passing = frozenset(passing)
        self._prefix = shared_prefix(samples)
        self._frozen = frozen
        self._layers = DecoderLayers(model) if frozen else None
        self._below: dict[Sample, torch.Tensor] = {}  # (T, H) of a sample's own tokens
        self._below_prefix: torch.Tensor | None = None  # (prefix, H)

    def __call__(self, batch: Sequence[Sample]) -> TokenLosses:
        """Run a batch; see `Forward`."""
        packed, device = pack(batch, self._prefix), self._model.device
        inputs = self.inputs(packed)
        keep = packed.rows.to(device)
        if self._layers is None:
            logits = self._model(**inputs, use_cache=False, logits_to_keep=keep).logits
        else:
            inputs.pop("input_ids")
            hidden = self._hidden(batch, packed.ids.shape[1])
            with self._layers.without_below(self._frozen):
                logits = self._model(
                    inputs_embeds=hidden, **inputs, use_cache=False, logits_to_keep=keep
                ).logits
        shares = None if packed.shares is None else packed.shares.to(device)
        nll = token_nll(logits[0], packed.targets.to(device), shares)
        return TokenLosses(nll, packed.weights.to(device), packed.owner.to(device), len(batch))

    def anew(self, samples: Sequence[Sample]) -> "PackedForward":
        """See `Forward`. What is kept of a sample depends to the last bit on its neighbours."""
        return PackedForward(self._model, samples, frozen=self._frozen)

    def inputs(self, packed: Packed) -> dict[str, torch.Tensor]:
        """What the model takes: tokens, positions and mask."""
        device, dtype = self._model.device, self._model.dtype
        # Added to the attention's scores: every implementation takes this form of mask.
        mask = torch.zeros(packed.visible.shape, dtype=dtype)
        mask.masked_fill_(~packed.visible, torch.finfo(dtype).min)
        return {
            "input_ids": packed.ids.to(device),
            "position_ids": packed.positions.to(device),
            "attention_mask": mask.to(device),
        }

    def _hidden(self, batch: Sequence[Sample], length: int) -> torch.Tensor:
        """What the frozen layers make of a packed batch: (1, T, H), T being `length`."""
        fresh = [sample for sample in dict.fromkeys(batch) if sample not in self._below]
        if fresh:
            assert self._layers is not None
            packed = pack(fresh, self._prefix)
            hidden = self._layers.run_below(self._frozen, **self.inputs(packed))[0]
            if self._below_prefix is None:
                self._below_prefix = hidden[: self._prefix].clone()
            for sample, piece in zip(fresh, packed.pieces, strict=True):
                self._below[sample] = hidden[piece].clone()
        assert self._below_prefix is not None
        hidden = torch.cat([self._below_prefix, *(self._below[sample] for sample in batch)])
        for sample in self._passing.intersection(fresh):
            del self._below[sample]
        return torch.nn.functional.pad(hidden, (0, 0, 0, length - len(hidden)))[None]


def choose_forward(
    model: Any,
    samples: Sequence[Sample],
    *,
    packed: bool,
    frozen: int,
    pad_id: int,
    passing: Iterable[Sample] = (),
) -> tuple[Forward, str | None]:
    """The quickest way the model allows, and why it is not a quicker one (None if it is the one).

    Args:
        model: A causal LM, with or without PEFT's layers.
        samples: All that will be in a batch.
        packed: False for the plain way, without looking further.
        frozen: How many of the lower layers nothing is trained in.
        pad_id: For the plain way.
        passing: Those of them that hardly come again.
    """
    if not packed:
        return PlainForward(model, pad_id=pad_id), None
    reason = why_not_packed(model, samples, frozen=frozen)
    if reason is None:
        return PackedForward(model, samples, frozen=frozen, passing=passing), None
    if frozen and why_not_packed(model, samples, frozen=0) is None:
        reason = f"the frozen layers are run at every step: {reason}"
        forward: Forward = PackedForward(model, samples)
    else:
        reason = f"samples are padded, not packed: {reason}"
        forward = PlainForward(model, pad_id=pad_id)
    logger.warning("%s learns more slowly than it could; %s", type(model).__name__, reason)
    return forward, reason


def why_not_packed(model: Any, samples: Sequence[Sample], *, frozen: int = 0) -> str | None:
    """Why `PackedForward` can't be used with this model; None if it can.

    Not read off the model's name but tried: a few of the samples, the longest among them, must get
    the losses they have alone; none may change because its neighbour in the sequence did; and with
    frozen layers the others must be given exactly what they are given in the whole model.
    """
    name = type(model).__name__
    by_length = sorted(dict.fromkeys(samples), key=lambda sample: len(sample.ids))
    tried = _TRIED if model.dtype in _ROUNDING else _TRIED_IN_HALF_PRECISION
    few = [*by_length[: tried - 1], *by_length[tried - 1 :][-1:]]
    first, last = few[0], few[-1]
    # The neighbour with other tokens of its own, as many as before.
    start = shared_prefix(few)
    other = replace(last, ids=(*last.ids[:start], *reversed(last.ids[start:])))
    try:
        with torch.no_grad():
            plain = PlainForward(model, multiple_of=ROUND)
            each = [_answer_nll(plain([sample])) for sample in few]
            padded = _answer_nll(plain([first, last]))
            together = _answer_nll(PackedForward(model, few, frozen=frozen)(few))
            beside_last, beside_other = (
                _answer_nll(PackedForward(model, few, frozen=frozen)([neighbour, first]), 1)
                for neighbour in (last, other)
            )
            uncut = frozen == 0 or _cut_is_exact(model, few, frozen)
    # Whatever an architecture does with a mask, positions or half its layers that it can't take.
    except Exception as error:
        reason = f"{name} doesn't take packed samples ({type(error).__name__})"
        logger.debug("%s: %s", reason, error)
        return reason
    if not torch.allclose(beside_last, beside_other, rtol=0.0, atol=1e-5):
        return f"{name} lets samples in one sequence see each other"
    # Rounding: what padding alone changes is no reason.
    padding = float((torch.cat([each[0], each[-1]]) - padded).abs().mean())
    allowed = max(_ROUNDING.get(model.dtype, _HALF_PRECISION), 3 * padding)
    difference = float((torch.cat(each) - together).abs().mean())
    if not difference <= allowed:
        return (
            f"{name} gives packed samples other losses than it gives each alone (they differ by "
            f"{difference:.2g} nats, and rounding explains {allowed:.2g})"
        )
    if not uncut:
        return f"the upper layers of {name} are given something else without the lower ones"
    return None


_TRIED = 3  # samples
_TRIED_IN_HALF_PRECISION = 8
"""Over the tokens of fewer, what rounding does varies too much."""

_ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-6}  # nats, mean over the answers' tokens
_HALF_PRECISION = 0.15
"""Likewise. Over twenty recorded sessions and SmolLM2-135M in bfloat16 they differ by 0.02 to 0.09
nats where all is well, and by 0.3 to 1.3 with wrong positions."""


def _answer_nll(losses: TokenLosses, sample: int | None = None) -> torch.Tensor:
    """Of the answers' tokens, in the order of the samples; or of one sample's."""
    wanted = losses.sample >= 0 if sample is None else losses.sample == sample
    return losses.nll[wanted]


def _cut_is_exact(model: Any, samples: Sequence[Sample], frozen: int) -> bool:
    """Whether each layer above the cut is given the same, to the bit, with and without the rest."""
    layers, whole = DecoderLayers(model), PackedForward(model, samples)
    inputs = whole.inputs(pack(samples, shared_prefix(samples)))
    with layers.recorded(frozen) as uncut:
        model(**inputs, use_cache=False)
    hidden = layers.run_below(frozen, **inputs)
    inputs.pop("input_ids")
    with layers.recorded(frozen) as cut, layers.without_below(frozen):
        model(inputs_embeds=hidden, **inputs, use_cache=False)
    return len(uncut) == len(cut) and all(
        len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        for one, two in zip(uncut, cut, strict=True)
    )
