"""Forgetting from beginning to end: what is erased, destroyed, proved and learned again.

An adapter can't be made to unlearn; forgetting is serving an earlier generation, destroying those
after it, and learning again, from the journal, whatever else they knew. The transaction that erases
the text moves the head as well, so that nobody is served what is being forgotten, however the rest
is cut off; the rest is done by whoever opens the home next (`resume`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from plum_langchain.adapters import AdapterRef, AdapterStore
from plum_langchain.errors import (
    BusyError,
    LeaseLostError,
    PlumError,
    UnknownSessionError,
    loggable,
)
from plum_langchain.forgetting.doomed import Doomed, Told, told_of, with_what_goes_along
from plum_langchain.forgetting.probes import Probing
from plum_langchain.forgetting.receipt import Forgotten
from plum_langchain.forgetting.traces import find_pieces, find_traces, pieces_of
from plum_langchain.home import Home
from plum_langchain.journal import Erased, Job, Journal
from plum_langchain.journal.forgettings import Disposed
from plum_langchain.journal.heartbeat import beating
from plum_langchain.memories import Retrieval
from plum_langchain.models import Engine
from plum_langchain.session import SessionState

logger = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds to wait for a worker that was asked to let go of the user


class Forgetter:
    """Takes sessions out of what is served, and erases them. `Plum` is its door.

    Args:
        home: Whose files are searched.
        journal: Of the home.
        store: Of the home.
        engine: Lets go of weights, and is asked for what they know.
        retrieval: Of the home.
        system_prompt: The one adapters are trained with.
        lease_seconds: How long a worker is believed to live without a heartbeat.
    """

    def __init__(
        self,
        home: Home,
        journal: Journal,
        store: AdapterStore,
        engine: Engine,
        retrieval: Retrieval,
        *,
        system_prompt: str | None,
        lease_seconds: float,
    ) -> None:
        self._home = home
        self._journal = journal
        self._store = store
        self._engine = engine
        self._retrieval = retrieval
        self._system_prompt = system_prompt
        self._lease_seconds = lease_seconds

    def rollback(
        self, user_id: str, generation: int, *, lose_later: bool = False
    ) -> tuple[int, ...]:
        """Serve an earlier generation; see `Plum.rollback`."""
        self._journal.sessions.require_user(user_id)
        with self._journal.jobs.claim(user_id, "rollback") as job:
            gone = self._journal.generations.rollback(job, generation, lose_later=lose_later)
            self._destroy(job, gone)
        return tuple(gone)

    def forget(
        self,
        user_id: str,
        doomed: Doomed,
        *,
        lose_later: bool = False,
        probe: bool = True,
        relearn: Callable[[], Sequence[str]] | None = None,
    ) -> Forgotten:
        """Erase, destroy and prove; see `Plum.forget`.

        Args:
            user_id: Whose.
            doomed: What.
            lose_later: As `Forgettings.erase`.
            probe: Ask the weights before and after, which needs the base model.
            relearn: Learns what is in line of this user, and returns what was learned.
        """
        started = time.perf_counter()
        self._journal.sessions.require_user(user_id)
        self.resume(user_id)
        self._require(user_id, doomed)  # a mistyped name must not stop anybody's work
        self._retrieval.require_ownership()
        with self._claimed(user_id) as job:
            receipt, probing = self._forget(job, doomed, lose_later=lose_later, probe=probe)
        receipt = replace(receipt, seconds=time.perf_counter() - started)
        self._journal.forgettings.note(receipt.key, receipt.to_json())
        if relearn is not None and receipt.to_relearn:
            receipt = self._relearned(receipt, probing, relearn)
            receipt = replace(receipt, seconds=time.perf_counter() - started, at=datetime.now(UTC))
            self._journal.forgettings.note(receipt.key, receipt.to_json())
        return receipt

    def _require(self, user_id: str, doomed: Doomed) -> None:
        for name in doomed.named():
            if self._journal.sessions.get(user_id, name).state == SessionState.FORGOTTEN:
                raise UnknownSessionError(f"user {user_id!r} has no session {name!r} to forget")

    @contextmanager
    def _claimed(self, user_id: str) -> Iterator[Job]:
        """The user's lease, kept alive: loading a model and looking through files takes its time.

        A consolidation of the user is asked to stop.
        """
        jobs = self._journal.jobs
        with (
            jobs.claim(user_id, "forget", patience=_PATIENCE) as job,
            beating(jobs, job, lease_seconds=self._lease_seconds, should_stop=lambda: False),
        ):
            yield job

    def _forget(
        self, job: Job, doomed: Doomed, *, lose_later: bool, probe: bool
    ) -> tuple[Forgotten, Probing]:
        """What is done under the lease."""
        user_id, sessions = job.user_id, self._journal.sessions
        learned = self._learned(user_id, doomed)
        doomed = with_what_goes_along(self._journal, user_id, doomed)
        told = told_of(self._journal, user_id, doomed)
        probing = self._probing(user_id, doomed, told, probe)
        probing.ask()
        erased, removed, files_left = self._erase(job, doomed, lose_later)
        destroyed = self._journal.destroy_key(erased.retired_key)
        # Read under the lease: right after it, a scheduled round may learn them again.
        waiting = [s.session_id for s in sessions.all(user_id, SessionState.FINISHED)]
        head = self._journal.generations.head(user_id)
        wiped = self._wipe()
        traces, searched = self._look(user_id, told)
        probing.ask()
        left = wiped or files_left or traces
        if wiped is None and files_left is None:
            self._journal.forgettings.end(erased.key)  # else whoever opens the home next does
        receipt = Forgotten(
            user_id=user_id,
            key=erased.key,
            sessions=erased.sessions,
            lost=erased.lost,
            turns=erased.turns,
            rows=erased.rows,
            generations_destroyed=tuple(g.number for g in erased.generations),
            manifests={g.number: g.manifest_sha256 for g in erased.generations},
            files_removed=removed,
            key_destroyed=destroyed,
            serving=head.number if head else None,
            serving_manifest=head.manifest_sha256 if head else None,
            to_relearn=tuple(name for name in waiting if name in learned),
            probes=probing.probes(),
            no_probes=probing.why_not,
            traces=left,
            searched=searched,
        )
        return receipt, probing

    def resume(self, user_id: str | None = None) -> None:
        """End what was cut off after its transaction: the weights go, the index and the key.

        Index and files are wiped as well of what wasn't to be kept (`wipe_disposed`).

        What another process is at, or can't be done now (its index is in use), is left for later.

        Args:
            user_id: Of this user alone; of everybody by default.
        """
        for cut in self._journal.forgettings.unfinished(user_id):
            with _left_for_later(), self._journal.jobs.claim(cut.user_id, "forget") as job:
                self._retrieval.forget(cut.user_id)
                self._destroy(job, cut.generations)
                self._journal.destroy_key(cut.retired_key)
                self._journal.scrub()
                self._journal.forgettings.end(cut.key)
        disposed = self._journal.forgettings.disposed(user_id)
        if disposed:
            with _left_for_later():
                self._delete_indexes(disposed)
                self._journal.scrub()
                self._journal.forgettings.end_disposed(disposed)

    def wipe_disposed(self, users: Sequence[str]) -> None:
        """Wipe from index and files what wasn't to be kept of sessions that were learned.

        Where another process uses them, its next search does, or else whoever opens the home or
        learns next (`resume`).
        """
        disposed = [one for one in self._journal.forgettings.disposed() if one.user_id in users]
        if not disposed:
            return
        indexed = True
        with _left_for_later(busy=logging.WARNING):
            self._delete_indexes(disposed)
            indexed = False
        with _left_for_later(busy=logging.WARNING):
            self._journal.scrub()  # also where another process has the indexes
            if not indexed:
                self._journal.forgettings.end_disposed(disposed)

    def _delete_indexes(self, disposed: Sequence[Disposed]) -> None:
        """A search may make them anew meanwhile, but of what is left in the journal."""
        for user_id in dict.fromkeys(one.user_id for one in disposed):
            self._retrieval.forget(user_id)

    def _learned(self, user_id: str, doomed: Doomed) -> set[str]:
        """The sessions in the weights, some of which may be learned again."""
        if doomed.sessions is None:
            return set()
        learned = self._journal.sessions.all(user_id, SessionState.LEARNED)
        return {session.session_id for session in learned}

    # -- erasing -------------------------------------------------------------------------------

    def _erase(self, job: Job, doomed: Doomed, lose_later: bool) -> tuple[Erased, int, str | None]:
        """Erase from index, journal and disk.

        Returns:
            What was erased, how many files went as well, and why some of them may be left.
        """
        user_id, owner = job.user_id, self._home.owner(job.user_id)
        # The index goes first, so that a crash leaves nothing in it that the journal has erased,
        # and again, since a search may have made it anew in the meantime.
        removed = self._retrieval.delete_index(user_id)
        erased = self._journal.forgettings.erase(
            job,
            doomed.sessions,
            turns=doomed.turns,
            updates=doomed.updates,
            lose_later=lose_later,
        )
        gone = [generation.number for generation in erased.generations]
        removed += self._store.count_files(owner, gone)
        try:  # it is forgotten by now: what can't be done here is done by the next (`resume`)
            self._destroy(job, gone)
            removed += self._retrieval.delete_index(user_id)
        except (BusyError, LeaseLostError) as error:
            logger.warning("%s", error)
            return erased, removed, f"weights or the retrieval index may still hold it: {error}"
        return erased, removed, None

    def _destroy(self, job: Job, generations: Sequence[int]) -> None:
        owner = self._home.owner(job.user_id)
        self._store.remove(owner, generations)
        self._store.sweep(owner, lambda: self._journal.generations.kept_under(job))
        self._engine.drop(owner)

    def _wipe(self) -> str | None:
        """Wipe what was erased from the journal's files; returns why traces may be left."""
        try:
            self._journal.scrub()
        except BusyError as error:  # all is erased; only free space in the files isn't wiped
            logger.warning("%s", error)
            return str(error)
        return None

    # -- proving -------------------------------------------------------------------------------

    def _look(self, user_id: str, told: Told) -> tuple[str | None, int]:
        """Look whether what was erased is gone from the files.

        Returns:
            Where it still stands, or where can't be looked; and how many pieces of text were
            looked for.
        """
        pieces = pieces_of(told.texts)
        if not pieces:
            return None, 0
        try:
            journal = self._journal.content()
        except PlumError as error:  # it is erased all the same
            return f"whether text still stands in the journal can't be told: {error}", 0
        found = [("journal.db", piece) for piece in find_pieces(journal, pieces)]
        unread: list[str] = []
        for path in self._places(user_id):
            name = str(path.relative_to(self._home.root))
            try:
                if _is_file(path) and not self._home.is_journal(path):
                    found += [(name, piece) for piece, _ in find_traces([path], pieces)]
            except OSError as error:  # it is erased all the same
                unread.append(f"{name} ({error.strerror or error})")
        is_still_said = self._journal.forgettings.is_still_said
        left = {name for name, piece in found if not is_still_said(piece)}
        traces = []
        if left:
            traces.append(
                f"text that was erased still stands in {', '.join(sorted(left))} of the home "
                f"{self._home.root}; delete files that aren't the home's own, or end whatever else "
                "uses it and call Plum.journal.scrub()"
            )
        if unread:
            traces.append(
                f"whether text still stands in {', '.join(sorted(unread))} of the home "
                f"{self._home.root} can't be told; look there as somebody who may read it, or "
                "delete what isn't the home's own"
            )
        return ". ".join(traces) or None, len(pieces)

    def _places(self, user_id: str) -> Iterator[Path]:
        """All that is in the home, but for weights and indexes of other users."""
        owner = self._home.owner(user_id)
        for place in (self._home.adapters, self._home.retrieval):
            yield from (place / owner).rglob("*")
        yield from self._home.root.iterdir()

    def _probing(self, user_id: str, doomed: Doomed, told: Told, probe: bool) -> Probing:
        """What will ask for it; nothing, where no weights know it."""
        generations = self._journal.generations

        def served() -> AdapterRef | None:
            head = generations.head(user_id)
            owner = self._home.owner(user_id)
            if head is None:
                return None
            return self._store.ref(owner, head.number, head.manifest_sha256, head.seal)

        head = generations.head(user_id)
        known = head.learned if head else ()
        if doomed.sessions is None:  # then no key may be left to read anything with
            is_known = bool(known)
        else:
            by_key = self._journal.sessions.by_key
            named = set(doomed.named())
            is_known = any(by_key(key).session_id in named for key in known)
        why_not = None if is_known else "it was in no weights"
        return Probing(
            self._engine,
            served,
            told.questions,
            system_prompt=self._system_prompt,
            # The journal keeps the receipt in the clear, and an error may quote a chat.
            told=loggable if self._journal.encrypted else str,
            why_not=why_not if probe else "none were asked for",
        )

    def _relearned(
        self, receipt: Forgotten, probing: Probing, relearn: Callable[[], Sequence[str]]
    ) -> Forgotten:
        """The receipt, with what came later learned again."""
        learned = set(relearn())
        again = tuple(name for name in receipt.to_relearn if name in learned)
        if again:
            probing.ask()
        head = self._journal.generations.head(receipt.user_id)
        return replace(
            receipt,
            relearned=again,
            serving=head.number if head else None,
            serving_manifest=head.manifest_sha256 if head else None,
            probes=probing.probes(),
            no_probes=probing.why_not,
        )


@contextmanager
def _left_for_later(busy: int = logging.INFO) -> Iterator[None]:
    """What can't be done in the block is logged, and stays noted in the journal."""
    try:
        yield
    except BusyError as error:
        logger.log(busy, "what was to be forgotten is not all gone yet: %s", error)
    except (PlumError, OSError) as error:
        logger.warning("what was to be forgotten can't be ended (%s)", loggable(error))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
