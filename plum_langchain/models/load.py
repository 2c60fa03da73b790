"""A base model or an encoder into memory, on a device and in a dtype chosen sensibly."""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import InvalidInputError, ModelNotFoundError
from plum_langchain.models.resolve import ResolvedModel

if TYPE_CHECKING:
    import torch


IMPORTING = threading.Lock()
"""Held while names are imported from transformers: it makes them lazily, and two threads that do so
for the first time at once (a chat and a consolidation) find it half made."""

LOADING = threading.Lock()
"""Held while transformers loads: two threads that set torch's default dtype and put it back would
leave each other's behind."""


@dataclass(frozen=True)
class LoadedModel:
    """A base model or an encoder with its tokenizer, in eval mode and frozen."""

    resolved: ResolvedModel
    model: Any
    tokenizer: Any
    device: str


def choose_device(wanted: str = "auto") -> str:
    """`wanted`, or the best there is: cuda, then mps, then cpu.

    Raises:
        InvalidInputError: not a device of torch, or not of this machine.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next((name for name, found in there.items() if found), "cpu")
    try:
        kind = torch.device(wanted).type
    except RuntimeError as error:
        raise InvalidInputError(
            f"device {wanted!r} is not one of torch's; use cuda, cuda:1, mps, cpu or auto"
        ) from error
    if not there.get(kind, True):
        raise InvalidInputError(
            f"device {wanted!r} was asked for, but torch finds no {kind} on this machine; use cpu "
            "or auto, or install a build of torch for it"
        )
    return wanted


def choose_dtype(wanted: str, device: str) -> "torch.dtype":
    """`wanted`, or the one that suits the device.

    That is bfloat16 on CUDA and on CPUs that multiply it (half the memory, the range of float32;
    docs/performance.md has what that saves), float32 elsewhere.

    Raises:
        InvalidInputError: not a floating-point dtype of torch.
    """
    import torch

    if wanted == "auto":
        on_cuda = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        bf16 = on_cuda or (device == "cpu" and _cpu_multiplies_bfloat16())
        return torch.bfloat16 if bf16 else torch.float32
    dtype = getattr(torch, wanted, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidInputError(
            f"dtype {wanted!r} is not one of torch's floating-point types; use float32, bfloat16, "
            "float16 or auto"
        )
    return dtype


def _cpu_multiplies_bfloat16() -> bool:
    import torch

    # Older releases of torch don't tell.
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def load_model(
    resolved: ResolvedModel, *, device: str = "auto", dtype: str = "auto"
) -> LoadedModel:
    """Load a base model. Runs no code from the model's repository.

    Raises:
        InvalidInputError: the device or dtype can't be used.
        ModelNotFoundError: the directory holds no causal LM that transformers can read.
    """
    import torch

    with IMPORTING:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    device = choose_device(device)
    weights_dtype = choose_dtype(dtype, device)
    # On a CPU they are converted afterwards: while transformers loads in another dtype than torch's
    # default, that is the default of every thread, a chat's included.
    loading_dtype = torch.get_default_dtype() if device == "cpu" else weights_dtype
    try:
        with LOADING:
            model = AutoModelForCausalLM.from_pretrained(
                str(resolved.path), dtype=loading_dtype, use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(str(resolved.path))
    except Exception as error:  # whatever transformers, tokenizers and safetensors please
        raise ModelNotFoundError(
            f"{resolved.id} can't be loaded as a causal language model from {resolved.path}: "
            f"{error}; give a model whose directory holds config.json, its weights as safetensors "
            "and its tokenizer"
        ) from error
    mapped = _mapped(resolved)
    model.to(device)  # type: ignore[arg-type]  # transformers wraps torch's signature wrongly
    for parameter in model.parameters():  # not the buffers: rotary frequencies need their digits
        loaded = parameter.data
        converted = loaded.to(weights_dtype)
        if converted is not loaded:
            parameter.data = converted
            _let_go(loaded, mapped)
    model.eval().requires_grad_(False)
    return LoadedModel(resolved, model, tokenizer, device)


def load_encoder(resolved: ResolvedModel, *, dtype: str = "float32") -> LoadedModel:
    """Load a sentence encoder, on the CPU. Runs no code from the model's repository.

    Args:
        resolved: Where it is.
        dtype: As for `choose_dtype`.

    Raises:
        InvalidInputError: the dtype can't be used.
        ModelNotFoundError: the directory holds no encoder that transformers can read.
    """
    import torch

    with IMPORTING:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    weights_dtype = choose_dtype(dtype, "cpu")
    try:
        with LOADING:
            model = AutoModel.from_pretrained(
                str(resolved.path), dtype=torch.get_default_dtype(), use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(str(resolved.path))
    except Exception as error:  # whatever transformers, tokenizers and safetensors please
        raise ModelNotFoundError(
            f"{resolved.id} can't be loaded as a sentence encoder from {resolved.path}: {error}; "
            "give one whose directory holds config.json, its weights as safetensors and its "
            "tokenizer"
        ) from error
    for parameter in model.parameters():
        parameter.data = parameter.data.to(weights_dtype)
    model.eval().requires_grad_(False)
    return LoadedModel(resolved, model, tokenizer, "cpu")


def _mapped(resolved: ResolvedModel) -> list[range]:
    """Where the files of a model's weights are mapped into memory; known on Linux alone."""
    maps = Path("/proc/self/maps")
    if sys.platform != "linux" or not maps.exists():
        return []
    files = {str(file.resolve()) for file in resolved.path.glob("*.safetensors")}
    found = []
    for line in maps.read_text("utf-8", "surrogateescape").splitlines():
        addresses, _, rest = line.partition(" ")
        if rest.split(None, 4)[-1] in files:
            start, end = (int(address, 16) for address in addresses.split("-"))
            found.append(range(start, end))
    return found


def _let_go(tensor: "torch.Tensor", mapped: Sequence[range]) -> None:
    """Take a mapped tensor's pages out of memory now, not when all that lie beside it are dead.

    Weights are views of their file, which stays mapped until the last of them is gone: all of it
    would be in memory beside all that was made of it. The pages were only read, so whoever reads
    them again finds them as they are in the file.
    """
    import ctypes
    import mmap

    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page
    length = (tensor.data_ptr() + tensor.nbytes - start) // page * page
    if length > 0 and any(start in file and start + length - 1 in file for file in mapped):
        address, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
        ctypes.CDLL(None).madvise(address, size, mmap.MADV_DONTNEED)


def release_memory() -> None:
    """Give what a model left free back to the system.

    glibc keeps freed blocks for itself, and a process that trains a second time would hold twice as
    much; other allocators are left alone.
    """
    import ctypes

    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # not glibc, or not Unix
        return
    trim(0)
