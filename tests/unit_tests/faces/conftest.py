"""A home in which ana and bob have learned adapters, made once and copied for each test."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import FixedQuestions, WordEmbeddings, session
from tests.unit_tests.faces.helpers import Facts, Fits

SAID = {
    "ana": ("My bakery is closed on Mondays.", "Enjoy the day off."),
    "bob": ("My boat is moored in Porto.", "A fine harbour."),
}


def _open(home: Path, model: Path) -> Any:
    from plum_langchain import LearningSettings, Plum, ServingSettings

    return Plum(
        home,
        model=str(model),
        questions=FixedQuestions(),
        embeddings=WordEmbeddings(),
        # In float32: the same replies on every processor. All tokens in the loss, so that a model
        # this small says more than "Yes".
        learning=LearningSettings(
            gate=None,
            recite=False,
            everyday_per_batch=0,
            rewordings=0,
            rank=4,
            alpha=8,
            upper_layers=1.0,
            epochs=8,
            patience=None,
            answer_weight=10.0,
            question_weight=10.0,
            frame_weight=1.0,
            learning_rate=2e-2,
            final_learning_rate=1.0,
            dtype="float32",
        ),
        serving=ServingSettings(device="cpu", dtype="float32", scope=None, max_new_tokens=12),
    )


@pytest.fixture(scope="session")
def learned_home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A closed home; ana and bob have generation 1, which answers otherwise than the base."""
    home = tmp_path_factory.mktemp("learned") / "home"
    plum = _open(home, tiny_model)
    for user, said in SAID.items():
        plum.add_session(session(user, f"{user}-1", *said))
    plum.consolidate()
    plum.close()
    return home


@pytest.fixture(scope="session")
def served(
    learned_home: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The learned home, open for tests that only ask: its model is loaded once."""
    home = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(learned_home, home)
    plum = _open(home, tiny_model)
    yield plum
    plum.close()


@pytest.fixture
def learned(tmp_path: Path, learned_home: Path, open_plum: Callable[..., Any]) -> Any:
    """A copy of the learned home, open for a test that changes it."""
    shutil.copytree(learned_home, tmp_path / "home")
    return open_plum("home")


FACTS = {
    "ana": (
        "My bakery is closed on Mondays.",
        "My oven is twelve years old.",
        "My twin brother moved to Tampere.",
    ),
    "bob": ("My boat is moored in Porto.", "My anchor is rusty."),
}
"""What each has told, all of it in one session."""


@pytest.fixture(scope="session")
def reciting(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A home whose adapters bring facts back; what fits a question is told by its words."""
    from plum_langchain import LearningSettings, Plum, ServingSettings, Turn

    plum = Plum(
        tmp_path_factory.mktemp("reciting") / "home",
        model=str(tiny_model),
        questions=Facts(),
        embeddings=WordEmbeddings(),
        learning=LearningSettings(
            gate=None,
            everyday_per_batch=0,
            rewordings=0,
            rank=4,
            alpha=8,
            upper_layers=1.0,
            epochs=30,
            learning_rate=2e-2,
            dtype="float32",
        ),
        serving=ServingSettings(device="cpu", dtype="float32", scope=None, max_new_tokens=12),
    )
    for user, facts in FACTS.items():
        turns = tuple(Turn("user", fact) for fact in facts)
        plum.add_session(replace(session(user, f"{user}-1"), turns=turns))
    plum.consolidate()
    plum._judge = Fits()  # type: ignore[assignment]
    yield plum
    plum.close()


@pytest.fixture(params=["no checkpointer", "checkpointer"])
def checkpointer(request: pytest.FixtureRequest) -> Any:
    from langgraph.checkpoint.memory import InMemorySaver

    return InMemorySaver() if request.param == "checkpointer" else None
