"""What is trained when: a session's own questions until each is recalled, then as replay."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from plum_langchain.learning.encode import Sample


class Course:
    """Which questions still have to be learned, and which are only kept in mind.

    Every epoch goes through the questions that are still to be learned. One whose answer was
    recalled as it came up, `patience` times in a row, is learned: it joins the questions of earlier
    sessions, of which every batch replays a few, and comes back if a replay finds it forgotten. So
    the steps go where they are needed, and the course is done when nothing is left to learn
    (recalled: every answer token has p > 0.5, the criterion of arXiv 2605.30260).

    Whether an answer is recalled is seen as its batch is trained, before that step's own
    correction, so asking costs nothing.

    Args:
        own: The session's own.
        earlier: Of sessions before it, only ever replayed.
        patience: None goes through all of them in every epoch, whatever is recalled (PLUM).
    """

    def __init__(
        self, own: Sequence[Sample], earlier: Sequence[Sample], patience: int | None
    ) -> None:
        self._own = list(dict.fromkeys(own))
        self._earlier = list(earlier)
        self._patience = patience
        self._recalled = Counter[Sample]()  # times in a row

    @property
    def done(self) -> bool:
        """Whether everything is learned."""
        return self._patience is not None and not self._to_learn()

    def batches(self, size: int, replayed: int) -> int:
        """How many batches an epoch has at most."""
        return math.ceil(len(self._own) / (size - replayed))

    def epoch(
        self, size: int, replayed: int, rng: random.Random
    ) -> Iterator[tuple[list[Sample], list[Sample]]]:
        """Batches of at most `size`: what is to be learned, and what is replayed with it."""
        order = self._to_learn()
        pool = [*self._earlier, *(sample for sample in self._own if self._is_learned(sample))]
        rng.shuffle(order)
        fresh = size - min(replayed, len(pool))
        for start in range(0, len(order), fresh):
            yield order[start : start + fresh], rng.sample(pool, min(replayed, len(pool)))

    def note(self, batch: Sequence[Sample], recalled: Sequence[bool]) -> None:
        """Take note of what was recalled."""
        for sample, known in zip(batch, recalled, strict=True):
            self._recalled[sample] = self._recalled[sample] + 1 if known else 0

    def _to_learn(self) -> list[Sample]:
        return [sample for sample in self._own if not self._is_learned(sample)]

    def _is_learned(self, sample: Sample) -> bool:
        return self._patience is not None and self._recalled[sample] >= self._patience
