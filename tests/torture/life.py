"""What a home can be asked to do, in a process of its own: one method a call, with plain results.

Everything that a change of the library's interface would touch is here: how a home is opened, how
something is forgotten, how a home is looked into.
"""

import math
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from plum_langchain import HomeSettings, LearningSettings, Plum, ServingSettings
from plum_langchain.errors import DamagedAdapterError
from plum_langchain.journal import schema
from plum_langchain.session import SessionState, Turn
from tests.tiny import FixedQuestions, WordEmbeddings, session

SEALED = "sealed"
"""A home of this name is encrypted."""

IDLE = 1e6
KEPT = 3

LEARNING = LearningSettings(
    rank=4,
    alpha=8,
    epochs=1,
    patience=None,
    rewordings=0,
    everyday_per_batch=0,
    gate=None,  # a random model remembers nothing
    dtype="float32",
)
SERVING = ServingSettings(device="cpu", dtype="float32", scope=None, max_new_tokens=4)


def open_home(root: Path, model: Path, **options: Any) -> Plum:
    """A home on the tiny model, with settings that learn a session in a tenth of a second."""
    options = {
        "questions": FixedQuestions(),
        "embeddings": WordEmbeddings(),
        "learning": LEARNING,
        "serving": SERVING,
        "settings": HomeSettings(idle_seconds=IDLE, keep_generations=KEPT, busy_seconds=20),
        **options,
    }
    return Plum(root, model=str(model), **options)


def keys_of(home: Path) -> Path | None:
    """Where the keys of an encrypted home are: beside it. None of a plain one."""
    return home.with_name(f"{SEALED}.keys") if home.name == SEALED else None


def forget(plum: Plum, user: str, session_id: str | None) -> Any:
    """Forget a session, or all of the user's (None); returns the receipt."""
    if session_id is None:
        return plum.forget(user, all=True)
    return plum.forget(user, session_id)


class Life:
    """The calls. `open` comes first."""

    def __init__(self, root: Path, model: Path, **options: Any) -> None:
        self._root, self._model, self._options = root, model, options
        self._plum: Plum | None = None

    @property
    def plum(self) -> Plum:
        assert self._plum is not None, "it isn't open"
        return self._plum

    def open(self) -> None:
        self._plum = open_home(self._root, self._model, keys=keys_of(self._root), **self._options)

    def close(self) -> None:
        self.plum.close()

    def limit(self, size: int | None) -> None:
        """Let no file grow beyond so many bytes: the kernel tears the write that would."""
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def fill(self, pages: int | None) -> None:
        """Let the journal have so many more pages, and then be full."""
        with self.plum.journal._database._engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            there = raw.execute("PRAGMA page_count").fetchone()[0]
            most = 2**30 if pages is None else there + pages
            raw.execute(f"PRAGMA max_page_count = {most}")

    # -- chats in --------------------------------------------------------------------------------

    def append(self, user: str, thread: str, *texts: str) -> str:
        """Turns to a thread's open session; returns its id."""
        journal = self.plum.journal
        return journal.sessions.append(user, thread, _turns(texts), idle_seconds=IDLE)

    def merge(self, user: str, thread: str, *texts: str) -> int:
        """A stretch of a thread, each text with an id of its own; returns how many were new."""
        journal = self.plum.journal
        return journal.sessions.merge(user, thread, _turns(texts, ids=True), idle_seconds=IDLE)

    def finish(self, user: str, session_id: str) -> None:
        self.plum.finish(user, session_id)

    def add(self, user: str, session_id: str, *texts: str) -> str:
        return self.plum.add_session(session(user, session_id, *texts))

    # -- learning and going back -----------------------------------------------------------------

    def consolidate(self, user: str | None = None) -> list[tuple[str, str, str]]:
        found = self.plum.consolidate(user)
        return [(one.user_id, one.session_id, one.state) for one in found]

    def forget(self, user: str, session_id: str | None = None) -> tuple[list[str], str | None]:
        """Returns what was erased, and whether traces may be left."""
        receipt = forget(self.plum, user, session_id)
        return list(receipt.sessions), receipt.traces

    def scrub(self) -> None:
        self.plum.journal.scrub()

    def rollback(self, user: str, back: int) -> None:
        """To the generation `back` kept ones before the newest; the base model if there is none."""
        kept = [0, *(g.number for g in self.plum.journal.generations.all(user))]
        self.plum.rollback(user, kept[max(0, len(kept) - 1 - back)])

    def schedule(self, interval: float) -> None:
        """Learn in the background, until `unschedule`."""
        self._schedule = self.plum.schedule(interval=interval)

    def unschedule(self) -> str | None:
        """Stop; returns the last round's error."""
        self._schedule.stop()
        error = self._schedule.last_error
        return repr(error) if error is not None else None

    # -- asking ----------------------------------------------------------------------------------

    def recall(self, user: str, query: str) -> list[str]:
        """The texts that the retrieval index finds."""
        return [one.text for one in self.plum.recall(user, query, memory="retrieval", k=50)]

    def weights(self) -> dict[str, list[str]]:
        """By user, the sessions that what is served has learned."""
        if self._plum is None:
            return {}
        journal = self.plum.journal
        names = self._names()
        found = {user: journal.generations.head(user) for user in journal.sessions.counts()}
        return {
            u: [names[key] for key in head.learned] if head else [] for u, head in found.items()
        }

    def _names(self) -> dict[int, str]:
        with self.plum.journal._database.read() as connection:
            return {r.id: r.session_id for r in connection.execute(schema.sessions.select())}

    def cli(self, *line: str) -> tuple[int, str]:
        """What `plum` says to a line on this home, and with which exit code."""
        from typer.testing import CliRunner

        from plum_langchain.cli import app

        where = ["--home", str(self._root), "--model", str(self._model)]
        keys = keys_of(self._root)
        where += ["--keys", str(keys)] if keys is not None else []
        result = CliRunner().invoke(app, [*where, *line])
        return result.exit_code, result.output

    def observe(self, serve: bool = True) -> dict[str, Any]:
        """All that the home holds, as plain values; with `serve`, what is served is asked."""
        plum = self.plum
        journal = plum.journal
        names = self._names()
        found: dict[str, Any] = {"sessions": {}, "heads": {}, "kept": {}, "disk": {}, "open": {}}
        found["wrong"] = []
        found["indexed"] = plum.home.retrieval.is_dir() or journal.encrypted
        found["alive"] = [job["user_id"] for job in journal.jobs.running()]
        for one in journal.sessions.all():
            said = [turn.content for turn in one.turns]
            if one.state == SessionState.OPEN:
                found["open"][one.user_id, one.thread_id] = one.session_id
            found["sessions"].setdefault(one.user_id, {})[one.session_id] = (one.state.value, said)
        for user in found["sessions"]:
            owner = plum.home.owner(user)
            generations = journal.generations.all(user)
            found["kept"][user] = {
                g.number: (g.manifest_sha256, [names[key] for key in g.learned])
                for g in generations
            }
            directory = plum.home.adapters / owner
            there = sorted(e.name for e in directory.iterdir()) if directory.is_dir() else []
            found["disk"][user] = there
            head = journal.generations.head(user)
            if head is None:
                continue
            found["heads"][user] = head.number
            ref = plum.adapters.ref(owner, head.number, head.manifest_sha256, head.seal)
            try:
                plum.adapters.check(ref)
                if serve and not _says(plum, ref):
                    found["wrong"].append(f"generation {head.number} of {user} says nothing")
            except DamagedAdapterError as error:
                found["wrong"].append(f"what is served of {user} is damaged: {error}")
        return found

    def settle(self) -> None:
        """What the next round of a schedule does: open sessions are over, all is learned."""
        for one in self.plum.journal.sessions.all(state=SessionState.OPEN):
            self.plum.finish(one.user_id, one.session_id)
        self.plum.consolidate()


def _turns(texts: Sequence[str], *, ids: bool = False) -> list[Turn]:
    return [
        Turn("assistant" if i % 2 else "user", text, f"id-{crc32(text.encode())}" if ids else None)
        for i, text in enumerate(texts)
    ]


def _says(plum: Plum, ref: Any) -> bool:
    asked = [{"role": "user", "content": "Did I say it?"}]
    return math.isfinite(plum.engine.yes_probability(asked, ref)[0])
