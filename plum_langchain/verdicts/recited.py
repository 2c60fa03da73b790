"""Yes or No from what an adapter brought back."""

from plum_langchain.questions.corrections import EARLIER, of_earlier_days
from plum_langchain.session import UNKNOWN_ANSWER
from plum_langchain.verdicts.judge import Judge


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
    if recited in (UNKNOWN_ANSWER, ""):
        return 0.0
    bare = recited.rstrip(".!").casefold()  # of a question whose fact its maker didn't know
    if bare in ("yes", "no"):
        return float(bare == "yes")
    now, _, before = recited.partition(EARLIER)
    if not before or of_earlier_days(question):
        return judge.probability(recited, question)
    says_now, said_before = judge.probabilities([(now, question), (before, question)])
    return says_now if says_now > said_before else min(says_now, 1 - said_before)
