"""Whether weights know something: the replies that they were taught, as they now expect them."""

import math
from collections.abc import Sequence

from plum_langchain.adapters import AdapterRef
from plum_langchain.forgetting.receipt import Recall
from plum_langchain.models import Engine
from plum_langchain.session import Question

_MOST = 24
"""Questions that are asked: some 40 ms each, of each of up to three generations."""


def choose_probes(questions: Sequence[Question]) -> list[Question]:
    """Some of the questions that ask for something that was said, spread over the facts."""
    first: dict[str, Question] = {}
    more: list[Question] = []
    for question in questions:
        if not question.positive:
            continue
        if question.recital in first:
            more.append(question)
        else:
            first[question.recital] = question
    return [*first.values(), *more][:_MOST]


def ask(
    engine: Engine,
    adapter: AdapterRef | None,
    probes: Sequence[Question],
    *,
    recite: bool,
    system_prompt: str | None,
) -> Recall:
    """How well a generation, or the base model, knows the replies to the probes.

    Args:
        engine: Of the home.
        adapter: The generation; None for the base model.
        probes: At least one.
        recite: Whether the reply that was taught is the fact, or the bare answer.
        system_prompt: The one adapters were trained with.

    Raises:
        WrongBaseModelError, DamagedAdapterError, ModelNotFoundError: as `Engine.reply_nll`.
    """
    recalled, nlls = 0, []
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for probe in probes:
        chat = [*system, {"role": "user", "content": probe.question}]
        nll = engine.reply_nll(chat, probe.recital if recite else probe.answer, adapter)
        recalled += all(value < math.log(2) for value in nll)
        nlls += nll
    return Recall(recalled / len(probes), sum(nlls) / len(nlls))
