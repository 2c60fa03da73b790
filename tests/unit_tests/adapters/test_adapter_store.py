"""Generations on disk: all or nothing, private, and served only if every byte is as published."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.adapters import AdapterRef, AdapterStore, Manifest
from plum_langchain.adapters import store as store_module
from plum_langchain.adapters.manifest import CONFIG, MANIFEST, WEIGHTS, sha256_file
from plum_langchain.errors import DamagedAdapterError, LeaseLostError, PlumError, QuestionError

OWNER = "0a1b" * 8
OTHER = "9f8e" * 8
LOCAL = "/somewhere/on/this/machine/snapshots/tiny"


def manifest(generation: int = 1) -> Manifest:
    return Manifest(
        generation=generation,
        base_model="tiny/model",
        base_fingerprint="f" * 16,
        session_keys=(3, 1),
        settings={"rank": 4},
        question_maker="fixed",
        metrics={"loss": 0.5, "unicode": "ångström"},
        created="2024-05-01T12:00:00+00:00",
    )


def filler(generation: int = 1, weights: bytes = b"weights" * 1000) -> Callable[[Path], Manifest]:
    """Leaves what PEFT leaves: weights, a config naming a local path, a model card."""

    def fill(directory: Path) -> Manifest:
        assert list(directory.iterdir()) == []
        (directory / WEIGHTS).write_bytes(weights)
        config = {"base_model_name_or_path": LOCAL, "r": 4, "peft_type": "LORA"}
        (directory / CONFIG).write_text(json.dumps(config), "utf-8")
        (directory / "README.md").write_text(f"base_model: {LOCAL}", "utf-8")
        (directory / "checkpoint").mkdir()
        (directory / "checkpoint" / "optimizer.pt").write_bytes(b"0")
        return manifest(generation)

    return fill


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


@pytest.fixture
def ref(store: AdapterStore) -> AdapterRef:
    return store.write(OWNER, 1, filler())


def below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


# -- writing ---------------------------------------------------------------------------------------


def test_a_generation_is_its_three_files_and_can_be_read_again(
    store: AdapterStore, ref: AdapterRef
) -> None:
    assert below(store.root) == {
        OWNER,
        f"{OWNER}/00000001",
        *(f"{OWNER}/00000001/{name}" for name in (WEIGHTS, CONFIG, MANIFEST)),
    }
    found = store.check(ref)
    hashes = {name: sha256_file(ref.path / name) for name in (WEIGHTS, CONFIG)}
    assert found.files == hashes
    assert found.session_keys == (3, 1)
    assert (found.base_model, found.metrics) == ("tiny/model", manifest().metrics)
    assert store.ref(OWNER, 1, ref.manifest_sha256) == ref
    assert store.bytes_of(ref) == sum(f.stat().st_size for f in ref.path.iterdir()) > 7000


def test_no_local_path_is_in_any_file(ref: AdapterRef) -> None:
    assert all(LOCAL.encode() not in file.read_bytes() for file in ref.path.iterdir())
    config = json.loads((ref.path / CONFIG).read_text("utf-8"))
    assert config == {"base_model_name_or_path": "tiny/model", "r": 4, "peft_type": "LORA"}


def test_only_the_owner_of_the_home_can_read_it(store: AdapterStore, ref: AdapterRef) -> None:
    before = os.umask(0)
    try:
        other = store.write(OTHER, 1, filler())
    finally:
        os.umask(before)
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (store.root, *store.root.rglob("*"))}
    assert {modes.pop(name) for name in (WEIGHTS, CONFIG, MANIFEST)} == {"0o600"}
    assert set(modes.values()) == {"0o700"}
    assert other.path != ref.path


@pytest.mark.parametrize(
    "error", [QuestionError("no questions"), ValueError("bug"), KeyboardInterrupt(), OSError("hub")]
)
def test_what_training_raises_leaves_nothing_behind(
    store: AdapterStore, ref: AdapterRef, error: BaseException
) -> None:
    before = below(store.root)

    def fill(directory: Path) -> Manifest:
        filler(2)(directory)
        raise error

    with pytest.raises(type(error)) as raised:
        store.write(OWNER, 2, fill)
    assert raised.value is error
    assert below(store.root) == before
    store.check(ref)


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_training_that_left_too_little(store: AdapterStore, missing: str) -> None:
    def fill(directory: Path) -> Manifest:
        filler()(directory)
        (directory / missing).unlink()
        return manifest()

    with pytest.raises(PlumError, match=f"training left no {missing}"):
        store.write(OWNER, 1, fill)
    assert below(store.root) == {OWNER}


def test_a_dead_workers_leftovers_are_in_nobodys_way(store: AdapterStore) -> None:
    half = store.root / OWNER / ".writing-00000001"
    half.mkdir(parents=True)
    (half / WEIGHTS).write_bytes(b"half")
    unpublished = store.root / OWNER / "00000001"
    unpublished.mkdir()
    (unpublished / "adapter_model.bin").write_bytes(b"an earlier life")
    ref = store.write(OWNER, 1, filler())
    assert {path.name for path in ref.path.iterdir()} == {WEIGHTS, CONFIG, MANIFEST}
    assert not half.exists()
    store.check(ref)


def test_being_cleared_away_while_writing_is_a_lost_lease(store: AdapterStore) -> None:
    def fill(directory: Path) -> Manifest:
        filler()(directory)
        store.sweep(OWNER, lambda: [])  # as the worker that took over does
        return manifest()

    with pytest.raises(LeaseLostError, match="another worker has taken over"):
        store.write(OWNER, 1, fill)
    assert below(store.root) == {OWNER}


def test_being_cleared_away_while_it_is_completed_is_a_lost_lease(
    store: AdapterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = store_module._delete

    def overtaken(path: Path) -> bool:
        if path.name == "README.md":  # after the directory was listed
            store.sweep(OWNER, lambda: [])
        return delete(path)

    monkeypatch.setattr(store_module, "_delete", overtaken)
    with pytest.raises(LeaseLostError, match="another worker has taken over"):
        store.write(OWNER, 1, filler())
    assert below(store.root) == {OWNER}


def test_a_disk_that_refuses(store: AdapterStore, ref: AdapterRef) -> None:
    def fill(directory: Path) -> Manifest:
        raise OSError(28, "No space left on device")

    with pytest.raises(PlumError, match=r"generation 2 .*No space left.*has room"):
        store.write(OWNER, 2, fill)
    blocked = AdapterStore(ref.path / CONFIG / "adapters")  # below a file
    with pytest.raises(PlumError, match=r"generation 1 can't be written .*Not a directory"):
        blocked.write(OWNER, 1, filler())


def test_names_that_peft_takes(ref: AdapterRef) -> None:
    assert ref.name == f"plum_{OWNER}_1"
    assert "." not in ref.name


# -- checking --------------------------------------------------------------------------------------


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def _link_file(path: Path) -> None:
    copy = path.parent.parent / "copy"
    shutil.move(path / WEIGHTS, copy)
    (path / WEIGHTS).symlink_to(copy)


def _link_directory(path: Path) -> None:
    moved = path.with_name("elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


def _link_out_of_the_home(path: Path) -> None:
    outside = path.parents[2] / "outside"
    shutil.move(path.parent, outside)
    path.parent.symlink_to(outside)


def _fifo(path: Path) -> None:
    (path / WEIGHTS).unlink()
    os.mkfifo(path / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: _flip(p / WEIGHTS), f"{WEIGHTS} differs"),
        (lambda p: _flip(p / CONFIG), f"{CONFIG} differs"),
        (lambda p: _flip(p / MANIFEST), "the journal expects"),
        (lambda p: (p / WEIGHTS).write_bytes(b""), f"{WEIGHTS} differs"),
        (lambda p: (p / WEIGHTS).unlink(), f"{WEIGHTS} is missing"),
        (lambda p: (p / CONFIG).unlink(), f"{CONFIG} is missing"),
        (lambda p: (p / MANIFEST).unlink(), "holds no manifest.json"),
        (shutil.rmtree, "holds no manifest.json"),
        (lambda p: (p / "adapter_model.bin").write_bytes(b"pickle"), "adapter_model.bin"),
        (lambda p: (p / ".hidden").mkdir(), "doesn't name .*hidden"),
        (_link_file, "missing or a link"),
        (_link_directory, "holds no manifest.json"),
        (_link_out_of_the_home, "leads out of"),
        (_fifo, "missing or a link"),
    ],
)
def test_damage_is_found(
    store: AdapterStore, ref: AdapterRef, damage: Callable[[Path], object], said: str
) -> None:
    store.check(ref)
    damage(ref.path)
    with pytest.raises(DamagedAdapterError, match=said):
        store.check(ref)


def test_another_generations_bytes_are_damage_too(store: AdapterStore, ref: AdapterRef) -> None:
    later = store.write(OWNER, 2, filler(2))
    shutil.rmtree(ref.path)
    shutil.copytree(later.path, ref.path)
    with pytest.raises(DamagedAdapterError, match=r"expects .*go back with Plum\.rollback"):
        store.check(ref)


def test_a_manifest_of_a_later_format_asks_for_an_upgrade(
    store: AdapterStore, ref: AdapterRef
) -> None:
    path = ref.path / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "format": 2}), "utf-8")
    with pytest.raises(DamagedAdapterError, match="format 2, this version reads 1; upgrade"):
        store.check(store.ref(OWNER, 1, sha256_file(path)))


def test_a_link_that_leads_to_itself(store: AdapterStore, ref: AdapterRef) -> None:
    loop = store.ref(OWNER, 2, ref.manifest_sha256)
    loop.path.symlink_to(loop.path)
    with pytest.raises(DamagedAdapterError, match="leads out of"):
        store.check(loop)


def test_a_generation_one_may_not_read(store: AdapterStore, ref: AdapterRef) -> None:
    ref.path.chmod(0)
    superuser = os.geteuid() == 0
    if superuser:  # who may read everything: try as nobody
        os.seteuid(65534)
    try:
        with pytest.raises(
            DamagedAdapterError, match=r"Permission denied\); check its permissions"
        ):
            store.check(ref)
    finally:
        if superuser:
            os.seteuid(0)
        ref.path.chmod(0o700)


# -- deleting --------------------------------------------------------------------------------------


def test_remove_deletes_what_is_named(store: AdapterStore, ref: AdapterRef) -> None:
    store.write(OWNER, 2, filler(2))
    other = store.write(OTHER, 1, filler())
    assert store.remove(OWNER, [1, 7]) == 1
    assert store.remove(OWNER, [1]) == 0
    assert store.remove("5" * 32, [1]) == 0
    assert {path.name for path in (store.root / OWNER).iterdir()} == {"00000002"}
    assert store.bytes_of(ref) == 0
    store.check(other)


def test_sweep_deletes_what_no_row_keeps(store: AdapterStore, ref: AdapterRef) -> None:
    store.write(OWNER, 2, filler(2))
    other = store.write(OTHER, 5, filler(5))
    directory = store.root / OWNER
    (directory / ".writing-00000003").mkdir()
    (directory / ".DS_Store").write_bytes(b"a file some desktop left")
    (directory / "link").symlink_to(other.path)
    assert store.sweep(OWNER, lambda: [1]) == 4
    assert [path.name for path in directory.iterdir()] == ["00000001"]
    assert store.sweep(OWNER, lambda: [1]) == 0
    assert store.sweep("5" * 32, lambda: []) == 0
    store.check(ref)
    store.check(other)


# -- deleting when others do, or the disk doesn't --------------------------------------------------


def test_what_another_process_deletes_at_the_same_time_is_deleted(
    store: AdapterStore, ref: AdapterRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    once: list[Path] = []
    unlink = os.unlink

    def overtaken(path: Path, **options: Any) -> None:
        if not once:  # whoever took over from this one sweeps the same directory
            once.append(path)
            shutil.rmtree(ref.path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", overtaken)
    assert store.remove(OWNER, [1]) == 1
    assert once and not ref.path.exists()


@pytest.mark.parametrize("refused", ["unlink", "fsync"])
def test_a_disk_that_refuses_to_delete_is_told_and_can_be_asked_again(
    store: AdapterStore, ref: AdapterRef, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for delete in (lambda: store.remove(OWNER, [1]), lambda: store.sweep(OWNER, lambda: [])):
        store.write(OWNER, 1, filler())
        with monkeypatch.context() as patched:
            patched.setattr(os, refused, refuse)
            with pytest.raises(PlumError, match="can't be deleted: Input/output error"):
                delete()
        delete()
        assert not ref.path.exists()


def test_what_is_published_while_it_is_swept_stays(store: AdapterStore) -> None:
    """A worker that was paused between asking and sweeping must not delete another's work."""
    place = store.root / OWNER / "00000007"
    (store.root / OWNER / ".writing-00000006").mkdir(parents=True)

    def kept() -> list[int]:
        place.mkdir()  # another worker's
        return []

    assert store.sweep(OWNER, kept) == 1
    assert place.is_dir()
