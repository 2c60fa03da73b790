"""Agents on our own chat model: it calls tools by itself, and every turn is kept once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import AfterValidator

from plum_langchain import PlumMiddleware
from plum_langchain.errors import InvalidInputError
from plum_langchain.models import Toolbox
from tests.unit_tests.faces.scripted import make_scripted
from tests.unit_tests.faces.test_middleware import foreign, recorded, say, to

ASKED, SAID = "Rain in Porto?", "It rains."
BOTH = [f"user: {ASKED}", f"assistant: {SAID}"]
TALKED, LOOKING = "Look out.", "Let me see."
DOWN, SORRY = "The station is down.", "I can't tell."


@tool
def weather(place: str) -> str:
    """The weather of a place."""
    return f"Rain in {place}."


def like_weather(function: Callable[[str], str], **options: Any) -> BaseTool:
    """Another tool that is shown to the model as the same."""
    made = StructuredTool.from_function(
        function, name=weather.name, description=weather.description, **options
    )
    assert convert_to_openai_tool(made) == convert_to_openai_tool(weather)
    return made


def failing(*errors: Exception, **options: Any) -> BaseTool:
    """The tool, which fails so often before it does what it is for."""
    left = list(errors)

    def called(place: str) -> str:
        if left:
            raise left.pop(0)
        return f"Rain in {place}."

    return like_weather(called, **options)


def refusing() -> BaseTool:
    """The tool, which finds something wrong with every place."""

    def refused(place: str) -> str:
        raise ValueError(DOWN)

    def called(place: Annotated[str, AfterValidator(refused)]) -> str:
        raise AssertionError("never called")

    return like_weather(called)


def calls(place: str, content: str = "") -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"place": place}}
    return {"role": "assistant", "content": content, "tool_calls": [{"function": function}]}


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    box = Toolbox((convert_to_openai_tool(weather),))
    first = [said("user", ASKED)]
    told = [*first, calls("Porto"), said("tool", "Rain in Porto.")]
    talked = [said("user", TALKED)]
    looking = calls("Porto", LOOKING)
    # What LangChain tells a model whose call is refused.
    call = {"name": "weather", "args": {"place": "Porto"}, "id": "1"}
    agent = create_agent(foreign(AIMessage("", tool_calls=[call]), AIMessage("")), [refusing()])
    refused = agent.invoke(say(ASKED))["messages"][2].content
    assert DOWN in refused
    return make_scripted(
        tiny_model,
        tmp_path_factory.mktemp("scripted") / "model",
        [
            (first, box, calls("Porto")),
            (told, box, said("assistant", SAID)),
            ([said("user", "Hello")], box, said("assistant", "Hi!")),
            ([*told, said("assistant", SAID), said("user", "Thanks")], box,
             said("assistant", "Any time.")),
            (talked, box, looking),
            ([*talked, looking, said("tool", "Rain in Porto.")], box, said("assistant", SAID)),
            ([*told[:-1], said("tool", f"Error: {DOWN}")], box, said("assistant", SORRY)),
            ([*told[:-1], said("tool", f"Error: {refused}")], box, said("assistant", SORRY)),
            ([*told[:-1], said("user", "Thanks")], box, said("assistant", "Not yet.")),
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


# -- what fails --------------------------------------------------------------------------------


class Excusing(AgentMiddleware):
    """Tells the model of a tool that failed."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        try:
            return handler(request)
        except OSError as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        try:
            return await handler(request)
        except OSError as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")


Run = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs an agent on what is said in thread t, or (of None) on with what it failed in."""

    async def invoked(agent: Any, *texts: str) -> list[Any]:
        given = say(*texts) if texts else None
        done = agent.invoke(given, to()) if request.param == "sync" else agent.ainvoke(given, to())
        state: Any = done if request.param == "sync" else await done
        return list(state["messages"])

    return invoked


def agent_on(plum: Any, tool: BaseTool, *others: Any, checkpointer: Any = None) -> Any:
    middleware = [PlumMiddleware(plum), *others]
    return create_agent(plum.chat_model(), [tool], middleware=middleware, checkpointer=checkpointer)


async def test_a_tool_that_raises_costs_no_turn(scripted: Any, run: Run) -> None:
    tool = failing(OSError(DOWN), OSError(DOWN))
    agent = agent_on(scripted, tool, checkpointer=InMemorySaver())
    with pytest.raises(OSError, match=DOWN):
        await run(agent, ASKED)
    assert recorded(scripted) == [f"user: {ASKED}"]
    with pytest.raises(OSError, match=DOWN):
        await run(agent)
    assert recorded(scripted) == [f"user: {ASKED}"]
    assert (await run(agent))[-1].content == SAID
    assert recorded(scripted) == BOTH
    assert (await run(agent, "Thanks"))[-1].content == "Any time."
    assert recorded(scripted) == [*BOTH, "user: Thanks", "assistant: Any time."]


async def test_a_thread_goes_on_after_a_tool_that_raised(scripted: Any, run: Run) -> None:
    agent = agent_on(scripted, failing(OSError(DOWN)), checkpointer=InMemorySaver())
    with pytest.raises(OSError, match=DOWN):
        await run(agent, ASKED)
    assert (await run(agent, "Thanks"))[-1].content == "Not yet."
    assert recorded(scripted) == [f"user: {ASKED}", "user: Thanks", "assistant: Not yet."]


async def test_who_asks_again_after_a_tool_that_raised_has_asked_once(
    scripted: Any, run: Run
) -> None:
    agent = agent_on(scripted, failing(OSError(DOWN)))
    with pytest.raises(OSError, match=DOWN):
        await run(agent, ASKED)
    assert recorded(scripted) == [f"user: {ASKED}"]
    assert (await run(agent, ASKED))[-1].content == SAID
    assert recorded(scripted) == BOTH


async def test_what_is_said_beside_a_call_is_kept_once_though_the_tool_raises(
    scripted: Any, run: Run
) -> None:
    agent = agent_on(scripted, failing(OSError(DOWN)), checkpointer=InMemorySaver())
    with pytest.raises(OSError, match=DOWN):
        await run(agent, TALKED)
    assert recorded(scripted) == [f"user: {TALKED}", f"assistant: {LOOKING}"]
    assert (await run(agent))[-1].content == SAID
    assert recorded(scripted)[2:] == [f"assistant: {SAID}"]


@pytest.mark.parametrize(
    ("tool", "others"),
    [
        (lambda: failing(OSError(DOWN)), [Excusing()]),
        (lambda: failing(ToolException(DOWN), handle_tool_error=True), []),
        (refusing, []),  # which LangChain's ToolNode tells the model
    ],
    ids=["by middleware", "by the tool", "by LangChain"],
)
@pytest.mark.parametrize("checkpointer", [None, InMemorySaver], ids=["without", "with"])
async def test_an_error_that_the_model_is_told_is_no_turn(
    scripted: Any, run: Run, tool: Callable[[], BaseTool], others: list[Any], checkpointer: Any
) -> None:
    saver = checkpointer and checkpointer()
    messages = await run(agent_on(scripted, tool(), *others, checkpointer=saver), ASKED)
    kinds = [type(message) for message in messages]
    assert kinds == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert messages[2].status == "error" and DOWN in messages[2].content
    assert messages[3].content == SORRY
    assert recorded(scripted) == [f"user: {ASKED}", f"assistant: {SORRY}"]


async def test_a_model_that_raises_after_a_tools_result_costs_no_turn(
    scripted: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, asked = scripted.engine.chat, []

    def failing_once(messages: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(messages[-1]["role"])
        if len(asked) == 2:
            raise RuntimeError("out of memory")
        return chat(messages, *args, **kwargs)

    monkeypatch.setattr(scripted.engine, "chat", failing_once)
    agent = agent_on(scripted, weather, checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="out of memory"):
        await run(agent, ASKED)
    assert asked == ["user", "tool"]
    assert recorded(scripted) == [f"user: {ASKED}"]
    assert (await run(agent))[-1].content == SAID
    assert recorded(scripted) == BOTH and asked[2:] == ["tool"]
