"""Looking for erased text in the files of a home, byte by byte."""

import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_LEAST, _LONGEST = 12, 48
"""Characters of a piece. Anything shorter may stand anywhere; anything longer a database splits
over its pages, and an index over its parts."""

_OF_A_TEXT = 3
"""Pieces of each stretch: from its beginning, its middle and its end."""

_MOST = 300
"""Pieces that are looked for, spread over all there are: each is a pass over all files."""

# A database or a JSON file writes these otherwise than they were said.
_ESCAPED = re.compile(r'["\\\x00-\x1f]+')


def pieces_of(texts: Iterable[str]) -> list[str]:
    """Pieces of texts that stand in any file as they were said, wherever it cuts them."""
    pieces = (piece for text in texts for part in _ESCAPED.split(text) for piece in _cut(part))
    found = list(dict.fromkeys(piece for piece in pieces if len(piece) >= _LEAST))
    step = max(1, -(-len(found) // _MOST))
    return found[::step]


def _cut(text: str) -> list[str]:
    """The text if it is short, else stretches of it that begin where a word does."""
    text = text.strip()
    if len(text) <= _LONGEST:
        return [text]
    last = len(text) - _LONGEST
    found = []
    for number in range(_OF_A_TEXT):
        start = number * last // (_OF_A_TEXT - 1)
        space = text.rfind(" ", 0, start) + 1
        start = space if start - space < _LONGEST // 2 else start
        found.append(text[start : start + _LONGEST].strip())
    return found


def find_traces(files: Iterable[Path], pieces: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each piece with each file that holds it.

    Args:
        files: Regular ones, on which nothing in this process holds a lock that other processes
            heed (`Database.content`); one that is gone in the meantime holds nothing.
        pieces: From `pieces_of`.

    Raises:
        OSError: a file can't be read.
    """
    wanted = list(pieces)
    for path in files:
        try:
            with path.open("rb") as file:
                if not path.stat().st_size:
                    continue
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    yield from ((piece, path) for piece in find_pieces(content, wanted))
        except FileNotFoundError:
            continue


def find_pieces(content: bytes | mmap.mmap, pieces: Iterable[str]) -> Iterator[str]:
    """Those of the pieces that the content holds."""
    return (piece for piece in pieces if content.find(piece.encode("utf-8", "replace")) >= 0)
