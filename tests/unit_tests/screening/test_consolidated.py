"""What was left out of a session is told where it was learned, and nothing of it is anywhere."""

import json
import logging

import pytest

from plum_langchain import Plum
from plum_langchain.cli.reports import consolidated_record, show_consolidated
from tests.tiny import session

TEXTS = (
    "I own a bakery in Porto with two ovens. The wifi password is hunter2.",
    "hunter2, noted. Bake the rye loaf for 40 minutes on the lower deck.",
)


def test_the_result_the_log_and_the_cli_tell_what_was_left_out(
    plum: Plum, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    plum.add_session(session("ana", "s1", *TEXTS))
    with caplog.at_level(logging.DEBUG):
        done = plum.consolidate("ana", questions="statements")
    assert [(one.state, one.metrics["left_out"]) for one in done] == [("learned", {"password": 2})]
    assert "2 sentences left out (2 password)" in caplog.text
    show_consolidated(done)
    shown = capsys.readouterr().out
    assert "ana: 2 sentences left out (2 password)" in shown
    kept = plum.journal.generations.replay_questions("ana")
    assert kept and "bakery" in repr(kept)
    for text in (
        repr(kept),
        caplog.text,
        shown,
        json.dumps([consolidated_record(d) for d in done]),
    ):
        assert "hunter2" not in text
    for file in plum.home.adapters.rglob("*.json"):
        assert "hunter2" not in file.read_text("utf-8")


def test_nothing_is_told_where_nothing_was_left_out(
    plum: Plum, capsys: pytest.CaptureFixture[str]
) -> None:
    plum.add_session(session())
    show_consolidated(plum.consolidate("ana"))
    assert "left out" not in capsys.readouterr().out


def test_a_session_of_secrets_alone_fails_and_says_why(plum: Plum) -> None:
    plum.add_session(session("ana", "s1", "my password is hunter2"))
    (done,) = plum.consolidate("ana", questions="statements")
    assert done.state == "failed"
    assert "1 sentence left out (1 password)" in str(done.reason)
    assert "hunter2" not in str(done.reason)
