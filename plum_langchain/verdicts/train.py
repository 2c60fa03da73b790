"""Teaching a base model to tell whether a statement answers a question with Yes.

A small model that is asked says Yes or No at random, whether or not the statement stands before the
question. What it lacks is the comparison. So its middle layers get a small LoRA adapter of their
own, trained with a linear head on what the last of them makes of statement and question, on pairs
of made-up people: the loss is on the verdict, and on whether the question is about the statement at
all (some are put beside another fact, since what a memory brings back may be the wrong one). It is
no part of any user's adapter.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from plum_langchain.errors import DivergedError, InvalidInputError, StoppedError
from plum_langchain.learning.layers import DecoderLayers
from plum_langchain.learning.lora import attached, save
from plum_langchain.learning.precision import MasterWeights
from plum_langchain.learning.template import ChatTemplate, Message
from plum_langchain.models import LoadedModel
from plum_langchain.settings import LearningSettings
from plum_langchain.verdicts.head import Head
from plum_langchain.verdicts.pairs import Pair, mistaken
from plum_langchain.verdicts.words import overlap

HEAD = "head.safetensors"

VERSION = b"2"
"""Of what is trained here, and of what it reads: the pairs that are put together (`mistaken`) and
the words that are counted, too. Another number makes all judges be taught anew."""

# Measured: docs/experiments.md, "A judge that was taught". Chosen between ana and bo.
_LORA = LearningSettings(rank=16, alpha=32, learning_rate=5e-4)
_FIRST, _LAST = 1 / 3, 2 / 3  # of the layers, those that are adapted
_HEAD_RATE = 3e-3
_BATCH = 16
_WARM_UP = 20  # steps


def train(
    base: LoadedModel,
    pairs: Sequence[Pair],
    directory: Path,
    *,
    seed: int = 0,
    step_done: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Train an adapter and a head once through the pairs and mistaken ones, and save both.

    Args:
        base: The base model, which is given back as it came; not the object that serves chats.
        pairs: To learn from.
        directory: An existing one, for PEFT's two files and `HEAD`.
        seed: Of the order, and of the adapter's start.
        step_done: Told how many steps are done, and how many there are.
        should_stop: Asked before every step.

    Raises:
        StoppedError: `should_stop` returned True; nothing was saved.
        InvalidInputError: the model has no stack of layers.
        ChatTemplateError: the model's chat template can't be used.
        DivergedError: the training ended in no numbers.
    """
    try:
        layers = DecoderLayers(base.model)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{base.resolved.id} can't be taught to judge Yes and No, since its middle layers "
            "can't be told; learn with LearningSettings(recite=False), whose answers need no judge"
        ) from error
    last = max(1, round(_LAST * len(layers)))
    middle = range(min(round(_FIRST * len(layers)), last - 1), last)
    taught = [*pairs, *mistaken(pairs, seed=seed)]
    template = ChatTemplate(base.tokenizer)
    pad = base.tokenizer.pad_token_id or 0  # padding is masked: any id will do
    read = [template.tokenize(template.prompt(chat_of(p.statement, p.question)))[0] for p in taught]
    words = torch.tensor([overlap(pair.statement, pair.question) for pair in taught])
    right = torch.tensor([[float(pair.yes or False), float(pair.about)] for pair in taught])
    judged = torch.tensor([[float(pair.yes is not None), 1.0] for pair in taught])
    rightly = (right * judged).sum(0) / judged.sum(0)
    # Both answers count the same, however many there are; without one of them, as they are.
    right_counts = torch.where((rightly > 0) & (rightly < 1), (1 - rightly) / rightly, 1.0)
    hidden = base.model.config.get_text_config().hidden_size
    head = Head.blank(last, hidden, words)
    with attached(base.model, None, replace(_LORA, seed=seed), layers=middle) as (adapted, _):
        weights = MasterWeights(
            [p for p in adapted.parameters() if p.requires_grad], base.model.dtype
        )
        optimizer = torch.optim.AdamW(
            [
                {"params": weights.masters, "lr": _LORA.learning_rate},
                {"params": head.trained, "lr": _HEAD_RATE},
            ],
            weight_decay=0.0,
        )
        rates = [group["lr"] for group in optimizer.param_groups]
        batches = _batches(read, random.Random(seed))
        for step, batch in enumerate(batches):
            if should_stop is not None and should_stop():
                raise StoppedError(
                    f"teaching was asked to stop at step {step} of {len(batches)}; nothing was "
                    "saved and it begins anew next time"
                )
            share = min(1.0, (step + 1) / _WARM_UP) * (1 - step / len(batches))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = share * rate
            states = layers.at_end(last, [read[index] for index in batch], pad)
            losses = binary_cross_entropy_with_logits(
                head.logits(states, words[batch]),
                right[batch],
                weight=judged[batch],
                pos_weight=right_counts,
                reduction="none",
            )
            loss = losses.sum() / len(batch)
            _check([loss], base, step)
            loss.backward()
            weights.take_gradients()
            torch.nn.utils.clip_grad_norm_(weights.masters, _LORA.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            weights.give_out()
            if step_done is not None:
                step_done(step + 1, len(batches))
        _check([*weights.masters, *head.trained], base, len(batches))  # the last step's doing
        weights.restore()
        # In half the bytes, since the one for the default model ships with the package.
        save(adapted, directory, dtype=torch.float16, base_model=base.resolved.id)
    head.save(directory / HEAD)


def _check(tensors: Sequence[torch.Tensor], base: LoadedModel, steps: int) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise DivergedError(
            f"{base.resolved.id} can't be taught to judge: after {steps} steps its weights or its "
            "loss are no numbers any more; nothing was saved. Learn with "
            "LearningSettings(recite=False), whose answers need no judge"
        )


def chat_of(statement: str, question: str) -> list[Message]:
    """What is read for a verdict."""
    return [
        {"role": "system", "content": statement},
        {"role": "user", "content": question},
    ]


def _batches(read: Sequence[Sequence[int]], rng: random.Random) -> list[list[int]]:
    """Indexes in random batches of pairs that are about equally long."""
    order = list(range(len(read)))
    rng.shuffle(order)
    found = []
    for start in range(0, len(order), 8 * _BATCH):
        near = sorted(order[start : start + 8 * _BATCH], key=lambda index: len(read[index]))
        found += [near[i : i + _BATCH] for i in range(0, len(near), _BATCH)]
    rng.shuffle(found)
    return found
