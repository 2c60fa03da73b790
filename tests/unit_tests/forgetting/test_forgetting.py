"""Forgetting: the text, the weights and the index go, and a receipt proves it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from plum_langchain import HomeSettings, LearningSettings
from plum_langchain.errors import (
    InvalidInputError,
    StoppedError,
    UnknownSessionError,
    UnknownUserError,
)
from tests.tiny import session
from tests.unit_tests.homes import files_with, on_disk, states


def test_forgetting_one_session(learned: Any) -> None:
    kept = learned.chat_model("ana")
    learned.memory_named("retrieval").recall("ana", "zebra")
    assert files_with(learned.home.root, "Quibblewort")
    receipt = learned.forget("ana", "s2")
    assert receipt.user_id == "ana" and receipt.sessions == ("s2",)
    assert receipt.generations_destroyed == (2, 3)
    assert receipt.serving == 1 and receipt.to_relearn == ("s3",)
    assert receipt.traces is None
    assert not files_with(learned.home.root, "Quibblewort")
    assert on_disk(learned) == [1]
    assert states(learned) == {"s1": "learned", "s2": "forgotten", "s3": "finished"}
    assert kept.invoke("Hello").response_metadata["generation"] == 1
    assert learned.chat_model("bob").invoke("Hello").response_metadata["generation"] == 1
    learned.consolidate("ana")
    assert states(learned) == {"s1": "learned", "s2": "forgotten", "s3": "learned"}
    assert kept.invoke("Hello").response_metadata["generation"] > 3  # no number is used twice


def test_forgetting_everything_of_a_user(learned: Any) -> None:
    learned.memory_named("retrieval").recall("ana", "zebra")
    for user in ("ana", "bob"):
        learned.chat_model(user).invoke("zebra")
    receipt = learned.forget("ana", all=True)
    (attached,) = learned.engine.attached
    assert learned.home.owner("bob") in attached  # ana's weights are not in memory either
    assert receipt.sessions == ("s1", "s2", "s3")
    assert receipt.generations_destroyed == (1, 2, 3)
    assert receipt.serving is None and receipt.to_relearn == ()
    for said in ("Quibblewort", "Mondays", "grey geese"):
        assert not files_with(learned.home.root, said)
    assert on_disk(learned) == [] and on_disk(learned, "bob") == [1]
    for memory in ("parametric", "retrieval", "hybrid"):
        reply = learned.chat_model("ana", memory=memory).invoke("zebra")
        assert reply.content == learned.chat_model(memory="none").invoke("zebra").content
    assert states(learned, "bob") == {"s1": "learned"}


def test_a_forgotten_session_does_not_come_back_by_import(learned: Any) -> None:
    learned.forget("ana", "s2")
    again = session("ana", "s2", "My zebra is called Quibblewort.", "Nice.")
    assert learned.add_session(again) == "forgotten"
    assert not files_with(learned.home.root, "Quibblewort")


def test_forgetting_what_is_not_there(learned: Any) -> None:
    before = states(learned)
    with pytest.raises(UnknownUserError, match=r"'carl' has no chats.*known users: ana, bob"):
        learned.forget("carl", "s1")
    with pytest.raises(UnknownSessionError, match="no session 's9'"):
        learned.forget("ana", "s9")
    for wrong in ({}, {"session": "s1", "all": True}):
        with pytest.raises(InvalidInputError, match="say what to forget"):
            learned.forget("ana", **wrong)
    assert states(learned) == before and on_disk(learned) == [1, 2, 3]
    learned.forget("ana", "s1")
    with pytest.raises(UnknownSessionError):
        learned.forget("ana", "s1")


def test_forgetting_stops_a_consolidation_of_the_user(open_plum: Callable[..., Any]) -> None:
    plum = open_plum(
        learning=LearningSettings(
            rank=4, alpha=8, epochs=1_000_000, learning_rate=1e-6, everyday_per_batch=0
        ),
        settings=HomeSettings(lease_seconds=1.0),
    )
    plum.add_session(session("ana", "s1", "My zebra is called Quibblewort.", "Nice."))
    raised: list[BaseException] = []

    def learn() -> None:
        try:
            plum.consolidate("ana")
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=learn)
    thread.start()
    while states(plum) != {"s1": "learning"}:
        time.sleep(0.01)
    time.sleep(0.3)
    receipt = plum.forget("ana", "s1")
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(raised[0], StoppedError)
    assert receipt.sessions == ("s1",) and receipt.serving is None
    assert states(plum) == {"s1": "forgotten"} and on_disk(plum) == []
    assert not files_with(plum.home.root, "Quibblewort")


def test_traces_are_told_when_another_process_is_using_the_journal(
    open_plum: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    plum = open_plum(settings=HomeSettings(busy_seconds=0.1))
    plum.add_session(session("ana", "s1", "My zebra is called Quibblewort.", "Nice."))
    other = open_plum()
    with other.journal._database.read() as reading:
        reading.exec_driver_sql("SELECT count(*) FROM turns")
        receipt = plum.forget("ana", "s1")
    assert receipt.sessions == ("s1",)
    assert receipt.traces is not None and "Plum.journal.scrub()" in receipt.traces
    assert receipt.traces in caplog.text
    plum.journal.scrub()
    assert not files_with(plum.home.root, "Quibblewort")
