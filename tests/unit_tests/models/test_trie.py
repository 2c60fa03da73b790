"""What may follow the beginning of a sequence, against a look through all of them."""

from hypothesis import given
from hypothesis import strategies as st

from plum_langchain.models.trie import Trie

Sequences = st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=8)
END = 9


@given(Sequences, st.lists(st.integers(0, 3), max_size=5))
def test_what_may_follow_is_what_follows_in_one_of_them(
    sequences: list[list[int]], beginning: list[int]
) -> None:
    n = len(beginning)
    going_on = {one[n] for one in sequences if one[:n] == beginning and len(one) > n}
    ends = beginning in sequences or not any(one[:n] == beginning for one in sequences)
    found = Trie(sequences).after(beginning, [END])
    assert set(found) == going_on | ({END} if ends else set())
    assert len(found) == len(set(found))


@given(Sequences, st.lists(st.integers(0, 3), max_size=5))
def test_a_beginning_stands_for_the_one_sequence_that_has_it(
    sequences: list[list[int]], beginning: list[int]
) -> None:
    begun = {tuple(one) for one in sequences if one[: len(beginning)] == beginning}
    assert Trie(sequences).only(beginning) == (begun.pop() if len(begun) == 1 else None)
