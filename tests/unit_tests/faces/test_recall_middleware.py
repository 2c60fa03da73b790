"""PlumRecallMiddleware: anybody's model is told what the user's own adapter remembers."""

import logging
import time
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import SystemMessage

from plum_langchain import PlumRecallMiddleware
from plum_langchain.errors import BusyError, InvalidInputError, MissingUserError
from tests.unit_tests.faces.helpers import Fits
from tests.unit_tests.faces.test_middleware import foreign, recorded, say, to
from tests.unit_tests.faces.test_recall import ASKED, TOLD

LESS_SURE = f"{ASKED[:-1]} in Norway."


def heard(model: Any) -> str:
    """The system message that the model was last sent; empty without one."""
    first = model.sent[-1][0]
    return str(first.text) if isinstance(first, SystemMessage) else ""


def test_the_model_is_told_the_fact_its_source_and_how_sure_it_is(reciting: Any) -> None:
    model = foreign()
    agent = create_agent(
        model, system_prompt="Be brief.", middleware=[PlumRecallMiddleware(reciting)]
    )
    agent.invoke(say(ASKED), to("ana", "told"))
    assert heard(model).startswith("Be brief.\n\nRemembered from earlier conversations")
    assert f"- {TOLD} (said by the user on " in heard(model) and "% sure)" in heard(model)


@pytest.mark.parametrize("user", ["bob", "nobody"])
def test_nobody_elses_facts_are_told(reciting: Any, user: str) -> None:
    model = foreign()
    agent = create_agent(model, middleware=[PlumRecallMiddleware(reciting, least=0.0)])
    agent.invoke(say(ASKED), to(user, f"other-{user}"))
    assert "bakery" not in heard(model)


@pytest.mark.parametrize("more", [0.0, 1e-6])
def test_only_what_is_sure_enough_is_told(reciting: Any, more: float) -> None:
    (found,) = reciting.recall("ana", LESS_SURE, k=1)
    assert found.confidence < 1
    model = foreign()
    middleware = PlumRecallMiddleware(reciting, k=1, least=found.confidence + more)
    agent = create_agent(model, middleware=[middleware])
    agent.invoke(say(LESS_SURE), to("ana", f"{more}"))
    assert (found.text in heard(model)) is (more == 0)


async def test_async_tells_the_same(reciting: Any) -> None:
    model = foreign()
    agent = create_agent(model, middleware=[PlumRecallMiddleware(reciting)])
    await agent.ainvoke(say(ASKED), to("ana", "async"))
    assert TOLD in heard(model)


def test_memories_are_swapped_by_one_word(reciting: Any) -> None:
    told = {}
    for memory in ("parametric", "retrieval", "hybrid", "none"):
        model = foreign()
        middleware = PlumRecallMiddleware(reciting, memory=memory, k=1)
        create_agent(model, middleware=[middleware]).invoke(say(ASKED), to("ana", memory))
        told[memory] = heard(model)
    assert TOLD in told["parametric"] and "User:" not in told["parametric"]
    assert TOLD not in told["retrieval"] and "User: My bakery" in told["retrieval"]
    assert TOLD in told["hybrid"] and "User: My bakery" in told["hybrid"]
    assert told["none"] == ""


def test_the_chat_is_recorded(plum: Any) -> None:
    agent = create_agent(foreign(), middleware=[PlumRecallMiddleware(plum)])
    agent.invoke(say("says 1"), to())
    assert recorded(plum) == ["user: says 1", "assistant: reply 1"]


def test_our_own_chat_model_is_told_and_wears_no_adapter(reciting: Any) -> None:
    model = reciting.chat_model()
    agent = create_agent(model, middleware=[PlumRecallMiddleware(reciting)])
    reply = agent.invoke(say(ASKED), to("ana", "own"))["messages"][-1]
    assert reply.response_metadata["generation"] is None
    assert reply.usage_metadata["input_tokens"] > len(TOLD.split())


# -- failing open ------------------------------------------------------------------------------


def test_a_recall_that_takes_too_long_is_done_without(
    reciting: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reciting, "_judge", Fits(seconds=2.0))
    model = foreign()
    agent = create_agent(model, middleware=[PlumRecallMiddleware(reciting, timeout=0.3)])
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "plum_langchain"):
        reply = agent.invoke(say(ASKED), to("ana", "slow"))["messages"][-1]
    assert time.monotonic() - started < 1.5
    assert reply.text == "reply 1" and heard(model) == ""
    assert "'ana' within 0.3 s" in caplog.text


@pytest.mark.parametrize("error", [BusyError("the index is held"), RuntimeError("out of memory")])
def test_a_recall_that_fails_is_done_without(
    reciting: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(reciting, "recall", fail)
    model = foreign()
    agent = create_agent(model, middleware=[PlumRecallMiddleware(reciting)])
    with caplog.at_level(logging.WARNING, "plum_langchain"):
        assert agent.invoke(say(ASKED), to("ana", f"{error}"))["messages"][-1].text == "reply 1"
    assert str(error) in caplog.text and "without memory" in caplog.text


def test_a_missing_user_is_an_error_all_the_same(reciting: Any) -> None:
    agent = create_agent(foreign(), middleware=[PlumRecallMiddleware(reciting)])
    with pytest.raises(MissingUserError, match="PlumRecallMiddleware"):
        agent.invoke(say(ASKED), to(None))


@pytest.mark.parametrize(
    "wrong", [{"memory": "rag"}, {"k": 0}, {"least": 1.1}, {"timeout": 0}, {"user_id": ""}]
)
def test_what_can_not_be_is_refused(plum: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        PlumRecallMiddleware(plum, **wrong)
