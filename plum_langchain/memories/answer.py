"""Asking one question of a memory and measuring what it took: `plum ask` and `plum compare`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from plum_langchain.errors import UnknownGenerationError
from plum_langchain.memories.base import Recalled, Snippet, with_snippets
from plum_langchain.memories.told import Source, Told
from plum_langchain.models import Engine, Sampling
from plum_langchain.session import Session
from plum_langchain.verdicts import Judge, choose, verdict

ANSWER_TOKENS = 96
"""The bound of an answer, unless another is given."""

RECITALS = 5
"""How many facts an adapter may bring back, of which the one that fits the question best is kept.
Measured: docs/experiments.md, "Several facts, of which one fits"."""


@dataclass(frozen=True)
class Answer:
    """What came back for one question.

    `yes` is the probability of Yes for a closed question (then `text` is the likelier word), judged
    from what the memory brought back (`recited`) or scored against No, and None for an open one.
    `seconds` covers recall and generation; `sources` are the snippets put into the prompt, `source`
    is where the fact that an adapter brought back was told.
    """

    text: str
    yes: float | None
    prompt_tokens: int
    seconds: float
    memory: str
    generation: int | None
    sources: tuple[str, ...] = ()
    recited: str | None = None
    source: Source | None = None


def answer(
    engine: Engine,
    judge: Judge,
    recalled: Recalled,
    question: str,
    *,
    memory: str,
    system_prompt: str | None,
    closed: bool,
    started: float,
    max_new_tokens: int = ANSWER_TOKENS,
    told: Told | None = None,
) -> Answer:
    """Ask the base model or the recalled adapter, with the recalled snippets in the prompt.

    Args:
        engine: What generates.
        judge: Of what an adapter that was taught to recite brings back: what fits, and whether it
            says so.
        recalled: What the memory contributes.
        question: In the user's voice.
        memory: The memory's name, for the answer.
        system_prompt: The one adapters were trained with.
        closed: Yes or No: judged from what is recited, else scored against each other.
        started: `time.perf_counter()` from before recalling.
        max_new_tokens: Bound of what is generated freely.
        told: What the adapter was taught to recite. Beside no snippets nothing else comes back,
            so that no answer is a mixture of two facts; a fact comes back whole, however long it
            is. Without, or where nothing of it is kept, whatever the adapter says.

    Raises:
        UnknownGenerationError: nothing is known any more of what the adapter was taught.
        ChatTemplateError, InvalidInputError, WrongBaseModelError, DamagedAdapterError: as
            `Engine.likely`.
    """
    system = with_snippets(system_prompt, recalled.snippets)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    yes: float | None = None
    recited: str | None = None
    source: Source | None = None
    adapter = recalled.adapter
    if adapter is not None and engine.manifest(adapter).settings.get("recite"):
        among = None
        if told is not None and not recalled.snippets:
            among = told.recitals
            if among is not None and not among:
                raise UnknownGenerationError(
                    f"generation {adapter.generation} was given up while it was asked (forgotten, "
                    "or rolled back); ask again"
                )
        likely, prompt_tokens = engine.likely(
            messages, adapter, RECITALS, max_new_tokens, among=among
        )
        text = choose(judge, likely, question)
        source = told.source(text) if told else None
        if closed:
            recited, yes = text, verdict(judge, text, question)
            text = "Yes" if yes > 0.5 else "No"
    elif closed:
        yes, prompt_tokens = engine.yes_probability(messages, adapter)
        text = "Yes" if yes > 0.5 else "No"
    else:
        reply = engine.chat(messages, adapter, Sampling(max_new_tokens=max_new_tokens))
        text, prompt_tokens = reply.text.strip(), reply.prompt_tokens
    return Answer(
        text=text,
        yes=yes,
        prompt_tokens=prompt_tokens,
        seconds=time.perf_counter() - started,
        memory=memory,
        generation=adapter.generation if adapter else None,
        sources=tuple(snippet.text for snippet in recalled.snippets),
        recited=recited,
        source=source,
    )


def whole_session(session: Session) -> Recalled:
    """A whole session as one snippet: the ceiling that "the right chat in the prompt" sets."""
    return Recalled(snippets=(Snippet(_transcript(session), session.session_id, 0.0),))


def whole_sessions(sessions: Sequence[Session]) -> Recalled:
    """Several sessions as a snippet each, under its date as retrieval dates what it finds."""
    return Recalled(
        snippets=tuple(
            Snippet(f"[{one.started:%d %B %Y}]\n{_transcript(one)}", one.session_id, 0.0)
            for one in sessions
        )
    )


def _transcript(session: Session) -> str:
    told = [turn for turn in session.turns if turn.content]  # others were erased
    return "\n".join(f"{'User' if t.role == 'user' else 'Assistant'}: {t.content}" for t in told)
