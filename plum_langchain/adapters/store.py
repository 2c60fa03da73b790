"""Generations on disk: written once, never changed, checked at every load.

    adapters/<user hash>/<generation>/adapter_model.safetensors   LoRA weights
                                      adapter_config.json         PEFT's own layout, so that
                                                                  vLLM and others load it too
                                      manifest.json               hashes, base model, settings

A generation is written into a temporary directory beside its place, synced, then renamed: either
all of it is there or none. It is served only once the journal points at it.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from plum_langchain.adapters.manifest import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    Manifest,
    read_manifest,
    sha256_file,
)
from plum_langchain.errors import DamagedAdapterError, PlumError

_TEMPORARY = ".writing-"


@dataclass(frozen=True)
class AdapterRef:
    """Names one generation of one user's adapter: what an engine loads and a cache keys on."""

    owner: str  # the user's hash, never the user's id
    generation: int
    path: Path
    manifest_sha256: str

    @property
    def name(self) -> str:
        """A name PEFT accepts (it allows no dots); no user can make it collide."""
        return f"plum_{self.owner}_{self.generation}"


class AdapterStore:
    """The `adapters/` directory of a home."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ref(self, owner: str, generation: int, manifest_sha256: str) -> AdapterRef:
        """The reference of a generation the journal knows; nothing is read yet."""
        return AdapterRef(owner, generation, self._place(owner, generation), manifest_sha256)

    def write(self, owner: str, generation: int, fill: Callable[[Path], Manifest]) -> AdapterRef:
        """Write a generation durably.

        Args:
            owner: The user's hash.
            generation: Its number.
            fill: Called with an empty directory; puts PEFT's files there and returns the
                manifest, to which the hashes are added. What it raises leaves nothing behind.

        Raises:
            PlumError: `fill` wrote no safetensors weights.
        """
        place = self._place(owner, generation)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        writing = place.parent / f"{_TEMPORARY}{generation:08d}"
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(mode=0o700)
        try:
            manifest = fill(writing)
            # PEFT writes a model card naming local paths; a generation holds only what it needs.
            for extra in set(writing.iterdir()) - {writing / WEIGHTS, writing / CONFIG}:
                extra.unlink()
            if not (writing / WEIGHTS).is_file():
                raise PlumError(f"training left no {WEIGHTS} in {writing}")
            _name_base(writing / CONFIG, manifest.base_model)
            files = {name: sha256_file(writing / name) for name in (CONFIG, WEIGHTS)}
            (writing / MANIFEST).write_text(replace(manifest, files=files).to_json(), "utf-8")
            for file in writing.iterdir():
                file.chmod(0o600)
                _sync(file)
            _sync(writing)
            if place.exists():  # left by a worker that died before the journal knew of it
                shutil.rmtree(place)
            writing.rename(place)
            _sync(place.parent)
        except BaseException:
            shutil.rmtree(writing, ignore_errors=True)
            raise
        return self.ref(owner, generation, sha256_file(place / MANIFEST))

    def check(self, ref: AdapterRef) -> Manifest:
        """Read a generation's manifest after checking all hashes.

        Raises:
            DamagedAdapterError: it is not what was published.
        """
        if not ref.path.resolve().is_relative_to(self.root.resolve()):
            raise DamagedAdapterError(f"{ref.path} leads out of {self.root}; it is not loaded")
        return read_manifest(ref.path, ref.manifest_sha256)

    def remove(self, owner: str, generations: Iterable[int]) -> int:
        """Delete generations from disk; returns how many were there."""
        removed = 0
        for generation in generations:
            place = self._place(owner, generation)
            if place.exists():
                shutil.rmtree(place)
                removed += 1
        with contextlib.suppress(FileNotFoundError):
            _sync(self.root / owner)
        return removed

    def sweep(self, owner: str, kept: Iterable[int]) -> int:
        """Delete what no journal row keeps: half-written directories and given-up generations.

        Only for the holder of the user's lease. Returns how many were deleted.
        """
        directory = self.root / owner
        if not directory.is_dir():
            return 0
        names = {self._place(owner, generation).name for generation in kept}
        strangers = [entry for entry in directory.iterdir() if entry.name not in names]
        for entry in strangers:
            shutil.rmtree(entry)
        _sync(directory)
        return len(strangers)

    def bytes_of(self, ref: AdapterRef) -> int:
        """Size of a generation on disk, in bytes."""
        return sum(file.stat().st_size for file in ref.path.iterdir())

    def _place(self, owner: str, generation: int) -> Path:
        return self.root / owner / f"{generation:08d}"


def _name_base(config: Path, base_model: str) -> None:
    """Name the base model by its public id instead of the local path it was loaded from."""
    data = json.loads(config.read_text("utf-8"))
    data["base_model_name_or_path"] = base_model
    config.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", "utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
