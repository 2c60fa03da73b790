"""PlumMiddleware beside other middlewares and in other agents: what of it all is the user's."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    PIIMiddleware,
    SummarizationMiddleware,
    wrap_model_call,
)
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from plum_langchain import PlumMiddleware, PlumRecallMiddleware, RetrievalMiddleware
from plum_langchain.errors import PromptTooLongError
from tests.tiny import session
from tests.unit_tests.faces.agents import THREE, Listening, foreign, recorded, say, to


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("kind", [PlumMiddleware, PlumRecallMiddleware])
def test_what_a_middleware_puts_in_for_one_call_is_not_the_users(
    plum: Any, checkpointer: Any, kind: Callable[..., Any], as_dict: bool
) -> None:
    @wrap_model_call
    def with_files(request: Any, handler: Any) -> Any:
        files = "Files: I live in Oslo."
        more = {"role": "user", "content": files} if as_dict else HumanMessage(files)
        return handler(request.override(messages=[*request.messages, more]))

    model = foreign()
    agent = create_agent(
        model, middleware=[with_files, kind(plum, memory="none")], checkpointer=checkpointer
    )
    for n in (1, 2, 3):
        agent.invoke(say(f"says {n}"), to())
    assert recorded(plum) == THREE
    assert "Oslo" in str(model.sent[-1])


@pytest.mark.parametrize("plums_first", [False, True])
async def test_what_is_redacted_in_a_reply_is_redacted_in_the_journal(
    plum: Any, checkpointer: Any, plums_first: bool
) -> None:
    ours = PlumMiddleware(plum, memory="none")
    theirs = PIIMiddleware("email", apply_to_output=True)
    agent = create_agent(
        foreign("Write to bob@example.com.", "Or to eve@example.com."),
        middleware=[ours, theirs] if plums_first else [theirs, ours],
        checkpointer=checkpointer,
    )
    agent.invoke(say("How do I reach Bob?"), to())
    assert recorded(plum)[-1] == "assistant: Write to [REDACTED_EMAIL]."
    await agent.ainvoke(say("And Eve?"), to())
    assert recorded(plum)[-1] == "assistant: Or to [REDACTED_EMAIL]."
    assert len(recorded(plum)) == 4


def test_a_message_that_is_edited_in_the_thread_is_edited_in_the_journal(plum: Any) -> None:
    agent = create_agent(
        foreign(), middleware=[PlumMiddleware(plum, memory="none")], checkpointer=InMemorySaver()
    )
    said = HumanMessage("It is closed on Mondays.", id=str(uuid.uuid4()))
    found = agent.invoke({"messages": [said]}, to())
    edited = HumanMessage("It is closed on Tuesdays.", id=said.id)
    removed = RemoveMessage(found["messages"][-1].id)
    agent.invoke({"messages": [edited, removed]}, to())
    assert recorded(plum) == [
        f"user: {edited.content}", "assistant: reply 1", "assistant: reply 2",
    ]  # fmt: skip


def test_a_system_message_keeps_its_blocks(plum: Any) -> None:
    plum.add_session(session("ana", "s1", "My parrot swears.", "Oh dear."))
    block = {"type": "text", "text": "MANUAL", "cache_control": {"type": "ephemeral"}}
    model = foreign()
    agent = create_agent(
        model, system_prompt=SystemMessage([block]), middleware=[RetrievalMiddleware(plum)]
    )
    agent.invoke(say("parrot?"), to())
    first, second = model.sent[-1][0].content
    assert first == block and "My parrot swears." in second["text"]


def test_a_chat_longer_than_the_model_reads_is_summarized_from_less_of_it(plum: Any) -> None:
    model = plum.chat_model("ana", memory="none")
    for face in (model, plum.llm("ana", memory="none")):
        with pytest.raises(ContextOverflowError, match="reads at most 2048; shorten") as raised:
            face.invoke("word " * 2100)
        assert isinstance(raised.value, PromptTooLongError)
        with pytest.raises(ContextOverflowError):
            list(face.stream("word " * 2100))
    agent = create_agent(
        foreign(),
        middleware=[
            SummarizationMiddleware(
                model=model,
                trigger=("messages", 4),
                keep=("messages", 1),
                summary_prompt="{messages}",
                trim_tokens_to_summarize=None,
            )
        ],
    )
    found = agent.invoke(say("word " * 500, "reply", "word " * 1000, "reply", "How are you?"))
    assert [str(message.content) for message in found["messages"][1:]] == [
        "How are you?", "reply 1",
    ]  # fmt: skip


async def test_what_a_model_says_to_a_subagent_is_not_the_users(
    plum: Any, checkpointer: Any
) -> None:
    def ours() -> PlumMiddleware:
        return PlumMiddleware(plum, memory="none")

    sub = create_agent(foreign("sub reply", "sub reply"), middleware=[ours()])

    @tool
    def research(topic: str) -> str:
        """Research something."""
        return str(sub.invoke(say(f"I am allergic to {topic}."))["messages"][-1].text)

    call = {"name": "research", "args": {"topic": "nuts"}, "id": "1"}
    calls = [AIMessage("", tool_calls=[call]) for _ in range(2)]
    model = foreign(calls[0], AIMessage("done"), calls[1], AIMessage("done again"))
    agent = create_agent(model, [research], middleware=[ours()], checkpointer=checkpointer)
    agent.invoke(say("Find me a recipe."), to())
    assert recorded(plum) == ["user: Find me a recipe.", "assistant: done"]
    await agent.ainvoke(say("And another."), to())
    assert recorded(plum)[2:] == ["user: And another.", "assistant: done again"]


def test_an_agent_that_is_a_node_of_a_graph_is_spoken_to_by_the_user(plum: Any) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node(
        "agent", create_agent(foreign("reply"), middleware=[PlumMiddleware(plum, memory="none")])
    )
    graph.add_edge(START, "agent")
    graph.compile(checkpointer=InMemorySaver()).invoke(say("says"), to())
    assert recorded(plum) == ["user: says", "assistant: reply"]


@pytest.mark.parametrize("kind", [PlumMiddleware, PlumRecallMiddleware])
def test_another_model_in_the_place_of_ours_is_not_told_who_asks(
    plum: Any, kind: Callable[..., Any]
) -> None:
    """A fallback, or a router, gets what the request holds, and would pass it to a provider."""
    told = []

    class Told(Listening):
        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            told.append(kwargs)
            return super()._generate(messages, *args, **kwargs)

    other = Told(messages=iter(["reply"]))

    @wrap_model_call
    def with_other(request: Any, handler: Any) -> Any:
        assert request.model.user_id == "ana"
        return handler(request.override(model=other))

    agent = create_agent(plum.chat_model(), middleware=[kind(plum), with_other])
    agent.invoke(say("hello"), to())
    assert recorded(plum) == ["user: hello", "assistant: reply"]
    assert told and not {"user_id", "memory", "k"} & set(told[0])
