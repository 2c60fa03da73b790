"""Any sequence of calls: each acknowledged turn once, in order, and never with another user."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from plum_langchain.errors import SessionStateError
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.session import Session, SessionState, Turn
from tests.unit_tests.journal.helpers import IDLE, quick_directory

USERS, THREADS, IMPORTS = ("ana", "bo"), ("t", "t/2"), ("i1", "i2")
NUMBERED = "numbered"
"""The thread of a client that numbers its messages; nothing without an id is appended to it. A
number whose text is forgotten says too little in a stretch that lacks what was said last."""
user, thread = st.sampled_from(USERS), st.sampled_from(THREADS)
kept = st.sampled_from((*THREADS, NUMBERED))
few = st.integers(1, 3)

steps = st.one_of(
    st.tuples(st.just("append"), user, thread, few, st.booleans()),
    st.tuples(st.just("merge"), user, kept, st.integers(0, 2), st.integers(0, 3)),
    st.tuples(st.just("finish"), user, st.integers(0, 9)),
    st.tuples(st.just("finish_idle"), st.booleans()),
    st.tuples(st.just("add"), user, st.sampled_from(IMPORTS), st.booleans()),
    st.tuples(st.just("forget"), user, st.integers(0, 9)),
)

UNIQUE = "{:08}-5f0c-4e1d-9a7b-3c2d1e0f9a8b"  # as LangChain's are


class Model:
    """What a home should hold: each user's sessions by thread, in order, as plain lists.

    `checkpoint` is what a client keeps of a thread for itself, and passes to `merge` a stretch of.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.said: dict[tuple[str, str], list[str]] = {}
        self.checkpoint: dict[tuple[str, str], list[Turn]] = {}
        self.last: dict[tuple[str, str], datetime] = {}
        self.forgotten: set[tuple[str, str]] = set()
        self.now = datetime.now(UTC) - timedelta(days=1)
        self.numbers = iter(range(10_000))

    def turns(self, user_id: str, count: int, ids: str | None = None) -> list[Turn]:
        """Turns never said before; `ids` is how their message ids are written, if they have any."""
        return [
            Turn("user" if n % 2 else "assistant", f"{user_id}:{n}", ids and ids.format(n))
            for n in (next(self.numbers) for _ in range(count))
        ]

    def append(self, user_id: str, thread_id: str, count: int, silence: bool) -> None:
        self.now += timedelta(seconds=IDLE if silence else 1)
        turns = self.turns(user_id, count)
        before = self.open_session(user_id, thread_id)
        session_id = self.journal.sessions.append(
            user_id, thread_id, turns, idle_seconds=IDLE, now=self.now
        )
        last = self.last.get((user_id, thread_id), self.now)
        goes_on = before is not None and self.now - last < timedelta(seconds=IDLE)
        assert (session_id == before) == goes_on
        self.last[user_id, thread_id] = self.now
        self.said.setdefault((user_id, thread_id), []).extend(t.content for t in turns)

    def merge(self, user_id: str, thread_id: str, count: int, again: int) -> None:
        self.now += timedelta(seconds=1)
        history = self.checkpoint.setdefault((user_id, thread_id), [])
        fresh = self.turns(user_id, count, "m{}" if thread_id == NUMBERED else UNIQUE)
        stretch = [*history[len(history) - min(again, len(history)) :], *fresh]
        history += fresh
        for expected in (count, 0):  # a client that heard no answer asks again
            assert expected == self.journal.sessions.merge(
                user_id, thread_id, stretch, idle_seconds=IDLE, now=self.now
            )
        if fresh:
            self.last[user_id, thread_id] = self.now
        self.said.setdefault((user_id, thread_id), []).extend(t.content for t in fresh)

    def finish(self, user_id: str, index: int) -> None:
        if session := self.pick(user_id, index):
            self.journal.sessions.finish(user_id, session.session_id)
            state = self.journal.sessions.get(user_id, session.session_id).state
            assert state in (SessionState.FINISHED, SessionState.FORGOTTEN)

    def finish_idle(self, soon: bool) -> None:
        still = [s for s in self.journal.sessions.all() if s.state == SessionState.OPEN]
        finished = self.journal.sessions.finish_idle(1 if soon else 1_000_000)
        assert finished == (len(still) if soon else 0)

    def add(self, user_id: str, session_id: str, variant: bool) -> None:
        text = f"{user_id}:{session_id}:{variant}"
        key = (user_id, session_id)
        session = Session(user_id, session_id, (Turn("user", text),))
        if key in self.forgotten:
            assert self.journal.sessions.add(session) == "forgotten"
        elif self.said.get(key, [text]) != [text]:
            try:
                self.journal.sessions.add(session)
                raise AssertionError("a session was replaced")
            except SessionStateError:
                pass
        else:
            there = key in self.said
            assert self.journal.sessions.add(session) == ("unchanged" if there else "added")
            self.said[key] = [text]

    def forget(self, user_id: str, index: int) -> None:
        session = self.pick(user_id, index)
        if session is None or session.state == SessionState.FORGOTTEN:
            return
        with self.journal.jobs.claim(user_id, "forget") as job:
            erased = self.journal.forgettings.erase(job, [session.session_id])
        assert erased.sessions == (session.session_id,)
        assert session.thread_id is not None
        self.forgotten.add((user_id, session.session_id))
        lost = {turn.content for turn in session.turns}
        said = self.said[user_id, session.thread_id]
        self.said[user_id, session.thread_id] = [text for text in said if text not in lost]

    def pick(self, user_id: str, index: int) -> Session | None:
        sessions = self.journal.sessions.all(user_id)
        return sessions[index % len(sessions)] if sessions else None

    def open_session(self, user_id: str, thread_id: str) -> str | None:
        still = self.journal.sessions.all(user_id, SessionState.OPEN)
        return next((s.session_id for s in still if s.thread_id == thread_id), None)

    def check(self, journal: Journal) -> None:
        found: dict[tuple[str, str], list[str]] = {}
        open_ones: list[tuple[str, str]] = []
        for session in journal.sessions.all():
            assert session.thread_id is not None
            key = (session.user_id, session.thread_id)
            found.setdefault(key, []).extend(turn.content for turn in session.turns)
            assert all(t.content.startswith(f"{session.user_id}:") for t in session.turns)
            if session.state == SessionState.OPEN:
                open_ones.append(key)
        assert {k: v for k, v in found.items() if v} == {k: v for k, v in self.said.items() if v}
        assert len(open_ones) == len(set(open_ones))


@settings(max_examples=30, deadline=None)
@given(st.lists(steps, min_size=5, max_size=20))
def test_every_acknowledged_turn_once_in_order_and_with_its_user(calls: list[tuple]) -> None:
    with quick_directory() as directory:
        home = Home(directory)
        journal = Journal(home.journal_url)
        model = Model(journal)
        for name, *arguments in calls:
            getattr(model, name)(*arguments)
        model.check(journal)
        journal.close()
        reopened = Journal(home.journal_url)
        model.check(reopened)
        reopened.close()
