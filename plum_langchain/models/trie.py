"""Sequences of tokens by what they begin with."""

from collections.abc import Iterable, Sequence


class Trie:
    """A set of sequences that tells what may follow the beginning of one."""

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        self._root = _Node()
        for sequence in {tuple(sequence) for sequence in sequences}:
            node = self._root
            node.add(sequence)
            for token in sequence:
                node = node.next.setdefault(token, _Node())
                node.add(sequence)
            node.ends = True

    def after(self, beginning: Sequence[int], ends: Sequence[int]) -> list[int]:
        """The tokens that go on from there, and `ends` where a whole sequence is done.

        `ends` alone, if none of the sequences begins so: there is nothing to go on with.
        """
        node = self._at(beginning)
        if node is None:
            return list(ends)
        return [*node.next, *(ends if node.ends or not node.next else ())]

    def only(self, beginning: Sequence[int]) -> tuple[int, ...] | None:
        """The sequence that begins so; None if there are several, or none."""
        node = self._at(beginning)
        return None if node is None else node.only

    def _at(self, beginning: Sequence[int]) -> "_Node | None":
        node: _Node | None = self._root
        for token in beginning:
            node = node.next.get(token) if node is not None else None
        return node


class _Node:
    __slots__ = ("begun", "ends", "next", "only")

    def __init__(self) -> None:
        self.next: dict[int, _Node] = {}
        self.ends = False
        self.begun = 0
        self.only: tuple[int, ...] | None = None

    def add(self, sequence: tuple[int, ...]) -> None:
        """One more of the sequences begins as this node's path does."""
        self.begun += 1
        self.only = sequence if self.begun == 1 else None
