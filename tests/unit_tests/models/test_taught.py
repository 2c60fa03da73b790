"""What a base model is taught: what ships fits what it is made of, and teaching tells and stops."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import plum_langchain
from plum_langchain.errors import StoppedError
from plum_langchain.models import Engine
from plum_langchain.models.taught import Taught
from plum_langchain.verdicts import Judge
from plum_langchain.writer import Writer

PACKAGE = Path(plum_langchain.__file__).parent


@pytest.fixture(params=["judge", "writer"])
def taught(request: pytest.FixtureRequest) -> "type[Taught[Any, Any]]":
    return {"judge": Judge, "writer": Writer}[request.param]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path))
    return tmp_path


def make(taught: "type[Taught[Any, Any]]", engine: Engine, **options: Any) -> Taught[Any, Any]:
    if taught is Writer:
        return Writer(engine, Judge(engine, **options), **options)
    return Judge(engine, **options)


def test_what_ships_was_taught_with_what_ships(taught: "type[Taught[Any, Any]]") -> None:
    """Whoever changes the examples has to teach it anew (`benchmarks/shipped.py`)."""
    (there,) = (PACKAGE / taught.package.rpartition(".")[2] / taught.folder).iterdir()
    fingerprint = there.name.partition("-")[0]
    unloaded = SimpleNamespace(resolved=SimpleNamespace(fingerprint=fingerprint))
    one = make(taught, cast(Engine, unloaded))
    assert one.name == there.name and one.shipped


def test_another_model_is_taught_and_told_so(
    taught: "type[Taught[Any, Any]]", engine: Engine, cache: Path
) -> None:
    told: list[str] = []
    one = make(taught, engine, progress=told.append)
    assert not one.shipped
    one.prepare()
    first = next(sentence for sentence in told if one.task in sentence)
    assert first.startswith(f"Teaching {engine.resolved.id} {one.task}, with ")
    assert one.takes in first
    tenths = [s for s in told if s.endswith("tenths done.") and one.task in s]
    assert tenths == sorted(tenths) and 3 <= len(tenths) <= 9
    said = len(told)
    make(taught, engine, progress=told.append).prepare()  # it is kept
    assert len(told) == said and not one.shipped


def test_teaching_stops_when_asked_and_leaves_nothing(
    taught: "type[Taught[Any, Any]]", engine: Engine, cache: Path
) -> None:
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    one = make(taught, engine)
    with pytest.raises(StoppedError, match="asked to stop at step 2 of"):
        one.prepare(should_stop)
    assert [path.suffix for path in (cache / taught.folder).iterdir()] == [".lock"]
    one.prepare()
    assert (cache / taught.folder / one.name).is_dir()


def test_a_writer_s_judge_is_ready_as_well(engine: Engine, cache: Path) -> None:
    Writer(engine, Judge(engine)).prepare()
    kept = sorted(path.parent.name for path in cache.glob("*/*") if path.is_dir())
    assert kept == ["judges", "writers"]
