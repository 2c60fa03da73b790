"""`plum chat`: every message in the journal before its reply, and a session finished at the end."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import Plum, Session, Turn
from plum_langchain.errors import BusyError
from plum_langchain.models import Reply
from plum_langchain.session import SessionState
from tests.unit_tests.cli.conftest import Run, states


def sessions(home: Path, user: str = "ana") -> list[Session]:
    plum = Plum(home)
    try:
        return plum.journal.sessions.all(user)
    finally:
        plum.close()


def said(session: Session) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in session.turns]


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a function in the place of generation: from the messages to the pieces of the reply."""

    def use(reply: Callable[[list[dict[str, str]]], Iterator[str]]) -> None:
        def stream(
            _: Any, messages: list[dict[str, str]], *__: Any, **___: Any
        ) -> Iterator[str | Reply]:
            yield from reply(messages)
            yield Reply("", "stop", 1, 1)

        monkeypatch.setattr("plum_langchain.models.Engine.stream_chat", stream)

    return use


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *typed: str | type[BaseException]) -> None:
    """Has a person type these lines (or keys, as what they raise)."""
    lines = iter(typed)

    def type_in(prompt: str) -> str:
        assert prompt == "you: "
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("plum_langchain.cli.terminal.interactive", lambda: True)
    monkeypatch.setattr("builtins.input", type_in)


def test_piped_messages_are_answered_and_the_session_is_finished(run: Run, home: Path) -> None:
    result = run("chat", "--user", "ana", "--memory", "none", input="hello\n\n  \nand you?\n")
    assert result.exit_code == 0
    (session,) = sessions(home)
    assert session.state == SessionState.FINISHED
    assert [turn.role for turn in session.turns] == ["user", "assistant"] * 2
    assert [t.content for t in session.turns if t.role == "user"] == ["hello", "and you?"]
    printed = "".join(t.content + "\n" for t in session.turns if t.role == "assistant")
    assert result.stdout.replace("\ufffd", "") == "".join(
        c for c in printed if c == "\n" or (c.isprintable() and c != "\ufffd")
    )
    assert result.stderr == (
        f"Session {session.session_id!r} is finished; `plum consolidate --user 'ana'` learns it.\n"
    )


def test_the_learned_user_is_answered_by_their_weights(
    run: Run, learned: Path, replies: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def stream(_: Any, messages: Any, adapter: Any, *__: Any, **___: Any) -> Iterator[str | Reply]:
        asked.append(adapter and adapter.generation)
        yield Reply("", "stop", 1, 0)

    monkeypatch.setattr("plum_langchain.models.Engine.stream_chat", stream)
    for said in ("Hello there", "Where is my dog?"):  # the base model is for the first
        result = run("chat", "--user", "ana", "--session", said, input=f"{said}\n")
    assert asked == [None, 2] and "Nothing has been learned" not in result.stderr
    new = run("chat", "--user", "bo", "--memory", "hybrid", input="")
    assert "Nothing has been learned of user 'bo'" in new.stderr
    assert "Nothing was said; no session was begun." in new.stderr
    assert sessions(learned, "bo") == []


def test_a_message_is_in_the_journal_before_its_reply(
    run: Run, home: Path, replies: Callable[..., None]
) -> None:
    seen = []

    def reply(messages: list[dict[str, str]]) -> Iterator[str]:
        seen.append([said(s) for s in sessions(home)])
        yield "so "
        yield "it is"

    replies(reply)
    run("chat", "--user", "ana", "--memory", "none", input="one\ntwo\n/quit\nthree\n")
    first = [("user", "one")]
    second = [*first, ("assistant", "so it is"), ("user", "two")]
    assert seen == [[first], [second]]
    assert said(sessions(home)[0]) == [*second, ("assistant", "so it is")]


def test_an_open_session_is_gone_on_with(
    run: Run, home: Path, replies: Callable[..., None]
) -> None:
    plum = Plum(home)
    turns = [Turn("user", "I bake."), Turn("assistant", "Nice.")]
    # Begun by a chatbot, in a thread of another name.
    plum.journal.sessions.append("ana", "thread", turns, idle_seconds=60, session_id="s1")
    plum.close()
    read = []

    def reply(messages: list[dict[str, str]]) -> Iterator[str]:
        read.append([m["content"] for m in messages])
        yield "Yes."

    replies(reply)
    run("chat", "--user", "ana", "--session", "s1", "--memory", "none", input="bread?\ncakes?\n")
    assert read[1] == ["I bake.", "Nice.", "bread?", "Yes.", "cakes?"]
    (session,) = sessions(home)
    assert (session.session_id, session.state) == ("s1", SessionState.FINISHED)
    assert len(session.turns) == 6
    again = run("chat", "--user", "ana", "--session", "s1", input="pies?\n")
    assert again.exit_code == 65 and "is finished and takes no more turns" in again.stderr
    assert len(sessions(home)[0].turns) == 6


def test_a_chat_that_was_silent_for_long_goes_on_in_a_new_session(
    run: Run, home: Path, replies: Callable[..., None]
) -> None:
    def reply(messages: list[dict[str, str]]) -> Iterator[str]:
        if messages[-1]["content"] == "one":  # meanwhile, a consolidation elsewhere
            plum = Plum(home)
            plum.journal.sessions.finish_idle(0)
            plum.close()
        yield "ok"

    replies(reply)
    result = run("chat", "--user", "ana", "--session", "s", "--memory", "none", input="one\ntwo\n")
    assert result.exit_code == 0
    assert states(run) == {"s": "finished", "s/2": "finished"}
    words = [turn.content for session in sessions(home) for turn in session.turns]
    assert words == ["one", "ok", "two", "ok"]


def test_a_chat_that_outgrew_the_window_loses_its_beginning_not_its_answer(
    run: Run, home: Path
) -> None:
    plum = Plum(home)
    turns = [Turn("user", "word " * 2000), Turn("assistant", "Fine.")]
    plum.journal.sessions.append("ana", "s", turns, idle_seconds=60)
    plum.close()
    result = run("chat", "--user", "ana", "--session", "s", "--memory", "none", input="hello\n")
    assert "The first 2 messages no longer fit" in result.stderr
    assert [turn.role for turn in sessions(home)[0].turns] == ["user", "assistant"] * 2
    too_long = run("chat", "--user", "bo", "--memory", "none", input="word " * 2000)
    assert too_long.exit_code == 2 and "reads at most 2048" in too_long.stderr
    assert len(sessions(home, "bo")[0].turns) == 1  # nothing that was said is lost


def test_an_unknown_model_is_told_before_anything_is_said(run: Run, home: Path) -> None:
    result = run("chat", "--user", "ana", input="hello\n", model="no-such-model")
    assert result.exit_code == 69 and "no-such-model" in result.stderr
    assert sessions(home) == []


def test_bytes_that_are_no_text_do_not_end_a_piped_chat(run: Run, home: Path) -> None:
    result = run(
        "chat",
        "--user",
        "ana",
        "--memory",
        "none",
        input="caf\ud800é\n/quit\n".encode("utf-8", "replace"),
    )
    assert result.exit_code == 0
    assert sessions(home)[0].turns[0].content == "caf?é"


def test_ctrl_c_stops_the_reply_and_keeps_the_chat(
    run: Run, home: Path, replies: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    def reply(messages: list[dict[str, str]]) -> Iterator[str]:
        try:
            yield "As I was "
            signal.raise_signal(signal.SIGINT)
            yield "saying, "
            yield "never mind"
        finally:
            closed.append(len(messages))

    replies(reply)
    at_a_terminal(monkeypatch, "one", KeyboardInterrupt, "two", EOFError)
    result = run("chat", "--user", "ana", "--memory", "none")
    assert result.exit_code == 0
    assert "plum: As I was saying, \n" in result.stdout
    assert "/quit or Ctrl-D ends the chat" in result.stderr  # said for Ctrl-C at the prompt
    assert closed == [1, 3]
    (session,) = sessions(home)
    assert said(session) == [
        ("user", "one"),
        ("assistant", "As I was saying, "),
        ("user", "two"),
        ("assistant", "As I was saying, "),
    ]
    assert session.state == SessionState.FINISHED


def test_ctrl_c_stops_the_model_itself(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plum_langchain.models import Engine

    stream_chat = Engine.stream_chat
    whole = run("chat", "--user", "ana", "--memory", "none", input="hello\n").stdout

    def interrupted(*arguments: Any, **options: Any) -> Iterator[str | Reply]:
        for piece in stream_chat(*arguments, **options):
            signal.raise_signal(signal.SIGINT)
            yield piece

    monkeypatch.setattr("plum_langchain.models.Engine.stream_chat", interrupted)
    result = run("chat", "--user", "ana", "--memory", "none", input="hello\n/quit\n")
    assert result.exit_code == 0
    assert 1 < len(result.stdout) < len(whole) / 4
    assert whole.startswith(result.stdout.strip())
    assert not any(thread.name == "plum-stream" for thread in threading.enumerate())


def test_ctrl_c_twice_does_not_wait_for_the_next_word(
    run: Run, home: Path, replies: Callable[..., None]
) -> None:
    def reply(messages: list[dict[str, str]]) -> Iterator[str]:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        yield "too late"

    replies(reply)
    result = run("chat", "--user", "ana", "--memory", "none", input="one\n")
    assert (result.exit_code, result.stdout) == (0, "\n")
    assert said(sessions(home)[0]) == [("user", "one")]


def test_an_error_ends_a_piped_chat_but_not_a_person_s(
    run: Run, home: Path, replies: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(messages: list[dict[str, str]]) -> Iterator[str]:
        if messages[-1]["content"] == "fail":
            raise BusyError("it is busy")
        yield "ok"

    replies(reply)
    piped = run("chat", "--user", "ana", "--session", "s", "--memory", "none", input="fail\nhi\n")
    assert piped.exit_code == 75 and piped.stderr == "Error: it is busy\n"
    assert states(run) == {"s": "open"}  # it can be gone on with
    at_a_terminal(monkeypatch, "fail", "hi", "/quit")
    typed = run("chat", "--user", "ana", "--session", "s", "--memory", "none")
    assert typed.exit_code == 0 and "Error: it is busy" in typed.stderr
    words = [turn.content for turn in sessions(home)[0].turns]
    assert words == ["fail", "fail", "hi", "ok"]
    assert json.loads(run("sessions", "--json").stdout)["sessions"][0]["state"] == "finished"
