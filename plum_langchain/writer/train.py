"""Teaching a base model to write questions about a statement, as a user would ask them.

Asked to, a small model writes what nobody would ask, and mixes up who says "I". So it gets a small
LoRA adapter of its own, trained to reply to a statement with a question about it (doc2query, arXiv
1904.08375). It is no part of any user's adapter.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from plum_langchain.errors import DivergedError, InvalidInputError
from plum_langchain.learning import learn
from plum_langchain.learning.template import Message
from plum_langchain.models import LoadedModel
from plum_langchain.questions.maker import Wanted
from plum_langchain.session import Question
from plum_langchain.settings import LearningSettings
from plum_langchain.writer.examples import Written

VERSION = b"1"
"""Of what is trained here. Another number makes all writers be taught anew."""

_SYSTEM = "Write a question about it."

# Measured: docs/experiments.md, "Questions that the model writes".
_SETTINGS = LearningSettings(
    recite=False,
    system_prompt=_SYSTEM,
    rewordings=0,
    everyday_per_batch=0,
    upper_layers=1.0,
    epochs=2,
    patience=None,
    learning_rate=1e-3,
    final_learning_rate=0.0,
    batch_size=32,
    gate=None,
)


def chat_of(statement: str, wanted: Wanted) -> list[Message]:
    """What a writer reads; its reply is the question."""
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": _asked_for(statement, wanted)},
    ]


def train(
    base: LoadedModel,
    examples: Sequence[Written],
    directory: Path,
    *,
    step_done: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Train an adapter on what was written, and save it.

    Args:
        base: The base model, which is given back as it came; not the object that serves chats.
        examples: To learn from.
        directory: An existing one, for PEFT's two files.
        step_done: Told how many steps are done, and how many there are.
        should_stop: Asked before every step.

    Raises:
        StoppedError: `should_stop` returned True; nothing was saved.
        InvalidInputError, DivergedError: the model can't be taught to write.
        ChatTemplateError: its chat template can't be used.
    """
    asked = [
        Question(_asked_for(one.statement, one.wanted), one.question, "open") for one in examples
    ]
    try:
        learn(
            base.model,
            base.tokenizer,
            asked,
            directory,
            settings=_SETTINGS,
            # In half the bytes, since the one for the default model ships with the package.
            save_dtype=torch.float16,
            base_model=base.resolved.id,
            progress=lambda at: step_done(at.step, at.steps) if step_done else None,
            should_stop=should_stop,
        )
    except (InvalidInputError, DivergedError) as error:
        raise type(error)(
            f"{base.resolved.id} can't be taught to write questions ({error}); use the question "
            "maker 'statements', which needs no model"
        ) from error


def _asked_for(statement: str, wanted: Wanted) -> str:
    return f"{wanted.capitalize()}: {statement}"
