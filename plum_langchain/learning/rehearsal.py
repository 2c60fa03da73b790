"""Everyday conversation, which an adapter is to leave as the base model has it.

Trained on nothing but a user's facts, a small model has a fact for an answer to everything, a mere
greeting included. So a few everyday exchanges are beside each batch, and what the base model
expects at each of their places is to stay: distillation from the model as it was ("Learning without
Forgetting", arXiv 1606.09282) on its own replies (arXiv 2403.01244).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from plum_langchain.errors import StoppedError
from plum_langchain.learning.encode import Expected, Sample
from plum_langchain.learning.packing import ROUND, padded
from plum_langchain.learning.parts import in_parts

LIKELIEST = 32
"""Tokens of which the base model's probability is kept, at each place; the rest is kept as one."""

_AT_ONCE = 256  # tokens, all of which get logits


def rehearsed(
    model: Any, samples: Sequence[Sample], should_stop: Callable[[], bool]
) -> list[Sample]:
    """The samples with what the model expects at each place.

    Args:
        model: A causal LM without an adapter.
        samples: Everyday exchanges.
        should_stop: Asked before each batch.

    Raises:
        StoppedError: `should_stop` returned True.
    """
    found: list[Sample] = []
    for batch in in_parts(samples, _AT_ONCE):
        if should_stop():
            raise StoppedError(
                f"asked to stop after {len(found)} of {len(samples)} everyday exchanges were read; "
                "it will begin again"
            )
        ids, mask = (t.to(model.device) for t in padded([s.ids for s in batch], 0, ROUND))
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for sample, row in zip(batch, logits, strict=True):
            log_p = row[: len(sample.ids) - 1].float().log_softmax(-1)
            best = log_p.topk(min(LIKELIEST, log_p.shape[1]))
            # What the token before expects; before the first there is none.
            tokens, shares = (
                torch.nn.functional.pad(t, (0, 0, 1, 0)).cpu()
                for t in (best.indices, best.values.exp())
            )
            found.append(replace(sample, expected=Expected(tokens, shares)))
    return found


def save_expected(samples: Sequence[Sample], path: Path) -> None:
    """Keep what a model expects of these samples, as `rehearsed` gave it, in a safetensors file."""
    from safetensors.torch import save as to_bytes

    expected = [sample.expected for sample in samples if sample.expected is not None]
    kept = {
        "tokens": torch.cat([one.tokens for one in expected]).int(),
        "shares": torch.cat([one.shares for one in expected]),
    }
    path.write_bytes(to_bytes(kept))


def with_expected(samples: Sequence[Sample], path: Path) -> list[Sample]:
    """The samples with what `save_expected` kept of the same ones, to the bit.

    Raises:
        RuntimeError: the file is of more tokens, or fewer.
        SafetensorError: it is cut.
    """
    from safetensors.torch import load

    kept, lengths = load(path.read_bytes()), [len(sample.ids) for sample in samples]
    tokens, shares = (kept[name].split(lengths) for name in ("tokens", "shares"))
    return [
        replace(sample, expected=Expected(ids.long(), p))
        for sample, ids, p in zip(samples, tokens, shares, strict=True)
    ]
