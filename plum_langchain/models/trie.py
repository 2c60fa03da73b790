"""Sequences of tokens by what they begin with."""

from collections.abc import Iterable, Sequence


class Trie:
    """A set of sequences that tells what may follow the beginning of one."""

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        self._root = _Node()
        for sequence in sequences:
            node = self._root
            for token in sequence:
                node = node.next.setdefault(token, _Node())
            node.ends = True

    def after(self, beginning: Sequence[int], ends: Sequence[int]) -> list[int]:
        """The tokens that go on from there, and `ends` where a whole sequence is done.

        `ends` alone, if none of the sequences begins so: there is nothing to go on with.
        """
        node = self._root
        for token in beginning:
            if token not in node.next:
                return list(ends)
            node = node.next[token]
        return [*node.next, *(ends if node.ends or not node.next else ())]


class _Node:
    __slots__ = ("ends", "next")

    def __init__(self) -> None:
        self.next: dict[int, _Node] = {}
        self.ends = False
