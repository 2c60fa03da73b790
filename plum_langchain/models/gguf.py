"""A GGUF file into a safetensors model, once, in the user's cache.

Reading a GGUF through transformers dequantizes it tensor by tensor, too slow to do at every
start. What is written is float32: the dequantized values exactly.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from plum_langchain.models.cache import cache_directory, make_once


def converted(gguf: Path, name: str, progress: Callable[[str], None] | None = None) -> Path:
    """The directory with `gguf` as a safetensors model; converts it if that wasn't done yet.

    Args:
        gguf: The file.
        name: The model's name, for the directory and the progress line.
        progress: Told before a conversion begins.

    Raises:
        CacheError: the cache can't be written.
    """
    stat = gguf.stat()
    with gguf.open("rb") as file:  # metadata and names are at the front, and tell models apart
        head = hashlib.sha256(file.read(1 << 20)).hexdigest()[:12]
    directory = cache_directory() / "models" / f"{name.replace('/', '--')}-{stat.st_size}-{head}"

    def convert(writing: Path) -> None:
        if progress is not None:
            progress(f"Converting {name} from GGUF to safetensors (once, about half a minute)")
        _convert(gguf, writing)

    make_once(directory, convert)
    return directory


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32
    )
    # transformers refuses to save a model it read from GGUF; a fresh one with the same weights
    # knows nothing of where they came from.
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(read.state_dict(), strict=True)
    fresh.generation_config = read.generation_config
    fresh.save_pretrained(str(target), safe_serialization=True)
    tokenizer.save_pretrained(str(target))
