"""Chroma indexes on disk: one directory for each user, owned by one process at a time.

    retrieval/owner.lock       held by the process that uses the indexes
              <user hash>/     one Chroma database: nothing of anybody else is ever searched, and
                               forgetting is deleting it, which leaves no vector and no page of
                               text behind

Embedded Chroma must have one owning process (another one's writes show in its counts, not in its
searches); the lock file sees to it. Everything in this process that opens the same directory
shares what is open.
"""

import contextlib
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.durable import sync
from plum_langchain.errors import BusyError, InvalidInputError, PlumError

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_MAX_OPEN = 16
"""Indexes kept open at once: an open one has a few threads, opening one takes 50 ms."""

_LOCK_SECONDS = 0.5
"""How long another process's lock is waited for: it holds it for as long as it lives."""


_MADE_OF_MEMORY = ("data_level0.bin", "length.bin")
"""Chroma's files of vectors and of how long each is."""


@dataclass
class Opened:
    """One user's open index; `version` is the journal's state that it was brought up to.

    `key` names the key that its text is sealed with in the journal; None where that is plain.
    """

    directory: Path
    client: Any  # chromadb's
    store: Any  # langchain_chroma's Chroma, with cosine distance
    version: str | None = None
    key: str | None = None

    def metadatas(self) -> list[Mapping[str, Any]]:
        """Of each text in it."""
        return list(self.store._collection.get(include=["metadatas"])["metadatas"])

    def search(
        self, vector: Sequence[float], k: int, without: Collection[str] = ()
    ) -> list[tuple[Any, float]]:
        """The nearest documents, with their cosine distance; none of these sessions."""
        others = {"session_id": {"$nin": list(without)}} if without else None
        search = self.store.similarity_search_by_vector_with_relevance_scores
        return list(search(list(vector), k=k, filter=others))

    def wipe_unused(self) -> None:
        """Zero the files of vectors until Chroma has written the first of them (after 1000).

        They are created with the room for them as the allocator gave it: with whatever this process
        had in memory there, other users' or forgotten chats among it
        (https://github.com/chroma-core/chroma/issues/7688).
        """
        for name in _MADE_OF_MEMORY:
            for path in self.directory.glob(f"*/{name}"):
                if not (path.parent / "index_metadata.pickle").exists():
                    with path.open("r+b") as file:
                        file.write(bytes(path.stat().st_size))


class Indexes:
    """The `retrieval/` directory of a home; taken hold of at the first use, until `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: _Held | None = None
        self._guard = threading.Lock()

    def exists(self, owner: str) -> bool:
        """Whether there is an index of this user."""
        return (self._directory / owner).is_dir()

    @contextmanager
    def open(self, owner: str, embeddings: "Embeddings", dimensions: int) -> Iterator[Opened]:
        """One user's index for the caller alone, made if it isn't there.

        Args:
            owner: The user's hash.
            embeddings: What its vectors are made with.
            dimensions: How long those vectors are.

        Raises:
            BusyError: another process owns the indexes.
            InvalidInputError: the index was made with other embeddings.
            PlumError: the disk refuses, or the block met an error of Chroma's.
        """
        held = self._hold()
        with held.using(owner):
            opened = held.opened(owner, embeddings, dimensions)
            try:
                with _errors_named(self._directory / owner):
                    yield opened
            except BaseException:
                held.close_one(owner)  # it may have more or less in memory than on the disk
                raise

    def delete(self, owner: str) -> int:
        """Delete a user's index from disk, if there is one; returns how many files it was.

        Indexes that this process doesn't use otherwise are let go again.

        Raises:
            BusyError: another process owns the indexes.
            PlumError: the disk refuses.
        """
        if not self.exists(owner):
            return 0
        held = _acquire(self._directory)
        try:
            with held.using(owner):
                return held.delete(owner)
        finally:
            _release(held)

    def require_ownership(self) -> None:
        """Take hold of the indexes, if there are any.

        Raises:
            BusyError: another process owns them.
        """
        if self._directory.is_dir():
            self._hold()

    def close(self) -> None:
        """Let go of the directory; the next use takes hold of it again."""
        with self._guard:
            held, self._held = self._held, None
        if held is not None:
            _release(held)

    def _hold(self) -> "_Held":
        with self._guard:
            if self._held is None:
                self._held = _acquire(self._directory)
            return self._held


class _Held:
    """What this process has open of one directory, shared by all its `Indexes`."""

    def __init__(self, directory: Path, lock_file: Any) -> None:
        self.directory = directory
        self.lock_file = lock_file
        self.process = os.getpid()
        self.holders = 0
        self._guard = threading.Lock()  # of the two maps
        self._locks: dict[str, threading.RLock] = {}
        self._open: OrderedDict[str, Opened] = OrderedDict()

    @contextmanager
    def using(self, owner: str) -> Iterator[None]:
        """Only the caller uses this user's index; other users' stay free."""
        with self._guard:
            lock = self._locks.setdefault(owner, threading.RLock())
        with lock:
            yield

    def opened(self, owner: str, embeddings: "Embeddings", dimensions: int) -> Opened:
        label = f"{_name_of(embeddings)}, {dimensions} dimensions"
        with self._guard:
            found = self._open.get(owner)
        if found is None:
            found = _open_store(self.directory / owner, embeddings, label)
        with self._guard:
            self._open[owner] = found
            self._open.move_to_end(owner)
            self._evict(keep=owner)
        made_with = (found.store._collection.metadata or {}).get("embeddings")
        if made_with != label:
            raise InvalidInputError(
                f"the retrieval index {self.directory / owner} was made with other embeddings "
                f"({made_with}) than are given ({label}); give the former, or close the home and "
                f"delete {self.directory} to have it indexed anew"
            )
        return found

    def delete(self, owner: str) -> int:
        self.close_one(owner)
        place = self.directory / owner
        with _errors_named(place):
            files = sum(path.is_file() for path in place.rglob("*"))
            shutil.rmtree(place)
            sync(self.directory)
        return files

    def close_one(self, owner: str) -> None:
        """Let go of one user's index; the next use opens it as it is on disk."""
        with self._guard:
            found = self._open.pop(owner, None)
        if found is not None:
            found.client.close()

    def close(self) -> None:
        for owner in list(self._open):
            with self.using(owner):
                self._open.pop(owner).client.close()
        self.lock_file.release()

    def _evict(self, keep: str) -> None:
        for owner in list(self._open):
            if len(self._open) <= _MAX_OPEN:
                return
            lock = self._locks[owner]
            if owner != keep and lock.acquire(blocking=False):  # else it is in use
                try:
                    self._open.pop(owner).client.close()
                finally:
                    lock.release()


_held: dict[Path, _Held] = {}
_held_guard = threading.Lock()
_of_parents: list[_Held] = []
"""What a fork has inherited: without Chroma's threads, and with a lock that isn't its own.

Kept for good, since the end of its lock here would be the end of the parent's."""


def _forget_parents() -> None:
    global _held_guard
    _held_guard = threading.Lock()  # another thread may have held it
    _of_parents.extend(_held.values())
    _held.clear()


if hasattr(os, "register_at_fork"):  # where there is a fork
    os.register_at_fork(after_in_child=_forget_parents)


def _acquire(directory: Path) -> _Held:
    from filelock import FileLock, Timeout

    with _held_guard:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            real = directory.resolve()  # the same directory by another path is not another one
            held = _held.get(real)
            if held is None:
                # Not of one thread alone: it may be let go by another thread than took it.
                lock_file = FileLock(real / "owner.lock", timeout=_LOCK_SECONDS, thread_local=False)
                lock_file.acquire()
                held = _held[real] = _Held(real, lock_file)
        except Timeout:
            raise BusyError(
                f"the retrieval indexes in {directory} are in use by another process (embedded "
                "Chroma allows one); nothing was changed. Ask that process, or stop it"
            ) from None
        except OSError as error:
            raise PlumError(
                f"{directory} can't be used for retrieval indexes: {error.strerror or error}; "
                "check that the disk has room and that you may write there"
            ) from error
        held.holders += 1
        return held


def _release(held: _Held) -> None:
    if held.process != os.getpid():
        return  # the process that this one is a fork of lets go of it
    with _held_guard:
        held.holders -= 1
        if held.holders == 0:
            del _held[held.directory]
            held.close()


def _open_store(directory: Path, embeddings: "Embeddings", label: str) -> Opened:
    import chromadb
    from langchain_chroma import Chroma

    with _errors_named(directory):
        directory.mkdir(exist_ok=True, mode=0o700)
    settings = chromadb.Settings(anonymized_telemetry=False)
    try:
        client = chromadb.PersistentClient(path=str(directory), settings=settings)
        store = Chroma(
            collection_name="exchanges",
            embedding_function=embeddings,
            client=client,
            # Chroma's approximate search, made nearly exact: of the three nearest among 304 texts
            # its defaults (16, 100, 100) miss 2%, these none; where 30 texts of 230 are the same
            # they miss 44% of the others, these none. Of 3000 texts these take 2.4 s to add
            # instead of 2.0, and 2 ms to search instead of 1.
            collection_configuration={
                "hnsw": {
                    "space": "cosine",
                    "max_neighbors": 64,
                    "ef_construction": 500,
                    "ef_search": 1000,
                }
            },
            collection_metadata={"embeddings": label},  # of one that is there, its own stays
        )
    except Exception as error:  # Chroma has many, and its database's own
        _release_half_open(directory)
        raise PlumError(
            f"the retrieval index {directory} can't be opened ({error}); all it holds is in the "
            "journal too: end this program, delete the directory, and it is made anew"
        ) from error
    return Opened(directory, client, store)


def _release_half_open(directory: Path) -> None:
    """Have Chroma forget what it could not open: it would try no second time in this process."""
    from chromadb.api.shared_system_client import SharedSystemClient

    with contextlib.suppress(Exception):  # one that never started can't be stopped
        SharedSystemClient._release_system(str(directory))


@contextmanager
def _errors_named(directory: Path) -> Iterator[None]:
    """What the disk or Chroma refuse, as the user is to know it."""
    try:
        yield
    except _refusals() as error:
        if isinstance(error, PlumError):
            raise
        raise PlumError(
            f"the retrieval index {directory} can't be used ({error}); check that the disk has "
            "room and that you may write there. All it holds is in the journal too"
        ) from error


def _refusals() -> tuple[type[Exception], ...]:
    """Asked for only when something was raised: importing Chroma takes seconds."""
    from chromadb.errors import ChromaError

    return OSError, ChromaError


def _name_of(embeddings: "Embeddings") -> str:
    """What tells embeddings apart: the model's name where LangChain's classes have one."""
    for attribute in ("model", "model_name", "model_id"):
        name = getattr(embeddings, attribute, None)
        if isinstance(name, str):
            return name
    return type(embeddings).__name__
