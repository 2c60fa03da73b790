"""Plum, the object that hands out everything: forgetting, going back, asking, swapping."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import LearningSettings, Plum
from plum_langchain.errors import (
    BusyError,
    InvalidInputError,
    ModelNotFoundError,
    UnknownGenerationError,
    UnknownSessionError,
    UnknownUserError,
)
from plum_langchain.session import Question, Session, SessionState
from tests.tiny import session
from tests.unit_tests.homes import on_disk, states

HOSTILE = (
    "../../x",
    "a/b",
    "..",
    ".",
    "C:\\x",
    "~root",
    "default",
    "__base__",
    "ü" * 300,
    "a'; --",
)


# -- going back --------------------------------------------------------------------------------


def test_a_user_held_by_another_worker(learned: Any) -> None:
    with learned.journal.jobs.claim("ana", "consolidate"):
        with pytest.raises(BusyError, match="'ana' is held by process"):
            learned.rollback("ana", 1)
        with pytest.raises(BusyError):
            learned.consolidate("ana")
        assert learned.consolidate() == []  # everybody's: ana is passed over
    assert learned.rollback("ana", 1) == (2, 3)


def test_rollback(learned: Any) -> None:
    one = learned.chat_model("ana")
    third = one.invoke("Hello").content
    assert learned.rollback("ana", 1) == (2, 3)
    assert states(learned) == {"s1": "learned", "s2": "finished", "s3": "finished"}
    assert on_disk(learned) == [1]
    assert one.invoke("Hello").response_metadata["generation"] == 1
    assert one.invoke("Hello").content != third
    with pytest.raises(UnknownGenerationError, match=r"no generation 3 \(kept: 1\)"):
        learned.rollback("ana", 3)
    with pytest.raises(UnknownUserError):
        learned.rollback("carl", 1)
    assert [d.generation for d in learned.consolidate("ana")] == [4, 5]


# -- asking ------------------------------------------------------------------------------------


def test_asking_each_memory(learned: Any) -> None:
    found = {
        memory: learned.ask("ana", "What is my zebra called?", memory=memory, k=1)
        for memory in ("parametric", "retrieval", "hybrid", "none")
    }
    for memory, answer in found.items():
        assert answer.memory == memory
        assert answer.generation == (3 if memory in ("parametric", "hybrid") else None)
        assert (len(answer.sources) == 1) == (memory in ("retrieval", "hybrid"))
        assert answer.seconds > 0 and answer.yes is None
    assert "Quibblewort" in found["retrieval"].sources[0]
    assert found["parametric"].prompt_tokens == found["none"].prompt_tokens
    assert found["hybrid"].prompt_tokens == found["retrieval"].prompt_tokens
    assert found["retrieval"].prompt_tokens > found["none"].prompt_tokens
    assert found["parametric"].text != found["none"].text


def test_asking_a_closed_question(learned: Any) -> None:
    for memory in ("parametric", "none"):
        answer = learned.ask("ana", "Did I talk about whales?", memory=memory, closed=True)
        assert 0 <= answer.yes <= 1
        assert answer.text == ("Yes" if answer.yes > 0.5 else "No")


def test_what_comes_back_was_told_and_has_its_source(open_plum: Callable[..., Any]) -> None:
    """However little a model this small has learned of it."""
    plum = open_plum(
        questions=Stated(),
        learning=LearningSettings(
            rank=4, alpha=8, epochs=1, everyday_per_batch=0, rewordings=0, gate=None
        ),
    )
    for name, said in (("rye", "I feed my rye twice."), ("boat", "My boat is red.")):
        plum.add_session(session("ana", name, said, "Good."))
    plum.consolidate("ana")
    facts = {"You feed your rye twice.": "rye", "Your boat is red.": "boat"}
    for question in ("What colour is my boat?", "How often do I feed my rye?", "Am I tall?"):
        opened = plum.ask("ana", question)
        closed = plum.ask("ana", question, closed=True)
        for recital, source in ((opened.text, opened.source), (closed.recited, closed.source)):
            assert recital in facts
            assert (source.session_id, source.said_by) == (facts[recital], "user")
            assert source.started == plum.journal.sessions.get("ana", facts[recital]).started


class Stated:
    """One question of each session, with the fact that it tells."""

    name = "stated"

    def make(self, session: Session) -> list[Question]:
        told = session.turns[0].content.replace("I ", "You ").replace("My ", "Your ")
        told = told.replace(" my ", " your ")
        return [
            Question(f"Did I say it of {session.session_id}?", "Yes", "yes", (0,), told),
            Question(f"Did I deny it of {session.session_id}?", "No", "no_same_slot", (0,), told),
        ]


def test_asking_with_the_session_in_the_prompt(learned: Any) -> None:
    context = learned.journal.sessions.get("ana", "s2")
    answer = learned.ask("ana", "And my zebra?", memory="context", context=context)
    assert answer.sources == ("User: My zebra is called Quibblewort.\nAssistant: Nice.",)
    assert answer.generation is None
    both = [context, learned.journal.sessions.get("ana", "s1")]
    sources = learned.ask("ana", "And my zebra?", memory="context", context=both).sources
    assert sources[0] == f"[{context.started:%d %B %Y}]\n{answer.sources[0]}"
    assert len(sources) == 2
    with pytest.raises(InvalidInputError, match=r"needs context=<the session>"):
        learned.ask("ana", "And my zebra?", memory="context")


def test_asking_wrongly(learned: Any) -> None:
    with pytest.raises(UnknownUserError):
        learned.ask("carl", "Who am I?")
    with pytest.raises(InvalidInputError, match="'psychic' is unknown"):
        learned.ask("ana", "Who am I?", memory="psychic")
    with pytest.raises(InvalidInputError, match="k must be"):
        learned.ask("ana", "Who am I?", memory="retrieval", k=0)


# -- swapping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["retrieval", "hybrid"])
def test_swapping_is_changing_one_word(plum: Any, name: str) -> None:
    other = getattr(plum, name)(k=2)
    pairs = [
        (plum.chat_model("ana", max_tokens=5), other.chat_model("ana", max_tokens=5)),
        (plum.llm("ana", max_tokens=5), other.llm("ana", max_tokens=5)),
        (plum.memory("ana", "s", input_key="q"), other.memory("ana", "s", input_key="q")),
        (plum.middleware(user_id="ana"), other.middleware(user_id="ana")),
    ]
    for plain, swapped in pairs:
        assert type(swapped) is type(plain)
        assert (plain.memory, swapped.memory, swapped.k) == ("parametric", name, 2)
        assert swapped.user_id == plain.user_id == "ana"
    assert pairs[0][1].max_tokens == 5 and pairs[2][1].input_key == "q"


# -- the home ----------------------------------------------------------------------------------


def test_status(learned: Any, open_plum: Callable[..., Any]) -> None:
    learned.memory("ana", "today").save_context({"input": "Hi"}, {"output": "Hello."})
    status = learned.status()
    assert status["home"] == str(learned.home.root) and status["model"] == learned.model_name
    ana, bob = status["users"]
    assert ana["user"] == "ana" and ana["sessions"] == {"learned": 3, "open": 1}
    assert ana["serving"] == 3 and ana["generations"] == [1, 2, 3]
    assert ana["adapter_bytes"] > 1000 and ana["base_model"] == learned.model_name
    assert bob["sessions"] == {"learned": 1}
    assert status["jobs"] == []
    with learned.journal.jobs.claim("bob", "consolidate"):
        (job,) = open_plum().status()["jobs"]
        assert (job["user_id"], job["kind"]) == ("bob", "consolidate")


def test_a_home_remembers_its_model(learned: Any, open_plum: Callable[..., Any]) -> None:
    learned.close()
    again = open_plum(model=None)
    assert again.engine.base.resolved == learned.resolved()
    assert again.ask("ana", "Is my bakery closed on Mondays?").generation == 3
    missing = open_plum(model="nosuch")
    with pytest.raises(ModelNotFoundError, match="'nosuch'"):
        missing.chat_model("ana").invoke("Hello")


def test_consolidating_nobody_and_a_stranger(plum: Any) -> None:
    assert plum.consolidate() == []
    with pytest.raises(UnknownUserError, match="known users: none"):
        plum.consolidate("carl")


def test_threads_that_ask_at_once_load_the_model_once(learned: Any) -> None:
    engines, models = set(), set()

    def ask() -> None:
        engines.add(id(learned.engine))
        models.add(id(learned.engine.base.model))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines) == len(models) == 1


def test_hostile_ids_through_every_face_stay_inside_the_home(plum: Any, tmp_path: Path) -> None:
    from langchain.agents import create_agent

    before = sorted(entry.name for entry in tmp_path.iterdir())
    middleware = [plum.middleware("retrieval")]
    for user in HOSTILE:
        for thread in HOSTILE[:3]:
            plum.memory(user, thread).save_context({"input": "Hi"}, {"output": "Hello."})
            plum.finish(user, thread)
        plum.llm(user).invoke("Hello")
        agent = create_agent(plum.chat_model(), middleware=middleware)
        config = {"configurable": {"user_id": user, "thread_id": f"agent/{user}"}}
        agent.invoke({"messages": [("user", "Hello")]}, config)
    for user in HOSTILE[:4]:
        plum.consolidate(user, max_sessions=1)
        reply = plum.chat_model(user).invoke("Hello")
        assert reply.response_metadata["user_id"] == user
        assert reply.response_metadata["generation"] == 1
        plum.forget(user, "../../x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before
    assert {entry.name for entry in plum.home.root.iterdir()} <= {
        *("key", "journal.db", "journal.db-wal", "journal.db-shm", "adapters", "retrieval"),
    }
    owners = {plum.home.owner(user) for user in HOSTILE}
    for directory in (plum.home.adapters, plum.home.retrieval):
        assert {entry.name for entry in directory.iterdir()} <= owners | {"owner.lock"}


@pytest.mark.parametrize("user", ["", " ", "a\0b", "x" * 513, 7, None, "\ud800"])
def test_ids_that_cannot_be_are_one_clear_error_everywhere(plum: Any, user: Any) -> None:
    faces: list[Callable[[], Any]] = [
        lambda: plum.memory(user, "s"),
        lambda: plum.memory("ana", user),
        lambda: plum.consolidate(user if user is not None else ""),
        lambda: plum.forget(user, "s"),
        lambda: plum.rollback(user, 1),
        lambda: plum.ask(user, "Hello"),
        lambda: plum.memory_named("parametric").recall(user, "Hello"),
        lambda: plum.memory_named("retrieval").recall(user, "Hello"),
        lambda: plum.add_session(session(user)),
    ]
    if user is not None:
        faces += [lambda: plum.chat_model(user), lambda: plum.llm(user)]
    for face in faces:
        with pytest.raises(InvalidInputError, match=r"(user|session) id"):
            face()
    assert not plum.status()["users"]


def test_opening_without_naming_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUM_HOME", str(tmp_path / "from the environment"))
    plum = Plum()
    assert plum.home.root == tmp_path / "from the environment"
    assert (plum.home.root.stat().st_mode & 0o777) == 0o700
    plum.close()
    monkeypatch.delenv("PLUM_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "ana"))
    plum = Plum()
    assert plum.home.root == tmp_path / "ana" / ".plum"
    plum.close()


def test_finishing_a_session_puts_it_in_line(plum: Any) -> None:
    plum.memory("ana", "today").save_context({"input": "Hi"}, {"output": "Hello."})
    plum.finish("ana", "today")
    assert states(plum) == {"today": str(SessionState.FINISHED)}
    with pytest.raises(UnknownSessionError):
        plum.finish("ana", "yesterday")


def test_rollback_to_the_base_model_begins_anew(learned: Any) -> None:
    """The way out when the only adapter is damaged: everything is learned from the journal."""
    for weights in learned.home.adapters.rglob("*.safetensors"):
        weights.write_bytes(b"damaged")
    assert learned.rollback("ana", 0) == (1, 2, 3)
    assert set(states(learned).values()) == {"finished"}
    assert learned.status()["users"][0]["serving"] is None
    assert [d.generation for d in learned.consolidate("ana")] == [4, 5, 6]


def test_a_schedule_that_waits_for_idleness_leaves_the_homes_own_idle_time(plum: Any) -> None:
    before = plum.settings.idle_seconds
    with plum.schedule(when_idle=5.0):
        assert plum.settings.idle_seconds == before
