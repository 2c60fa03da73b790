"""The baseline: exchanges of earlier chats in a Chroma index, the nearest put into the prompt.

The index is derived from the journal and brought up to date at every search, so that it never
misses a chat and never keeps a forgotten one. Embedded Chroma must have one owning process; a
lock file sees to it.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import BusyError, InvalidInputError
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.memories.base import MemoryName, Recalled, Snippet
from plum_langchain.session import Session, SessionState

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_INDEXED_STATES = (
    SessionState.FINISHED,
    SessionState.LEARNING,
    SessionState.LEARNED,
    SessionState.FAILED,
)


@dataclass
class _Index:
    """The Chroma index of one home, shared by everything in this process that uses it."""

    lock_file: Any
    client: Any
    guard: threading.RLock


_indexes: dict[Path, _Index] = {}
_indexes_guard = threading.Lock()


def _open_index(directory: Path) -> _Index:
    with _indexes_guard:
        if directory not in _indexes:
            import chromadb
            from filelock import FileLock, Timeout

            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock_file = FileLock(directory / "owner.lock", timeout=1)
            try:
                lock_file.acquire()
            except Timeout:
                raise BusyError(
                    f"the retrieval index {directory} is in use by another process (embedded "
                    "Chroma allows one); nothing was changed. Stop that process, or ask it"
                ) from None
            settings = chromadb.Settings(anonymized_telemetry=False)
            client = chromadb.PersistentClient(path=str(directory), settings=settings)
            _indexes[directory] = _Index(lock_file, client, threading.RLock())
        return _indexes[directory]


class Retrieval:
    """Searches the user's own earlier chats and nobody else's.

    Args:
        home: Where the index lives.
        journal: What it is derived from.
        embeddings: Any LangChain embeddings; by default all-MiniLM-L6-v2, local.
        k: How many exchanges to recall.
    """

    name: MemoryName = "retrieval"

    def __init__(
        self, home: Home, journal: Journal, *, embeddings: "Embeddings | None" = None, k: int = 3
    ) -> None:
        if k < 1:
            raise InvalidInputError(f"k must be at least 1, not {k}")
        self.k = k
        self._home = home
        self._journal = journal
        self._embeddings = embeddings
        self._store: Any = None

    def with_k(self, k: int) -> "Retrieval":
        """The same index, recalling `k` exchanges."""
        other = Retrieval(self._home, self._journal, embeddings=self._embeddings, k=k)
        other._store = self._store
        return other

    def recall(self, user_id: str, query: str) -> Recalled:
        """The exchanges nearest to the query."""
        return Recalled(snippets=self.search(user_id, query))

    def search(self, user_id: str, query: str) -> tuple[Snippet, ...]:
        """The `k` exchanges of this user nearest to the query, nearest first.

        Raises:
            BusyError: another process owns the index.
        """
        owner = self._home.owner(user_id)
        if not query.strip():
            return ()
        index = _open_index(self._home.retrieval)
        with index.guard:
            self._update(user_id, owner)
            found = self._collection().similarity_search_with_score(
                query, k=self.k, filter={"owner": owner}
            )
        return tuple(
            Snippet(document.page_content, document.metadata["session_id"], float(distance))
            for document, distance in found
        )

    def forget(self, user_id: str) -> None:
        """Drop the exchanges of sessions the journal no longer has.

        Raises:
            BusyError: another process owns the index.
        """
        if (self._home.retrieval / "chroma.sqlite3").exists():
            with _open_index(self._home.retrieval).guard:
                self._update(user_id, self._home.owner(user_id))

    def _update(self, user_id: str, owner: str) -> None:
        collection = self._collection()
        indexed = {
            metadata["session_id"]
            for metadata in collection.get(where={"owner": owner}, include=["metadatas"])[
                "metadatas"
            ]
        }
        sessions = {
            session.session_id: session
            for session in self._journal.sessions.all(user_id)
            if session.state in _INDEXED_STATES
        }
        for session_id in indexed - sessions.keys():
            collection.delete(where={"$and": [{"owner": owner}, {"session_id": session_id}]})
        for session_id in sessions.keys() - indexed:
            exchanges = list(_exchanges(sessions[session_id]))
            if exchanges:
                # Session ids go into metadata, never into Chroma's own ids, which have rules.
                collection.add_texts(
                    exchanges,
                    metadatas=[{"owner": owner, "session_id": session_id}] * len(exchanges),
                )

    def _collection(self) -> Any:
        if self._store is None:
            from langchain_chroma import Chroma

            if self._embeddings is None:
                from plum_langchain.memories.embeddings import LocalEmbeddings

                self._embeddings = LocalEmbeddings()
            index = _open_index(self._home.retrieval)
            model = str(getattr(self._embeddings, "model", type(self._embeddings).__name__))
            self._store = Chroma(
                collection_name="exchanges",
                embedding_function=self._embeddings,
                client=index.client,
                collection_configuration={"hnsw": {"space": "cosine"}},
                collection_metadata={"embeddings": model},
            )
            made_with = (self._store._collection.metadata or {}).get("embeddings", model)
            if made_with != model:
                self._store = None
                raise InvalidInputError(
                    f"the retrieval index was made with the embeddings {made_with!r}, but "
                    f"{model!r} is given; use the former, or delete {self._home.retrieval} to "
                    "index anew"
                )
        return self._store


_MAX_CHARACTERS = 1_000
"""Of a retrieved text: about the 256 tokens that all-MiniLM-L6-v2 reads, and little enough that a
pasted document never fills the prompt."""


def _exchanges(session: Session) -> Iterator[str]:
    """What the user said with the reply it got, dated: the unit that is retrieved.

    A longer exchange is retrieved in parts, each with the date.
    """
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(chunk_size=_MAX_CHARACTERS, chunk_overlap=100)
    date = session.started.strftime("%d %B %Y")
    exchange: list[str] = []
    for turn in (*session.turns, None):
        if exchange and (turn is None or turn.role == "user"):
            for part in splitter.split_text("\n".join(exchange)):
                yield f"[{date}]\n{part}"
            exchange = []
        if turn is not None:
            exchange.append(f"{'User' if turn.role == 'user' else 'Assistant'}: {turn.content}")
