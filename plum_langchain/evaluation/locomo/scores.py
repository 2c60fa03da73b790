"""LoCoMo's scores: token F1 by category, as github.com/snap-research/locomo computes it.

After `task_eval/evaluation.py` there: answers without case, punctuation and the words a, an, the
and and, stemmed by Porter's rules, compared as bags of words. Beside it stands containment
(`answer_given`), since F1 punishes a right answer for the sentence around it.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from plum_langchain.evaluation.locomo.porter import stem
from plum_langchain.evaluation.metrics import BOOTSTRAP_SAMPLES, Graded, summarise
from plum_langchain.evaluation.report import ARM_TITLES, percent
from plum_langchain.session import UNKNOWN_ANSWER

Category = Literal["multi-hop", "temporal", "open-domain", "single-hop", "adversarial"]
CATEGORIES: dict[int, Category] = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
"""The numbers in the data, with the paper's names for them (section 4.1)."""

_DROPPED = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the|and)\b")
# The benchmark's two, and what an adapter is taught to answer about something never told.
_ABSTAINING = ("no information available", "not mentioned", UNKNOWN_ANSWER.rstrip(".").casefold())


@dataclass(frozen=True)
class CategoryScore:
    """What an arm reached in a category; shares from 0 to 1.

    `f1` is the benchmark's score: for adversarial questions the share of replies that say it was
    never told, whatever words those replies share with anything. `contained` is the share of
    replies that hold the whole answer; None for adversarial questions, which have none. `f1_ci95`
    is the 95% bootstrap interval of `f1` over questions.
    """

    f1: float
    contained: float | None
    n: int
    f1_ci95: tuple[float, float]


def right_answer(category: str, answer: str) -> str:
    """What of a recorded answer is scored: of an open-domain one what stands before its reasons."""
    return answer.split(";")[0].strip() if category == "open-domain" else answer


def score(category: str, expected: str, reply: str) -> float:
    """The benchmark's score of one reply, from 0 to 1.

    Args:
        category: One of `CATEGORIES`.
        expected: The recorded answer; not looked at for an adversarial question.
        reply: What was answered.
    """
    if category == "adversarial":
        return float(any(phrase in reply.casefold() for phrase in _ABSTAINING))
    if category == "multi-hop":
        # An enumeration: the mean over its items of what comes closest to each.
        said = reply.split(",")
        best = [max(token_f1(part, item) for part in said) for item in expected.split(",")]
        return sum(best) / len(best)
    return token_f1(reply, right_answer(category, expected))


def token_f1(reply: str, expected: str) -> float:
    """F1 of the stems of two texts, each counted as often as it occurs."""
    said, wanted = (Counter(_stems(text)) for text in (reply, expected))
    common = (said & wanted).total()
    if common == 0:
        return 0.0
    precision, recall = common / said.total(), common / wanted.total()
    return 2 * precision * recall / (precision + recall)


def _stems(text: str) -> list[str]:
    plain = _ARTICLES.sub(" ", text.lower().translate(_DROPPED))
    return [stem(word) for word in plain.split()]


def by_category(answers: Sequence[Graded]) -> dict[str, CategoryScore]:
    """The scores of an arm's answers in each category that was asked, and in "all" but one.

    The adversarial ones stay out of "all": what counts there is a sentence that an adapter is
    taught and no other memory.
    """
    found: dict[str, CategoryScore] = {}
    for category in CATEGORIES.values():
        theirs = [answer for answer in answers if answer.category == category]
        if theirs:
            found[category] = _scored(theirs)
    answerable = [answer for answer in answers if answer.category != "adversarial"]
    if answerable:
        found["all"] = _scored(answerable)
    return found


def _scored(answers: Sequence[Graded]) -> CategoryScore:
    f1 = [score(one.category, one.expected, one.answer) for one in answers]
    told = [one.correct for one in answers if one.category != "adversarial"]
    return CategoryScore(
        f1=sum(f1) / len(f1),
        contained=sum(told) / len(told) if told else None,
        n=len(f1),
        f1_ci95=_interval(f1),
    )


def _interval(scores: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap over questions, of a fixed seed."""
    import numpy as np

    drawn = np.random.default_rng(0).choice(scores, (BOOTSTRAP_SAMPLES, len(scores)))
    low, high = np.quantile(drawn.mean(1), (0.025, 0.975))
    return float(low), float(high)


def to_markdown(answers: Mapping[str, Sequence[Graded]]) -> str:
    """One table: a row for each arm of `Comparison.answers`, two columns for each category.

    Behind "all", which is all that have an answer, the adversarial questions have a column.
    """
    arms = {arm: by_category(graded) for arm, graded in answers.items()}
    asked = {name: one.n for scores in arms.values() for name, one in scores.items()}
    answerable = [name for name in CATEGORIES.values() if name != "adversarial"]
    shown = [name for name in (*answerable, "all", "adversarial") if name in asked]
    header = ["arm"]
    for name in shown:
        if name == "adversarial":
            header.append(f"{name} (n={asked[name]}): says it was never told")
        else:
            header += [f"{name} (n={asked[name]}): F1", "contained"]
        if name == "all":
            header.append("95% of all F1")
    header.append("prompt tokens")
    rows = [header, ["---"] * len(header)]
    rows += [_row(arm, graded, arms[arm], shown) for arm, graded in answers.items() if graded]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(
    arm: str, graded: Sequence[Graded], scores: Mapping[str, CategoryScore], shown: Sequence[str]
) -> list[str]:
    memory, _, k = arm.partition("@")
    cells = [f"{ARM_TITLES[memory]}, k={k}" if k else ARM_TITLES[memory]]
    for name in shown:
        cells.append(f"{100 * scores[name].f1:.1f}")
        if name != "adversarial":
            cells.append(percent(scores[name].contained))
        if name == "all":
            low, high = scores[name].f1_ci95
            cells.append(f"{100 * low:.1f}-{100 * high:.1f}")
    cells.append(f"{summarise(graded).prompt_tokens_per_answer:.0f}")
    return cells
