"""Both at once: the user's adapter and retrieved text (arXiv 2510.12668 finds it beats either).

This is what a chat model wears and reads. Who asks for facts (`Plum.ask`, `Plum.recall`) has them
looked up besides: see `asking`.
"""

from plum_langchain.memories.base import MemoryName, Recalled
from plum_langchain.memories.parametric import Parametric
from plum_langchain.memories.retrieval import Retrieval


class Hybrid:
    """Parametric and retrieval memory together."""

    name: MemoryName = "hybrid"

    def __init__(self, parametric: Parametric, retrieval: Retrieval) -> None:
        self._parametric = parametric
        self._retrieval = retrieval

    def recall(self, user_id: str, query: str) -> Recalled:
        """The user's adapter and the snippets nearest to the query."""
        return Recalled(
            adapter=self._parametric.adapter(user_id),
            snippets=self._retrieval.search(user_id, query),
        )

    def forget(self, user_id: str) -> None:
        """Drop the vectors of sessions the journal no longer has."""
        self._retrieval.forget(user_id)
