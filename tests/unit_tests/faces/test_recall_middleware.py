"""PlumRecallMiddleware: anybody's model is told what the user's own adapter remembers."""

import asyncio
import logging
import time
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.tools import tool

from plum_langchain import PlumRecallMiddleware
from plum_langchain.errors import BusyError, InvalidInputError, MissingUserError
from plum_langchain.memories import Retrieval
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


async def test_many_slow_recalls_at_once_keep_nobody_waiting(
    reciting: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reciting, "recall", lambda *_, **__: time.sleep(1.5) or [])
    agent = create_agent(
        foreign(*["so"] * 30), middleware=[PlumRecallMiddleware(reciting, timeout=0.3)]
    )
    started = time.monotonic()
    asked = [agent.ainvoke(say(ASKED), to("ana", f"many-{n}")) for n in range(20)]
    with caplog.at_level(logging.WARNING, "plum_langchain"):
        replies = await asyncio.gather(*asked)
    assert time.monotonic() - started < 1.4
    assert {reply["messages"][-1].text for reply in replies} == {"so"}
    assert "recalls are under way already" in caplog.text


@pytest.mark.parametrize(
    ("memory", "recalled"),
    [("parametric", ["parametric"]), ("hybrid", ["hybrid", "retrieval", "retrieval"])],
)
def test_one_message_is_asked_about_once_however_many_tools_are_called(
    reciting: Any, monkeypatch: pytest.MonkeyPatch, memory: str, recalled: list[str]
) -> None:
    """The adapter is; exchanges, which take no time, are searched for each call."""
    asked: list[str] = []
    recall = reciting.recall

    def counted(user: str, query: str, **how: Any) -> Any:
        assert query == ASKED
        asked.append(how["memory"])
        return recall(user, query, **how)

    monkeypatch.setattr(reciting, "recall", counted)
    look = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    model = foreign(look, look.model_copy(), "done")

    @tool
    def look_() -> str:
        """Look."""
        return "Nothing."

    look_.name = "look"
    middleware = PlumRecallMiddleware(reciting, memory=memory)
    agent = create_agent(model, [look_], middleware=[middleware])
    agent.invoke(say(ASKED), to("ana", "tools"))
    assert asked == recalled and len(model.sent) == 3
    told = {str(sent[0].text) for sent in model.sent}
    assert len(told) == 1 and TOLD in told.pop()


def test_facts_are_told_again_where_another_process_owns_the_index_by_now(
    reciting: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Between two calls about one message, as in the first of them."""
    middleware = PlumRecallMiddleware(reciting, memory="hybrid", k=1)
    fact, _ = middleware._recalled("ana", "owned", ("id", ASKED), "hybrid")

    def busy(*_: Any, **__: Any) -> Any:
        raise BusyError("another process owns it")

    monkeypatch.setattr(Retrieval, "search", busy)
    assert middleware._recalled("ana", "owned", ("id", ASKED), "hybrid") == [fact]
    assert fact.text == TOLD and "only facts are recalled" in caplog.text
    nothing = ("id", "What did I say about whales?")
    middleware._last["ana", "owned"] = (
        (nothing, "hybrid", reciting.journal.generations.head("ana")), []
    )  # fmt: skip
    with pytest.raises(BusyError):
        middleware._recalled("ana", "owned", nothing, "hybrid")


@pytest.mark.parametrize("memory", ["parametric", "hybrid"])
@pytest.mark.parametrize(
    "served", [["first", "first", "second", "second"], ["first", "second", "first", "first"]]
)
def test_what_is_forgotten_meanwhile_is_not_told_again(
    reciting: Any, monkeypatch: pytest.MonkeyPatch, memory: str, served: list[str]
) -> None:
    """Between two calls about one message another generation may be served, or during one."""
    heads = iter(served)
    asked: list[str] = []
    monkeypatch.setattr(reciting.journal.generations, "head", lambda _: next(heads))
    monkeypatch.setattr(reciting, "recall", lambda _, query, **__: asked.append(query) or [])
    middleware = PlumRecallMiddleware(reciting)
    for _ in range(2):
        middleware._recalled("ana", "thread", ("id", ASKED), memory)
    assert asked == [ASKED, ASKED]


def test_the_callers_own_blocks_stay_as_they_are(reciting: Any) -> None:
    block = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    model = foreign()
    agent = create_agent(
        model,
        system_prompt=SystemMessage([block]),
        middleware=[PlumRecallMiddleware(reciting)],
    )
    agent.invoke(say(ASKED), to("ana", "blocks"))
    own, told = model.sent[-1][0].content
    assert own == block and TOLD in told["text"]


def test_a_function_that_finds_no_user_hands_the_choice_to_nobody(reciting: Any) -> None:
    middleware = PlumRecallMiddleware(reciting, user_id=lambda _: None)  # type: ignore[arg-type, return-value]
    agent = create_agent(foreign(), middleware=[middleware])
    with pytest.raises(MissingUserError):
        agent.invoke(say(ASKED), to("mallory"))


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
