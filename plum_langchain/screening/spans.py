"""Places in a text, and its sentences without those that hold one."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Sort = Literal[
    "password",
    "key",
    "payment card",
    "bank account",
    "identity number",
    "phone number",
    "e-mail address",
    "pasted text",
    "instruction",
    "repeated",
    "assistant's claim",
]
"""Why something is left out; see `docs/screening.md`."""

_BETWEEN = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？।؟])\s*|\n\s*")


@dataclass(frozen=True)
class Found:
    """A place in a text that isn't learned.

    `values` is what must not come back, however it is asked about; empty where only the place
    counts. It is never shown.
    """

    start: int
    end: int
    sort: Sort
    values: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Parted:
    """A text in two: what is kept of it, what is left out, and why each sentence is."""

    kept: str
    left_out: str
    sorts: tuple[Sort, ...] = ()


def sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence begins and ends; between two of them is nothing but space."""
    bounds, start = [], 0
    for gap in _BETWEEN.finditer(text):
        bounds.append((start, gap.start()))
        start = gap.end()
    bounds.append((start, len(text)))
    return [(start, end) for start, end in bounds if text[start:end].strip()]


def part(text: str, found: Iterable[Found]) -> Parted:
    """The text without every sentence that one of these places touches.

    A sentence is left out as what was found first in the order given.
    """
    bounds = sentences(text)
    starts, ends = [start for start, _ in bounds], [end for _, end in bounds]
    why: dict[int, Sort] = {}
    for place in found:
        for number in range(bisect_right(ends, place.start), bisect_left(starts, place.end)):
            why.setdefault(number, place.sort)
    if not why:
        return Parted(text, "")
    said = [text[start:end].rstrip() for start, end in bounds]
    return Parted(
        "\n".join(one for number, one in enumerate(said) if number not in why),
        "\n".join(said[number] for number in sorted(why)),
        tuple(why[number] for number in sorted(why)),
    )


def pattern_of(value: str) -> "re.Pattern[str]":
    """Finds a value again, whatever the case, and a number however it is grouped."""
    dense = re.sub(r"[\s.\-/]+", "", value)
    if len(dense) >= 6 and sum(c.isdigit() for c in dense) * 2 > len(dense):
        body = r"[\s.\-/]*".join(map(re.escape, dense))
    else:
        body = r"\s+".join(map(re.escape, value.split()))
    before = r"(?<!\w)" if value[0].isalnum() else ""
    after = r"(?!\w)" if value[-1].isalnum() else ""
    return re.compile(before + body + after, re.IGNORECASE)
