"""Replies are scored as the benchmark scores them, each category by itself."""

from dataclasses import replace

import pytest

from plum_langchain.evaluation import Graded
from plum_langchain.evaluation.locomo import by_category, score, to_markdown
from plum_langchain.evaluation.locomo.porter import stem
from plum_langchain.session import UNKNOWN_ANSWER


@pytest.mark.parametrize(
    ("category", "expected", "reply", "points"),
    [
        ("single-hop", "The cello", "a cello!", 1.0),
        ("single-hop", "the cello", "She plays the cello.", 2 * (1 / 3) / (1 / 3 + 1)),
        ("single-hop", "juggling, rowing", "She juggles and rows", 2 * (2 / 3) / (2 / 3 + 1)),
        ("single-hop", "the cello", "", 0.0),
        ("single-hop", "the cello", "a flute", 0.0),
        ("single-hop", "very very loud", "very loud", 2 * (2 / 3) / (2 / 3 + 1)),
        ("temporal", "2019", "In 2019.", 2 * 0.5 / 1.5),
        ("temporal", "2 March, 2021", "2 March 2021", 1.0),
        ("open-domain", "Yes; she plays herself", "Yes", 1.0),
        ("open-domain", "Yes; she plays herself", "she plays", 0.0),
        ("multi-hop", "Porto, Braga", "Braga, Porto", 1.0),
        ("multi-hop", "Porto, Braga", "Porto", 0.5),
        ("multi-hop", "Porto, Braga", "Porto and Braga", 2 / 3),
        ("multi-hop", "Porto, Braga, Faro", "Lisbon, in Faro", (2 / 3) / 3),
        ("adversarial", UNKNOWN_ANSWER, "It was not mentioned in the chat.", 1.0),
        ("adversarial", UNKNOWN_ANSWER, "No information available", 1.0),
        ("adversarial", UNKNOWN_ANSWER, "We never talked about that.", 1.0),
        ("adversarial", UNKNOWN_ANSWER, "We talked about a red kite.", 0.0),
    ],
)
def test_a_reply_is_scored_as_the_benchmark_does(
    category: str, expected: str, reply: str, points: float
) -> None:
    assert score(category, expected, reply) == pytest.approx(points)


@pytest.mark.parametrize(
    ("words", "stems"),
    [
        ("caresses ponies parties cats is", "caress poni parti cat is"),
        ("feed agreed plastered motoring sing", "feed agre plaster motor sing"),
        ("hopping hoping falling conflated happy enjoy", "hop hope fall conflat happi enjoy"),
        ("relational conditional digitizer radically", "relat condit digit radic"),
        ("triplicate formative hopefulness goodness", "triplic form hope good"),
        ("revival adjustment adoption homologous rate", "reviv adjust adopt homolog rate"),
        ("probate cease controll rolling", "probat ceas control roll"),
        # Where NLTK leaves the paper.
        ("dies dying skies died news flies", "die die sky die news fli"),
        ("hopefully geology say by ably", "hope geolog say by abli"),
    ],
)
def test_words_are_stemmed_as_nltk_does(words: str, stems: str) -> None:
    assert " ".join(stem(word) for word in words.split()) == stems


def graded(category: str, expected: str, answer: str, correct: bool, tokens: int = 30) -> Graded:
    kind = "open_unknown" if category == "adversarial" else "open"
    return Graded(
        user_id="26:Ines", session_id="session_1", question="?", kind=kind, expected=expected,
        answer=answer, correct=correct, p_yes=None, prompt_tokens=tokens, seconds=0.5,
        category=category,
    )  # fmt: skip


ANSWERS = [
    graded("single-hop", "the cello", "cello", True),
    graded("single-hop", "a kite", "a flute", False),
    graded("temporal", "2019", "In 2019.", True),
    graded("adversarial", UNKNOWN_ANSWER, "It was not mentioned.", False),
]


def test_categories_are_kept_apart() -> None:
    found = by_category(ANSWERS)
    assert list(found) == ["temporal", "single-hop", "adversarial", "all"]
    single = found["single-hop"]
    assert (single.f1, single.contained, single.n) == (0.5, 0.5, 2)
    assert single.f1_ci95 == (0.0, 1.0)
    assert (found["adversarial"].f1, found["adversarial"].contained) == (1.0, None)
    assert found["all"].f1 == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert found["all"].contained == pytest.approx(2 / 3)
    assert found["all"].n == 3
    assert by_category([]) == {}


def test_saying_that_it_was_never_told_adds_nothing_to_all() -> None:
    """An adapter is taught the sentence that counts, and the other memories aren't."""
    taught = graded("adversarial", UNKNOWN_ANSWER, UNKNOWN_ANSWER, True)
    assert by_category([*ANSWERS, taught] * 5)["all"] == by_category(ANSWERS * 5)["all"]
    assert list(by_category([taught])) == ["adversarial"]
    assert to_markdown({"floor": [taught]}).splitlines()[2].endswith("| 100.0 | 30 |")


def test_the_table_has_a_row_for_each_arm() -> None:
    better = [replace(one, answer=one.expected, correct=True) for one in ANSWERS]
    table = to_markdown({"floor": ANSWERS, "retrieval@3": better})
    header, _, floor, retrieval = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()
    ]
    assert len(header) == len(floor) == len(retrieval)
    assert "multi-hop" not in table
    assert header[3:5] == ["single-hop (n=2): F1", "contained"]
    assert floor[0] == "floor (no memory)" and retrieval[0] == "retrieval (Chroma), k=3"
    assert floor[3:5] == ["50.0", "50%"] and retrieval[3:5] == ["100.0", "100%"]
    assert header[5] == "all (n=3): F1" and floor[5] == "55.6"
    assert header[7] == "95% of all F1" and retrieval[7] == "100.0-100.0"
    assert header[8].startswith("adversarial (n=1)") and floor[8] == "100.0"
    assert floor[-1] == "30"
