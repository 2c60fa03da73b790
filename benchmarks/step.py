"""What each part of a training step's design saves: one change at a time, against the default.

    python benchmarks/step.py --json step.json

Batches of 16 recorded questions of one example session, with bare answers. Each batch is run by
every variant in turn, in one process; the first ones, in which kernels are prepared, don't count.
What the lower layers make of a sample is computed before the clock runs, as in all epochs but the
first.
"""

import argparse
import contextlib
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import CHATS, shown, spread

from plum_langchain import LearningSettings, QuestionSettings
from plum_langchain.evaluation import machine
from plum_langchain.evaluation.paper import PAPER
from plum_langchain.importers import read_sessions
from plum_langchain.learning import encoder_for, forward
from plum_langchain.learning.forward import PackedForward, PlainForward
from plum_langchain.learning.lora import attached
from plum_langchain.learning.parts import in_parts
from plum_langchain.learning.precision import MasterWeights
from plum_langchain.models import load_model, resolve_model
from plum_langchain.questions import question_maker


def main() -> None:
    """Measure every variant and print a table."""
    arguments = _arguments()
    session, _ = next(iter(read_sessions(CHATS / "ana.jsonl")))
    questions = question_maker("recorded", QuestionSettings(max_questions=96)).make(session)
    rng = random.Random(0)
    default = LearningSettings(recite=False)
    picks = [rng.sample(range(len(questions)), default.batch_size) for _ in range(arguments.steps)]
    whole = replace(default, upper_layers=1.0)
    variants: dict[str, tuple[LearningSettings, dict[str, bool]]] = {
        "default": (default, {}),
        "default, as two batches of 8": (default, {"halves": True}),
        "default, all tokens in the loss": (
            replace(default, question_weight=1.0, frame_weight=1.0),
            {},
        ),
        "default, layers compiled": (default, {"compiled": True}),
        "default, all layers adapted": (whole, {}),
        "... with plain attention": (whole, {"plain_attention": True}),
        "... with the loss made in place": (whole, {"loss_in_place": True}),
        "... with a float32 adapter": (whole, {"float32_adapter": True}),
        "... in float32": (replace(whole, dtype="float32"), {}),
        "the paper's: padded, full logits, float32, two batches of 8": (PAPER, {"halves": True}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with contextlib.ExitStack() as stack:
        steps = {}
        for name, (settings, options) in variants.items():
            base = load_model(resolve_model(arguments.model), device="cpu", dtype=settings.dtype)
            samples = encoder_for(base.tokenizer, settings).encode_all(questions)
            step = _step(base.model, samples, settings, **options)
            steps[name] = samples, stack.enter_context(step)
        for pick in picks:
            for name, (samples, run) in steps.items():
                seconds[name].append(run([samples[index] for index in pick]))
    counted = {name: found[arguments.warm_up :] for name, found in seconds.items()}
    print("| | s a step | against the default |\n| --- | --- | --- |")
    for name, found in counted.items():
        ratios = [one / other for one, other in zip(found, counted["default"], strict=True)]
        print(f"| {name} | {shown(spread(found), 2)} | {statistics.median(ratios):.2f} |")
    compiling = seconds["default, layers compiled"][0] - seconds["default"][0]
    print(f"\ncompiling took {compiling:.0f} s")
    if arguments.json is not None:
        report = {"seconds": counted, "compiling_seconds": compiling, "machine": machine()}
        arguments.json.write_text(json.dumps(report, indent=1), "utf-8")


@contextlib.contextmanager
def _step(
    model: Any,
    samples: list[Any],
    settings: LearningSettings,
    *,
    plain_attention: bool = False,
    loss_in_place: bool = False,
    float32_adapter: bool = False,
    halves: bool = False,
    compiled: bool = False,
) -> Iterator[Callable[[list[Any]], float]]:
    token_nll = _InPlace.apply if loss_in_place else forward.token_nll
    with attached(model, None, settings) as (adapted, frozen):
        model.set_attn_implementation("eager" if plain_attention else "sdpa")
        trained = [p for p in adapted.parameters() if p.requires_grad]
        if compiled:  # each layer by itself, which torch recommends for layers that are alike
            for layer in model.get_decoder().layers[frozen:]:
                layer.compile(dynamic=True)
        weights = MasterWeights(trained, torch.float32 if float32_adapter else model.dtype)
        optimizer = torch.optim.AdamW(weights.masters, lr=settings.learning_rate, fused=True)
        run = (
            PackedForward(model, samples, frozen=frozen) if settings.packed else PlainForward(model)
        )

        def step(batch: list[Any]) -> float:
            if frozen:
                with torch.no_grad():
                    run(batch)
            started = time.perf_counter()
            with mock.patch.object(forward, "token_nll", token_nll):
                weight = sum(sum(sample.weights[1:]) for sample in batch)
                for part in in_parts(batch, settings.tokens_at_once):
                    run(part).mean(weight).backward()
                    weights.take_gradients()
            torch.nn.utils.clip_grad_norm_(weights.masters, settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            weights.give_out()
            return time.perf_counter() - started

        def step_by_step(batch: list[Any]) -> float:
            middle = len(batch) // 2
            return step(batch[:middle]) + step(batch[middle:])

        yield step_by_step if halves else step


class _InPlace(torch.autograd.Function):
    """Cross-entropy whose gradient is made in the place of its log-softmax."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        ctx.log_p = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
        ctx.targets, ctx.dtype = targets, logits.dtype
        return -ctx.log_p.gather(1, targets[:, None]).squeeze(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        made = ctx.log_p.exp_().mul_(gradient[:, None])
        made.scatter_add_(1, ctx.targets[:, None], -gradient[:, None])
        return made.to(ctx.dtype), None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--warm-up", type=int, default=6)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
