"""Forgetting from beginning to end: what is erased, destroyed, proved and learned again.

An adapter can't be made to unlearn; forgetting is serving an earlier generation, destroying those
after it, and learning again, from the journal, whatever else they knew. The transaction that erases
the text moves the head as well, so that nobody is served what is being forgotten, however the rest
is cut off; the rest is done by whoever opens the home next (`resume`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plum_langchain.adapters import AdapterRef, AdapterStore
from plum_langchain.errors import BusyError, MissingKeyError, PlumError, loggable
from plum_langchain.forgetting.echoes import find_echoes
from plum_langchain.forgetting.mentions import Mention
from plum_langchain.forgetting.probes import ask, choose_probes
from plum_langchain.forgetting.receipt import Forgotten, Probes, Recall
from plum_langchain.forgetting.traces import find_traces, pieces_of
from plum_langchain.home import Home
from plum_langchain.journal import Erased, Job, Journal
from plum_langchain.memories import Retrieval
from plum_langchain.models import Engine
from plum_langchain.session import Question, Session, SessionState

logger = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds to wait for a worker that was asked to let go of the user


@dataclass(frozen=True)
class Doomed:
    """What is to be forgotten: sessions (None for all), and turns of others by position."""

    sessions: tuple[str, ...] | None = ()
    turns: Mapping[str, tuple[int, ...]] | None = None

    @classmethod
    def of_mentions(cls, mentions: Sequence[Mention]) -> "Doomed":
        """The turns that were found, and the sessions of which there is no transcript."""
        whole = tuple(dict.fromkeys(m.session_id for m in mentions if m.turn is None))
        turns: dict[str, tuple[int, ...]] = {}
        for one in mentions:
            if one.turn is not None and one.session_id not in whole:
                turns[one.session_id] = (*turns.get(one.session_id, ()), one.turn)
        return cls(whole, turns)

    def with_turns(self, more: Mapping[str, tuple[int, ...]]) -> "Doomed":
        """The same, and these turns as well."""
        turns = dict(self.turns or {})
        for name, at in more.items():
            turns[name] = tuple(sorted({*turns.get(name, ()), *at}))
        return replace(self, turns=turns)

    def has(self, session_id: str) -> bool:
        """Whether the session goes whole."""
        return self.sessions is None or session_id in self.sessions

    def named(self) -> list[str]:
        """The sessions it names."""
        return [*(self.sessions or ()), *(self.turns or {})]


@dataclass(frozen=True)
class _Told:
    """What of the doomed is in memory while it is forgotten, and nowhere else afterwards."""

    texts: tuple[str, ...]
    said: tuple[str, ...]
    probes: tuple[Question, ...]


class Forgetter:
    """Takes sessions out of what is served, and erases them. `Plum` is its door.

    Args:
        home: Whose files are searched.
        journal: Of the home.
        store: Of the home.
        engine: Lets go of weights, and is asked for what they know.
        retrieval: Of the home.
        system_prompt: The one adapters are trained with.
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
    ) -> None:
        self._home = home
        self._journal = journal
        self._store = store
        self._engine = engine
        self._retrieval = retrieval
        self._system_prompt = system_prompt

    def rollback(
        self, user_id: str, generation: int, *, lose_later: bool = False
    ) -> tuple[int, ...]:
        """Serve an earlier generation; see `Plum.rollback`."""
        self._journal.sessions.require_user(user_id)
        with self._journal.jobs.claim(user_id, "rollback") as job:
            gone = self._journal.generations.rollback(job, generation, lose_later=lose_later)
            self._destroy(user_id, gone)
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
        sessions = self._journal.sessions
        sessions.require_user(user_id)
        for name in doomed.named():
            sessions.get(user_id, name)  # a mistyped name must not stop anybody's work
        self._retrieval.require_ownership()
        with self._journal.jobs.claim(user_id, "forget", patience=_PATIENCE) as job:
            learned = self._learned(user_id, doomed)
            told = self._told(user_id, doomed)
            doomed = doomed.with_turns(find_echoes(told.said, self._later(user_id, doomed)))
            probes, no_probes = self._probe_before(user_id, doomed, told) if probe else (None, _OFF)
            erased, removed = self._erase(job, doomed, lose_later)
            destroyed = self._journal.destroy_key(erased.retired_key)
            # Read under the lease: right after it, a scheduled round may learn them again.
            waiting = [s.session_id for s in sessions.all(user_id, SessionState.FINISHED)]
            head = self._journal.generations.head(user_id)
            traces, searched = self._scrub(user_id, told)
            if probes is not None:
                control, why = self._ask(user_id, told.probes)
                probes = None if control is None else replace(probes, control=control)
                no_probes = why
            receipt = Forgotten(
                user_id=user_id,
                sessions=erased.sessions,
                turns=erased.turns,
                rows=erased.rows,
                generations_destroyed=tuple(g.number for g in erased.generations),
                manifests={g.number: g.manifest_sha256 for g in erased.generations},
                files_removed=removed,
                key_destroyed=destroyed,
                serving=head.number if head else None,
                serving_manifest=head.manifest_sha256 if head else None,
                to_relearn=tuple(name for name in waiting if name in learned),
                probes=probes,
                no_probes=no_probes,
                traces=traces,
                searched=searched,
                seconds=time.perf_counter() - started,
            )
            self._journal.forgettings.end(erased.key, receipt.to_json())
        if relearn is not None and receipt.to_relearn:
            receipt = self._relearned(receipt, told, relearn)
            receipt = replace(receipt, seconds=time.perf_counter() - started)
            self._journal.forgettings.end(erased.key, receipt.to_json())
        return receipt

    def resume(self) -> None:
        """End what was cut off after its transaction: the weights go, and the index.

        What another process is at, or can't be done now (its index is in use), is left for later.
        """
        for cut in self._journal.forgettings.unfinished():
            try:
                with self._journal.jobs.claim(cut.user_id, "forget"):
                    self._retrieval.forget(cut.user_id)
                    self._destroy(cut.user_id, cut.generations)
                    self._journal.destroy_key(cut.retired_key)
                    self._journal.scrub()
                    self._journal.forgettings.end(cut.key, None)
            except BusyError as error:
                logger.info("what was to be forgotten is not all gone yet: %s", error)
            except (PlumError, OSError) as error:
                logger.warning("what was to be forgotten can't be ended (%s)", loggable(error))

    def wipe_disposed(self, users: Sequence[str]) -> None:
        """Wipe from index and files what wasn't to be kept of sessions that were learned.

        Where another process uses them, its next search and the next wiping do.
        """
        try:
            for user_id in users:
                self._retrieval.forget(user_id)
            self._journal.scrub()
        except BusyError as error:
            logger.warning("%s", error)

    # -- erasing -------------------------------------------------------------------------------

    def _erase(self, job: Job, doomed: Doomed, lose_later: bool) -> tuple[Erased, int]:
        """Erase from index, journal and disk; returns how many files went as well."""
        user_id, owner = job.user_id, self._home.owner(job.user_id)
        # The index goes first, so that a crash leaves nothing in it that the journal has erased,
        # and again, since a search may have made it anew in the meantime.
        removed = self._retrieval.delete_index(user_id)
        erased = self._journal.forgettings.erase(
            job, doomed.sessions, turns=doomed.turns, lose_later=lose_later
        )
        gone = [generation.number for generation in erased.generations]
        removed += self._store.count_files(owner, gone)
        self._destroy(user_id, gone)
        removed += self._retrieval.delete_index(user_id)
        return erased, removed

    def _destroy(self, user_id: str, generations: Sequence[int]) -> None:
        owner = self._home.owner(user_id)
        self._store.remove(owner, generations)
        self._store.sweep(owner, [g.number for g in self._journal.generations.all(user_id)])
        self._engine.drop(owner)

    def _scrub(self, user_id: str, told: _Told) -> tuple[str | None, int]:
        """Wipe what was erased from the journal's files, and look whether it is gone.

        Returns:
            Why traces may be left, and how many pieces of text were looked for.
        """
        try:
            self._journal.scrub()
        except BusyError as error:  # all is erased; only free space in the files isn't wiped
            logger.warning("%s", error)
            return str(error), 0
        pieces = pieces_of(told.texts)
        left = {
            path
            for piece, path in find_traces(self._files(user_id), pieces)
            if not self._journal.forgettings.is_still_said(piece)
        }
        if not left:
            return None, len(pieces)
        names = ", ".join(str(path.relative_to(self._home.root)) for path in sorted(left))
        return (
            f"text that was erased still stands in {names} of the home {self._home.root}; end "
            "whatever else uses the home, and call Plum.journal.scrub()"
        ), len(pieces)

    def _files(self, user_id: str) -> Iterator[Path]:
        """The home's files, but for the weights and indexes of other users."""
        owner = self._home.owner(user_id)
        for place in (self._home.adapters, self._home.retrieval):
            yield from (path for path in (place / owner).rglob("*") if _is_file(path))
        yield from (path for path in self._home.root.iterdir() if _is_file(path))

    # -- proving -------------------------------------------------------------------------------

    def _told(self, user_id: str, doomed: Doomed) -> _Told:
        """What is about to be erased; of one whose key is lost nothing can be told."""
        texts: list[str] = []
        said: list[str] = []
        probes: list[Question] = []
        parts = doomed.turns or {}
        try:
            sessions = self._journal.sessions.all(user_id)
        except MissingKeyError:
            if doomed.sessions is not None:
                raise
            sessions = []
        for session in sessions:
            name = session.session_id
            whole = doomed.has(name)
            if session.state == SessionState.FORGOTTEN or not (whole or name in parts):
                continue
            at = list(range(len(session.turns)) if whole else parts[name])
            turns = [session.turns[i] for i in at if 0 <= i < len(session.turns)]
            texts += [turn.content for turn in turns]
            said += [turn.content for turn in turns if turn.role == "user"]
            questions = self._journal.generations.questions_kept(user_id, name)
            if not whole:
                rest = {t.content for i, t in enumerate(session.turns) if i not in at}
                questions = [q for q in questions if q.evidence and set(q.evidence) <= set(at)]
                texts = [text for text in texts if text not in rest]
            statements = [q.statement for q in questions if q.statement]
            texts += statements
            said += statements
            probes += questions
        return _Told(tuple(texts), tuple(said), tuple(choose_probes(probes)))

    def _learned(self, user_id: str, doomed: Doomed) -> set[str]:
        """The sessions in the weights, some of which may be learned again."""
        if doomed.sessions is None:
            return set()
        learned = self._journal.sessions.all(user_id, SessionState.LEARNED)
        return {session.session_id for session in learned}

    def _later(self, user_id: str, doomed: Doomed) -> list[Session]:
        """The sessions that began after the first of the doomed, and don't go whole."""
        if doomed.sessions is None:
            return []
        there = [
            session
            for session in self._journal.sessions.all(user_id)
            if session.state != SessionState.FORGOTTEN
        ]
        named = set(doomed.named())
        first = next((i for i, session in enumerate(there) if session.session_id in named), None)
        if first is None:
            return []
        return [session for session in there[first:] if not doomed.has(session.session_id)]

    def _probe_before(
        self, user_id: str, doomed: Doomed, told: _Told
    ) -> tuple[Probes | None, str | None]:
        head = self._journal.generations.head(user_id)
        known = set(head.learned) if head else set()
        if known and doomed.sessions is None and not told.probes:
            return None, "no question that asks for it is kept"
        names = [self._journal.sessions.by_key(key).session_id for key in known]
        if not set(names) & set(names if doomed.sessions is None else doomed.named()):
            return None, "it was in no weights"
        if not told.probes:
            return None, "no question that asks for it is kept"
        before, why = self._ask(user_id, told.probes)
        return (None, why) if before is None else (Probes(len(told.probes), before, before), None)

    def _ask(self, user_id: str, probes: Sequence[Question]) -> tuple[Recall | None, str | None]:
        """What is served now, asked; or why it can't be. Nothing of it may keep from forgetting."""
        head = self._journal.generations.head(user_id)
        adapter: AdapterRef | None = None
        try:
            recite = True
            if head is not None:
                owner = self._home.owner(user_id)
                adapter = self._store.ref(owner, head.number, head.manifest_sha256, head.seal)
                recite = bool(self._engine.manifest(adapter).settings.get("recite"))
            system = self._system_prompt
            return ask(self._engine, adapter, probes, recite=recite, system_prompt=system), None
        except PlumError as error:
            logger.warning("what is forgotten can't be asked for (%s)", loggable(error))
            return None, f"the weights can't be asked: {error}"

    def _relearned(
        self, receipt: Forgotten, told: _Told, relearn: Callable[[], Sequence[str]]
    ) -> Forgotten:
        """The receipt, with what came later learned again."""
        learned = set(relearn())
        again = tuple(name for name in receipt.to_relearn if name in learned)
        head = self._journal.generations.head(receipt.user_id)
        receipt = replace(
            receipt,
            relearned=again,
            serving=head.number if head else None,
            serving_manifest=head.manifest_sha256 if head else None,
        )
        if receipt.probes is None or not again:
            return receipt
        after, why = self._ask(receipt.user_id, told.probes)
        return replace(receipt, probes=replace(receipt.probes, after=after), no_probes=why)


_OFF = "none were asked for"


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
