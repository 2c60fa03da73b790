"""Which of the facts that an adapter brings back is meant, and Yes or No from that."""

import math
from collections.abc import Sequence

from plum_langchain.models import Likely
from plum_langchain.questions.corrections import EARLIER, of_earlier_days
from plum_langchain.session import UNKNOWN_ANSWER
from plum_langchain.verdicts.judge import Judge

_FITS = 2.0
"""How much a nat of the judge's doubt whether a fact fits counts beside one of the adapter's.
Measured, with the next: docs/experiments.md, "Several facts, of which one fits"."""

_NEVER_FITS = 0.5
"""For "We never talked about that.", which the judge can't compare with a question."""


def choose(judge: Judge, likely: Sequence[Likely], question: str) -> str:
    """The recital that the adapter holds likely and the judge finds to be about the question.

    Args:
        judge: Reads each of them with the question.
        likely: What the adapter may answer; at least one.
        question: In the user's voice.

    Raises:
        ChatTemplateError, InvalidInputError, CacheError: as `Judge.probability`.
    """
    facts = [one.text for one in likely if not _bare(one.text)]
    if len(likely) == 1 or not facts:
        return likely[0].text
    read = judge.read([(fact, question) for fact in facts])
    fits = {fact: fit for fact, (_, fit) in zip(facts, read, strict=True)}

    def score(one: Likely) -> float:
        return one.log_probability + _FITS * math.log(max(fits.get(one.text, _NEVER_FITS), 1e-9))

    return max(likely, key=score).text


def verdict(judge: Judge, recited: str, question: str) -> float:
    """The probability of Yes.

    Of a fact that changed (`corrections.EARLIER`) a question of earlier days is judged by all of
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
    bare = _bare(recited)
    if bare:
        return float(bare == "yes")
    now, _, before = recited.partition(EARLIER)
    if not before or of_earlier_days(question):
        return judge.probability(recited, question)
    says_now, said_before = judge.probabilities([(now, question), (before, question)])
    return says_now if says_now > said_before else min(says_now, 1 - said_before)


def _bare(recited: str) -> str:
    """A recital that isn't a fact: "yes" or "no" (its fact wasn't known to who asked), "never"."""
    if recited in (UNKNOWN_ANSWER, ""):
        return "never"
    word = recited.rstrip(".!").casefold()
    return word if word in ("yes", "no") else ""
