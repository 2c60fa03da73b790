"""What a statement says is over is denied, if that is what is asked."""

from typing import Any, cast

import pytest

from plum_langchain.verdicts import Judge, verdict
from plum_langchain.verdicts.over import asks_what_is_over

CLOSED = "The bakery is closed on Wednesdays now instead of Mondays."
RENT = "The rent went up from 620 to 680 euros."


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        (CLOSED, "Is Monday the day my bakery is shut?"),
        (CLOSED, "Do I keep the bakery closed on Mondays?"),
        (RENT, "Is my rent 620 euros?"),
        ("Alarm goes from 3:40 to 3:20 then.", "Is my alarm set for 3:40?"),
        ("Not in Bonfim any more, since I'm in Matosinhos.", "Do I live in Bonfim?"),
        ("The dog is called Bora, not Luna, since they voted.", "Is our puppy Luna?"),
        ("You drink green tea, no longer coffee.", "Do I drink coffee?"),
    ],
)
def test_the_value_that_is_over_is_asked_for(statement: str, question: str) -> None:
    assert asks_what_is_over(statement, question)


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        (CLOSED, "Is my bakery closed on Wednesdays?"),
        (CLOSED, "Is it closed on Wednesdays instead of Mondays?"),
        (CLOSED, "Was the bakery closed on Mondays?"),  # of earlier days
        (CLOSED, "Which day is my bakery closed, Monday?"),
        (RENT, "Is 680 after 620 what the flat costs?"),
        (RENT, "Did the rent go up to 680?"),
        ("You lowered your goal from a marathon to a half marathon.", "Is it a half marathon?"),
        ("You run from Porto to Matosinhos.", "Do I run in Porto?"),
        ("You are closed on Mondays.", "Am I closed on Mondays?"),
        ("You nap no longer than 20 minutes.", "Do I nap 20 minutes?"),
        ("You open on Monday, not before 9.", "Do I open at 9?"),
        (CLOSED, ""),
        ("", "Am I closed on Mondays?"),
    ],
)
def test_anything_else_is_left_to_the_judge(statement: str, question: str) -> None:
    assert not asks_what_is_over(statement, question)


@pytest.mark.parametrize(("says", "yes"), [(0.9, 0.1), (0.2, 0.2)])
def test_what_the_judge_takes_for_said_is_denied_and_what_it_denies_stays(
    says: float, yes: float
) -> None:
    class Opinion:
        def probability(self, statement: str, question: str) -> float:
            return says

    opinion = cast(Judge, cast(Any, Opinion()))
    assert verdict(opinion, CLOSED, "Is my bakery closed on Mondays?") == pytest.approx(yes)
    assert verdict(opinion, CLOSED, "Is my bakery closed on Wednesdays?") == says
    assert verdict(opinion, CLOSED, "Was my bakery closed on Mondays before?") == says
