"""Which tokens bring a text of a grammar to an end: the way that a reply is ended in time."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from string import ascii_lowercase, ascii_uppercase, punctuation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_ENDS = {True: ('"}', '"]', '"'), False: ("}", "]", ",", ", ")}
"""What ends a value, inside a string and outside of one; those that end the most first."""

_JOINTS = ("://a.aa", "https://a.aa", "@a.aa", "a.aa", "@", ":", "Z", "T", "D", "S", ".")
"""What a string of a form may lack to be whole: an address, a time, a duration, a version.

Of addresses it is more than their form asks for: "a:" is a URI and "a@a" an address, but few
programs take them.
"""

_FILLERS = {
    True: tuple("1023456789" + ascii_lowercase + ascii_uppercase + punctuation),
    False: ('""', *"1023456789", "null", "true", "-", ".", "{}", "[]", '"', "[", "{"),
}
"""What a value may begin or go on with; where it may begin, the shortest first.

1 before 0: a number may have to be above 0, and no date is of the year 0.
"""


_Tokens = tuple[int, ...]


class Closers:
    """Tokens to bring a reply to an end with.

    Args:
        tokenizer: Theirs.
    """

    def __init__(self, tokenizer: "LLTokenizer") -> None:
        self.tokenizer = tokenizer
        self._ends = {inside: self._tokens(texts) for inside, texts in _ENDS.items()}
        self._fillers = {inside: self._tokens(texts) for inside, texts in _FILLERS.items()}
        self._joints = self._tokens(_JOINTS)
        self._space = self._tokens(" ")

    def _tokens(self, texts: Sequence[str]) -> list[_Tokens]:
        # By its bytes alone: some tokenizers put a space before what begins a text.
        return [tuple(self.tokenizer.greedy_tokenize(text)) for text in texts]

    def next(self, ahead: "LLMatcher", way: "Way") -> _Tokens:
        """The tokens to go on with; none if none can come."""
        mask, inside = ahead.compute_bitmask(), way.place.inside

        def may_come(tokens: _Tokens) -> bool:
            first = tokens[0]
            return bool(mask[first >> 3] >> (first & 7) & 1) and (
                len(tokens) == 1 or ahead.validate_tokens(list(tokens)) == len(tokens)
            )

        for end in self._ends[inside]:
            if may_come(end):
                return end
        # Where a space may come, a text is of no form.
        is_of_form = inside and not any(map(may_come, self._space))
        candidates = chain(self._joints if is_of_form else (), self._fillers[inside])
        possible = tuple(filter(may_come, candidates))
        if possible:
            return way.choose(possible)
        bits = int.from_bytes(mask, "little")
        return ((bits & -bits).bit_length() - 1,) if bits else ()


@dataclass
class Place:
    """Where in JSON a text ends.

    Attributes:
        inside: In a string.
        escaped: After a backslash in it.
    """

    inside: bool = False
    escaped: bool = False

    def read(self, text: str) -> Iterator[str]:
        """Goes on with a text: its brackets and commas, and the quotes that end a string."""
        for character in text:
            if self.escaped:
                self.escaped = False
            elif self.inside and character == "\\":
                self.escaped = True
            elif character == '"':
                self.inside = not self.inside
                if not self.inside:
                    yield character
            elif not self.inside and character in "{[}],":
                yield character


class Way:
    """On the way to an end, chooses what was chosen the fewest times where it came by before.

    So it turns from what only leads to more of the same: a digit after which a number is as far
    from its end as before, an object that must hold another of its kind. A place is known by what
    may come there. What counts is what was chosen in the objects and lists around it, and in its
    own one since the last value there: values that are alike may follow each other.

    Args:
        place: Where it begins.
        first: What is chosen first, by where.

    Attributes:
        turned: What it turned to at last, by where.
    """

    def __init__(self, place: Place, first: Mapping[int, _Tokens] | None = None) -> None:
        self.place = replace(place)
        self._open: list[list[tuple[int, _Tokens]]] = [[]]
        self._since = 0
        self._first = first or {}
        self.turned: dict[int, _Tokens] = {}

    def choose(self, possible: tuple[_Tokens, ...]) -> _Tokens:
        """One of these: of those that are as good what it turned to here, or the first."""
        *around, own = self._open
        at = hash(possible)
        past = Counter(one for where, one in chain(*around, own[self._since :]) if where == at)
        first = self.turned.get(at) or self._first.get(at, possible[0])
        choice = first
        if past:
            choice = min(possible, key=lambda one: (past[one], one != first))
            self.turned[at] = choice
        own.append((at, choice))
        return choice

    def went(self, text: str) -> None:
        """It went on with this."""
        for mark in self.place.read(text):
            if mark in "{[":
                self._open.append([])
                self._since = 0
                continue
            if mark in "}]" and len(self._open) > 1:
                self._open.pop()
            self._since = len(self._open[-1])
