"""The memory in the weights: it contributes the user's published generation and no text."""

from plum_langchain.adapters import AdapterRef, AdapterStore
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.memories.base import MemoryName, Recalled


class Parametric:
    """Names the generation the journal's head points at, at the moment of the request."""

    name: MemoryName = "parametric"

    def __init__(self, home: Home, journal: Journal, store: AdapterStore) -> None:
        self._home = home
        self._journal = journal
        self._store = store

    def adapter(self, user_id: str) -> AdapterRef | None:
        """The user's published generation; None before the first."""
        owner, generations = self._home.owner(user_id), self._journal.generations
        head = generations.head(user_id)
        if head is None:
            return None
        number, seal = head.number, head.seal
        if seal is not None:
            # Whoever asks may wait for the model for long. Where something else of the user is
            # forgotten meanwhile, the generation stays, and what it is sealed with is another key.
            seal = seal.or_else(lambda: generations.seal(user_id, number))
        return self._store.ref(owner, number, head.manifest_sha256, seal)

    def recall(self, user_id: str, query: str) -> Recalled:
        """The user's adapter; the query plays no part."""
        return Recalled(adapter=self.adapter(user_id))

    def forget(self, user_id: str) -> None:
        """Nothing to do: generations are given up in the journal and deleted by the store."""


class Nothing:
    """Remembers nothing: the base model as it is."""

    name: MemoryName = "none"

    def recall(self, user_id: str, query: str) -> Recalled:
        """Nothing."""
        return Recalled()

    def forget(self, user_id: str) -> None:
        """Nothing to do."""
