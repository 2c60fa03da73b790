"""The conformance suite of memories."""

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytest

Exchange = tuple[str, str]
"""What the user said, and the assistant's reply."""


class MemoryUnderTest(Protocol):
    """A memory as the tests use it. Users and sessions are named by any text."""

    def remember(self, user_id: str, session_id: str, exchanges: Sequence[Exchange]) -> None:
        """Take in a finished chat, durably; whatever learning that takes has happened on return."""
        ...

    def recall(self, user_id: str, query: str) -> str:
        """What is remembered of this user for this query, as text; empty for nothing."""
        ...

    async def arecall(self, user_id: str, query: str) -> str:
        """The same, without blocking the event loop."""
        ...

    def said(self, user_id: str) -> list[str]:
        """All that this user said in remembered chats, in order."""
        ...

    def forget(self, user_id: str, session_id: str) -> None:
        """Erase one chat."""
        ...

    def forget_user(self, user_id: str) -> None:
        """Erase everything of one user."""
        ...

    def close(self) -> None:
        """Let go of whatever is held."""
        ...


HOSTILE_IDS = (
    "default",
    "__base__",
    "../../x",
    "..",
    "/etc/passwd",
    "a/b",
    "ana.b@c.de",
    "ANA",
    "ana",
    "ana ",
    "Åna",  # one character, and below two that look the same
    "A\u030ana",
    "用户",
    "👩‍🚀",
    "' OR 1=1 --",
    "%s{0}${HOME}",
    "x" * 300,
)
"""Names that collide, or leave the memory's own place, where they are taken for more than names."""


class MemoryStandardTests:
    """Tests that any memory passes. Subclass it and write `open`.

    A memory that can't do what a test is about overrides the test, marked
    `@pytest.mark.xfail(reason=...)`: so the gap is shown.

    Example:
        A memory that keeps all chats in a file and brings back whatever a user said, which passes:

        ```python
        import json

        from plum_langchain.testing import MemoryStandardTests

        class Notes:
            def __init__(self, directory):
                directory.mkdir(exist_ok=True)
                self.path = directory / "notes.json"
                self.chats = json.loads(self.path.read_text()) if self.path.exists() else {}

            def remember(self, user_id, session_id, exchanges):
                self.chats.setdefault(user_id, {})[session_id] = exchanges
                self.write()

            def recall(self, user_id, query):
                return " ".join(self.said(user_id)) if query.strip() else ""

            async def arecall(self, user_id, query):
                return self.recall(user_id, query)

            def said(self, user_id):
                chats = self.chats.get(user_id, {}).values()
                return [said for exchanges in chats for said, _ in exchanges]

            def forget(self, user_id, session_id):
                del self.chats[user_id][session_id]
                self.write()

            def forget_user(self, user_id):
                del self.chats[user_id]
                self.write()

            def write(self):
                self.path.write_text(json.dumps(self.chats))

            def close(self):
                pass

        class TestNotes(MemoryStandardTests):
            def open(self, directory):
                return Notes(directory)
        ```
    """

    hostile_ids: Sequence[str] = HOSTILE_IDS

    @abstractmethod
    def open(self, directory: Path) -> MemoryUnderTest:
        """The memory that keeps its data in this directory, new or as it was left."""

    def others(self, directory: Path) -> Sequence[MemoryUnderTest]:
        """Other memories over the same data, for which this one can be swapped; none by default."""
        return ()

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """Where the memory keeps its data."""
        return tmp_path / "memory"

    @pytest.fixture
    def memory(self, directory: Path, request: pytest.FixtureRequest) -> MemoryUnderTest:
        """A new memory."""
        opened = self.open(directory)
        request.addfinalizer(opened.close)
        return opened

    # -- remembering -----------------------------------------------------------------------------

    def test_what_was_said_is_recalled(self, memory: MemoryUnderTest) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        assert canary("bakery") in memory.recall("ana", query("bakery"))

    def test_several_chats_are_recalled(self, memory: MemoryUnderTest) -> None:
        for number, subject in enumerate(("bakery", "oven", "boat")):
            memory.remember("ana", f"chat {number}", [fact(subject)])
        for subject in ("bakery", "oven", "boat"):
            assert canary(subject) in memory.recall("ana", query(subject))

    def test_turns_are_kept_in_order_and_once(self, memory: MemoryUnderTest) -> None:
        first, second, third = fact("bakery"), fact("oven"), fact("boat")
        memory.remember("ana", "one", [first, second])
        memory.remember("ana", "two", [third])
        memory.remember("ana", "one", [first, second])  # a second import changes nothing
        assert memory.said("ana") == [first[0], second[0], third[0]]

    def test_a_stranger_has_no_memory(self, memory: MemoryUnderTest) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        assert memory.recall("nobody", query("bakery")) == ""
        assert memory.said("nobody") == []

    @pytest.mark.parametrize("blank", ["", " \n"])
    def test_a_blank_query_recalls_nothing(self, memory: MemoryUnderTest, blank: str) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        assert memory.recall("ana", blank) == ""

    def test_async_recalls_the_same(self, memory: MemoryUnderTest) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        for user in ("ana", "nobody"):
            recalled = asyncio.run(_recalled(memory, user))
            assert recalled == memory.recall(user, query("bakery"))

    # -- durability ------------------------------------------------------------------------------

    def test_it_is_there_when_opened_again(self, directory: Path) -> None:
        memory = self.open(directory)
        memory.remember("ana", "one", [fact("bakery")])
        recalled = memory.recall("ana", query("bakery"))
        memory.close()
        again = self.open(directory)
        try:
            assert again.recall("ana", query("bakery")) == recalled
            assert again.said("ana") == [fact("bakery")[0]]
        finally:
            again.close()

    def test_another_memory_over_the_same_data_recalls_it(
        self, memory: MemoryUnderTest, directory: Path
    ) -> None:
        others = self.others(directory)
        if not others:
            pytest.skip("it names no other memory that it can be swapped for")
        memory.remember("ana", "one", [fact("bakery")])
        memory.close()
        for other in others:
            try:
                assert canary("bakery") in other.recall("ana", query("bakery"))
                assert other.recall("nobody", query("bakery")) == ""
            finally:
                other.close()

    # -- isolation -------------------------------------------------------------------------------

    def test_no_user_recalls_anothers_chats(self, memory: MemoryUnderTest) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        memory.remember("bo", "one", [fact("boat")])  # a session of the same name
        for user, own, others in (("ana", "bakery", "boat"), ("bo", "boat", "bakery")):
            assert canary(own) in memory.recall(user, query(own))
            for asked in (query(others), canary(others), fact(others)[0]):
                assert canary(others) not in memory.recall(user, asked)
            assert memory.said(user) == [fact(own)[0]]

    def test_users_at_the_same_time_stay_apart(self, memory: MemoryUnderTest) -> None:
        subjects = {"ana": "bakery", "bo": "boat", "chidi": "exam", "dara": "garden"}
        for user, subject in subjects.items():
            memory.remember(user, "one", [fact(subject)])
        wrong: list[str] = []

        def ask(user: str) -> None:
            for asked in subjects.values():
                recalled = memory.recall(user, query(asked))
                others = [s for other, s in subjects.items() if other != user]
                wrong.extend(f"{user}: {s}" for s in others if canary(s) in recalled)

        threads = [threading.Thread(target=ask, args=(user,)) for user in subjects for _ in "12"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_names_are_only_names(self, memory: MemoryUnderTest, directory: Path) -> None:
        around = {path for path in directory.parent.iterdir() if path != directory}
        subjects = {user: f"thing{number}" for number, user in enumerate(self.hostile_ids)}
        for user, subject in subjects.items():
            memory.remember(user, user, [fact(subject)])
        for user, subject in subjects.items():
            assert memory.said(user) == [fact(subject)[0]]
            assert canary(subject) in memory.recall(user, query(subject))
            for other in subjects.values():
                if other != subject:
                    assert canary(other) not in memory.recall(user, query(other))
        assert {path for path in directory.parent.iterdir() if path != directory} == around

    # -- forgetting ------------------------------------------------------------------------------

    def test_a_forgotten_chat_is_gone_and_the_others_stay(
        self, memory: MemoryUnderTest, directory: Path
    ) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        memory.remember("ana", "two", [fact("boat")])
        memory.remember("bo", "one", [fact("bakery")])
        memory.forget("ana", "one")
        self._check_forgotten(memory)
        memory.close()
        again = self.open(directory)
        try:
            self._check_forgotten(again)
        finally:
            again.close()

    def _check_forgotten(self, memory: MemoryUnderTest) -> None:
        for asked in (query("bakery"), canary("bakery"), fact("bakery")[0]):
            assert canary("bakery") not in memory.recall("ana", asked)
        assert canary("boat") in memory.recall("ana", query("boat"))
        assert memory.said("ana") == [fact("boat")[0]]
        assert memory.said("bo") == [fact("bakery")[0]]
        assert canary("bakery") in memory.recall("bo", query("bakery"))

    def test_a_forgotten_user_is_gone_and_the_others_stay(self, memory: MemoryUnderTest) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        memory.remember("ana", "two", [fact("boat")])
        memory.remember("bo", "one", [fact("oven")])
        memory.forget_user("ana")
        for subject in ("bakery", "boat"):
            assert canary(subject) not in memory.recall("ana", query(subject))
        assert memory.said("ana") == []
        assert canary("oven") in memory.recall("bo", query("oven"))

    def test_nothing_of_a_forgotten_chat_is_left_on_disk(
        self, memory: MemoryUnderTest, directory: Path
    ) -> None:
        memory.remember("ana", "one", [fact("bakery")])
        memory.remember("ana", "two", [fact("boat")])
        memory.recall("ana", query("bakery"))
        memory.forget("ana", "one")
        memory.close()
        text = canary("bakery").encode()
        left = [path for path in directory.rglob("*") if path.is_file()]
        assert [str(path) for path in left if text in path.read_bytes()] == []


async def _recalled(memory: MemoryUnderTest, user: str) -> str:
    return await memory.arecall(user, query("bakery"))


def canary(subject: str) -> str:
    """A word that stands in one fact and nowhere else."""
    return f"zq{sum(map(ord, subject)) % 97:02d}{subject}"


def fact(subject: str) -> Exchange:
    """An exchange in which a fact is told."""
    return f"My {subject} is called {canary(subject)}.", "Good to know."


def query(subject: str) -> str:
    """A question whose answer is the fact."""
    return f"What is my {subject} called?"
