"""A session's questions into LoRA weights: the plain way of the paper.

Padded batches, full logits, AdamW, a fixed number of epochs. A batch holds `replay_per_batch`
questions of earlier sessions beside the session's own, since LoRA trained on one task after
another forgets without (arXiv 2506.10943, table on sequential edits).
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import DivergedError, QuestionError, StoppedError
from plum_langchain.learning.encode import Encoder, Sample
from plum_langchain.learning.lora import attached, save
from plum_langchain.learning.losses import collate, weighted_cross_entropy
from plum_langchain.session import Question
from plum_langchain.settings import LearningSettings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StepProgress:
    """Sent to the progress callback after every training step; counts start at 1."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Learned:
    """What a run of `learn` did.

    `losses` is the mean training loss of each epoch, in nats per weighted token; `recalled` the
    share of the session's own questions whose answer tokens the adapter now gives with p > 0.5
    each; `seconds` the wall time.
    """

    epochs: int
    steps: int
    losses: tuple[float, ...]
    recalled: float
    seconds: float


def learn(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    save_to: Path,
    *,
    settings: LearningSettings,
    replay: Sequence[Question] = (),
    parent: Path | None = None,
    progress: Callable[[StepProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Learned:
    """Train a LoRA adapter on one session and save it in PEFT's layout.

    The model is given back as it came: without adapter, in eval mode. It must not be the object
    that serves chats.

    Args:
        model: A causal LM of transformers, on the device to train on.
        tokenizer: Its tokenizer.
        questions: The session's own, balanced.
        save_to: An existing directory for `adapter_model.safetensors` and `adapter_config.json`.
        settings: How to train; `settings.seed` makes the run repeatable on one machine.
        replay: Questions of earlier sessions, from which every batch takes a few.
        parent: Directory of the generation to go on from; None starts a fresh adapter.
        progress: Called after every step.
        should_stop: Asked before every step.

    Raises:
        QuestionError: there are no questions, or one of them is empty.
        ChatTemplateError: the model's chat template can't be used, or not for these questions.
        InvalidInputError: the model or the parent doesn't suit the settings (`lora.attached`).
        StoppedError: `should_stop` returned True; nothing was saved.
        DivergedError: the training ended in no numbers.
    """
    started = time.perf_counter()
    encoder = Encoder(
        tokenizer,
        system_prompt=settings.system_prompt,
        answer_weight=settings.answer_weight,
        max_tokens=settings.max_sample_tokens,
    )
    if not questions:
        raise QuestionError("there are no questions to learn; a session needs at least one")
    own, earlier = encoder.encode_all(questions), encoder.encode_all(replay)
    with attached(model, parent, settings) as adapted:
        losses, steps = _train(adapted, own, earlier, settings, tokenizer, progress, should_stop)
        recalled = _share_recalled(adapted, own, settings, tokenizer)
        save(adapted, save_to)
    return Learned(settings.epochs, steps, tuple(losses), recalled, time.perf_counter() - started)


def _train(
    adapted: Any,
    own: Sequence[Sample],
    earlier: Sequence[Sample],
    settings: LearningSettings,
    tokenizer: Any,
    progress: Callable[[StepProgress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> tuple[list[float], int]:
    import torch

    trainable = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    rng = random.Random(settings.seed)
    fresh = settings.batch_size - (settings.replay_per_batch if earlier else 0)
    steps = settings.epochs * math.ceil(len(own) / fresh)
    step, losses = 0, []
    for epoch in range(1, settings.epochs + 1):
        total, batches = 0.0, 0
        for batch in _batches(own, earlier, fresh, settings.replay_per_batch, rng):
            if should_stop is not None and should_stop():
                raise StoppedError(
                    f"learning was asked to stop at step {step} of {steps}; nothing was saved and "
                    "the session will be learned again"
                )
            loss = _step(adapted, batch, trainable, optimizer, settings, _pad_id(tokenizer))
            step, batches, total = step + 1, batches + 1, total + loss
            if progress is not None:
                progress(StepProgress(epoch, settings.epochs, step, steps, loss))
        losses.append(total / batches)
    return losses, step


def _step(
    adapted: Any,
    batch: Sequence[Sample],
    trainable: "list[torch.nn.Parameter]",
    optimizer: "torch.optim.Optimizer",
    settings: LearningSettings,
    pad_id: int,
) -> float:
    import torch

    device = trainable[0].device
    ids, mask, weights = (tensor.to(device) for tensor in collate(batch, pad_id))
    logits = adapted(input_ids=ids, attention_mask=mask, use_cache=False).logits
    loss = weighted_cross_entropy(logits, ids, weights)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DivergedError(_diverged(f"loss became {value}", settings))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trainable, settings.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value


def _diverged(what: str, settings: LearningSettings) -> str:
    return (
        f"the training {what}; nothing was saved. Lower learning_rate (now "
        f"{settings.learning_rate}), or train in float32"
    )


def _batches(
    own: Sequence[Sample],
    earlier: Sequence[Sample],
    fresh: int,
    replayed: int,
    rng: random.Random,
) -> Iterator[list[Sample]]:
    order = list(own)
    rng.shuffle(order)
    for start in range(0, len(order), fresh):
        batch = order[start : start + fresh]
        yield batch + rng.sample(earlier, min(replayed, len(earlier))) if earlier else batch


def _share_recalled(
    adapted: Any, samples: Sequence[Sample], settings: LearningSettings, tokenizer: Any
) -> float:
    """The share of samples whose every answer token has p > 0.5.

    Greedy decoding gives those answers (the criterion of arXiv 2605.30260).
    """
    import torch

    adapted.eval()
    device = next(adapted.parameters()).device
    known = 0
    with torch.inference_mode():
        for start in range(0, len(samples), settings.batch_size):
            batch = samples[start : start + settings.batch_size]
            ids, mask, _ = (tensor.to(device) for tensor in collate(batch, _pad_id(tokenizer)))
            logits = adapted(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
            p = logits[:, :-1].softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)  # (B, T - 1)
            if not bool(p.isfinite().all()):  # the last step's doing: no loss came after it
                what = "ended in weights that give no probabilities"
                raise DivergedError(_diverged(what, settings))
            for row, sample in enumerate(batch):
                known += bool((p[row, sample.answer_start - 1 : sample.answer_end - 1] > 0.5).all())
    return known / len(samples)


def _pad_id(tokenizer: Any) -> int:
    # Padding is masked and weightless, so any id will do where a tokenizer has none.
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
