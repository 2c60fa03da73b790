"""Fixtures that all tests share."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before transformers is imported: a test never waits for a network that isn't there.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a tiny random Llama."""
    from tests.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture
def open_plum(tmp_path: Path, tiny_model: Path) -> Iterator[Callable[..., Any]]:
    """Opens homes on the tiny model with settings that train in a second; closes them."""
    from plum_langchain import Plum, ServingSettings
    from tests.tiny import IN_A_SECOND, FixedQuestions, WordEmbeddings

    opened = []

    def open_one(home: str | Path = "home", **options: Any) -> Plum:
        options = {
            "model": str(tiny_model),
            "questions": FixedQuestions(),
            "embeddings": WordEmbeddings(),
            "learning": IN_A_SECOND,
            "serving": ServingSettings(
                device="cpu", dtype="float32", scope=None, max_new_tokens=12
            ),
            **options,
        }
        with warnings.catch_warnings():
            plum = Plum(tmp_path / home, **options)
        opened.append(plum)
        return plum

    yield open_one
    for plum in opened:
        plum.close()


@pytest.fixture
def plum(open_plum: Callable[..., Any]) -> Any:
    """A fresh home on the tiny model."""
    return open_plum()
