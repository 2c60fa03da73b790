"""Asking one question of a memory and measuring what it took: `plum ask` and `plum compare`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from plum_langchain.memories.base import Recalled, Snippet
from plum_langchain.memories.recital import as_messages, brought_back, recites, trust_beside
from plum_langchain.memories.told import Source, Told
from plum_langchain.models import Engine, Sampling
from plum_langchain.session import Session
from plum_langchain.verdicts import Judge, candidates, verdict

ANSWER_TOKENS = 96
"""The bound of an answer, unless another is given."""


@dataclass(frozen=True)
class Answer:
    """What came back for one question.

    `yes` is the probability of Yes for a closed question (then `text` is the likelier word), judged
    from the fact that came back (`recited`) or scored against No, and None for an open one.
    `seconds` covers recall and generation; `sources` are the snippets put into the prompt, `source`
    is where the fact that came back was told.
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
    looked_up: Sequence[str] = (),
) -> Answer:
    """Ask the base model or the recalled adapter, with the recalled snippets in the prompt.

    Of an adapter that was taught to recite, the answer is the fact that fits the question best.

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
        told: What the adapter was taught to recite; see `brought_back`.
        looked_up: Those of the facts it was taught that another search found.

    Raises:
        UnknownGenerationError, ChatTemplateError, InvalidInputError, WrongBaseModelError,
            DamagedAdapterError, CacheError: as `brought_back` and `Judge.read`.
    """
    messages = as_messages(system_prompt, recalled.snippets, question)
    yes: float | None = None
    recited: str | None = None
    source: Source | None = None
    adapter = recalled.adapter
    if adapter is not None and recites(engine, adapter):
        likely, prompt_tokens = brought_back(
            engine,
            adapter,
            question,
            system_prompt=system_prompt,
            told=told,
            looked_up=looked_up,
            snippets=recalled.snippets,
            max_new_tokens=max_new_tokens,
        )
        text = candidates(judge, likely, question, trust=trust_beside(looked_up))[0].text
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
