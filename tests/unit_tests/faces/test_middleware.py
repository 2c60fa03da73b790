"""PlumMiddleware with create_agent: what is recorded, whose it is, and what answers."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    ToolMessage,
)
from langgraph.checkpoint.memory import InMemorySaver

from plum_langchain import (
    HybridMiddleware,
    PlumMiddleware,
    RetrievalMiddleware,
)
from plum_langchain.errors import InvalidInputError, MissingUserError
from tests.tiny import session
from tests.unit_tests.faces.agents import THREE, foreign, recorded, say, to

# -- what is recorded --------------------------------------------------------------------------


def test_every_turn_is_recorded_once_and_in_order(plum: Any, checkpointer: Any) -> None:
    agent = create_agent(
        foreign(), middleware=[PlumMiddleware(plum, memory="none")], checkpointer=checkpointer
    )
    for n in (1, 2, 3):
        agent.invoke(say(f"says {n}"), to())
    assert recorded(plum) == THREE


async def test_async_records_the_same(plum: Any, checkpointer: Any) -> None:
    agent = create_agent(
        foreign(), middleware=[PlumMiddleware(plum, memory="none")], checkpointer=checkpointer
    )
    for n in (1, 2, 3):
        await agent.ainvoke(say(f"says {n}"), to())
    assert recorded(plum) == THREE


@pytest.mark.parametrize("mode", ["messages", "updates", "values"])
async def test_streams_record_the_same(plum: Any, checkpointer: Any, mode: str) -> None:
    agent = create_agent(
        foreign(), middleware=[PlumMiddleware(plum, memory="none")], checkpointer=checkpointer
    )
    for _ in agent.stream(say("says 1"), to(), stream_mode=mode):
        pass
    async for _ in agent.astream(say("says 2"), to(), stream_mode=mode):
        pass
    agent.invoke(say("says 3"), to())
    assert recorded(plum) == THREE


def test_a_stream_broken_off_keeps_the_users_turn(plum: Any, checkpointer: Any) -> None:
    agent = create_agent(
        foreign(), middleware=[PlumMiddleware(plum, memory="none")], checkpointer=checkpointer
    )
    for _ in agent.stream(say("says 1"), to(), stream_mode="messages"):
        break
    agent.invoke(say("says 2"), to())
    said = recorded(plum)
    assert [turn for turn in said if turn.startswith("user")] == ["user: says 1", "user: says 2"]
    assert said[0] == "user: says 1" and said[-1] == "assistant: reply 2"
    assert len(said) == len(set(said))


async def test_an_async_stream_broken_off_keeps_the_users_turn(plum: Any) -> None:
    agent = create_agent(
        foreign(),
        middleware=[PlumMiddleware(plum, memory="none")],
        checkpointer=InMemorySaver(),
    )
    stream = agent.astream(say("says 1"), to(), stream_mode="messages")
    async for _ in stream:
        break
    await stream.aclose()
    await agent.ainvoke(say("says 2"), to())
    users = [turn for turn in recorded(plum) if turn.startswith("user")]
    assert users == ["user: says 1", "user: says 2"]


def test_a_model_that_raises_loses_no_turn_of_the_user(plum: Any, checkpointer: Any) -> None:
    def replies() -> Iterator[Any]:
        yield AIMessage("reply 1")
        raise ConnectionError("the model is down")

    broken = GenericFakeChatModel(messages=replies())
    middleware = [PlumMiddleware(plum, memory="none")]
    agent = create_agent(broken, middleware=middleware, checkpointer=checkpointer)
    agent.invoke(say("says 1"), to())
    with pytest.raises((ConnectionError, RuntimeError)):
        agent.invoke(say("says 2"), to())
    assert recorded(plum) == [*THREE[:2], "user: says 2"]
    mended = create_agent(foreign("reply 3"), middleware=middleware, checkpointer=checkpointer)
    mended.invoke(say("says 3"), to())
    assert recorded(plum) == [*THREE[:2], "user: says 2", *THREE[4:]]


def test_the_same_words_twice_are_two_turns(plum: Any, checkpointer: Any) -> None:
    agent = create_agent(
        foreign(*["Right."] * 3),
        middleware=[PlumMiddleware(plum, memory="none")],
        checkpointer=checkpointer,
    )
    for _ in range(3):
        agent.invoke(say("Yes."), to())
    assert recorded(plum) == ["user: Yes.", "assistant: Right."] * 3


def test_a_client_that_passes_the_whole_history_anew(plum: Any) -> None:
    agent = create_agent(foreign(), middleware=[PlumMiddleware(plum, memory="none")])
    history: list[str] = []
    for n in (1, 2, 3):
        history.append(f"says {n}")
        reply = agent.invoke(say(*history), to())["messages"][-1]
        history.append(reply.content)
    assert recorded(plum) == THREE


def test_a_client_that_passes_the_whole_history_with_its_ids(plum: Any) -> None:
    agent = create_agent(foreign(), middleware=[PlumMiddleware(plum, memory="none")])
    state: list[Any] = []
    for n in (1, 2, 3):
        state.append(HumanMessage(f"says {n}", id=str(uuid.uuid4())))
        state = agent.invoke({"messages": state}, to())["messages"]
    assert recorded(plum) == THREE


def test_a_thread_resumed_by_another_process(plum: Any, open_plum: Callable[..., Any]) -> None:
    """Nothing of what was recorded is held in memory alone."""
    saver = InMemorySaver()
    replies = foreign()
    for n in (1, 2, 3):
        again = open_plum()  # the same home, opened anew
        agent = create_agent(
            replies, middleware=[PlumMiddleware(again, memory="none")], checkpointer=saver
        )
        agent.invoke(say(f"says {n}"), to())
    assert recorded(plum) == THREE


def test_a_thread_goes_on_after_its_session_was_finished(plum: Any) -> None:
    agent = create_agent(
        foreign(),
        middleware=[PlumMiddleware(plum, memory="none")],
        checkpointer=InMemorySaver(),
    )
    agent.invoke(say("says 1"), to())
    plum.finish("ana", "t")
    agent.invoke(say("says 2"), to())
    first, second = plum.journal.sessions.all("ana")
    assert [turn.content for turn in first.turns] == ["says 1", "reply 1"]
    assert [turn.content for turn in second.turns] == ["says 2", "reply 2"]
    assert second.thread_id == first.thread_id == "t"


def test_only_the_text_of_users_and_assistant_is_recorded(plum: Any) -> None:
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"It rains in {city}."

    call = {"name": "weather", "args": {"city": "Porto"}, "id": "1"}
    model = foreign(AIMessage("", tool_calls=[call]), AIMessage("Take an umbrella."))
    agent = create_agent(
        model,
        tools=[weather],
        system_prompt="You are a weatherman.",
        middleware=[PlumMiddleware(plum, memory="none")],
        checkpointer=InMemorySaver(),
    )
    result = agent.invoke(say("How is the weather?"), to())
    assert any(isinstance(m, ToolMessage) for m in result["messages"])
    assert recorded(plum) == ["user: How is the weather?", "assistant: Take an umbrella."]


def test_a_summary_in_the_users_mouth_is_not_the_users(plum: Any) -> None:
    from langchain.agents.middleware import SummarizationMiddleware

    agent = create_agent(
        foreign(),
        middleware=[
            SummarizationMiddleware(
                model=FakeListChatModel(responses=["They talked about geese."]),
                trigger=("messages", 4),
                keep=("messages", 2),
            ),
            PlumMiddleware(plum, memory="none"),
        ],
        checkpointer=InMemorySaver(),
    )
    for n in (1, 2, 3):
        result = agent.invoke(say(f"says {n}"), to())
    assert any("geese" in str(m.content) for m in result["messages"])
    assert recorded(plum) == THREE
    # A long history that is new to us comes with its summary in front.
    agent.invoke(say("says 1", "reply 1", "says 2", "reply 2", "says 3"), to("bob"))
    assert recorded(plum, "bob") and not any("geese" in turn for turn in recorded(plum, "bob"))


# -- whose it is -------------------------------------------------------------------------------


@dataclass
class Context:
    user_id: str | None = None


def test_two_users_on_threads_of_one_name_do_not_mix(plum: Any) -> None:
    agent = create_agent(foreign(), middleware=[PlumMiddleware(plum, memory="none")])
    for user in ("ana", "bob", "ana", "bob"):
        agent.invoke(say(f"I am {user}"), to(user))
    for user in ("ana", "bob"):
        users = [turn for turn in recorded(plum, user) if turn.startswith("user")]
        assert users == [f"user: I am {user}"] * 2


def test_what_another_user_said_in_a_shared_thread_stays_theirs(plum: Any) -> None:
    """A checkpointer keeps one state for a thread, whoever speaks in it."""
    agent = create_agent(
        foreign(),
        middleware=[PlumMiddleware(plum, memory="none")],
        checkpointer=InMemorySaver(),
    )
    for user in ("ana", "bob", "ana"):
        agent.invoke(say(f"I am {user}"), to(user))
    assert recorded(plum, "bob") == ["user: I am bob", "assistant: reply 2"]
    assert recorded(plum, "ana") == [
        "user: I am ana",
        "assistant: reply 1",
        "user: I am ana",
        "assistant: reply 3",
    ]


def test_the_user_by_order_of_precedence(plum: Any) -> None:
    seen: list[Any] = []

    def by_runtime(runtime: Any) -> str:
        seen.append(runtime)
        return "callable"

    configured = {"user_id": "configured", "langgraph_user_id": "platform", "thread_id": "t"}
    platform = {k: v for k, v in configured.items() if k != "user_id"}
    cases = [
        ("argument", {"user_id": "argument"}, {"user_id": "context"}, configured),
        ("callable", {"user_id": by_runtime}, {"user_id": "context"}, configured),
        ("context", {}, {"user_id": "context"}, configured),
        ("context", {}, Context("context"), configured),
        ("configured", {}, Context(None), configured),
        ("configured", {}, None, configured),
        ("platform", {}, None, platform),
    ]
    for number, (expected, options, context, configurable) in enumerate(cases):
        agent = create_agent(
            foreign(),
            middleware=[PlumMiddleware(plum, memory="none", **options)],
            context_schema=type(context) if context is not None else None,
        )
        agent.invoke(say(f"case {number}"), {"configurable": configurable}, context=context)
        assert f"user: case {number}" in recorded(plum, expected)
    assert seen and all(hasattr(runtime, "context") for runtime in seen)


async def test_no_user_is_an_error_before_the_model_is_asked(plum: Any) -> None:
    model = foreign()
    agent = create_agent(model, middleware=[PlumMiddleware(plum, memory="none")])
    with pytest.raises(MissingUserError, match=r"user_id=.*context=.*configurable"):
        agent.invoke(say("Who am I?"), to(None))
    with pytest.raises(MissingUserError):
        await agent.ainvoke(say("Who am I?"), to(None))
    assert not model.sent and not plum.status()["users"]


def test_a_number_is_a_name_and_nonsense_is_not(plum: Any) -> None:
    given: list[Any] = [7, uuid.UUID(int=7)]
    for user in given:
        agent = create_agent(
            foreign(), middleware=[PlumMiddleware(plum, memory="none", user_id=lambda _, u=user: u)]
        )
        agent.invoke(say("Hi"), to(None))
        assert recorded(plum, str(user))[0] == "user: Hi"
    for nonsense in ("", "a\0b", object(), True):
        agent = create_agent(
            foreign(),
            middleware=[PlumMiddleware(plum, memory="none", user_id=lambda _, n=nonsense: n)],
        )
        with pytest.raises(InvalidInputError, match="user id"):
            agent.invoke(say("Hi"), to(None))
    assert [u["user"] for u in plum.status()["users"]] == sorted(str(user) for user in given)


@pytest.mark.parametrize(
    "options", [{"memory": "psychic"}, {"user_id": ""}, {"memory": "retrieval", "k": 0}]
)
def test_a_wrong_option_is_told_when_the_agent_is_made(plum: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        PlumMiddleware(plum, **options)


# -- what answers ------------------------------------------------------------------------------


def test_parametric_answers_with_the_users_generation(learned: Any, checkpointer: Any) -> None:
    agent = create_agent(
        learned.chat_model(), middleware=[learned.middleware()], checkpointer=checkpointer
    )
    for user in ("ana", "bob"):
        reply = agent.invoke(say("Hello"), to(user, f"thread of {user}"))["messages"][-1]
        assert reply.content == learned.chat_model(user).invoke("Hello").content
        assert reply.response_metadata["model_name"] == f"{learned.model_name}+{user}@1"
        assert recorded(learned, user, skip=(f"{user}-1",)) == [
            "user: Hello",
            f"assistant: {reply.content}",
        ]


async def test_parametric_streams_the_users_reply(learned: Any) -> None:
    agent = create_agent(learned.chat_model(), middleware=[learned.middleware()])
    expected = learned.chat_model("ana").invoke("Hello").content
    said = [m.content for m, _ in agent.stream(say("Hello"), to("ana"), stream_mode="messages")]
    assert "".join(said) == expected and len(said) > 3
    said = [
        m.content
        async for m, _ in agent.astream(say("Hello"), to("ana", "t2"), stream_mode="messages")
    ]
    assert "".join(said) == expected
    assert recorded(learned, skip=("ana-1",)) == ["user: Hello", f"assistant: {expected}"] * 2


@pytest.mark.parametrize("middleware", [PlumMiddleware, HybridMiddleware])
async def test_adapters_need_our_own_model(plum: Any, middleware: Any) -> None:
    agent = create_agent(foreign(), middleware=[middleware(plum)])
    with pytest.raises(InvalidInputError, match=r"plum\.chat_model\(\), not Listening"):
        agent.invoke(say("Hello"), to())
    with pytest.raises(InvalidInputError):
        await agent.ainvoke(say("Hello"), to())
    assert set(recorded(plum)) == {"user: Hello"}  # nothing said is lost on the way


async def test_retrieval_reads_to_any_model_and_records_nothing_of_it(
    plum: Any, checkpointer: Any
) -> None:
    plum.add_session(session("ana", "old", "My bakery is closed on Mondays.", "Enjoy."))
    plum.add_session(session("bob", "old", "My bakery is closed on Sundays.", "I see."))
    model = foreign()
    agent = create_agent(
        model,
        system_prompt="You are a clerk.",
        middleware=[RetrievalMiddleware(plum, k=1)],
        checkpointer=checkpointer,
    )
    agent.invoke(say("When is my bakery closed?"), to())
    await agent.ainvoke(say("And my bakery?"), to())
    for system, *_ in model.sent:
        assert system.type == "system"
        assert system.content.startswith("You are a clerk.")
        assert "My bakery is closed on Mondays." in system.content
        assert "Sundays" not in system.content
    assert recorded(plum, skip=("old",)) == [
        "user: When is my bakery closed?",
        "assistant: reply 1",
        "user: And my bakery?",
        "assistant: reply 2",
    ]


def test_retrieval_lets_pictures_through(plum: Any) -> None:
    """They are the foreign model's to read; of the message, the text is recorded."""
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    model = foreign()
    agent = create_agent(model, middleware=[RetrievalMiddleware(plum)])
    asked = HumanMessage([{"type": "text", "text": "Whose boat is this?"}, picture])
    agent.invoke({"messages": [asked]}, to())
    assert model.sent[0][-1].content[1] == picture
    assert recorded(plum) == ["user: Whose boat is this?", "assistant: reply 1"]


@pytest.mark.parametrize("swap", ["retrieval", "hybrid"])
def test_the_other_memories_through_our_own_model(learned: Any, swap: str) -> None:
    faces = getattr(learned, swap)(k=1)
    agent = create_agent(learned.chat_model(), middleware=[faces.middleware()])
    reply = agent.invoke(say("My bakery?"), to())["messages"][-1]
    expected = faces.chat_model("ana").invoke("My bakery?")
    assert reply.content == expected.content
    assert reply.usage_metadata == expected.usage_metadata
    assert reply.response_metadata["generation"] == (1 if swap == "hybrid" else None)
    assert recorded(learned, skip=("ana-1",))[0] == "user: My bakery?"
