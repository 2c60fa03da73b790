"""Which of the facts that an adapter brings back is meant, and Yes or No from that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plum_langchain.models import Likely
from plum_langchain.questions.corrections import of_earlier_days
from plum_langchain.session import EARLIER, UNKNOWN_ANSWER
from plum_langchain.verdicts.judge import Judge

_FITS = 2.0
"""How much a nat of the judge's doubt whether a fact fits counts beside one of the adapter's.
Measured: docs/experiments.md, "Several facts, of which one fits"."""

_NO_FACT_FITS = 0.5
"""For what the judge can't compare with a question: "We never talked about that.", a bare Yes."""

_LEAST = 1e-9
"""What fits not at all; its logarithm can be taken."""


@dataclass(frozen=True)
class Candidate:
    """A recital that may be what a question asks for.

    Attributes:
        text: The recital.
        score: The adapter's and the judge's opinion together; only for comparing.
        fit: The judge's probability that the fact is about the question; None for what is no fact.
    """

    text: str
    score: float
    fit: float | None


def candidates(
    judge: Judge, likely: Sequence[Likely], question: str, *, trust: float = 1.0
) -> list[Candidate]:
    """What may be the answer, the best first.

    Of a fact that changed the better fitting side counts.

    Args:
        judge: Reads each fact with the question.
        likely: What the adapter may answer; at least one.
        question: In the user's voice.
        trust: How much the adapter's opinion counts, from 0 to 1.

    Raises:
        ChatTemplateError, InvalidInputError, CacheError: as `Judge.probability`.
    """
    likely = [one for one in likely if one.text] or likely  # rather anything than nothing
    sides = [
        (one.text, side)
        for one in likely
        if _no_fact(one.text) is None
        for side in one.text.split(EARLIER)
    ]
    fits: dict[str, float] = {}
    read = judge.read([(side, question) for _, side in sides]) if sides else []
    for (text, _), (_, fit) in zip(sides, read, strict=True):
        fits[text] = max(fit, fits.get(text, _LEAST))
    scored = [
        Candidate(
            one.text,
            trust * one.log_probability + _FITS * math.log(fits.get(one.text, _NO_FACT_FITS)),
            fits.get(one.text),
        )
        for one in likely
    ]
    return sorted(scored, key=lambda one: -one.score)


def verdict(judge: Judge, recited: str, question: str) -> float:
    """The probability of Yes.

    Of a fact that changed (`session.EARLIER`) a question of earlier days is judged by all of
    it. One of today is answered Yes if what is true now says so, and says so more clearly than what
    was true before: what has the old value is denied even if the new statement names it ("Your
    class moved from Monday to Thursday."). Measured: docs/experiments.md, "Facts that change".

    Args:
        judge: Reads statement and question.
        recited: What came back.
        question: In the user's voice.

    Raises:
        ChatTemplateError, InvalidInputError, CacheError: as `Judge.probability`.
    """
    word = _no_fact(recited)
    if word is not None:
        return float(word == "yes")
    now, _, before = recited.partition(EARLIER)
    if not before or of_earlier_days(question):
        return judge.probability(recited, question)
    says_now, said_before = judge.probabilities([(now, question), (before, question)])
    return says_now if says_now > said_before else min(says_now, 1 - said_before)


def says_never(recited: str) -> bool:
    """Whether a recital says that the matter was never talked about."""
    return _no_fact(recited) == "never"


def _no_fact(recited: str) -> str | None:
    """What a recital that isn't a fact comes to: "yes", "no" or "never"; None for a fact."""
    word = recited.rstrip(".! ").casefold()
    if word in ("", UNKNOWN_ANSWER.rstrip(".").casefold()):
        return "never"
    return word if word in ("yes", "no") else None  # of a question whose fact wasn't known
