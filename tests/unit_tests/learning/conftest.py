from collections.abc import Iterator
from pathlib import Path

import pytest

from plum_langchain.models import LoadedModel, load_model, resolve_model
from tests.unit_tests.learning.learnable import make_learnable


@pytest.fixture(scope="package")
def loaded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny model that can learn; `learn` gives it back as it came."""
    directory = make_learnable(tiny_model, tmp_path_factory.mktemp("models") / "learnable")
    return load_model(resolve_model(str(directory)), device="cpu", dtype="float32")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """An empty directory to save an adapter to."""
    directory = tmp_path / "adapter"
    directory.mkdir()
    yield directory
