"""Looking for erased text in the files of a home, byte by byte."""

import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_LEAST = 12
"""Bytes of a piece: anything shorter may stand anywhere."""

_MOST = 200
"""Pieces that are looked for, spread over all there are: each is a pass over all files."""

# A database or a JSON file writes these otherwise than they were said.
_ESCAPED = re.compile(r'["\\\x00-\x1f]+')


def pieces_of(texts: Iterable[str]) -> list[str]:
    """The longest stretch of each text that stands in any file as it was said."""
    pieces = (max(_ESCAPED.split(text), key=len).strip() for text in texts)
    found = list(dict.fromkeys(p for p in pieces if len(p.encode("utf-8", "replace")) >= _LEAST))
    step = max(1, -(-len(found) // _MOST))
    return found[::step]


def find_traces(files: Iterable[Path], pieces: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each piece with each file that holds it.

    Args:
        files: Regular ones; one that is gone in the meantime holds nothing.
        pieces: From `pieces_of`.
    """
    wanted = [(piece, piece.encode("utf-8", "replace")) for piece in pieces]
    for path in files:
        try:
            with path.open("rb") as file:
                if not path.stat().st_size:
                    continue
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    for piece, raw in wanted:
                        if content.find(raw) >= 0:
                            yield piece, path
        except FileNotFoundError:
            continue
