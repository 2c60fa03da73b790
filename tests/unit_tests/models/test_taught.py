"""What a base model is taught: what ships fits what it is made of, and teaching tells and stops."""

import gc
import shutil
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from filelock import FileLock

import plum_langchain
from plum_langchain.errors import DivergedError, StoppedError
from plum_langchain.models import Engine, LoadedModel
from plum_langchain.models.taught import Taught
from plum_langchain.verdicts import Judge
from plum_langchain.writer import Writer

READY = SimpleNamespace(shipped=True, prepare=lambda should_stop: None)
"""A judge that needs no teaching."""

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
        return Writer(engine, cast(Judge, READY), **options)
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
    first, *later = [sentence for sentence in told if one.task in sentence]
    assert first.startswith(f"teaching {engine.resolved.id} {one.task} with ")
    assert one.takes in first
    assert [s.rpartition(": ")[2] for s in later] == ["25% done", "50% done", "75% done"]
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


def test_who_waits_for_another_s_teaching_can_be_stopped(
    taught: "type[Taught[Any, Any]]", engine: Engine, cache: Path
) -> None:
    """It is taught by another process, or by a thread of this one."""
    release = threading.Event()
    one = make(taught, engine)

    def wait() -> None:
        with pytest.raises(StoppedError):
            one.prepare(release.is_set)

    (cache / taught.folder).mkdir()
    with FileLock(cache / taught.folder / f"{one.name}.lock"):
        with pytest.raises(StoppedError, match="another process"):
            one.prepare(lambda: True)
        waits = threading.Thread(target=wait)
        waits.start()
        with pytest.raises(StoppedError, match=f"taught {one.task}|another process"):
            one.prepare(lambda: True)
        release.set()
        waits.join()


def test_one_that_cannot_be_taught_is_tried_once(
    taught: "type[Taught[Any, Any]]",
    engine: Engine,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Any] = []

    def train(self: object, base: LoadedModel, *_: object) -> None:
        tried.append(weakref.ref(base.model))
        try:
            raise ValueError("not a number")
        except ValueError as error:
            raise DivergedError("no numbers") from error

    monkeypatch.setattr(taught, "_train", train)
    one = make(taught, engine)
    for _ in range(3):
        with pytest.raises(DivergedError, match="no numbers"):
            one.prepare()
    assert len(tried) == 1
    gc.collect()
    assert tried[0]() is None  # no copy of the model is left behind


def test_teaching_stops_after_its_last_step_too(
    taught: "type[Taught[Any, Any]]", engine: Engine, cache: Path
) -> None:
    """A writer's answers are all asked for then, which takes a while."""
    if taught is not Writer:
        pytest.skip("nothing comes after a judge's last step")
    asked: list[str] = []
    make(taught, engine, progress=asked.append).prepare(lambda: bool(asked.append("step")))
    shutil.rmtree(cache / taught.folder)
    left = asked.count("step")

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    with pytest.raises(StoppedError, match="after its last step"):
        make(taught, engine, progress=asked.append).prepare(should_stop)
    assert not any(path.is_dir() for path in (cache / taught.folder).iterdir())


def test_the_log_tells_of_it_where_nobody_else_does(
    taught: "type[Taught[Any, Any]]", engine: Engine, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(taught, engine).prepare()
    said = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert any(message.startswith(f"teaching {engine.resolved.id}") for message in said)


def test_a_writer_s_judge_is_ready_as_well(engine: Engine, cache: Path) -> None:
    Writer(engine, Judge(engine)).prepare()
    kept = sorted(path.parent.name for path in cache.glob("*/*") if path.is_dir())
    assert kept == ["judges", "writers"]
