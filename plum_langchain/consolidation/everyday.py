"""Everyday conversation, as the base model has it and as its adapters are to leave it.

What is rehearsed beside a user's questions (`learning/rehearsal.py`) are the base model's own
replies to what people say to an assistant, and to a few texts that are nobody's.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from plum_langchain.errors import ChatTemplateError, DivergedError, QuestionError, StoppedError
from plum_langchain.learning import ChatTemplate, Encoder, Exchange, Sample
from plum_langchain.models import LoadedModel
from plum_langchain.models.derived import derived, derived_name

logger = logging.getLogger(__name__)

_TOKENS = 32
"""Of each reply; how it goes on follows from how it begins."""

_AT_ONCE = 20

_KEPT = 8
"""Files of what a model expects, some 2 MB each."""


def everyday_samples(
    base: LoadedModel,
    encoder: Encoder,
    *,
    weight: float,
    should_stop: Callable[[], bool] | None = None,
) -> list[Sample]:
    """Everyday exchanges with what the base model expects of them, ready to be rehearsed.

    An exchange that can't be trained on (it is longer than the settings allow) is left out.

    Args:
        base: The base model, without an adapter.
        encoder: As for the user's questions.
        weight: Of the loss of a token.
        should_stop: Asked now and then.

    Raises:
        StoppedError: `should_stop` returned True.
        ChatTemplateError: the model's chat template can't be used.
        DivergedError: it expects what is no number.
        CacheError: what was worked out can't be kept, or what was kept can't be read.
    """
    from plum_langchain.learning.rehearsal import with_expected

    stop = should_stop or _never
    samples = encoded(everyday_exchanges(base, stop), encoder, weight)
    if not samples:
        return []
    return derived(
        "plum_langchain.consolidation",
        "expected",
        expected_name(base, samples),
        load=lambda path: with_expected(samples, path),
        make=lambda path: write_expected(base, samples, path, stop),
        should_stop=stop,
    )


def encoded(exchanges: Sequence[Exchange], encoder: Encoder, weight: float) -> list[Sample]:
    """Those that can be trained on; how many can't is logged."""
    samples = []
    for exchange in exchanges:
        try:
            samples.append(encoder.encode_exchange(exchange, weight))
        except (ChatTemplateError, QuestionError) as error:
            logger.debug("left out: %s", error)
    if len(samples) < len(exchanges):
        logger.warning(
            "%d of %d everyday exchanges can't be rehearsed with these settings (most likely they "
            "are longer than max_sample_tokens=%d)",
            len(exchanges) - len(samples),
            len(exchanges),
            encoder.max_tokens,
        )
    return samples


def expected_name(base: LoadedModel, samples: Sequence[Sample]) -> str:
    """Of the file with what the model expects: of which model, and at the places of what.

    In which precision it read them is no part of it: rounding is no reason to read them again.
    """
    from plum_langchain.learning.rehearsal import LIKELIEST

    source = f"{LIKELIEST}\n" + "\n".join(str(one.ids) for one in samples)
    return derived_name(base.resolved.fingerprint, source.encode(), ".safetensors")


def write_expected(
    base: LoadedModel, samples: Sequence[Sample], path: Path, should_stop: Callable[[], bool]
) -> None:
    """Have the base model read the samples, and keep what it expects at each of their places.

    Only the newest few of a model are kept: a chat template may write today's date.

    Raises:
        StoppedError: `should_stop` returned True; nothing was kept.
        DivergedError: it expects what is no number; nothing was kept.
    """
    from plum_langchain.learning.rehearsal import rehearsed, save_expected

    logger.info("%s reads %d everyday exchanges, once", base.resolved.id, len(samples))
    read = rehearsed(base.model, samples, should_stop)
    if not all(one.expected.shares.isfinite().all() for one in read if one.expected is not None):
        raise DivergedError(
            f"{base.resolved.id} in {str(base.model.dtype).removeprefix('torch.')} expects what is "
            "no number of everyday prompts; train with LearningSettings(dtype='float32')"
        )
    save_expected(read, path)
    older = path.parent.glob(f"{base.resolved.fingerprint}-*.safetensors")
    for one in sorted(older, key=lambda kept: kept.stat().st_mtime)[: 1 - _KEPT]:
        one.unlink()


def everyday_exchanges(base: LoadedModel, should_stop: Callable[[], bool]) -> list[Exchange]:
    """The base model's replies to the shipped prompts: shipped, from the cache, or made now.

    Raises:
        StoppedError, ChatTemplateError, CacheError: as `everyday_samples`.
    """
    return derived(
        "plum_langchain.consolidation",
        "everyday",
        exchanges_name(base.resolved.fingerprint),
        load=_load,
        make=lambda path: write_exchanges(base, path, should_stop),
        should_stop=should_stop,
    )


def exchanges_name(fingerprint: str) -> str:
    """Of their file: of which model they are, and what it was asked."""
    source = f"{_TOKENS}\n" + "\n".join(prompts())
    return derived_name(fingerprint, source.encode(), ".jsonl")


def write_exchanges(base: LoadedModel, path: Path, should_stop: Callable[[], bool]) -> None:
    """Ask the base model for its replies, as a file of JSON lines."""
    exchanges = _made(base, should_stop)
    path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in exchanges), "utf-8")


def prompts() -> list[str]:
    """What people say to an assistant that has nothing to do with what it remembers, and texts."""
    text = files("plum_langchain.consolidation").joinpath("everyday.txt").read_text("utf-8")
    return text.splitlines()


def _made(base: LoadedModel, should_stop: Callable[[], bool]) -> list[Exchange]:
    """Greedy replies, as the model gives them without memory and system prompt."""
    import torch

    asked = prompts()
    logger.info("%s answers %d everyday prompts, once", base.resolved.id, len(asked))
    template, tokenizer = ChatTemplate(base.tokenizer), base.tokenizer
    ids = [
        template.tokenize(template.prompt([{"role": "user", "content": prompt}]))[0]
        for prompt in asked
    ]
    ends = _ends(base.model)
    pad = tokenizer.pad_token_id or 0  # padding is masked: any id will do
    found = []
    for start in range(0, len(ids), _AT_ONCE):
        if should_stop():
            raise StoppedError(
                "asked to stop while the base model answered everyday prompts; it will begin again"
            )
        batch = ids[start : start + _AT_ONCE]
        length = max(map(len, batch))
        left = [length - len(one) for one in batch]
        with torch.inference_mode():
            output = base.model.generate(
                input_ids=torch.tensor(
                    [[pad] * n + one for n, one in zip(left, batch, strict=True)],
                    device=base.device,
                ),
                attention_mask=torch.tensor(
                    [[0] * n + [1] * (length - n) for n in left], device=base.device
                ),
                max_new_tokens=_TOKENS,
                do_sample=False, temperature=None, top_p=None, top_k=None,
                pad_token_id=pad,
            )  # fmt: skip
        for prompt, row in zip(asked[start:], output[:, length:].tolist(), strict=False):
            end = next((place for place, token in enumerate(row) if token in ends), None)
            reply = tokenizer.decode(row[:end], skip_special_tokens=True).strip()
            if reply:
                found.append(Exchange(prompt, reply, whole=end is not None))
    return found


def _ends(model: Any) -> set[int]:
    eos = model.generation_config.eos_token_id
    return set(eos if isinstance(eos, list) else [eos])


def _load(path: Path) -> list[Exchange]:
    return [Exchange(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def _never() -> bool:
    return False
