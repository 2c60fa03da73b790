"""The weights of a generation, read from disk: as they are, or opened in memory."""

from pathlib import Path
from typing import TYPE_CHECKING

from plum_langchain.adapters.manifest import WEIGHTS
from plum_langchain.encryption.box import Seal

if TYPE_CHECKING:
    import torch


def read_weights(
    directory: Path, seal: Seal | None, device: str = "cpu"
) -> "dict[str, torch.Tensor]":
    """The tensors of an adapter, by name.

    Args:
        directory: Of the generation.
        seal: What opens them; None for weights in the clear.
        device: Where they are to be.

    Raises:
        EncryptionError: they can't be opened with it.
    """
    from safetensors.torch import load, load_file

    if seal is None:
        return load_file(directory / WEIGHTS, device=device)
    tensors = load(seal.open((directory / WEIGHTS).read_bytes()))
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def write_weights(directory: Path, content: bytes, seal: Seal | None) -> None:
    """Write a safetensors file, sealed before any of it is on the disk."""
    (directory / WEIGHTS).write_bytes(content if seal is None else seal.seal(content))
