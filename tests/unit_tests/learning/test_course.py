"""A question is trained until it is recalled, and then kept in mind."""

import random

from hypothesis import given
from hypothesis import strategies as st

from plum_langchain.learning.course import Course
from plum_langchain.learning.encode import Sample


def samples(number: int, first: int = 0) -> list[Sample]:
    return [Sample((1, 2, 3 + first + n), (1.0,) * 3, 2, 3) for n in range(number)]


def run(course: Course, size: int, replayed: int, seed: int = 0) -> list[tuple[list[Sample], ...]]:
    return list(course.epoch(size, replayed, random.Random(seed)))


def test_all_are_trained_in_every_epoch_without_patience() -> None:
    own = samples(7)
    course = Course(own, [], None)
    for _ in range(3):
        batches = run(course, 3, 1)
        assert sorted(s.ids for new, _ in batches for s in new) == [s.ids for s in own]
        assert all(old == [] for _, old in batches)
        for new, _ in batches:
            course.note(new, [True] * len(new))
    assert not course.done


def test_what_is_recalled_joins_the_replay_and_comes_back_when_it_is_forgotten() -> None:
    own = samples(4)
    course = Course(own, [], 1)
    course.note(own, [True, True, False, False])
    (batch,) = run(course, 4, 2)
    assert ({*batch[0]}, {*batch[1]}) == ({*own[2:]}, {*own[:2]})
    course.note(own, [True, False, True, True])
    (batch,) = run(course, 4, 2)
    assert batch[0] == [own[1]] and not course.done
    course.note([own[1]], [True])
    assert course.done and run(course, 4, 2) == []


def test_patience_counts_in_a_row() -> None:
    own = samples(1)
    course = Course(own, [], 2)
    for known in (True, False, True):
        course.note(own, [known])
        assert not course.done
    course.note(own, [True])
    assert course.done


def test_earlier_questions_are_replayed_and_never_to_be_learned() -> None:
    own, earlier = samples(5), samples(9, first=50)
    course = Course(own, earlier, 1)
    batches = run(course, 4, 2)
    assert [len(new) for new, _ in batches] == [2, 2, 1]
    assert all(len(old) == 2 and {*old} <= {*earlier} for _, old in batches)
    course.note([*own, *earlier], [True] * 5 + [False] * 9)
    assert course.done


@given(st.integers(1, 30), st.integers(0, 30), st.integers(2, 9), st.data())
def test_each_is_trained_once_an_epoch_and_never_more_batches_than_told(
    own: int, earlier: int, size: int, data: st.DataObject
) -> None:
    replayed = data.draw(st.integers(0, size - 1))
    course = Course(samples(own), samples(earlier, first=100), 1)
    for seed in range(3):
        batches = run(course, size, replayed, seed)
        assert len(batches) <= course.batches(size, replayed)
        new = [sample for batch, _ in batches for sample in batch]
        assert len(new) == len({*new})
        for batch, old in batches:
            assert len(batch) + len(old) <= size
            flags = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
            course.note([*batch, *old], flags[: len(batch) + len(old)])
        if course.done:
            break
