"""What comes back about a message, as text: for who can't answer with the user's adapter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import InvalidInputError, UnknownGenerationError
from plum_langchain.memories.answer import ANSWER_TOKENS
from plum_langchain.memories.base import MemoryName, asked_in
from plum_langchain.memories.recital import RECITALS, brought_back, recites, trust_beside
from plum_langchain.memories.told import Source, Told
from plum_langchain.models import Engine
from plum_langchain.verdicts import Judge, candidates, says_never


@dataclass(frozen=True)
class Recollection:
    """One thing that came back.

    Attributes:
        text: A fact as it is told to the user ("You own a bakery."), or an exchange of a chat.
        confidence: From 0 to 1. Of a fact the probability that it is about what was asked, by the
            judge; of an exchange the cosine similarity to it.
        source: Where it was told, if that is known.
        memory: "parametric" of what the adapter was taught, recalled or looked up; "retrieval" of
            an exchange.
    """

    text: str
    confidence: float
    source: Source | None
    memory: MemoryName


def recollect(
    engine: Engine,
    judge: Judge,
    adapter: AdapterRef,
    told: Told,
    query: str,
    *,
    system_prompt: str | None,
    k: int,
    look_up: Callable[[str, int], Sequence[str]] | None = None,
) -> list[Recollection]:
    """The facts that come back about a message, the likeliest first.

    Those alone that are likelier than that the matter was never talked about.

    Args:
        engine: What recites.
        judge: Of what fits.
        adapter: The user's.
        told: What it was taught to recite.
        query: In the user's voice; best a question. Of a long message the end counts.
        system_prompt: The one adapters were trained with.
        k: At most so many.
        look_up: Finds so many of the facts it was taught in another way, as well.

    Raises:
        InvalidInputError: the adapter was taught bare answers; or as `Engine.likely`.
        ChatTemplateError, WrongBaseModelError, DamagedAdapterError: as `Engine.likely`.
    """
    if not recites(engine, adapter):
        raise InvalidInputError(
            f"generation {adapter.generation} was taught bare answers (recite=False) and brings no "
            "facts back; learn with LearningSettings(recite=True), or use memory='retrieval'"
        )
    asked = asked_in(query)
    number = max(RECITALS, k + 1)  # one of them may be that it was never talked about
    looked_up = look_up(asked, number) if look_up else ()
    try:
        likely, _ = brought_back(
            engine,
            adapter,
            asked,
            system_prompt=system_prompt,
            told=told,
            looked_up=looked_up,
            number=number,
            max_new_tokens=ANSWER_TOKENS,
        )
    except UnknownGenerationError:  # given up while it was asked
        return []
    found: list[Recollection] = []
    for one in candidates(judge, likely, asked, trust=trust_beside(looked_up)):
        if says_never(one.text) or len(found) == k:
            break
        if one.fit is not None:  # not the Yes or No of a question whose fact wasn't known
            found.append(Recollection(one.text, one.fit, told.source(one.text), "parametric"))
    return found


def listed(recollections: Sequence[Recollection], *, sessions: bool = False) -> str:
    """For a model to read, each with its source and how sure it is.

    Each begins a line with a dash; its further lines are indented.

    Args:
        recollections: Any number; of none it is empty.
        sessions: Name the session of each as well.
    """
    texts = [one.text.replace("\n", "\n  ") for one in recollections]
    return "\n".join(
        f"- {text} ({_source(one, sessions)})"
        for text, one in zip(texts, recollections, strict=True)
    )


def _source(one: Recollection, sessions: bool) -> str:
    parts = []
    if one.source is not None:
        said_by = {"user": "said by the user on ", "assistant": "said by you on ", None: ""}
        parts.append(f"{said_by[one.source.said_by]}{one.source.started:%d %B %Y}")
        if sessions:
            parts.append(f"session {one.source.session_id!r}")
    how = "sure" if one.memory == "parametric" else "similar"
    return ", ".join([*parts, f"{one.confidence:.0%} {how}"])
