"""What the paper's experiments have in common, on the tiny model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.evaluation.paper import Setup
from plum_langchain.models import resolve_model
from plum_langchain.questions import RecordedQuestions
from tests.unit_tests.evaluation.paper import ASKED, TINY, Homes, people


@pytest.fixture
def homes(tiny_model: Path) -> Homes:
    return Homes(tiny_model)


@pytest.fixture
def set_up(homes: Homes, tmp_path: Path) -> Callable[..., Setup]:
    def set_up(sessions: int = 1, **changes: Any) -> Setup:
        return Setup(
            people(sessions),
            model=resolve_model(homes.model),
            maker=RecordedQuestions(ASKED),
            question_settings=ASKED,
            open_plum=homes,
            homes=tmp_path / "homes",
            base=replace(TINY, **changes),
        )

    return set_up
