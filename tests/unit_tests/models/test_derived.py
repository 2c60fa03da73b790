"""What is worked out once is worked out once, whole or not at all, and found under its own name."""

import threading
import time
from pathlib import Path

import pytest

from plum_langchain.errors import CacheError
from plum_langchain.models.derived import derived, derived_name

PACKAGE = "plum_langchain.consolidation"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "things"


class Maker:
    """Makes a file or, with `parts`, a directory; counts how often."""

    def __init__(self, text: str = "made", parts: int = 0) -> None:
        self.text = text
        self.parts = parts
        self.made = 0

    def __call__(self, path: Path) -> None:
        assert not path.exists()
        self.made += 1
        if not self.parts:
            path.write_text(self.text)
            return
        path.mkdir()
        for part in range(self.parts):
            time.sleep(0.05)
            (path / str(part)).write_text(self.text)


def get(make: Maker, name: str = "one") -> str:
    def load(path: Path) -> str:
        if path.is_dir():
            return "".join(sorted(part.name for part in path.iterdir()))
        return path.read_text()

    return derived(PACKAGE, "things", name, load=load, make=make)


@pytest.mark.parametrize("parts", [0, 3])
def test_it_is_made_once(cache: Path, parts: int) -> None:
    make = Maker(parts=parts)
    first = get(make)
    assert (get(make), make.made) == (first, 1)
    get(make, "two")
    assert make.made == 2


def test_what_ships_with_the_package_is_taken_as_it_is(cache: Path) -> None:
    make = Maker()
    found = derived(PACKAGE, ".", "everyday.txt", load=Path.read_text, make=make)
    assert found.startswith("Hi there")
    assert make.made == 0
    assert not cache.exists()


def test_its_name_tells_models_and_sources_apart() -> None:
    names = {derived_name(model, source, ".x") for model in "ab" for source in (b"1", b"2")}
    assert len(names) == 4
    assert derived_name("a", b"1", ".x") in names


def test_two_who_want_it_at_once_get_the_same_and_one_makes_it(cache: Path) -> None:
    make = Maker(parts=4)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(get(make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, make.made) == (["0123"] * 4, 1)


def test_what_a_killed_process_left_is_in_nobody_s_way(cache: Path) -> None:
    (cache / "one.writing").mkdir(parents=True)
    (cache / "one.writing" / "half").write_text("half")
    assert get(Maker(parts=2)) == "01"


@pytest.mark.parametrize(
    "why", [RuntimeError("no such layer"), FileNotFoundError(2, "no such layer")]
)
def test_a_failure_leaves_nothing_and_the_next_one_begins_anew(cache: Path, why: Exception) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise why

    with pytest.raises(type(why), match="no such layer"):
        derived(PACKAGE, "things", "one", load=Path.read_text, make=fail)
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []
    assert get(Maker()) == "made"


def test_what_can_t_be_read_is_named_with_the_way_out(cache: Path) -> None:
    get(Maker())
    (cache / "one").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CacheError, match="delete it") as found:
        get(Maker())
    assert str(cache / "one") in str(found.value)


def test_a_cache_that_can_t_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="PLUM_CACHE"):
        get(Maker())


def test_a_full_disk_is_told_and_leaves_nothing(cache: Path) -> None:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("half")
        raise OSError(28, "No space left on device")

    for _ in range(2):
        with pytest.raises(CacheError, match=r"one can't be written to .* make room"):
            derived(PACKAGE, "things", "one", load=Path.read_text, make=make)
    assert [path.name for path in cache.iterdir()] == ["one.lock"]
    assert get(Maker()) == "made"  # and the lock is free


def test_it_is_on_the_disk_before_its_name_is(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def noting(path: Path) -> None:
        synced.append(path.name)
        assert (cache / "one").exists() == (path == cache)

    monkeypatch.setattr("plum_langchain.models.cache.sync", noting)
    get(Maker(parts=2))
    assert (sorted(synced[:2]), synced[2:]) == (["0", "1"], ["one.writing", "things"])
