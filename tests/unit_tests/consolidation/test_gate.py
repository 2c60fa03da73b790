"""What the gate doesn't let pass is not published: the generation before is served on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import GateSettings, LearningSettings, Plum
from plum_langchain.consolidation.progress import Consolidated
from plum_langchain.session import Question
from tests.unit_tests.consolidation.helpers import (
    OpenPlum,
    Questions,
    add,
    head_ref,
    on_disk,
    says,
    served,
    states,
)
from tests.unit_tests.learning.learnable import FAST, OTHERS, make_learnable

GATED = replace(FAST, gate=GateSettings())
MAKER = Questions(s2=OTHERS)


@pytest.fixture(scope="module")
def learnable(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_learnable(tiny_model, tmp_path_factory.mktemp("models") / "learnable")


@pytest.fixture
def opened(open_plum: OpenPlum, learnable: Path) -> Any:
    """Opens the home, with other settings each time."""

    def opened(learning: LearningSettings) -> Plum:
        return open_plum(model=str(learnable), learning=learning, questions=MAKER)

    return opened


def learned_first(plum: Plum) -> Consolidated:
    """The first session, by settings under which it passes."""
    add(plum, "ana", "s1", "s2")
    (done,) = plum.consolidate("ana", max_sessions=1)
    assert (done.state, done.generation) == ("learned", 1)
    return done


def assert_second_is_refused(plum: Plum, why: str) -> None:
    before = says(plum)
    (failed,) = plum.consolidate("ana")
    assert (failed.session_id, failed.state, failed.generation) == ("s2", "failed", None)
    assert why in str(failed.reason)
    assert states(plum) == {"s1": "learned", "s2": "failed"}
    assert plum.journal.sessions.get("ana", "s2").reason == failed.reason
    assert (served(plum), on_disk(plum)) == (1, ["00000001"])
    assert says(plum) == before


def test_what_an_ordinary_session_passed_with_is_kept_with_it(opened: Any) -> None:
    plum = opened(GATED)
    done = learned_first(plum)
    assert (done.metrics["gate"]["own"], done.metrics["gate"]["refused"]) == (1.0, 1.0)
    (generation,) = plum.journal.generations.all("ana")
    manifest = json.loads((head_ref(plum).path / "manifest.json").read_text("utf-8"))
    assert generation.metrics["gate"] == manifest["metrics"]["gate"] == done.metrics["gate"]
    assert manifest["settings"]["gate"]["own"] == 0.6


def test_without_a_gate_nothing_is_measured_and_everything_published(opened: Any) -> None:
    plum = opened(replace(FAST, epochs=1, learning_rate=1e-6))
    done = learned_first(plum)
    assert (done.metrics["recalled"], done.metrics["gate"]) == (0.0, None)


def test_a_session_that_is_not_learned_may_be_retried_with_other_settings(opened: Any) -> None:
    plum = opened(GATED)
    learned_first(plum)
    plum.close()
    hopeless = opened(replace(GATED, epochs=1, learning_rate=1e-6))
    assert_second_is_refused(hopeless, "of the session's own questions are recalled, at least 60%")
    hopeless.close()

    plum = opened(replace(GATED, replay_per_batch=2, epochs=30))
    assert plum.consolidate("ana") == []
    plum.journal.sessions.retry("ana", "s2")
    (done,) = plum.consolidate("ana")
    assert (done.state, done.metrics["gate"]["kept"]) == ("learned", 1.0)
    first, second = plum.journal.generations.all("ana")
    assert (first.number, second.parent) == (1, 1)
    assert second.learned[:1] == first.learned


def test_a_session_that_wipes_out_earlier_memory_is_refused(opened: Any) -> None:
    plum = opened(replace(GATED, upper_layers=0.5, epochs=40))
    learned_first(plum)
    plum.close()
    wiping = opened(replace(GATED, upper_layers=0.5, epochs=40, learning_rate=2e-2))
    assert_second_is_refused(wiping, "of what was recalled of earlier sessions still are")


def test_the_sessions_after_one_that_is_refused_are_learned(opened: Any) -> None:
    never = [
        Question(f"What did I say about {n}?", "We never talked about that.", "open_unknown")
        for n in range(20)
    ]
    plum = opened(replace(GATED, batch_size=8, epochs=4))
    maker = Questions(
        never=[OTHERS[2], Question("Which day?", "On Mondays.", "open"), *never],
        s1=[Question(f"Is it so that {n} is {n}?", "Yes", "yes") for n in range(24)],
    )
    add(plum, "ana", "never", "s1")
    first, second = plum.consolidate("ana", questions=maker)
    assert (first.state, second.state, served(plum)) == ("failed", "learned", second.generation)
    assert "of its questions about something told are recalled" in str(first.reason)
