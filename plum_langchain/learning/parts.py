"""A batch in parts that go through the model one after another, for the memory they take."""

from collections.abc import Sequence

from plum_langchain.learning.encode import Sample


def in_parts(batch: Sequence[Sample], tokens: int | None) -> list[list[Sample]]:
    """A batch in its order, in parts of about so many tokens each; None leaves it whole.

    They are as near to equal as whole samples allow: none has half a sample more, at either end,
    than one and a half times `tokens`.
    """
    total = sum(len(sample.ids) for sample in batch)
    size = total / (1 if tokens is None else max(1, round(total / tokens)))
    parts: dict[int, list[Sample]] = {}
    before = 0
    for sample in batch:
        middle = before + len(sample.ids) / 2
        parts.setdefault(int(middle / size), []).append(sample)
        before += len(sample.ids)
    return list(parts.values())
