"""Generations on disk: written once, never changed, checked at every load.

    adapters/<user hash>/<generation>/adapter_model.safetensors   LoRA weights
                                      adapter_config.json         PEFT's own layout, so that
                                                                  vLLM and others load it too
                                      manifest.json               hashes, base model, settings

Of an encrypted home the weights are sealed before they are written, and opened in memory.

A generation is written into a temporary directory beside its place, synced, then renamed: either
all of it is there or none. It is served only once the journal points at it.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from plum_langchain.adapters.manifest import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    Manifest,
    read_manifest,
    sha256_file,
)
from plum_langchain.durable import make_directory, sync
from plum_langchain.encryption.box import Seal
from plum_langchain.errors import DamagedAdapterError, LeaseLostError, PlumError

_TEMPORARY = ".writing-"


@dataclass(frozen=True)
class AdapterRef:
    """Names one generation of one user's adapter: what an engine loads and a cache keys on."""

    owner: str  # the user's hash, never the user's id
    generation: int
    path: Path
    manifest_sha256: str
    seal: Seal | None = field(default=None, repr=False, compare=False)  # None: not encrypted

    @property
    def name(self) -> str:
        """A name PEFT accepts (it allows no dots); no user can make it collide."""
        return f"plum_{self.owner}_{self.generation}"


class AdapterStore:
    """The `adapters/` directory of a home."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ref(
        self, owner: str, generation: int, manifest_sha256: str, seal: Seal | None = None
    ) -> AdapterRef:
        """The reference of a generation the journal knows; nothing is read yet."""
        return AdapterRef(owner, generation, self._place(owner, generation), manifest_sha256, seal)

    def write(self, owner: str, generation: int, fill: Callable[[Path], Manifest]) -> AdapterRef:
        """Write a generation durably.

        Args:
            owner: The user's hash.
            generation: Its number.
            fill: Called with an empty directory; puts PEFT's files there and returns the
                manifest, to which the hashes are added. What it raises leaves nothing behind.

        Raises:
            PlumError: `fill` wrote no safetensors weights, or the disk refused.
            LeaseLostError: another worker has taken over and cleared this one's directory.
        """
        place = self._place(owner, generation)
        writing = place.parent / f"{_TEMPORARY}{generation:08d}"
        try:
            make_directory(place.parent)
            _delete(writing)
            writing.mkdir(mode=0o700)
            manifest = fill(writing)
            self._complete(writing, manifest)
            _delete(place)  # left by a worker that died before the journal knew of it
            writing.rename(place)
            sync(place.parent)
        except BaseException as error:
            gone = not writing.is_dir()
            shutil.rmtree(writing, ignore_errors=True)
            # Libraries raise OSError without a number for what is no fault of the disk.
            if isinstance(error, PlumError) or not getattr(error, "errno", None):
                raise
            assert isinstance(error, OSError)
            if gone and isinstance(error, FileNotFoundError):
                raise LeaseLostError(
                    f"{writing} was removed while generation {generation} was being written: "
                    "another worker has taken over; nothing was published"
                ) from error
            raise PlumError(
                f"generation {generation} can't be written to {place.parent}: "
                f"{error.strerror or error}; check that the disk has room and that you may write "
                "there, then consolidate again"
            ) from error
        return self.ref(owner, generation, sha256_file(place / MANIFEST))

    def _complete(self, writing: Path, manifest: Manifest) -> None:
        """From what training left to what is published: no other file, hashes, modes, synced."""
        # PEFT writes a model card naming local paths; a generation holds only what it needs.
        for extra in set(writing.iterdir()) - {writing / WEIGHTS, writing / CONFIG}:
            _delete(extra)
        for name in (WEIGHTS, CONFIG):
            # Where the directory itself is gone, what comes next says so.
            if not (writing / name).is_file() and writing.is_dir():
                raise PlumError(f"training left no {name} in {writing}")
        _name_base(writing / CONFIG, manifest.base_model)
        files = {name: sha256_file(writing / name) for name in (CONFIG, WEIGHTS)}
        (writing / MANIFEST).write_text(replace(manifest, files=files).to_json(), "utf-8")
        for file in writing.iterdir():
            file.chmod(0o600)
            sync(file)
        sync(writing)

    def check(self, ref: AdapterRef) -> Manifest:
        """Read a generation's manifest after checking all hashes.

        Raises:
            DamagedAdapterError: it is not what was published.
        """
        try:
            inside = ref.path.resolve().is_relative_to(self.root.resolve())
        except (OSError, RuntimeError):  # a link that leads to itself
            inside = False
        if not inside:
            raise DamagedAdapterError(f"{ref.path} leads out of {self.root}; it is not loaded")
        manifest = read_manifest(ref.path, ref.manifest_sha256)
        if (manifest.encryption is None) != (ref.seal is None):
            kept = (
                f"encrypted with {manifest.encryption}" if manifest.encryption else "in the clear"
            )
            has = "a key" if ref.seal else "no key"
            raise DamagedAdapterError(
                f"the weights in {ref.path} are {kept}, but the journal has {has} for them; one of "
                "the two was changed. Restore the home from a backup"
            )
        return manifest

    def remove(self, owner: str, generations: Iterable[int]) -> int:
        """Delete generations from disk; returns how many were there.

        Raises:
            PlumError: the disk refuses.
        """
        removed = 0
        with _refusal_named(self.root / owner):
            for generation in generations:
                removed += _delete(self._place(owner, generation))
            with contextlib.suppress(FileNotFoundError):
                sync(self.root / owner)
        return removed

    def count_files(self, owner: str, generations: Iterable[int]) -> int:
        """How many files of generations are on the disk."""
        found = 0
        for generation in generations:
            with contextlib.suppress(FileNotFoundError):  # whoever has taken over has swept it
                found += sum(path.is_file() for path in self._place(owner, generation).iterdir())
        return found

    def sweep(self, owner: str, kept: Callable[[], Iterable[int]]) -> int:
        """Delete what no journal row keeps: half-written directories and given-up generations.

        Only for the holder of the user's lease. Returns how many were deleted.

        Args:
            owner: The user's hash.
            kept: The numbers of the generations that stay, asked for once it is known what is
                there: what another worker publishes in the meantime is not touched.

        Raises:
            PlumError: the disk refuses.
        """
        directory = self.root / owner
        if not directory.is_dir():
            return 0
        with _refusal_named(directory):
            there = list(directory.iterdir())
            names = {self._place(owner, generation).name for generation in kept()}
            strangers = [entry for entry in there if entry.name not in names]
            for entry in strangers:
                _delete(entry)
            sync(directory)
        return len(strangers)

    def bytes_of(self, ref: AdapterRef) -> int:
        """Size of a generation on disk, in bytes; 0 if it isn't there.

        Raises:
            PlumError: the disk refused.
        """
        try:
            return sum(file.lstat().st_size for file in ref.path.glob("*"))
        except FileNotFoundError:  # deleted while it was counted
            return 0
        except OSError as error:
            raise PlumError(
                f"the size of {ref.path} can't be read: {error.strerror or error}; check the disk"
            ) from error

    def _place(self, owner: str, generation: int) -> Path:
        return self.root / owner / f"{generation:08d}"


@contextlib.contextmanager
def _refusal_named(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlumError(
            f"what is no longer needed in {directory} can't be deleted: "
            f"{error.strerror or error}; nothing of it is served, and the next consolidation of "
            "this user deletes it. Check that you may write there"
        ) from error


def _name_base(config: Path, base_model: str) -> None:
    """Name the base model by its public id instead of the local path it was loaded from."""
    data = json.loads(config.read_text("utf-8"))
    data["base_model_name_or_path"] = base_model
    config.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", "utf-8")


def _delete(path: Path) -> bool:
    """Delete a directory, a file or a link (not what it leads to); whether it was there."""
    if path.is_dir() and not path.is_symlink():
        while path.is_dir():
            # Whoever has taken over from a worker that was cut off sweeps what that one removes.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)
        return True
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
