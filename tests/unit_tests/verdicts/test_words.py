"""What the words of a statement and of a question about it have in common."""

import pytest

from plum_langchain.verdicts.words import FEATURES, overlap

BAKERY = "Your small bakery in Porto opens at 7 and is closed on Mondays."
SHARE, MISSING, NUMBERS, NEW_NUMBERS, OTHER_NUMBER, SAME_NUMBER, NEW_NAMES, OTHER_NAME, LENGTH = (
    range(FEATURES)
)


def test_there_are_as_many_as_said() -> None:
    assert len(overlap(BAKERY, "Is it?")) == len(overlap("", "")) == FEATURES


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is my bakery closed on Mondays?", {MISSING: 0, NEW_NAMES: 0, SHARE: 1}),
        ("Is my bakery closed on Monday?", {MISSING: 0, NEW_NAMES: 0}),
        ("Is my bakery closed on Fridays?", {MISSING: 1, NEW_NAMES: 1, OTHER_NAME: 1}),
        ("Does the bakery open at seven?", {NUMBERS: 1, NEW_NUMBERS: 0, SAME_NUMBER: 1}),
        ("Does the bakery open at 8?", {NEW_NUMBERS: 1, OTHER_NUMBER: 1, SAME_NUMBER: 0}),
        ("Do I bake bread?", {NUMBERS: 0, NEW_NUMBERS: 0, OTHER_NUMBER: 0, SAME_NUMBER: 0}),
        ("Was it I who, as I said, owns it?", {NEW_NAMES: 0}),
        ("Do I live in Évora?", {NEW_NAMES: 1}),
        ("Is it 7?", {LENGTH: 3}),
    ],
)
def test_a_value_that_was_swapped_shows(question: str, expected: dict[int, float]) -> None:
    found = overlap(BAKERY, question)
    assert {index: found[index] for index in expected} == expected
