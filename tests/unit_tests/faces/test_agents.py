"""Agents on our own chat model: it calls tools by itself, and every turn is kept once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver

from plum_langchain import PlumMiddleware
from plum_langchain.errors import InvalidInputError
from plum_langchain.models import Toolbox
from tests.unit_tests.faces.scripted import make_scripted
from tests.unit_tests.faces.test_middleware import recorded, say, to

ASKED, SAID = "Rain in Porto?", "It rains."


@tool
def weather(place: str) -> str:
    """The weather of a place."""
    if place == "Atlantis":
        raise ValueError("no such place")
    return f"Rain in {place}."


def calls(place: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"place": place}}
    return {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    box = Toolbox((convert_to_openai_tool(weather),))
    first = [said("user", ASKED)]
    told = [*first, calls("Porto"), said("tool", "Rain in Porto.")]
    return make_scripted(
        tiny_model,
        tmp_path_factory.mktemp("scripted") / "model",
        [
            (first, box, calls("Porto")),
            (told, box, said("assistant", SAID)),
            ([said("user", "Hello")], box, said("assistant", "Hi!")),
            ([*told, said("assistant", SAID), said("user", "Thanks")], box,
             said("assistant", "Any time.")),
        ],
    )  # fmt: skip


@pytest.fixture
def scripted(open_plum: Callable[..., Any], model: Path) -> Iterator[Any]:
    from plum_langchain import ServingSettings

    serving = ServingSettings(device="cpu", dtype="float32", scope=None, max_new_tokens=60)
    yield open_plum("scripted", model=str(model), serving=serving)


def test_the_model_calls_a_tool_and_reads_its_result(scripted: Any) -> None:
    bound = scripted.chat_model("ana").bind_tools([weather])
    question = HumanMessage(ASKED)
    calling = bound.invoke([question])
    (call,) = calling.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"place": "Porto"})
    assert calling.content == "" and call["id"]
    assert calling.response_metadata["finish_reason"] == "tool_calls"
    reply = bound.invoke([question, calling, weather.invoke(call)])
    assert (reply.content, reply.tool_calls) == (SAID, [])


def test_a_model_with_tools_may_just_talk(scripted: Any) -> None:
    reply = scripted.chat_model("ana").bind_tools([weather]).invoke("Hello")
    assert (reply.content, reply.tool_calls) == ("Hi!", [])


def test_a_streamed_call_is_the_same(scripted: Any) -> None:
    bound = scripted.chat_model("ana").bind_tools([weather])
    chunks = list(bound.stream(ASKED))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [(c["name"], c["args"]) for c in whole.tool_calls] == [("weather", {"place": "Porto"})]
    assert whole.content == ""
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1


@pytest.mark.parametrize("choice", ["none", "auto", None])
def test_the_choice_is_the_callers(scripted: Any, choice: str | None) -> None:
    bound = scripted.chat_model("ana").bind_tools([weather], tool_choice=choice)
    assert bool(bound.invoke(ASKED).tool_calls) is (choice != "none")


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()], ids=["without", "with"])
def test_an_agent_with_tools_keeps_every_turn_once(scripted: Any, checkpointer: Any) -> None:
    agent = create_agent(
        scripted.chat_model(),
        [weather],
        middleware=[PlumMiddleware(scripted)],
        checkpointer=checkpointer,
    )
    messages = agent.invoke(say(ASKED), to())["messages"]
    kinds = [type(message) for message in messages]
    assert kinds == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert messages[-1].content == SAID
    assert recorded(scripted) == [f"user: {ASKED}", f"assistant: {SAID}"]
    if checkpointer is not None:
        assert agent.invoke(say("Thanks"), to())["messages"][-1].content == "Any time."
        assert recorded(scripted)[2:] == ["user: Thanks", "assistant: Any time."]


async def test_an_async_streaming_agent_does_the_same(scripted: Any) -> None:
    agent = create_agent(scripted.chat_model(), [weather], middleware=[PlumMiddleware(scripted)])
    text = ""
    async for chunk, _ in agent.astream(say(ASKED), to(), stream_mode="messages"):
        text += chunk.content if not isinstance(chunk, ToolMessage) else ""
    assert text == SAID
    assert recorded(scripted) == [f"user: {ASKED}", f"assistant: {SAID}"]


def test_an_agent_loop_in_content_blocks(scripted: Any) -> None:
    bound = scripted.chat_model("ana", output_version="v1").bind_tools([weather])
    calling = bound.invoke([HumanMessage(ASKED)])
    assert any(block["type"] == "tool_call" for block in calling.content)
    result = weather.invoke(calling.tool_calls[0])
    assert bound.invoke([HumanMessage(ASKED), calling, result]).text == SAID


def test_a_call_that_is_cut_off_is_none_streamed_or_not(scripted: Any) -> None:
    bound = scripted.chat_model("ana", max_tokens=8).bind_tools([weather])
    whole = bound.invoke(ASKED)
    streamed = None
    for chunk in bound.stream(ASKED):
        streamed = chunk if streamed is None else streamed + chunk
    for message in (whole, streamed):
        assert message.tool_calls == [] and len(message.invalid_tool_calls) == 1


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "weather"}},
        {"type": "tool", "name": "weather"},
        {"type": "any"},
        "required",
        True,
    ],
)
def test_a_choice_may_be_put_as_others_put_it(scripted: Any, choice: Any) -> None:
    bound = scripted.chat_model("ana").bind_tools([weather], tool_choice=choice)
    assert bound.invoke("Hello").tool_calls[0]["name"] == "weather"
    with pytest.raises(InvalidInputError, match="names no tool"):
        scripted.chat_model("ana").bind_tools([weather], tool_choice={"type": "odd"}).invoke("?")
