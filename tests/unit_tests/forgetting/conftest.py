"""A home in which three sessions were learned to the letter, made once and copied for each test."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import Plum, ServingSettings
from tests.unit_tests.forgetting.helpers import BOAT, GEESE, TO_THE_LETTER, ZEBRA, Facts, tell
from tests.unit_tests.learning.learnable import make_learnable

Open = Callable[..., Any]


@pytest.fixture(scope="session")
def learnable(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_learnable(tiny_model, tmp_path_factory.mktemp("forgetting") / "model")


@pytest.fixture(scope="session")
def taught_home(learnable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Closed: ana has told of her boat, her zebra and her geese, a generation each."""
    plum = Plum(
        tmp_path_factory.mktemp("taught") / "home",
        model=str(learnable),
        questions=Facts(),
        learning=TO_THE_LETTER,
        serving=ServingSettings(device="cpu", dtype="float32", scope=None),
    )
    for name, facts in (("boat", BOAT), ("zebra", ZEBRA), ("geese", GEESE)):
        tell(plum, "ana", name, *facts)
    done = plum.consolidate("ana")
    assert [one.metrics["recalled"] for one in done] == [1.0] * 3
    plum.close()
    return plum.home.root


@pytest.fixture
def open_taught(open_plum: Open, learnable: Path) -> Open:
    """Opens homes on the model that can learn."""

    def open_one(home: str = "home", **options: Any) -> Any:
        given = {"model": str(learnable), "learning": TO_THE_LETTER, "questions": Facts()}
        return open_plum(home, **{**given, **options})

    return open_one


@pytest.fixture
def taught(tmp_path: Path, taught_home: Path, open_taught: Open) -> Any:
    """A copy of that home, open."""
    shutil.copytree(taught_home, tmp_path / "home")
    return open_taught()
