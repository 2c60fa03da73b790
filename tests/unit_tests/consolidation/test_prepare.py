"""What a session is learned from: questions that fit, its own and replayed ones."""

from dataclasses import replace

import pytest

from plum_langchain import Plum
from plum_langchain.session import Question
from tests.unit_tests.consolidation.helpers import OpenPlum, Questions, add


def test_a_question_that_is_too_long_costs_itself_and_its_counterpart(
    plum: Plum, caplog: pytest.LogCaptureFixture
) -> None:
    fine = [
        *(Question(f"Did I say {word}?", "Yes", "yes") for word in ("alpha", "beta")),
        *(Question(f"Did I say {word}?", "No", "no_adjacent") for word in ("gamma", "delta")),
    ]
    secret = "The code is 4711. " * 400
    maker = Questions(
        s1=[*fine, Question(secret, "Yes", "yes")], s2=[*fine[1:], Question(secret, "Yes", "yes")]
    )
    add(plum, "ana", "s1", "s2")
    done = plum.consolidate("ana", questions=maker)
    assert [(c.state, c.questions) for c in done] == [("learned", 4), ("learned", 2)]
    kept = plum.journal.generations.replay_questions("ana")
    assert [{q.answer for q in questions} for questions in kept.values()] == [{"Yes", "No"}] * 2
    assert all(len(q.question) < 100 for questions in kept.values() for q in questions)
    assert "1 of 5 questions take more than 512 tokens" in caplog.text
    assert "4711" not in caplog.text


def test_replayed_questions_that_no_longer_fit_are_left_out(open_plum: OpenPlum) -> None:
    plum = open_plum()
    add(plum, "ana", "s1")
    plum.consolidate("ana")
    shorter = open_plum(learning=replace(plum.learning, max_sample_tokens=40, recite=False))
    add(shorter, "ana", "s2")
    short = [Question("Am I?", "Yes", "yes"), Question("Is it?", "No", "no_adjacent")]
    assert shorter.consolidate("ana", questions=Questions(s2=short))[0].state == "learned"
