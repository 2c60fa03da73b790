"""The baseline: exchanges of earlier chats in a Chroma index, the nearest put into the prompt.

A user's index is derived from the journal and brought up to date at every search, so that it
never misses a chat and never keeps a forgotten one. What else is looked up by its embeddings (the
facts that an adapter was taught, for hybrid) is in no index: see `nearest`.
"""

import copy
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import InvalidInputError
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.journal.database import storable
from plum_langchain.memories.base import MemoryName, Recalled, Snippet, asked_in
from plum_langchain.memories.index import Indexes, Opened
from plum_langchain.memories.memory_index import MemoryIndex, MemoryIndexes
from plum_langchain.memories.nearest import Nearest
from plum_langchain.session import Session, SessionState

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_INDEXED_STATES = (
    SessionState.FINISHED,
    SessionState.LEARNING,
    SessionState.LEARNED,
    SessionState.FAILED,
)


class Retrieval:
    """Searches the user's own earlier chats and nobody else's.

    Args:
        home: Where the index lives.
        journal: What it is derived from.
        embeddings: Any LangChain embeddings; by default all-MiniLM-L6-v2, local.
        k: How many exchanges to recall.

    Raises:
        InvalidInputError: k is not a positive number.
    """

    name: MemoryName = "retrieval"

    def __init__(
        self, home: Home, journal: Journal, *, embeddings: "Embeddings | None" = None, k: int = 3
    ) -> None:
        self.k = _checked(k)
        self._home = home
        self._journal = journal
        # An index on the disk would hold in the clear what an encrypted journal doesn't.
        self._indexes = MemoryIndexes() if journal.encrypted else Indexes(home.retrieval)
        self._embeddings = _Lazily(embeddings)
        self._nearest = Nearest(self._embeddings.get)

    def with_k(self, k: int) -> "Retrieval":
        """The same index, recalling `k` exchanges.

        Raises:
            InvalidInputError: k is not a positive number.
        """
        other = copy.copy(self)
        other.k = _checked(k)
        return other

    def recall(self, user_id: str, query: str) -> Recalled:
        """The exchanges nearest to the query."""
        return Recalled(snippets=self.search(user_id, query))

    def search(
        self, user_id: str, query: str, *, without: Collection[str] = ()
    ) -> tuple[Snippet, ...]:
        """The `k` exchanges of this user nearest to the query, nearest first.

        Args:
            user_id: Whose.
            query: What they are to be near to.
            without: The ids of sessions whose exchanges aren't wanted.

        Raises:
            BusyError: another process owns the index.
            InvalidInputError: the index was made with other embeddings.
        """
        owner = self._home.owner(user_id)
        # Asked before the sessions are read: a change between the two is seen next time.
        version = self._journal.sessions.version(user_id)
        key = self._journal.sessions.key_name(user_id)
        if not version or not query.strip():
            return ()
        embeddings = self._embeddings.get()
        # A lone surrogate, which tokenizers and clients refuse, as the journal keeps it.
        vector = embeddings.embed_query(storable(asked_in(query)))
        with self._indexes.open(owner, embeddings, len(vector)) as opened:
            changed = opened.version != version
            if changed and not self._update(opened, user_id, key):
                # A session it holds was forgotten: only a new index is sure to hold none of it.
                self._indexes.delete(owner)
                return self.search(user_id, query, without=without)
            found = opened.search(vector, self.k, without)
            if changed:
                opened.wipe_unused()
                opened.version = version
        return tuple(
            Snippet(document.page_content, document.metadata["session_id"], float(distance))
            for document, distance in found
        )

    def nearest_of(
        self, user_id: str, texts_of: Callable[[], Sequence[str]], query: str, number: int
    ) -> list[str]:
        """Of texts of this user that are at hand the nearest to the query, nearest first.

        Args:
            user_id: Whose.
            texts_of: Gives all there are, as they are now; their vectors stay in this process.
            query: What they are to be near to.
            number: At most so many.

        Raises:
            ModelNotFoundError: the default embeddings' weights are nowhere to be found.
        """
        return self._nearest.find(self._home.owner(user_id), texts_of, query, number)

    def forget(self, user_id: str) -> None:
        """Delete the user's index, and let go of the vectors of what is at hand.

        The next search makes a new one of what the journal has.

        Raises:
            BusyError: another process owns the index.
        """
        self.delete_index(user_id)

    def delete_index(self, user_id: str) -> int:
        """The same; returns how many files it was."""
        owner = self._home.owner(user_id)
        self._nearest.drop(owner)
        return self._indexes.delete(owner)

    def require_ownership(self) -> None:
        """Make sure that `forget` can delete: only the owning process may.

        Raises:
            BusyError: another process owns the index.
        """
        self._indexes.require_ownership()

    @property
    def embeddings(self) -> "Embeddings":
        """What the index is made with.

        Raises:
            ModelNotFoundError: the default ones' weights are nowhere to be found.
        """
        return self._embeddings.get()

    def close(self) -> None:
        """Let another process own the index."""
        self._nearest.clear()
        self._indexes.close()

    def _update(self, opened: Opened | MemoryIndex, user_id: str, key: str | None) -> bool:
        """Add the sessions that are not in the index; False if it holds one that it must not."""
        if opened.version is not None and opened.key != key:
            return False  # another process has forgotten something: it can't delete this index
        opened.key = key
        metadatas = opened.metadatas()
        there = Counter(metadata["session_id"] for metadata in metadatas)
        # One that was cut off while it was added has fewer parts than it names.
        whole = {m["session_id"] for m in metadatas if there[m["session_id"]] == m["parts"]}
        sessions = {
            session.session_id: session
            for session in self._journal.sessions.all(user_id)
            if session.state in _INDEXED_STATES and session.kept == "transcript"
        }
        if there.keys() - sessions.keys():
            return False
        _add(opened.store, [s for s in sessions.values() if s.session_id not in whole])
        return True


class _Lazily:
    """The embeddings that were given, or the default ones, made when first needed."""

    def __init__(self, embeddings: "Embeddings | None") -> None:
        self._embeddings = embeddings
        self._guard = threading.Lock()

    def get(self) -> "Embeddings":
        with self._guard:
            if self._embeddings is None:
                from plum_langchain.memories.embeddings import LocalEmbeddings

                self._embeddings = LocalEmbeddings()
            return self._embeddings


_BATCH = 500
"""Exchanges added at once: adding syncs to disk, and Chroma takes at most 5461."""


def _add(store: Any, sessions: Iterable[Session]) -> None:
    texts: list[str] = []
    metadatas: list[dict[str, Any]] = []
    ids: list[str] = []
    for session in sessions:
        exchanges = list(_exchanges(session))
        # Session ids go into metadata, never into Chroma's own ids, which have rules. By those,
        # adding a session again replaces what is there of it.
        name = hashlib.sha256(session.session_id.encode("utf-8")).hexdigest()[:32]
        texts += exchanges
        metadatas += [{"session_id": session.session_id, "parts": len(exchanges)}] * len(exchanges)
        ids += [f"{name}-{part}" for part in range(len(exchanges))]
    for at in range(0, len(texts), _BATCH):
        end = at + _BATCH
        store.add_texts(texts[at:end], metadatas[at:end], ids=ids[at:end])


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
        if turn is not None and turn.content:  # else it was erased
            exchange.append(f"{'User' if turn.role == 'user' else 'Assistant'}: {turn.content}")


def _checked(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InvalidInputError(f"k must be a whole number of 1 or more, not {k!r}")
    return k
