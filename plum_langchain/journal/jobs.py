"""Who is working on which user: leases with heartbeats, so that two workers never collide.

At most one job of a user runs at a time (a unique index sees to it). A worker proves that it is
alive by `heartbeat`; when its lease runs out, or its process is gone from this machine, the next
worker takes over and the sessions it was learning go back in line. Whoever lost the lease can't
publish: every publication checks in its own transaction that the job still runs.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select, update

from plum_langchain.errors import BusyError, LeaseLostError, PlumError, StoppedError, loggable
from plum_langchain.journal import schema
from plum_langchain.journal.database import Database, storable
from plum_langchain.session import SessionState

_j = schema.jobs

_OF_ITS_OWN = (LeaseLostError, StoppedError)
"""Errors that say by themselves why a job ended."""

JobKind = Literal["consolidate", "forget", "rollback"]


@dataclass(frozen=True)
class Job:
    """A lease on one user, held by this process."""

    id: int
    user_id: str
    kind: JobKind


class Jobs:
    """Claiming and releasing users."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_seconds)
        self._left: set[int] = set()
        """Jobs that are over, which the database could not be told (its disk was full)."""

    @contextmanager
    def claim(self, user_id: str, kind: JobKind, *, patience: float = 0.0) -> Iterator[Job]:
        """Hold the user for the length of the block.

        Whatever leaves the block unfinished (sessions still "learning") goes back in line.

        Args:
            user_id: Whom to hold.
            kind: What for.
            patience: If another worker holds the user, ask it to stop and wait so many seconds.

        Raises:
            BusyError: another worker holds the user.
            LeaseLostError: something failed in the block after another worker had taken over, whose
                doing that is: it sweeps away what is half done. What was committed stays.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                job = self._begin(user_id, kind)
                break
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                self.request_stop(user_id)
                time.sleep(0.1)
        try:
            yield job
        except BaseException as error:
            state = "stopped" if isinstance(error, StoppedError | KeyboardInterrupt) else "failed"
            # It may quote a chat, and nobody but a person reads it.
            sealed = self._database.encrypted
            reason = loggable(error) if sealed else f"{type(error).__name__}: {error}"
            lost = False
            with contextlib.suppress(PlumError):  # what went wrong first is what is told
                lost = not self._end(job, state, reason)
            told = not isinstance(error, Exception) or isinstance(error, _OF_ITS_OWN)
            if lost and not told:
                raise LeaseLostError(
                    f"the {job.kind} job of user {job.user_id!r} lost its lease to another worker, "
                    "and failed at what that one does now; what it had committed stays, and the "
                    "rest is in line"
                ) from error
            raise
        self._end(job, "done", None)

    def heartbeat(self, job: Job) -> bool:
        """Renew the lease; returns False when somebody asked the job to stop.

        Raises:
            LeaseLostError: another worker has taken over.
        """
        with self._database.write() as connection:
            row = require_running(connection, job)
            connection.execute(
                update(_j).where(_j.c.id == job.id).values(lease_until=self._deadline())
            )
            return not row.stop_requested

    def request_stop(self, user_id: str) -> bool:
        """Ask the user's running job to stop at its next step; returns whether there is one."""
        with self._database.write() as connection:
            result = connection.execute(
                update(_j)
                .where(_j.c.user_id == user_id, _j.c.state == "running")
                .values(stop_requested=True)
            )
            return result.rowcount > 0

    def running(self) -> list[dict[str, Any]]:
        """The running jobs, for `plum status`; not those whose worker is gone."""
        now = datetime.now(UTC)
        with self._database.read() as connection:
            rows = connection.execute(select(_j).where(_j.c.state == "running"))
            return [
                {"user_id": r.user_id, "kind": r.kind, "owner": r.owner, "since": r.started_at}
                for r in rows
                if r.id not in self._left and not _dead(r, now)
            ]

    def _deadline(self) -> datetime:
        return datetime.now(UTC) + self._lease

    def _begin(self, user_id: str, kind: JobKind) -> Job:
        now = datetime.now(UTC)
        with self._database.write() as connection:
            row = connection.execute(
                select(_j).where(_j.c.user_id == user_id, _j.c.state == "running")
            ).first()
            if row is not None:
                if row.id not in self._left and not _dead(row, now):
                    raise BusyError(
                        f"user {user_id!r} is held by {row.owner} ({row.kind}, since "
                        f"{row.started_at:%Y-%m-%d %H:%M:%S} UTC); nothing was changed. Wait for "
                        "it to end, or stop that process"
                    )
                _close(connection, row.id, "abandoned", "its worker died or was cut off")
            # Under this lease nobody is learning yet: what is marked so was left by a dead worker.
            connection.execute(
                update(schema.sessions)
                .where(
                    schema.sessions.c.user_id == user_id,
                    schema.sessions.c.state == SessionState.LEARNING,
                )
                .values(state=SessionState.FINISHED)
            )
            connection.execute(
                insert(_j).values(
                    user_id=user_id,
                    kind=kind,
                    state="running",
                    owner=f"process {os.getpid()} on {socket.gethostname()}",
                    lease_until=self._deadline(),
                    stop_requested=False,
                    started_at=now,
                )
            )
            number = connection.scalar(
                select(_j.c.id).where(_j.c.user_id == user_id, _j.c.state == "running")
            )
            assert number is not None
            return Job(number, user_id, kind)

    def _end(self, job: Job, state: str, reason: str | None) -> bool:
        """End the job; returns whether it was still this worker's."""
        self._left.add(job.id)
        with self._database.write() as connection:
            was_running = _close(connection, job.id, state, reason and storable(reason))
            connection.execute(
                update(schema.sessions)
                .where(
                    schema.sessions.c.user_id == job.user_id,
                    schema.sessions.c.state == SessionState.LEARNING,
                    ~select(_j.c.id)
                    .where(_j.c.user_id == job.user_id, _j.c.state == "running")
                    .exists(),
                )
                .values(state=SessionState.FINISHED)
            )
        self._left.discard(job.id)
        return was_running


def require_running(connection: Connection, job: Job) -> Row[Any]:
    """The job's row, inside the caller's transaction: the fence around every publication.

    Raises:
        LeaseLostError: the job was ended by another worker.
    """
    row = connection.execute(select(_j).where(_j.c.id == job.id, _j.c.state == "running")).first()
    if row is None:
        raise LeaseLostError(
            f"the {job.kind} job of user {job.user_id!r} lost its lease to another worker; its "
            "result was thrown away and nothing was changed"
        )
    return row


def _close(connection: Connection, key: int, state: str, reason: str | None) -> bool:
    """End a job; returns whether it was running."""
    done = connection.execute(
        update(_j)
        .where(_j.c.id == key, _j.c.state == "running")
        .values(state=state, reason=reason, ended_at=datetime.now(UTC))
    )
    return done.rowcount > 0


def _dead(row: Row[Any], now: datetime) -> bool:
    if row.lease_until <= now:
        return True
    process, _, host = row.owner.removeprefix("process ").partition(" on ")
    if host != socket.gethostname() or os.name != "posix":  # elsewhere, signal 0 is no question
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
