"""Of several facts the one that fits is kept; one that changed is judged by what is true now."""

from collections.abc import Sequence
from typing import cast

import pytest

from plum_langchain.models import Likely
from plum_langchain.session import EARLIER, UNKNOWN_ANSWER
from plum_langchain.verdicts import Judge, candidates, verdict

NOW, OLD = "Your class moved from Monday to Thursday.", "Your class is on Monday in room 3."
BOTH = f"{NOW}{EARLIER}{OLD}"


class Words:
    """Says Yes in so far as the question's last word is in the statement; the old is clearer."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def probability(self, statement: str, question: str) -> float:
        return self.probabilities([(statement, question)])[0]

    def probabilities(self, asked: Sequence[tuple[str, str]]) -> list[float]:
        self.read += [statement for statement, _ in asked]
        sure = {NOW: 0.8, OLD: 0.9, BOTH: 0.95}
        return [
            sure[statement] if question.rstrip("?").split()[-1] in statement else 0.1
            for statement, question in asked
        ]


@pytest.mark.parametrize(
    ("question", "yes"),
    [
        ("Is my class on Thursday?", True),
        ("Is my class on Monday?", False),  # though the new statement names it
        ("Is my class on Friday?", False),
        ("Was my class on Monday?", True),
        ("Was my class on Friday?", False),
    ],
)
def test_what_was_is_denied_today_and_known_for_earlier_days(question: str, yes: bool) -> None:
    assert (verdict(cast(Judge, Words()), BOTH, question) > 0.5) == yes


def test_a_fact_that_did_not_change_is_judged_as_it_is() -> None:
    judge = Words()
    assert verdict(cast(Judge, judge), OLD, "Is my class on Monday?") == 0.9
    assert judge.read == [OLD]


@pytest.mark.parametrize(
    ("recited", "probability"), [(UNKNOWN_ANSWER, 0.0), ("", 0.0), ("Yes.", 1.0), ("No", 0.0)]
)
def test_what_is_no_statement_needs_no_judge(recited: str, probability: float) -> None:
    judge = Words()
    assert verdict(cast(Judge, judge), recited, "Is it?") == probability
    assert not judge.read


class Fitting:
    """Says how well each statement fits; it has no opinion of what is none."""

    def __init__(self, **fits: float) -> None:
        self._fits = fits

    def read(self, asked: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        return [(0.5, self._fits[statement]) for statement, _ in asked]


@pytest.mark.parametrize(
    ("likely", "chosen"),
    [
        ({"bakery": -0.1, "boat": -1.0}, "boat"),  # what fits, if it is likely at all
        ({"bakery": -0.1, "boat": -6.0}, "bakery"),
        ({"bakery": -0.1}, "bakery"),
        ({"bakery": -0.1, UNKNOWN_ANSWER: -1.0}, UNKNOWN_ANSWER),  # rather than what doesn't fit
        ({UNKNOWN_ANSWER: -0.1, "bakery": -1.0}, UNKNOWN_ANSWER),
        ({UNKNOWN_ANSWER: -1.0, "boat": -1.2}, "boat"),
        ({"Yes": -0.2, "No": -1.0}, "Yes"),
        ({"": -0.2, UNKNOWN_ANSWER: -1.0}, UNKNOWN_ANSWER),  # rather anything than nothing
        ({"": -0.2}, ""),
        ({UNKNOWN_ANSWER.rstrip("."): -0.1, "bakery": -1.0}, UNKNOWN_ANSWER.rstrip(".")),
        ({"bakery": -0.1, f"whale{EARLIER}boat": -1.0}, f"whale{EARLIER}boat"),  # either side
    ],
)
def test_the_fact_that_fits_is_kept(likely: dict[str, float], chosen: str) -> None:
    judge = cast(Judge, Fitting(bakery=0.1, boat=0.9, whale=0.0))
    found = candidates(judge, [Likely(*one) for one in likely.items()], "Do I sail?")
    assert found[0].text == chosen


def test_an_adapter_that_is_trusted_less_is_overruled_sooner() -> None:
    judge = cast(Judge, Fitting(bakery=0.1, boat=0.9))
    likely = [Likely("bakery", -0.1), Likely("boat", -6.0)]
    found = [candidates(judge, likely, "Do I sail?", trust=trust) for trust in (1.0, 0.5, 0.0)]
    assert [of_it[0].text for of_it in found] == ["bakery", "boat", "boat"]
    assert candidates(judge, likely, "Do I sail?") == found[0]  # in full, unless told otherwise


def test_a_fact_that_fits_not_at_all_can_still_be_the_only_one() -> None:
    judge = cast(Judge, Fitting(a=0.0, b=0.0))
    assert candidates(judge, [Likely("a", -1.0), Likely("b", -2.0)], "Do I sail?")[0].text == "a"
