"""What a generation says of itself: its files, base model, sessions and settings."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plum_langchain.errors import DamagedAdapterError

MANIFEST = "manifest.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
FORMAT = 1

_REMEDY = (
    "go back with Plum.rollback(user_id, generation) to one that is whole (0: begin anew); the "
    "chats learned since are still in the journal and will be learned again"
)


@dataclass(frozen=True)
class Manifest:
    """`manifest.json` of a generation.

    `files` maps each file's name to its SHA-256; `session_keys` are the journal's keys of all
    sessions learned so far (no ids and no text: a manifest may travel with its adapter).
    `encryption` says how the weights are sealed; the hashes are of the bytes as they are stored.
    """

    generation: int
    base_model: str
    base_fingerprint: str
    session_keys: tuple[int, ...]
    settings: Mapping[str, Any]
    question_maker: str
    metrics: Mapping[str, Any]
    created: str
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT
    encryption: str | None = None

    def to_json(self) -> str:
        """Readable, with sorted keys, so that equal manifests are equal bytes."""
        record = asdict(self)
        if self.encryption is None:
            del record["encryption"]
        return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(directory: Path, expected_sha256: str) -> Manifest:
    """The manifest of a generation, after checking every byte of it and of its files.

    Raises:
        DamagedAdapterError: something is missing, added, changed, a link, or can't be read.
    """
    try:
        return _checked(directory, expected_sha256)
    except OSError as error:
        raise DamagedAdapterError(
            f"{directory} can't be read ({error.strerror or error}); check its permissions, or "
            f"{_REMEDY}"
        ) from error


def _checked(directory: Path, expected_sha256: str) -> Manifest:
    path = directory / MANIFEST
    if directory.is_symlink() or not path.is_file() or path.is_symlink():
        raise DamagedAdapterError(f"{directory} holds no {MANIFEST}; {_REMEDY}")
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != expected_sha256:
        raise DamagedAdapterError(
            f"{path} has SHA-256 {found[:12]}..., the journal expects {expected_sha256[:12]}...; "
            f"{_REMEDY}"
        )
    data = json.loads(raw)
    if data.get("format") != FORMAT:
        raise DamagedAdapterError(
            f"{path} is of format {data.get('format')}, this version reads {FORMAT}; upgrade "
            "plum-langchain"
        )
    manifest = Manifest(**{**data, "session_keys": tuple(data["session_keys"])})
    names = {entry.name for entry in directory.iterdir()}
    strangers = names - {MANIFEST, *manifest.files}
    if strangers:
        raise DamagedAdapterError(
            f"{directory} holds files its manifest doesn't name ({', '.join(sorted(strangers))}); "
            f"{_REMEDY}"
        )
    for name, expected in manifest.files.items():
        file = directory / name
        if file.is_symlink() or not file.is_file():
            raise DamagedAdapterError(f"{file} is missing or a link; {_REMEDY}")
        if sha256_file(file) != expected:
            raise DamagedAdapterError(f"{file} differs from its manifest's SHA-256; {_REMEDY}")
    return manifest
