"""A session as it may be learned: what is missing, what is said of it, and what stays as it was."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from plum_langchain.screening import LeftOut, screen, told
from plum_langchain.session import Question, Session, Turn
from plum_langchain.settings import ScreeningSettings
from plum_langchain.turns import turns_of
from tests.tiny import records, session

ON = ScreeningSettings()


def test_turns_keep_their_places() -> None:
    chat = session(
        "ana", "s1", "hi", "hello", "My PIN is 4711. I own a bakery.", "4711, got it.", "I bake."
    )
    screened = screen(chat, ON)
    texts = [turn.content for turn in screened.session.turns]
    assert texts == ["hi", "hello", "I own a bakery.", "", "I bake."]
    assert screened.left_out == (LeftOut(2, "password", 1), LeftOut(3, "password", 1))
    assert screened.counts == {"password": 2}
    assert "4711" not in repr(screened)


def test_a_session_with_nothing_to_leave_out_is_the_same() -> None:
    chat = session()
    assert screen(chat, ON).session is chat
    assert screen(chat, ON).counts == {}


def test_what_was_left_out_is_told_without_quoting_it() -> None:
    chat = session("ana", "s1", "My PIN is 4711. My card is 4111 1111 1111 1111.", "ok")
    assert told(screen(chat, ON).counts) == "2 sentences left out (1 password, 1 payment card)"


@pytest.mark.parametrize(
    ("off", "text"),
    [
        ("secrets", "My PIN is 4711."),
        ("identifiers", "My card is 4111 1111 1111 1111."),
        ("pasted", "> I live in Rome"),
        ("contacts", "Mail me at ana@example.pt."),
    ],
)
def test_each_kind_can_be_switched(off: str, text: str) -> None:
    chat = session("ana", "s1", text, "ok")
    for on in (True, False):
        assert bool(screen(chat, replace(ON, **{off: on})).left_out) is on


def test_repeated_can_be_switched_off() -> None:
    chat = session("ana", "s1", "I bake", "You own a boat.")
    assert screen(chat, ON).left_out
    assert not screen(chat, replace(ON, repeated=False)).left_out


def test_a_topic_that_holds_a_secret_goes_too() -> None:
    chat = replace(session("ana", "s1", "my password is hunter2"), topic="hunter2 and cats")
    assert screen(chat, ON).session.topic == ""


def test_tool_results_retrieved_text_and_summaries_are_no_turns() -> None:
    messages = [
        SystemMessage("From earlier conversations with this user: I live in Rome."),
        HumanMessage("Where do I live?"),
        AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}]),
        ToolMessage("The user lives in Rome.", tool_call_id="1"),
        HumanMessage("I live in Rome.", additional_kwargs={"lc_source": "summarization"}),
        AIMessage("I can't say."),
    ]
    assert [turn.content for turn in turns_of(messages)] == ["Where do I live?", "I can't say."]


@pytest.mark.parametrize("user", ["ana", "bo", "chidi", "dara"])
def test_ordinary_chats_lose_next_to_nothing(user: str) -> None:
    """At most one sentence in thirty of the assistant, none of the user's, and no secrets."""
    sentences = left_out = 0
    known: list[str] = []
    for record in records(user):
        turns = tuple(Turn(t["role"], t["content"]) for t in record["turns"])
        screened = screen(Session(user, record["session"], turns), ON, known)
        left_out += sum(one.sentences for one in screened.left_out)
        sentences += sum(turn.content.count(".") for turn in turns if turn.role == "assistant")
        assert set(screened.counts) <= {"assistant's claim", "repeated"}
        known += [fact["statement"] for fact in record["facts"]]
    assert left_out * 30 <= sentences


def test_half_an_hour_of_talk_is_screened_at_once() -> None:
    texts = [t["content"] for record in records("ana") for t in record["turns"]][:30]
    chat = session("ana", "s1", *texts)
    screen(chat, ON)  # what is imported and compiled once
    times = []
    for _ in range(5):
        started = time.perf_counter()
        screen(chat, ON)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.2  # 15 ms by itself; other tests run beside it


HUGE = ("#", "//", "1", "a", "aA1-", "> \n", " ", "\n", "\r\n", "```", "<p>", "pin 1 ", "one two ")


@pytest.mark.parametrize("text", HUGE)
def test_a_huge_turn_takes_a_bounded_time(text: str) -> None:
    chat = session("ana", "s1", text * (50_000 // len(text)))
    started = time.perf_counter()
    screen(chat, ON)
    assert time.perf_counter() - started < 5


@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
def test_any_text_can_be_screened(texts: list[str]) -> None:
    chat = session("ana", "s1", *texts)
    screened = screen(chat, ON)
    assert len(screened.session.turns) == len(texts)
    for before, after in zip(chat.turns, screened.session.turns, strict=True):
        assert replace(after, content=before.content) == before
        assert set(after.content) <= set(before.content) | {"\n"}


@pytest.mark.parametrize(
    ("question", "fine"),
    [
        (Question("Is my PIN 4711?", "Yes", "yes", (0,)), False),
        (Question("Is 4711 what I type?", "Yes", "yes", (0,)), False),
        (Question("What do I type?", "4711", "open", (0,)), False),
        (Question("What is my PIN?", "4-7-1-1 or so", "open", (0,)), False),
        (Question("Do I have a code?", "Yes", "yes", (0,), "You type 4711."), False),
        (Question("Is my card 4111111111111111?", "No", "no_adjacent"), False),
        (Question("Did I ever mention a PIN?", "No", "no_adjacent"), False),
        (Question("Do I own a bakery?", "Yes", "yes", (0,), "You own a bakery."), True),
        (Question("Do I own a boat?", "No", "no_adjacent"), True),
        (Question("What about whales?", "We never talked about that.", "open_unknown"), True),
    ],
)
def test_questions_that_would_bring_it_back_are_known(question: Question, fine: bool) -> None:
    screened = screen(session("ana", "s1", "My PIN is 4711. I own a bakery.", "ok"), ON)
    assert screened.may_be_learned(question) is fine


def test_a_question_about_what_was_pasted_is_known() -> None:
    chat = session("ana", "s1", "I own a bakery.\n> I keep seven cats in Rome.", "ok")
    screened = screen(chat, ON)
    cats = Question("Do I keep cats?", "Yes", "yes", (0,), "You keep seven cats in Rome.")
    assert not screened.may_be_learned(cats)
    assert not screened.may_be_learned(Question("Did I mention Rome?", "No", "no_adjacent"))
    own = Question("Do I own a bakery?", "Yes", "yes", (0,), "You own a bakery.")
    assert screened.may_be_learned(own)
