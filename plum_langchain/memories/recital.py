"""What may be the answer to a question: what an adapter brings back, and what was looked up."""

import math
from collections.abc import Sequence

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import UnknownGenerationError
from plum_langchain.memories.base import Snippet, with_snippets
from plum_langchain.memories.told import Told
from plum_langchain.models import Engine, Likely

RECITALS = 5
"""How many facts an adapter may bring back, and how many may be looked up, of which the one that
fits the question best is kept. Measured: docs/experiments.md, "Several facts, of which one fits"
and "Recalled and looked up"."""

BESIDE_LOOKED_UP = 0.5
"""How much an adapter's opinion counts where facts are looked up as well: it holds those that it
doesn't recall unlikely. Measured: docs/experiments.md, "Recalled and looked up"."""


def recites(engine: Engine, adapter: AdapterRef) -> bool:
    """Whether an adapter was taught to bring facts back (`LearningSettings.recite`).

    Raises:
        WrongBaseModelError, DamagedAdapterError: the adapter can't be used.
    """
    return bool(engine.manifest(adapter).settings.get("recite"))


def brought_back(
    engine: Engine,
    adapter: AdapterRef,
    question: str,
    *,
    system_prompt: str | None,
    told: Told | None,
    looked_up: Sequence[str] = (),
    snippets: tuple[Snippet, ...] = (),
    number: int = RECITALS,
    max_new_tokens: int,
) -> tuple[list[Likely], int]:
    """All that may be the answer, each with the adapter's opinion of it.

    Args:
        engine: What generates.
        adapter: One that was taught to recite.
        question: In the user's voice.
        system_prompt: The one adapters were trained with.
        told: What the adapter was taught to recite. Beside no snippets nothing else comes back, so
            that no answer is a mixture of two facts; a fact comes back whole, however long it is.
            Without, or where nothing of it is kept, whatever the adapter says.
        looked_up: Those of the facts it was taught that another search found.
        snippets: What it wasn't taught, to be read: beside these whatever it says as well.
        number: How many it may bring back, and how many replies beside the snippets.
        max_new_tokens: Bound of what isn't one of the facts.

    Returns:
        At least one, each once; and how many tokens the prompt has, with the snippets.

    Raises:
        UnknownGenerationError: nothing is known any more of what the adapter was taught.
        ChatTemplateError, InvalidInputError, WrongBaseModelError, DamagedAdapterError: as
            `Engine.likely`.
    """
    among = None if told is None else told.recitals
    if among is not None and not among:
        raise UnknownGenerationError(
            f"generation {adapter.generation} was given up while it was asked (forgotten, or "
            "rolled back); ask again"
        )
    alone = as_messages(system_prompt, (), question)
    found: list[Likely] = []
    prompt_tokens = 0
    if among is not None:
        found, prompt_tokens = engine.likely(alone, adapter, number, max_new_tokens, among=among)
    if among is None or snippets:
        beside = as_messages(system_prompt, snippets, question)
        said, prompt_tokens = engine.likely(beside, adapter, number, max_new_tokens)
        found = [*found, *said]
    recalled = {one.text for one in found}
    rest = [fact for fact in looked_up if fact not in recalled]
    if rest:
        found = [*found, *engine.likelihoods(alone, adapter, rest)]
    return _each_once(found), prompt_tokens


def trust_beside(looked_up: Sequence[str]) -> float:
    """How much the adapter's opinion counts beside what was looked up (`verdicts.candidates`)."""
    return BESIDE_LOOKED_UP if looked_up else 1.0


def _each_once(found: Sequence[Likely]) -> list[Likely]:
    """At its likeliest."""
    best: dict[str, float] = {}
    for one in found:
        best[one.text] = max(one.log_probability, best.get(one.text, -math.inf))
    return [Likely(text, log_probability) for text, log_probability in best.items()]


def as_messages(
    system_prompt: str | None, snippets: tuple[Snippet, ...], question: str
) -> list[dict[str, str]]:
    """A question as a chat, with snippets under the system prompt."""
    system = with_snippets(system_prompt, snippets)
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": question}]
