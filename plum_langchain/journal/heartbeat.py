"""Keeping a lease alive while its job works, and hearing whether the job is to stop."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from plum_langchain.errors import LeaseLostError, PlumError
from plum_langchain.journal.jobs import Job, Jobs

logger = logging.getLogger(__name__)

_MAX_BEAT = 2.0  # seconds between heartbeats, at most


@contextmanager
def beating(
    jobs: Jobs, job: Job, *, lease_seconds: float, should_stop: Callable[[], bool]
) -> Iterator[Callable[[], bool]]:
    """Keep the lease alive from a thread of its own: one LLM call may outlast a lease.

    Yields a function that tells whether to stop, because somebody asked the job to or
    `should_stop` says so; it raises LeaseLostError if the lease is gone.
    """
    ended, stop, lost = threading.Event(), threading.Event(), threading.Event()

    def beat() -> None:
        # A request to stop (to forget a chat) is seen at a beat, however long the lease.
        while not ended.wait(min(lease_seconds / 6, _MAX_BEAT)):
            try:
                if not jobs.heartbeat(job):
                    stop.set()
            except LeaseLostError:
                lost.set()
                return
            except PlumError as error:  # a busy journal: the next beat is soon
                logger.warning("heartbeat missed: %s", error)

    def stopping() -> bool:
        if lost.is_set():
            raise LeaseLostError(
                f"the consolidation of user {job.user_id!r} lost its lease to another worker; "
                "nothing was published"
            )
        return stop.is_set() or should_stop()

    thread = threading.Thread(target=beat, name="plum-heartbeat", daemon=True)
    thread.start()
    try:
        yield stopping
    finally:
        ended.set()
        thread.join()
