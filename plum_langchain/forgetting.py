"""Going back: chats that are erased, and weights that never knew them.

An adapter can't be made to unlearn; forgetting is serving an earlier generation, destroying those
after it, and learning again, from the journal, whatever else they knew.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from plum_langchain.adapters import AdapterStore
from plum_langchain.errors import BusyError, InvalidInputError
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.memories import Retrieval
from plum_langchain.models import Engine
from plum_langchain.session import SessionState

logger = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds to wait for a worker that was asked to let go of the user


@dataclass(frozen=True)
class Forgotten:
    """The receipt of forgetting: what was erased, what was destroyed, what is to be relearned.

    `to_relearn` are the sessions that went with the destroyed weights and are in line again.
    `traces` is None, or says that the erased text may linger in the journal's files (another
    process was using them) and how to wipe it.
    """

    user_id: str
    sessions: tuple[str, ...]
    generations_destroyed: tuple[int, ...]
    serving: int | None
    to_relearn: tuple[str, ...]
    traces: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Forgetter:
    """Takes sessions out of what is served, and erases them. `Plum` is its door."""

    def __init__(
        self,
        home: Home,
        journal: Journal,
        store: AdapterStore,
        engine: Engine,
        retrieval: Retrieval,
    ) -> None:
        self._home = home
        self._journal = journal
        self._store = store
        self._engine = engine
        self._retrieval = retrieval

    def rollback(self, user_id: str, generation: int) -> tuple[int, ...]:
        """Serve an earlier generation; see `Plum.rollback`."""
        self._journal.sessions.require_user(user_id)
        with self._journal.jobs.claim(user_id, "rollback") as job:
            gone = self._journal.generations.rollback(job, generation)
            self._destroy(user_id, gone)
        return tuple(gone)

    def forget(self, user_id: str, session_id: str | None, *, all_sessions: bool) -> Forgotten:
        """Erase a session or everything of a user; see `Plum.forget`."""
        if (session_id is not None) == all_sessions:
            raise InvalidInputError("name one session, or say all_sessions=True; not both")
        sessions = self._journal.sessions
        sessions.require_user(user_id)
        if session_id is not None:
            sessions.get(user_id, session_id)  # a mistyped name must not stop anybody's work
        self._retrieval.require_ownership()
        with self._journal.jobs.claim(user_id, "forget", patience=_PATIENCE) as job:
            learned = {s.session_id for s in sessions.all(user_id, SessionState.LEARNED)}
            # The index goes first, so that a crash leaves nothing in it that the journal has
            # erased, and again, since a search may have made it anew in the meantime.
            self._retrieval.forget(user_id)
            erased, gone = self._journal.generations.forget(job, session_id)
            self._destroy(user_id, gone)
            self._retrieval.forget(user_id)
            # Read under the lease: right after it, a scheduled round may learn them again.
            waiting = [s.session_id for s in sessions.all(user_id, SessionState.FINISHED)]
            head = self._journal.generations.head(user_id)
        return Forgotten(
            user_id=user_id,
            sessions=tuple(erased),
            generations_destroyed=tuple(gone),
            serving=head.number if head else None,
            to_relearn=tuple(name for name in waiting if name in learned),
            traces=self._scrub(),
        )

    def _destroy(self, user_id: str, generations: list[int]) -> None:
        owner = self._home.owner(user_id)
        self._store.remove(owner, generations)
        self._store.sweep(owner, [g.number for g in self._journal.generations.all(user_id)])
        self._engine.drop(owner)

    def _scrub(self) -> str | None:
        """Wipe what was erased from the journal's files; returns why traces may be left."""
        try:
            self._journal.scrub()
        except BusyError as error:  # all is erased; only free space in the files isn't wiped
            logger.warning("%s", error)
            return str(error)
        return None
