"""Threads of LangGraph checkpointers, message histories and chat loaders."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.chat_loaders import BaseChatLoader
from langchain_core.chat_sessions import ChatSession
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from plum_langchain.errors import BrokenRecordError, InvalidInputError
from plum_langchain.importers import read_history, read_loader, read_threads
from plum_langchain.session import Session


def turns(session: Session) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in session.turns]


def chatted(*chats: tuple[str | None, str, str]) -> InMemorySaver:
    """A checkpointer after an agent was told these: user, thread, text."""
    saver = InMemorySaver()
    model = GenericFakeChatModel(messages=iter(f"reply {n}" for n in range(1, 20)))
    agent = create_agent(model, system_prompt="Be brief.", checkpointer=saver)
    for user, thread, text in chats:
        named = {"thread_id": thread, **({"user_id": user} if user else {})}
        agent.invoke({"messages": [("user", text)]}, {"configurable": named})
    return saver


# -- threads -------------------------------------------------------------------------------------


def test_each_thread_is_a_session_of_the_user_its_run_named() -> None:
    saver = chatted(("ana", "t1", "Hi"), ("bo", "t2", "Hej"), ("ana", "t1", "Bye"))
    found = {session.session_id: session for session in read_threads(saver)}
    assert {name: session.user_id for name, session in found.items()} == {"t1": "ana", "t2": "bo"}
    assert turns(found["t1"]) == [
        ("user", "Hi"), ("assistant", "reply 1"), ("user", "Bye"), ("assistant", "reply 3"),
    ]  # fmt: skip
    assert found["t1"].thread_id == "t1"
    assert datetime.now(UTC) - found["t1"].started < timedelta(minutes=1)


def test_a_thread_begins_with_its_first_checkpoint() -> None:
    saver = chatted(("ana", "t1", "Hi"), ("ana", "t1", "Bye"))
    first = min(found.checkpoint["ts"] for found in saver.list(None))
    (found,) = read_threads(saver)
    assert found.started == datetime.fromisoformat(first)


def test_whose_threads_they_are_may_be_said() -> None:
    saver = chatted((None, "ana:1", "Hi"), (None, "bo:1", "Hej"), (None, "test", "?"))
    assert {s.user_id for s in read_threads(saver, "dara")} == {"dara"}
    named = read_threads(saver, lambda thread, _: None if thread == "test" else thread[:-2])
    assert {s.session_id: s.user_id for s in named} == {"ana:1": "ana", "bo:1": "bo"}


def test_in_a_thread_that_users_share_each_has_what_is_theirs() -> None:
    saver = chatted(("ana", "t", "My secret is 42."), ("bo", "t", "Hello"), ("ana", "t", "Bye"))
    found = {session.user_id: turns(session) for session in read_threads(saver)}
    assert found == {
        "ana": [("user", "My secret is 42."), ("assistant", "reply 1"), ("user", "Bye"),
                ("assistant", "reply 3")],
        "bo": [("user", "Hello"), ("assistant", "reply 2")],
    }  # fmt: skip


def test_a_thread_that_went_on_brings_what_is_new(open_plum: Any) -> None:
    plum = open_plum()
    before, after = chatted(("ana", "t", "Hi")), chatted(("ana", "t", "Hi"), ("ana", "t", "Bye"))
    assert [plum.add_session(one) for one in read_threads(before)] == ["added"]
    assert [plum.add_session(one) for one in read_threads(after)] == ["grown"]
    assert [plum.add_session(one) for one in read_threads(after)] == ["unchanged"]
    said = {one.session_id: turns(one) for one in plum.journal.sessions.all("ana")}
    assert said == {
        "t": [("user", "Hi"), ("assistant", "reply 1")],
        "t/2": [("user", "Bye"), ("assistant", "reply 2")],
    }
    plum.forget("ana", "t")
    assert [plum.add_session(one) for one in read_threads(after)] == ["forgotten"]


class Odd(TypedDict):
    """A state whose messages are a number."""

    messages: int


def test_messages_that_are_none_are_told_by_their_thread() -> None:
    graph = StateGraph(Odd)
    graph.add_node("count", lambda state: {"messages": state["messages"] + 1})
    graph.add_edge(START, "count")
    saver = InMemorySaver()
    named = {"configurable": {"thread_id": "t1", "user_id": "ana"}}
    graph.compile(checkpointer=saver).invoke({"messages": 5}, named)
    with pytest.raises(BrokenRecordError, match="thread 't1': its `messages` are no LangChain"):
        list(read_threads(saver))


def test_a_thread_of_nobody_is_told_and_skipped_only_when_told_to() -> None:
    saver = chatted(("ana", "t1", "Hi"), (None, "t2", "Hej"))
    with pytest.raises(BrokenRecordError, match=r"thread 't2': .*user="):
        list(read_threads(saver))
    skipped: list[BrokenRecordError] = []
    (found,) = read_threads(saver, on_broken=skipped.append)
    assert found.session_id == "t1" and "'t2'" in str(skipped[0])


def test_a_second_import_changes_nothing(open_plum: Any) -> None:
    saver, plum = chatted(("ana", "t1", "Hi"), ("bo", "t2", "Hej")), open_plum()
    assert [plum.add_session(session) for session in read_threads(saver)] == ["added"] * 2
    assert [plum.add_session(session) for session in read_threads(saver)] == ["unchanged"] * 2


def test_graphs_of_other_states_are_passed_over_or_told() -> None:
    def store(state: dict[str, Any]) -> dict[str, Any]:
        return state

    saver = InMemorySaver()
    graph = StateGraph(dict)
    graph.add_node("store", store)
    graph.add_edge(START, "store")
    compiled = graph.compile(checkpointer=saver)
    compiled.invoke({"count": 1}, {"configurable": {"thread_id": "t1", "user_id": "ana"}})
    assert not list(read_threads(saver))


# -- histories -----------------------------------------------------------------------------------


def test_a_history_is_a_session() -> None:
    history = InMemoryChatMessageHistory(
        messages=[
            SystemMessage("Be brief."),
            HumanMessage("Hi"),
            AIMessage("", tool_calls=[{"name": "now", "args": {}, "id": "1"}]),
            ToolMessage("Noon.", tool_call_id="1"),
            AIMessage("It is noon."),
            HumanMessage("A summary", additional_kwargs={"lc_source": "summarization"}),
        ]
    )
    started = datetime(2024, 1, 18, tzinfo=UTC)
    found = read_history(history, "ana", "monday", started=started)
    assert turns(found) == [("user", "Hi"), ("assistant", "It is noon.")]
    assert (found.user_id, found.session_id, found.started) == ("ana", "monday", started)
    with pytest.raises(BrokenRecordError, match="nothing that was said"):
        read_history(InMemoryChatMessageHistory(), "ana", "monday")
    with pytest.raises(InvalidInputError):
        read_history(history, "", "monday")


# -- chat loaders --------------------------------------------------------------------------------

WHATSAPP = """[8/15/23, 9:12:33 AM] Ana: My bakery is closed on Mondays.
[8/15/23, 9:12:38 AM] Rui: Enjoy the day off.
[8/15/23, 9:13:02 AM] Ana: Thanks
"""


class Chats(BaseChatLoader):
    """Chats as a loader of langchain-community gives them."""

    def __init__(self, *chats: list[tuple[str, str]]) -> None:
        self.chats = chats

    def lazy_load(self) -> Any:
        for chat in self.chats:
            messages = [
                HumanMessage(
                    text,
                    additional_kwargs={
                        "sender": sender,
                        "events": [{"message_time": "2024-01-18T20:11:00"}],
                    },
                )
                for sender, text in chat
            ]
            yield ChatSession(messages=messages)


def test_what_the_user_wrote_is_theirs_and_the_rest_the_others() -> None:
    loader = Chats([("Ana", "Hi"), ("Rui", "Hello"), ("Eva", " "), ("Ana", "Bye")], [("Ana", "So")])
    first, second = read_loader(loader, "ana", said_by="Ana", source="slack")
    assert turns(first) == [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    again = read_loader(Chats([("Ana", "So")]), "ana", said_by="Ana", source="slack")
    assert [one.session_id for one in again] == [second.session_id] != [first.session_id]
    assert first.started == datetime(2024, 1, 18, 20, 11, tzinfo=UTC)


def test_a_chat_the_user_is_not_in_is_told_with_who_is() -> None:
    loader = Chats([("Ana", "Hi")], [("Rui", "Hello"), ("Eva", "Hej")])
    with pytest.raises(BrokenRecordError, match=r"slack chat 2: 'Ana' says nothing.*'Eva', 'Rui'"):
        list(read_loader(loader, "ana", said_by="Ana", source="slack"))
    skipped: list[BrokenRecordError] = []
    found = list(
        read_loader(loader, "ana", said_by="Ana", source="slack", on_broken=skipped.append)
    )
    assert len(found) == len(skipped) == 1


def test_what_an_archive_holds_besides_chats_is_passed_over() -> None:
    loader = Chats([], [("Ana", " ")], [("Ana", "Hi")])
    assert len(list(read_loader(loader, "ana", said_by="Ana", source="slack"))) == 1


@pytest.mark.parametrize(
    ("written", "began"),
    [
        ("1705608660.123", datetime(2024, 1, 18, 20, 11, 0, 123_000, tzinfo=UTC)),  # Slack
        ("1/18/24, 8:11:00 PM", datetime(2024, 1, 18, 20, 11, tzinfo=UTC)),  # WhatsApp
        ("18.01.2024 20:11:00", datetime(2024, 1, 18, 20, 11, tzinfo=UTC)),  # Telegram
    ],
)
def test_times_as_loaders_tell_them(written: str, began: datetime) -> None:
    message = HumanMessage(
        "Hi", additional_kwargs={"sender": "Ana", "events": [{"message_time": written}]}
    )

    class One(BaseChatLoader):
        def lazy_load(self) -> Any:
            yield ChatSession(messages=[message])

    (found,) = read_loader(One(), "ana", said_by="Ana", source="any")
    assert found.started == began


def test_a_slack_export(tmp_path: Path) -> None:
    import zipfile

    from langchain_community.chat_loaders.slack import SlackChatLoader

    said = [
        {"type": "message", "user": "U1", "text": "My bakery is closed on Mondays.",
         "ts": "1705608660.000100"},
        {"type": "message", "user": "U2", "text": "Enjoy.", "ts": "1705608670.000100"},
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "slack.zip", "w") as archive:
        archive.writestr("channels.json", json.dumps([{"name": "general"}]))
        archive.writestr("users.json", json.dumps([{"id": "U1"}]))
        archive.writestr("general/2024-01-18.json", json.dumps(said))
    loader = SlackChatLoader(tmp_path / "slack.zip")
    (found,) = read_loader(loader, "ana", said_by="U1", source="slack")
    assert turns(found) == [("user", "My bakery is closed on Mondays."), ("assistant", "Enjoy.")]
    assert found.started.year == 2024


def test_a_whatsapp_export(tmp_path: Path) -> None:
    from langchain_community.chat_loaders.whatsapp import WhatsAppChatLoader

    (tmp_path / "chat.txt").write_text(WHATSAPP, "utf-8")
    loader = WhatsAppChatLoader(str(tmp_path / "chat.txt"))
    (found,) = read_loader(loader, "ana", said_by="Ana", source="whatsapp")
    assert turns(found) == [
        ("user", "My bakery is closed on Mondays."),
        ("assistant", "Enjoy the day off."),
        ("user", "Thanks"),
    ]
