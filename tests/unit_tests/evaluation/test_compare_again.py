"""A comparison in a home that has learned before: what is there isn't learned again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from plum_langchain.errors import InvalidInputError
from plum_langchain.evaluation import compare, read_exams
from plum_langchain.session import Session, Turn
from plum_langchain.settings import GateSettings, QuestionSettings
from tests.tiny import CHATS


def test_a_home_that_has_learned_is_asked_again(open_plum: Callable[..., Any]) -> None:
    """Without learning, and only if it has learned just this, in this way."""
    exams = read_exams([CHATS / "ana.jsonl"], max_sessions=1)
    exams = [replace(exam, questions=exam.questions[:3]) for exam in exams]
    asked = QuestionSettings(max_questions=4)
    plum = open_plum(question_settings=asked)
    first = compare(plum, exams, arms=["parametric"], questions="recorded")
    second = compare(plum, exams, arms=["floor", "parametric"], questions="recorded", again=True)
    assert second.consolidated == () and second.retention == ()
    for one, other in zip(first.answers["parametric"], second.answers["parametric"], strict=True):
        assert replace(one, seconds=0) == replace(other, seconds=0)
    assert plum.journal.generations.head("ana").number == 1

    with pytest.raises(InvalidInputError, match=r"other settings .*\(questions\)"):
        compare(plum, exams, arms=["parametric"], questions="statements", again=True)
    plum.learning = replace(plum.learning, seed=5, epochs=3, gate=GateSettings())  # no other gate
    with pytest.raises(InvalidInputError, match=r"other settings .*\(epochs, seed\)"):
        compare(plum, exams, arms=["parametric"], questions="recorded", again=True)
    plum.add_session(Session("ana", "more", (Turn("user", "I sail."),)))
    with pytest.raises(InvalidInputError, match=r"not to be asked about \(more\)"):
        compare(plum, exams, arms=["parametric"], again=True)


def test_learning_goes_on_where_it_was_stopped(open_plum: Callable[..., Any]) -> None:
    """With the sessions that a home hasn't learned yet, as if it had never been stopped."""
    exams = read_exams([CHATS / "ana.jsonl"], max_sessions=2)
    exams = [replace(exam, questions=exam.questions[:3]) for exam in exams]
    asked = QuestionSettings(max_questions=4)
    whole, stopped = (open_plum(name, question_settings=asked) for name in ("whole", "stopped"))
    first = compare(whole, exams, arms=["parametric"], questions="recorded", again=True)
    for session in exams[0].sessions:
        stopped.add_session(session)
    stopped.consolidate("ana", questions="recorded", max_sessions=1)
    second = compare(stopped, exams, arms=["parametric"], questions="recorded", again=True)
    assert [one.session_id for one in first.consolidated] == ["ana-s01", "ana-s02"]
    assert [one.session_id for one in second.consolidated] == ["ana-s02"]
    for one, other in zip(first.answers["parametric"], second.answers["parametric"], strict=True):
        assert replace(one, seconds=0) == replace(other, seconds=0)


def test_what_can_not_be_learned_any_more_is_not_asked_about(open_plum: Callable[..., Any]) -> None:
    exams = read_exams([CHATS / "ana.jsonl"], max_sessions=1)
    plum = open_plum()
    plum.add_session(exams[0].sessions[0])
    plum.forget("ana", "ana-s01")
    with pytest.raises(InvalidInputError, match=r"ana-s01 of 'ana' can't be asked about .* forgot"):
        compare(plum, exams, arms=["parametric"], questions="recorded", again=True)
