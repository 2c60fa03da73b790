"""A session's questions into LoRA weights.

AdamW over batches of the session's own questions, each with `replay_per_batch` questions of earlier
sessions among them, since LoRA trained on one task after another forgets without (arXiv 2506.10943,
table on sequential edits), and with `everyday_per_batch` everyday prompts beside them, since it
forgets how to chat without those. It ends when the answers are learned, or after so many epochs.
"""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from plum_langchain.encryption.box import Seal
from plum_langchain.errors import QuestionError, QuestionTooLongError, StoppedError
from plum_langchain.learning.encode import Encoder, Sample, encoder_for
from plum_langchain.learning.gate import Gate, Measured, diverged, recalled
from plum_langchain.learning.parts import in_parts
from plum_langchain.questions.rewording import reworded
from plum_langchain.session import Question
from plum_langchain.settings import EPOCHS, LEAST_STEPS, RECITING_STEPS, LearningSettings

if TYPE_CHECKING:
    import torch

    from plum_langchain.learning.forward import Forward

T = TypeVar("T")


@dataclass(frozen=True)
class StepProgress:
    """Sent to the progress callback after every training step; counts start at 1.

    `epochs` and `steps` are upper bounds: learning ends sooner when the answers are learned.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Learned:
    """What a run of `learn` did.

    Attributes:
        epochs: How many were run.
        steps: How many training steps in all.
        losses: The mean training loss of each epoch, in nats per weighted token; of what is
            rehearsed it is how far the model is from what it was.
        recalled: The share of the session's own questions whose answer tokens the adapter now
            gives with p > 0.5 each.
        seconds: Wall time.
        ended: Why training ended: "learned" (the answers were recalled, see
            `LearningSettings.patience`) or "epochs" (that was the bound).
        forward: How batches went through the model, "packed" or "plain".
        slow_because: Why not in the quickest way; None if it was.
        frozen_layers: How many of the lowest layers carry nothing of the adapter.
        dtype: Of the frozen weights during training.
        gate: What the adapter was let pass with; None without a gate.
    """

    epochs: int
    steps: int
    losses: tuple[float, ...]
    recalled: float
    seconds: float
    ended: Literal["learned", "epochs"]
    forward: str
    slow_because: str | None
    frozen_layers: int
    dtype: str
    gate: Measured | None


def learn(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    save_to: Path,
    *,
    settings: LearningSettings,
    replay: Sequence[Question] = (),
    everyday: Sequence[Sample] = (),
    parent: Path | None = None,
    seal: Seal | None = None,
    parent_seal: Seal | None = None,
    progress: Callable[[StepProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    save_dtype: "torch.dtype | None" = None,
    base_model: str | None = None,
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
        replay: Questions of earlier sessions, of which `replay_per_batch` are in every batch.
        everyday: Exchanges with what the base model expects of them (`rehearsal.rehearsed`), from
            which `everyday_per_batch` are beside every batch.
        parent: Directory of the generation to go on from; None starts a fresh adapter.
        seal: What to encrypt the adapter's weights with; None writes them as they are.
        parent_seal: What opens the parent's.
        progress: Called after every step.
        should_stop: Asked before every step, and as what was learned is asked for at the end.
        save_dtype: Of the weights on disk; None for what they are trained in.
        base_model: What the configuration calls the model; None for where it was loaded from.

    Raises:
        QuestionError: there are no questions, or one of them is empty or too long.
        ChatTemplateError: the model's chat template can't be used, or not for these questions.
        InvalidInputError: the model or the parent doesn't suit the settings (`lora.attached`).
        StoppedError: `should_stop` returned True; nothing was saved.
        DivergedError: the training ended in no numbers.
        GateError: what was learned falls short of `settings.gate`; nothing was saved.
    """
    from plum_langchain.learning.forward import choose_forward
    from plum_langchain.learning.lora import attached, save

    started = time.perf_counter()
    encoder = encoder_for(tokenizer, settings)
    if not questions:
        raise QuestionError("there are no questions to learn; a session needs at least one")
    own, earlier = encoder.encode_all(questions), encoder.encode_all(replay)
    plan = _Plan.of(own, earlier, settings)
    wordings = _wordings(own, questions, encoder, settings, at_most=plan.epochs - 1)
    replays = _wordings(earlier, replay, encoder, settings, at_most=plan.rounds - 1)
    again = {*own, *everyday, *(earlier if len(replays) == 1 < plan.rounds else ())}
    passing = [s for one in (*wordings[1:], *replays) for s in one if s not in again]
    with attached(model, parent, settings, seal=parent_seal) as (adapted, frozen):
        forward, slow_because = choose_forward(
            model,
            [*own, *earlier, *everyday, *passing],
            packed=settings.packed,
            frozen=frozen,
            pad_id=tokenizer.pad_token_id or 0,  # padding is masked: any id will do
            passing=passing,
        )
        training = _Training(adapted, forward, settings, progress, should_stop)
        gate = Gate(adapted, tokenizer, forward, earlier, settings) if settings.gate else None
        losses, ended = training.run(plan, wordings, _Deck(replays, settings.seed), everyday)
        known = recalled(forward, own, settings, should_stop)
        measured = gate.check(questions, known) if gate else None
        training.weights.restore()
        save(adapted, save_to, dtype=save_dtype, base_model=base_model, seal=seal)
    return Learned(
        epochs=len(losses),
        steps=training.step,
        losses=tuple(losses),
        recalled=sum(known) / len(known),
        seconds=time.perf_counter() - started,
        ended=ended,
        forward=forward.name,
        slow_because=slow_because,
        frozen_layers=frozen,
        dtype=str(model.dtype).removeprefix("torch."),
        gate=measured,
    )


class _Deck:
    """Deals what is replayed: all of it once before any comes again, then in the next wording.

    Args:
        wordings: The same questions as they are, then in other wordings, taken in turn.
        seed: Shuffles them.
    """

    def __init__(self, wordings: Sequence[Sequence[Sample]], seed: int) -> None:
        order = list(range(len(wordings[0])))
        random.Random(seed).shuffle(order)
        self._samples = itertools.cycle(wording[i] for wording in wordings for i in order)

    def deal(self, number: int) -> list[Sample]:
        """The next ones."""
        return list(itertools.islice(self._samples, number))


@dataclass(frozen=True)
class _Plan:
    """How many of a session's own questions are in a batch, and how many batches and epochs.

    Of what is replayed, how many are in a batch, and how many rounds through all of it that makes.
    """

    fresh: int
    replayed: int
    batches: int
    epochs: int
    rounds: int

    @classmethod
    def of(
        cls, own: Sequence[Sample], earlier: Sequence[Sample], settings: LearningSettings
    ) -> "_Plan":
        replayed = settings.replay_per_batch
        if replayed is None:
            replayed = settings.batch_size // 2
        fresh = settings.batch_size - (replayed if earlier else 0)
        replayed = min(replayed, len(earlier))
        batches = math.ceil(len(own) / fresh)
        least = RECITING_STEPS if settings.recite else LEAST_STEPS
        epochs = settings.epochs or max(EPOCHS, math.ceil(least / batches))
        rounds = math.ceil(epochs * batches * replayed / max(1, len(earlier)))
        return cls(fresh, replayed, batches, epochs, rounds)


class _Training:
    """One run of the optimizer over a session."""

    def __init__(
        self,
        adapted: Any,
        forward: "Forward",
        settings: LearningSettings,
        progress: Callable[[StepProgress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        import torch

        from plum_langchain.learning.precision import MasterWeights

        self._forward = forward
        self._settings = settings
        self._progress = progress
        self._should_stop = should_stop
        trained = [p for p in adapted.parameters() if p.requires_grad]
        self.weights = MasterWeights(trained, adapted.dtype)
        self._optimizer = torch.optim.AdamW(
            self.weights.masters,
            lr=settings.learning_rate,
            weight_decay=0.0,  # adapters are small; nothing to regularise away
            fused=trained[0].device.type in ("cpu", "cuda"),  # one kernel for all of them
        )
        self.step = 0

    def run(
        self,
        plan: _Plan,
        wordings: Sequence[Sequence[Sample]],
        earlier: "_Deck",
        everyday: Sequence[Sample],
    ) -> tuple[list[float], Literal["learned", "epochs"]]:
        """Train; returns the mean loss of each epoch, and why it ended.

        Args:
            plan: At most so long.
            wordings: The session's own questions as they are, then in other wordings, which the
                epochs take in turn.
            earlier: What is replayed.
            everyday: To rehearse.
        """
        settings, own = self._settings, wordings[0]
        rng = random.Random(settings.seed)
        epochs, steps = plan.epochs, plan.epochs * plan.batches
        losses: list[float] = []
        in_a_row = 0
        for epoch in range(1, epochs + 1):
            total, batches, recalled = 0.0, 0, 0
            for new in _batches(wordings[(epoch - 1) % len(wordings)], plan.fresh, rng):
                old = earlier.deal(plan.replayed)
                old += _some(everyday, settings.everyday_per_batch, rng)
                self._check_stop(steps)
                self._set_learning_rate(self.step / steps)
                loss, known = self._train_on([*new, *old])
                self.step, batches, total = self.step + 1, batches + 1, total + loss
                recalled += sum(known[: len(new)])
                if self._progress is not None:
                    self._progress(StepProgress(epoch, epochs, self.step, steps, loss))
            losses.append(total / batches)
            # Each answer was scored as its batch came up, before that step's own correction: what
            # is recalled then is known, and asking costs nothing.
            in_a_row = in_a_row + 1 if recalled == len(own) else 0
            if settings.patience is not None and in_a_row >= settings.patience:
                return losses, "learned"
        return losses, "epochs"

    def _set_learning_rate(self, done: float) -> None:
        """On a straight line from the full rate to the final share of it."""
        share = 1 - done * (1 - self._settings.final_learning_rate)
        for group in self._optimizer.param_groups:
            group["lr"] = share * self._settings.learning_rate

    def _check_stop(self, steps: int) -> None:
        if self._should_stop is not None and self._should_stop():
            raise StoppedError(
                f"learning was asked to stop at step {self.step} of {steps}; nothing was saved and "
                "it begins anew next time"
            )

    def _train_on(self, batch: Sequence[Sample]) -> tuple[float, list[bool]]:
        """One step; returns its loss, and which samples were recalled before it."""
        import torch

        weight = sum(sum(sample.weights[1:]) for sample in batch)
        value, recalled = 0.0, []
        for part in in_parts(batch, self._settings.tokens_at_once):
            losses = self._forward(part)
            loss = losses.mean(weight)
            value += float(loss.detach())
            if not math.isfinite(value):
                raise diverged(f"loss became {value}", self._settings)
            loss.backward()
            self.weights.take_gradients()
            recalled += losses.recalled().tolist()
        torch.nn.utils.clip_grad_norm_(self.weights.masters, self._settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.weights.give_out()
        return value, recalled


def _wordings(
    own: Sequence[Sample],
    questions: Sequence[Question],
    encoder: Encoder,
    settings: LearningSettings,
    *,
    at_most: int,
) -> list[Sequence[Sample]]:
    """The questions as they are, and in other wordings; one that is too long stays as it is."""
    rng = random.Random(settings.seed)
    found = [own]
    for _ in range(min(settings.rewordings, at_most)):
        other = []
        for sample, question in zip(own, questions, strict=True):
            try:
                text = reworded(
                    question, rng, fact=settings.recite and question.recital == question.statement
                )
                other.append(encoder.encode_question(replace(question, question=text)))
            except QuestionTooLongError:
                other.append(sample)
        found.append(other)
    return found


def _batches(own: Sequence[Sample], size: int, rng: random.Random) -> Iterator[list[Sample]]:
    order = list(own)
    rng.shuffle(order)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _some(choice: Sequence[T], number: int, rng: random.Random) -> list[T]:
    return rng.sample(choice, min(number, len(choice)))
