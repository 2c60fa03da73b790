"""What a judge is taught: a question goes with what is true now, or with what was."""

import json

from plum_langchain.questions.corrections import EARLIER
from plum_langchain.verdicts.pairs import Pair, pairs_of_change, shipped_pairs

NOW, OLD = "You live in Graz now.", "You live in Linz with two students."
CHANGE = {
    "of": "lena", "now": NOW, "old": OLD,
    "true": ["Do I live in Graz?"], "gone": ["Do I live in Linz?"],
    "first": ["Did I live in Linz before?"], "kept": ["Did I live with two students?"],
}  # fmt: skip


def test_a_change_is_judged_by_what_was_told_by_what_is_true_and_by_both() -> None:
    both = f"{NOW}{EARLIER}{OLD}"
    assert set(pairs_of_change(json.dumps(CHANGE))) == {
        Pair("lena", OLD, "Do I live in Linz?", True),
        Pair("lena", OLD, "Do I live in Graz?", False),
        Pair("lena", NOW, "Do I live in Graz?", True),
        Pair("lena", NOW, "Do I live in Linz?", False),
        Pair("lena", both, "Do I live in Graz?", True),
        Pair("lena", both, "Do I live in Linz?", False),
        Pair("lena", both, "Did I live in Linz before?", True),
        Pair("lena", both, "Did I live with two students?", True),
    }


def test_no_pair_is_there_twice_and_none_with_both_answers() -> None:
    pairs = [(pair.statement, pair.question) for pair in shipped_pairs()]
    assert len(pairs) == len(set(pairs))
