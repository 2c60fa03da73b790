"""`merge`: a thread's messages are recorded once, however often and in whatever cut they come."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from plum_langchain.journal import Journal
from plum_langchain.journal.merging import unrecorded
from plum_langchain.session import Turn
from tests.unit_tests.journal.helpers import IDLE, texts, turns


def merge(journal: Journal, given: Sequence[Turn], user: str = "ana") -> int:
    return journal.sessions.merge(user, "t", given, idle_seconds=IDLE)


def all_texts(journal: Journal, user: str = "ana") -> list[str]:
    return [text for s in journal.sessions.all(user) for text in texts(s.turns)]


def forget(journal: Journal, session_id: str) -> None:
    with journal.jobs.claim("ana", "forget") as job:
        journal.forgettings.erase(job, [session_id])


def test_with_ids_every_message_is_saved_once(journal: Journal) -> None:
    thread = turns("a", "b", "c", "d", "e", ids=True)
    assert merge(journal, thread[:1]) == 1
    assert merge(journal, thread[:2]) == 1
    assert merge(journal, thread[:2]) == 0
    assert merge(journal, thread[1:4]) == 2  # a window of the thread
    assert merge(journal, thread[4:]) == 1  # only what is new
    assert merge(journal, thread) == 0
    assert all_texts(journal) == ["a", "b", "c", "d", "e"]


def test_equal_texts_with_ids_are_two_messages(journal: Journal) -> None:
    thread = [Turn("user", "ok", "m1"), Turn("assistant", "ok", "m2"), Turn("user", "ok", "m3")]
    for end in (1, 2, 3):
        assert merge(journal, thread[:end]) == 1
    assert all_texts(journal) == ["ok"] * 3


def test_one_message_twice_in_one_call_is_one(journal: Journal) -> None:
    message = turns("a", ids=True)
    assert merge(journal, message * 2) == 1


def test_what_stands_before_a_known_message_is_not_new(journal: Journal) -> None:
    thread = turns("a", "b", ids=True)
    merge(journal, thread)
    summary = Turn("user", "Summary: the user said a.", "another id")
    copy = Turn("user", "a", "made anew by a client that keeps no ids of what it sends")
    assert merge(journal, [summary, thread[1], Turn("user", "c", "m3")]) == 1
    assert merge(journal, [copy, thread[1], Turn("user", "c", "m3")]) == 0
    assert all_texts(journal) == ["a", "b", "c"]


@pytest.mark.parametrize("fresh_ids", [False, True])
def test_a_whole_history_passed_anew(journal: Journal, fresh_ids: bool) -> None:
    """A client without ids, or whose messages get new ones at every call."""
    history: list[str] = []
    for call, text in enumerate(["hi", "hello", "hi", "hello", "hi", "bye"]):
        history.append(text)
        given = [
            Turn(t.role, t.content, f"{call}-{i}" if fresh_ids else None)
            for i, t in enumerate(turns(*history))
        ]
        assert merge(journal, given) == 1
        assert merge(journal, given) == 0
    assert all_texts(journal) == history


def test_without_ids_a_window_overlaps_with_the_recorded_end(journal: Journal) -> None:
    thread = turns("a", "b", "c", "d", "e", "f")
    assert merge(journal, thread[:4]) == 4
    assert merge(journal, thread[2:]) == 2
    assert merge(journal, turns("new", "chat")) == 2
    assert all_texts(journal) == ["a", "b", "c", "d", "e", "f", "new", "chat"]


def test_half_characters_are_known_again(journal: Journal) -> None:
    thread = turns("cut \ud83d", "b")
    assert merge(journal, thread) == 2
    assert merge(journal, thread) == 0


def test_over_the_end_of_a_session(journal: Journal) -> None:
    thread = turns("a", "b", "c", "d", ids=True)
    merge(journal, thread[:2])
    journal.sessions.finish_thread("ana", "t")
    assert merge(journal, thread[:2]) == 0
    assert [s.session_id for s in journal.sessions.all("ana")] == ["t"]  # nothing new, none begun
    assert merge(journal, thread) == 2
    assert {s.session_id: texts(s.turns) for s in journal.sessions.all("ana")} == {
        "t": ["a", "b"],
        "t/2": ["c", "d"],
    }


def test_nothing_to_merge_begins_no_session(journal: Journal) -> None:
    assert merge(journal, []) == 0
    assert journal.sessions.all() == []


def test_ids_of_another_user_or_thread_hide_nothing(journal: Journal) -> None:
    """A client may number its messages: the same ids for everyone, with other texts."""
    assert merge(journal, turns("a", "b", ids=True), "ana") == 2
    numbered = [replace(turn, content=turn.content + "!") for turn in turns("a", "b", ids=True)]
    assert merge(journal, numbered, "bo") == 2
    same = turns("a", "b", ids=True)
    assert journal.sessions.merge("ana", "other", same, idle_seconds=IDLE) == 2


def test_what_a_shared_thread_holds_of_another_user_stays_theirs(journal: Journal) -> None:
    thread = turns("a", "b", ids=True)
    assert merge(journal, thread, "ana") == 2
    assert merge(journal, thread, "bo") == 0


def test_forgotten_messages_do_not_come_back(journal: Journal) -> None:
    """An agent's own checkpoint still holds the thread and passes it at its next message."""
    thread = turns("secret", "kept", "c", "d", "e", ids=True)
    merge(journal, thread[:2])
    journal.sessions.finish_thread("ana", "t")
    merge(journal, thread[:3])
    forget(journal, "t")
    assert merge(journal, thread[:4]) == 1
    forget(journal, "t/2")
    assert merge(journal, thread[:4]) == 0
    assert merge(journal, thread) == 1
    assert all_texts(journal) == ["e"]


def test_forgotten_messages_without_ids_do_not_come_back(journal: Journal) -> None:
    thread = turns("secret", "reply", "c", "d", "e", "f")
    merge(journal, thread[:2])
    journal.sessions.finish_thread("ana", "t")
    merge(journal, thread[:4])
    forget(journal, "t")
    assert merge(journal, thread[:5]) == 1
    assert all_texts(journal) == ["c", "d", "e"]
    assert merge(journal, thread[3:]) == 1


def test_a_new_chat_is_never_taken_for_a_forgotten_one(journal: Journal) -> None:
    merge(journal, turns("a", "b"))
    forget(journal, "t")
    assert merge(journal, turns("x", "y")) == 2
    assert all_texts(journal) == ["x", "y"]


def test_roles_tell_equal_texts_apart() -> None:
    assert unrecorded([Turn("assistant", "ok")], [Turn("user", "ok")]) == [Turn("user", "ok")]


def test_forgetting_hides_nobody_elses_numbered_messages(journal: Journal) -> None:
    numbered = [Turn("user", "mine", "1"), Turn("assistant", "yes", "2")]
    assert merge(journal, numbered, "ana") == 2
    forget(journal, "t")
    assert merge(journal, [Turn("user", "other", "1"), Turn("assistant", "no", "2")], "bo") == 2


def test_what_was_forgotten_is_not_taken_for_another_users(journal: Journal) -> None:
    thread = [Turn("user", "mine", "0b9a7c1e-7d0f-4d4e-9a55-3c1b2f7f2d10")]
    assert merge(journal, thread, "ana") == 1
    forget(journal, "t")
    assert merge(journal, thread, "bo") == 0


def test_a_message_with_an_id_in_a_history_where_others_have_none(journal: Journal) -> None:
    """As a loop that appends what a model returns to messages of its own."""
    history: list[Turn] = []
    for n in (1, 2, 3):
        history.append(Turn("user", f"q{n}"))
        assert merge(journal, history) == 1
        history.append(Turn("assistant", f"a{n}", f"run--{uuid4()}"))
        assert merge(journal, history) == 1
    assert all_texts(journal) == ["q1", "a1", "q2", "a2", "q3", "a3"]


def test_the_same_words_again_behind_a_known_message_are_new(journal: Journal) -> None:
    first, reply = Turn("user", "ok"), Turn("assistant", "so", f"run--{uuid4()}")
    assert merge(journal, [first, reply]) == 2
    assert merge(journal, [first, reply, first]) == 1
    assert merge(journal, [first, reply, first]) == 0
    assert merge(journal, [first, reply, first, first]) == 1


@pytest.mark.parametrize("fresh_ids", [False, True])
def test_a_reply_made_anew_and_a_message_in_other_words(journal: Journal, fresh_ids: bool) -> None:
    """Of a client that keeps nothing but the branch its user sees."""

    def merge_given(*said: str) -> int:
        ids = [str(uuid4()) if fresh_ids else None for _ in said]
        given = [replace(t, message_id=i) for t, i in zip(turns(*said), ids, strict=True)]
        return merge(journal, given)

    assert merge_given("q1", "a1", "q2", "a2") == 4
    assert merge_given("q1", "a1", "q2") == 0
    assert merge_given("q1", "a1", "q2", "a2 anew") == 1
    assert merge_given("q1", "a1", "q2", "a2 anew", "q3") == 1
    assert merge_given("q1", "a1", "q2", "a2 anew", "q3 in other words") == 1
    assert merge_given("q1", "a1", "q2", "a2 anew", "q3 in other words", "a3") == 1
    assert all_texts(journal) == [
        "q1", "a1", "q2", "a2", "a2 anew", "q3", "q3 in other words", "a3",
    ]  # fmt: skip


def test_an_edited_message_takes_the_place_of_what_it_was(journal: Journal) -> None:
    id_of_it, reply = str(uuid4()), Turn("assistant", "Noted.", str(uuid4()))
    said = Turn("user", "My bakery is closed on Mondays.", id_of_it)
    merge(journal, [said, reply])
    edited = replace(said, content="My bakery is closed on Tuesdays.")
    assert merge(journal, [edited]) == 0
    assert merge(journal, [edited, Turn("assistant", "Tuesdays, then.", str(uuid4()))]) == 1
    assert all_texts(journal) == [edited.content, "Noted.", "Tuesdays, then."]
    journal.sessions.finish_thread("ana", "t")
    again = replace(said, content="My bakery is closed on Fridays.")
    assert merge(journal, [again]) == 1  # what is over isn't rewritten
    assert merge(journal, [again]) == 0
    assert all_texts(journal)[-1] == again.content


def test_what_is_taken_out_of_a_reply_is_taken_out_here(journal: Journal) -> None:
    said = Turn("user", "How do I reach Bob?", str(uuid4()))
    reply = Turn("assistant", "Write to bob@example.com.", str(uuid4()))
    redacted = replace(reply, content="Write to [REDACTED].")
    merge(journal, [said, reply])
    assert merge(journal, [said, redacted]) == 0
    assert all_texts(journal) == [said.content, redacted.content]
    journal.sessions.finish_thread("ana", "t")
    assert merge(journal, [said, replace(reply, content="[BLOCKED]")]) == 0


def test_a_forgotten_message_stays_forgotten_when_it_is_edited(journal: Journal) -> None:
    said = [Turn("user", "secret", str(uuid4())), Turn("assistant", "kept", str(uuid4()))]
    merge(journal, said)
    forget(journal, "t")
    assert merge(journal, [replace(said[0], content="secret, in other words")]) == 0
    assert all_texts(journal) == []


def test_no_message_is_lost_to_the_number_of_another(journal: Journal) -> None:
    """A client that numbers its messages begins anew with every chat."""
    assert merge(journal, [Turn("user", "My oven is called Bertha.", "1")]) == 1
    reply = Turn("assistant", "Hello, Bertha.", "2")
    assert merge(journal, [Turn("user", "My oven is called Bertha.", "1"), reply]) == 1
    other = [Turn("user", "My dog is called Rex.", "1"), Turn("assistant", "Good dog.", "2")]
    assert merge(journal, other[:1]) == 1
    assert merge(journal, other) == 1
    forget(journal, "t")
    third = [Turn("user", "My cat is called Tom.", "1"), Turn("assistant", "Good cat.", "2")]
    assert merge(journal, third[:1]) == 1
    assert merge(journal, third) == 1
    assert all_texts(journal) == ["My cat is called Tom.", "Good cat."]


def test_a_number_is_anothers_where_replies_have_none(journal: Journal) -> None:
    merge(journal, [Turn("user", "My oven is called Bertha.", "1"), Turn("assistant", "Hello.")])
    forget(journal, "t")
    other = [Turn("user", "My dog is called Rex.", "1"), Turn("assistant", "Good dog.")]
    assert merge(journal, other) == 2


def test_an_exchange_that_is_said_again_is_new(journal: Journal) -> None:
    for said in ("I live in Oslo.", "I live in Bergen.", "I live in Oslo."):
        assert merge(journal, turns(said, "Noted.")) == 2


def test_numbered_chats_that_end_alike_are_two(journal: Journal) -> None:
    def numbered(*said: str) -> list[Turn]:
        return [replace(turn, message_id=str(n)) for n, turn in enumerate(turns(*said))]

    assert merge(journal, numbered("hi", "Hello", "I have a cat.", "Nice", "thanks", "Sure")) == 6
    assert merge(journal, numbered("hey", "Hi", "My dog is Rex.", "Nice", "thanks", "Sure")) == 6


def test_a_number_may_be_the_users_and_the_assistants(journal: Journal) -> None:
    assert merge(journal, [Turn("user", "a", "1"), Turn("assistant", "b", "1")]) == 2


def test_a_long_number_is_a_number(journal: Journal) -> None:
    assert merge(journal, [Turn("user", "My oven is called Bertha.", "user-message-0001")]) == 1
    assert merge(journal, [Turn("user", "My dog is called Rex.", "user-message-0001")]) == 1
    assert len(all_texts(journal)) == 2


def test_an_edit_after_a_silence_is_a_new_session(journal: Journal) -> None:
    said = Turn("user", "It is closed on Mondays.", str(uuid4()))
    long_ago = datetime.now(UTC) - timedelta(days=3)
    journal.sessions.merge("ana", "t", [said], idle_seconds=IDLE, now=long_ago)
    assert merge(journal, [replace(said, content="It is closed on Tuesdays.")]) == 1
    found = {one.session_id: texts(one.turns) for one in journal.sessions.all("ana")}
    assert found == {"t": ["It is closed on Mondays."], "t/2": ["It is closed on Tuesdays."]}


def test_what_was_taken_out_of_a_reply_is_not_put_back(journal: Journal) -> None:
    """By a client that kept the reply as it was streamed."""
    said = Turn("user", "How do I reach Bob?", str(uuid4()))
    raw = Turn("assistant", "Write to bob@example.com.", str(uuid4()))
    merge(journal, [said, raw])
    merge(journal, [said, replace(raw, content="Write to [REDACTED].")])
    assert merge(journal, [said, raw, Turn("user", "Thanks.", str(uuid4()))]) == 1
    assert all_texts(journal) == [said.content, "Write to [REDACTED].", "Thanks."]


def test_replies_with_ids_of_the_clients_own(journal: Journal) -> None:
    history: list[Turn] = []
    for n in (1, 2, 3):
        history.append(Turn("user", f"q{n}", str(uuid4())))
        assert merge(journal, history) == 1
        assert merge(journal, [*history, Turn("assistant", f"a{n}", str(uuid4()))]) == 1
        history.append(Turn("assistant", f"a{n}", str(uuid4())))
    assert all_texts(journal) == ["q1", "a1", "q2", "a2", "q3", "a3"]


def test_a_forgotten_reply_without_an_id_does_not_come_back(journal: Journal) -> None:
    thread = [Turn("user", "q1", str(uuid4())), Turn("assistant", "secret")]
    merge(journal, thread)
    forget(journal, "t")
    assert merge(journal, [*thread, Turn("user", "q2", str(uuid4()))]) == 1
    assert all_texts(journal) == ["q2"]


def test_a_message_that_was_never_answered_is_left_out_of_the_history(journal: Journal) -> None:
    first = [Turn("user", "q1"), Turn("assistant", "a1", f"run--{uuid4()}")]
    merge(journal, [*first, Turn("user", "q2")])
    assert merge(journal, [*first, Turn("user", "q3")]) == 1
    last = [Turn("user", "q3"), Turn("assistant", "a3", f"run--{uuid4()}")]
    assert merge(journal, [*first, *last]) == 1
    assert all_texts(journal) == ["q1", "a1", "q2", "q3", "a3"]


def test_a_redacted_reply_of_a_shared_thread_stays_its_users(journal: Journal) -> None:
    thread = [Turn("user", "q", str(uuid4())), Turn("assistant", "raw", str(uuid4()))]
    merge(journal, thread, "ana")
    redacted = [thread[0], replace(thread[1], content="[REDACTED]")]
    assert merge(journal, [*redacted, Turn("user", "hello", str(uuid4()))], "bo") == 1
    assert all_texts(journal, "bo") == ["hello"]
