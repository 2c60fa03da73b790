"""What a home must hold after the calls that were acknowledged, and what is wrong if it doesn't."""

import copy
from pathlib import Path
from typing import Any

from tests.torture.worker import Call

LOST = "the chats are not those that were acknowledged:"

Observed = dict[str, Any]
"""What `Life.observe` returns."""


class Ledger:
    """A home as plain lists and sets. `weights` and `shas` are what was last observed."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, str], list[str]] = {}
        self.open: dict[tuple[str, str], str] = {}
        """By user and thread, the session that takes its turns."""
        self.forgotten: set[tuple[str, str]] = set()
        self.erased: set[str] = set()
        """The texts of what was forgotten."""
        self.weights: dict[str, list[str]] = {}
        self.shas: dict[tuple[str, int], str] = {}

    def copy(self) -> "Ledger":
        return copy.deepcopy(self)

    def alive(self, user: str) -> list[str]:
        """The user's sessions, in the order they were told."""
        return [name for who, name in self.said if who == user]

    def apply(self, call: Call) -> None:
        """The call was done."""
        if hasattr(self, f"_{call.name}"):
            getattr(self, f"_{call.name}")(*call.args)

    def _append(self, user: str, thread: str, *texts: str) -> None:
        self._session(user, thread).extend(texts)

    def _merge(self, user: str, thread: str, *texts: str) -> None:
        known = self._session(user, thread)
        known += [text for text in texts if text not in known]

    def _session(self, user: str, thread: str) -> list[str]:
        """What was said in the thread's open session, which begins where there is none."""
        name, number = thread, 1
        while (user, thread) not in self.open:
            if (user, name) not in self.said and (user, name) not in self.forgotten:
                self.open[user, thread] = name
            number += 1
            name = f"{thread}/{number}"
        return self.said.setdefault((user, self.open[user, thread]), [])

    def _finish(self, user: str, session_id: str) -> None:
        self.open = {
            key: name for key, name in self.open.items() if (key[0], name) != (user, session_id)
        }

    def _add(self, user: str, session_id: str, *texts: str) -> None:
        if (user, session_id) not in self.forgotten:
            self.said[user, session_id] = list(texts)

    def _forget(self, user: str, session_id: str | None = None) -> None:
        for name in [session_id] if session_id is not None else self.alive(user):
            self.erased |= set(self.said.pop((user, name), []))
            self.forgotten.add((user, name))
            self._finish(user, name)

    def _settle(self) -> None:
        self.open = {}

    # -- what is wrong ---------------------------------------------------------------------------

    def wrong(self, seen: Observed, *under_way: Call) -> list[str]:
        """What a home has that it must not have, or lacks.

        Args:
            seen: The home.
            under_way: Calls that were begun and not acknowledged: each is done or not, wholly.
        """
        possible = [self]
        for call in under_way:
            for ledger in list(possible):
                done = ledger.copy()
                done.apply(call)
                possible.append(done)
        complaints = [ledger.wrong_turns(seen) for ledger in possible]
        wrong = [] if not all(complaints) else [complaints[0]]
        wrong += seen["wrong"]
        for user, kept in seen["kept"].items():
            wrong += self._wrong_weights(seen, user, under_way)
            for number, (sha, _) in kept.items():
                if self.shas.setdefault((user, number), sha) != sha:
                    wrong.append(f"generation {number} of {user} is not what it was")
        return wrong

    def note(self, seen: Observed) -> None:
        """Take what is served, and which sessions go on, as it is, to be compared with later."""
        self.open = dict(seen["open"])
        self.weights = {user: _learned(seen, user) for user in seen["sessions"]}

    def wrong_turns(self, seen: Observed) -> str:
        """How the chats differ from what was acknowledged; empty if they don't."""
        there = {
            (user, name): texts
            for user, sessions in seen["sessions"].items()
            for name, (state, texts) in sessions.items()
            if state != "forgotten"
        }
        if there == self.said:
            return ""
        found = sorted(set(there) ^ set(self.said)) or [
            f"{key}: {there[key]} instead of {self.said[key]}"
            for key in there
            if there[key] != self.said[key]
        ]
        return f"{LOST} {found}"

    def _wrong_weights(self, seen: Observed, user: str, under_way: tuple[Call, ...]) -> list[str]:
        now, before = _learned(seen, user), self.weights.get(user, [])
        wrong = [
            f"the weights of {user} know {name}, which was forgotten"
            for _, learned in seen["kept"][user].values()
            for name in learned
            if (user, name) in self.forgotten
        ]
        if len(now) != len(set(now)):
            wrong.append(f"{user} has learned a session twice: {now}")
        calls = {call.name for call in under_way if not call.args or user in (call.args[0], None)}
        calls |= {"consolidate" for call in under_way if call.name == "settle"}
        goes_on = now[: len(before)] == before
        if calls & {"forget", "rollback"}:
            fine = goes_on or set(now) <= set(before) or "consolidate" in calls
        elif "consolidate" in calls:
            fine = goes_on
        else:
            fine = now == before
        if not fine:
            wrong.append(f"{user} has {now} in the weights, and had {before}")
        return wrong

    def wrong_when_settled(self, seen: Observed) -> list[str]:
        """What is wrong after a round that learned all there is to learn."""
        wrong = self.wrong(seen, Call("settle"))
        for user, sessions in seen["sessions"].items():
            states = {name: state for name, (state, _) in sessions.items()}
            left = [f"{n} ({s})" for n, s in states.items() if s not in ("learned", "forgotten")]
            if left:
                wrong.append(f"not learned of {user}: {', '.join(left)}")
            if sorted(_learned(seen, user)) != sorted(self.alive(user)):
                wrong.append(f"{user} has {_learned(seen, user)} in the weights at the end")
        wrong += wrong_on_disk(seen)
        if seen["alive"]:
            wrong.append(f"{seen['alive']} are still held by somebody")
        return wrong


def _learned(seen: Observed, user: str) -> list[str]:
    head = seen["heads"].get(user)
    return list(seen["kept"][user][head][1]) if head is not None else []


def wrong_on_disk(seen: Observed) -> list[str]:
    """Weights that are on the disk and are not kept, or the other way round."""
    kept = {u: [f"{number:08d}" for number in found] for u, found in seen["kept"].items()}
    return [
        f"on the disk of {user} is {there}, kept is {kept[user]}"
        for user, there in seen["disk"].items()
        if there != kept[user]
    ]


def traces(root: Path, texts: set[str]) -> list[str]:
    """The files under `root` in which one of the texts is left."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            raw = path.read_bytes()
            found += [f"{path.relative_to(root)}: {t}" for t in sorted(texts) if t.encode() in raw]
    return found
