"""Of short texts that are at hand the nearest to a question, as the retrieval memory sees nearness.

Their vectors are kept in this process alone: what an adapter was taught is in the journal, and no
second copy of it on the disk. A user's go when `drop` is called, and each when its text is no
longer there at the next search.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from plum_langchain.journal.database import storable

if TYPE_CHECKING:
    import numpy
    from langchain_core.embeddings import Embeddings

_MAX_USERS = 16
"""Whose vectors are kept, the least recently used go first: a thousand texts take 1.5 MB."""


class Nearest:
    """Searches texts by their vectors, exactly; each is embedded once.

    Args:
        embeddings: Asked for when first needed.
    """

    def __init__(self, embeddings: "Callable[[], Embeddings]") -> None:
        self._embeddings = embeddings
        self._guard = threading.Lock()
        self._drops = 0
        self._vectors: OrderedDict[str, dict[bytes, numpy.ndarray]] = OrderedDict()

    def find(
        self, owner: str, texts_of: Callable[[], Sequence[str]], query: str, number: int
    ) -> list[str]:
        """At most `number` of the texts, the nearest first.

        Args:
            owner: Whose texts they are.
            texts_of: Gives all of this owner's, as the journal has them now.
            query: What they are to be near to.
            number: How many.

        Raises:
            ModelNotFoundError: the embeddings' weights are nowhere to be found.
        """
        with self._guard:
            drops = self._drops
        texts = texts_of()
        if not texts:
            self.drop(owner)
        if not texts or not query.strip():
            return []
        import numpy

        embeddings = self._embeddings()
        names = [hashlib.sha256(text.encode("utf-8")).digest() for text in texts]
        with self._guard:
            known = self._vectors.get(owner, {})
        new = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
        if new:
            made = embeddings.embed_documents(list(new.values()))
            known = known | {name: _unit(vector) for name, vector in zip(new, made, strict=True)}
        known = {name: known[name] for name in names}
        with self._guard:
            if drops == self._drops:  # else some of the texts may be forgotten by now
                self._vectors[owner] = known
                self._vectors.move_to_end(owner)
                while len(self._vectors) > _MAX_USERS:
                    self._vectors.popitem(last=False)
        asked = _unit(embeddings.embed_query(storable(query)))
        likeness = numpy.stack([known[name] for name in names]) @ asked
        return [texts[index] for index in numpy.argsort(-likeness, kind="stable")[:number]]

    def drop(self, owner: str) -> None:
        """Let go of all vectors of an owner."""
        with self._guard:
            self._drops += 1
            self._vectors.pop(owner, None)

    def clear(self) -> None:
        """Let go of everybody's."""
        with self._guard:
            self._drops += 1
            self._vectors.clear()


def _unit(vector: Sequence[float]) -> "numpy.ndarray":
    import numpy

    found = numpy.asarray(vector, dtype=numpy.float32)
    length = float(numpy.linalg.norm(found))
    return found / length if length else found
