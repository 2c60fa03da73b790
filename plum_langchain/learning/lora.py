"""LoRA layers put onto a model and taken off again without a trace, in PEFT's format on disk.

PEFT draws initial weights from torch's global generator, which a chat that samples in another
thread may be using. So what it draws is given back, and the layers are filled here, from a
generator of our own or from the generation before. (PEFT can make empty layers, but for that it
patches torch for all threads, and a model that is loaded meanwhile comes out broken.)
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.adapters.manifest import WEIGHTS
from plum_langchain.errors import DamagedAdapterError, InvalidInputError
from plum_langchain.settings import LearningSettings

if TYPE_CHECKING:
    import torch

_NAME = "default"


@contextmanager
def attached(model: Any, parent: Path | None, settings: LearningSettings) -> Iterator[Any]:
    """`model` with a trainable adapter for the length of the block; afterwards as it was, frozen.

    Args:
        model: A causal LM without adapters.
        parent: Directory of the generation to go on from; None starts a fresh adapter.
        settings: Rank, alpha, modules, and the seed of a fresh adapter.

    Raises:
        InvalidInputError: the model has no such modules, or the parent is of other rank, alpha or
            modules than the settings.
        DamagedAdapterError: the parent's weights don't fit the model.
    """
    import torch
    from peft import get_peft_model
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = _config(parent, settings)
    try:
        try:
            with torch.random.fork_rng(devices=[]):
                adapted = get_peft_model(model, config)
        except ValueError as error:
            raise InvalidInputError(
                f"target_modules={settings.target_modules!r} doesn't suit "
                f"{type(model).__name__}: {error}"
            ) from error
        empty = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        state = load_file(parent / WEIGHTS) if parent else _initial(empty, settings.seed)
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in empty.items()}:
            raise DamagedAdapterError(
                f"the weights in {parent} don't fit the layers of {type(model).__name__}; go back "
                "with Plum.rollback(user_id, generation) to one that fits"
            )
        set_peft_model_state_dict(adapted, state)
        adapted.train()
        yield adapted
    finally:
        strip(model)
        model.eval()
        model.requires_grad_(False)


def save(adapted: Any, directory: Path) -> None:
    """Write the adapter's weights and configuration as PEFT, vLLM and others load them."""
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save as to_bytes

    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # Written by us, so that a full disk is an OSError like any other.
    (directory / WEIGHTS).write_bytes(to_bytes(tensors, metadata={"format": "pt"}))
    config = copy.copy(adapted.peft_config[_NAME])
    config.inference_mode = True
    if not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)  # equal configurations, equal bytes
    config.save_pretrained(str(directory))


def strip(model: Any) -> None:
    """Take all of PEFT's layers off a model, however few of them were put on."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            owner, _, child = name.rpartition(".")
            setattr(model.get_submodule(owner), child, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def _config(parent: Path | None, settings: LearningSettings) -> Any:
    from peft import LoraConfig

    wanted = settings.target_modules
    if parent is None:
        return LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules=wanted if isinstance(wanted, str) else list(wanted),
            task_type="CAUSAL_LM",
        )
    config = LoraConfig.from_pretrained(str(parent))
    modules = config.target_modules
    # "all-linear" and patterns are saved as the names they stood for, so they can't be compared.
    others = (
        not isinstance(wanted, str) and not isinstance(modules, str) and {*wanted} != {*modules}
    )
    if (config.r, config.lora_alpha) != (settings.rank, settings.alpha) or others:
        raise InvalidInputError(
            f"the user's adapter has rank={config.r}, alpha={config.lora_alpha} and "
            f"target_modules={modules if others else '(the same)'}, but the settings ask for "
            f"rank={settings.rank}, alpha={settings.alpha}, target_modules={wanted!r}; an adapter "
            "can't change its shape. Keep to its settings, or learn the chats anew in another home"
        )
    config.inference_mode = False
    config.base_model_name_or_path = None  # get_peft_model names the model at hand
    return config


def _initial(empty: "dict[str, torch.Tensor]", seed: int) -> "dict[str, torch.Tensor]":
    """LoRA's usual start, as PEFT has it: one factor random, the other zero, so nothing changes."""
    import torch

    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same start on every device
    state = {}
    for name, like in empty.items():
        tensor = torch.zeros(like.shape, dtype=torch.float32)
        if "lora_A" in name:  # (rank, in): nn.Linear's own start, kaiming_uniform_(a=sqrt(5))
            bound = 1 / math.sqrt(like.shape[1])
            tensor.uniform_(-bound, bound, generator=generator)
        elif "lora_embedding_B" in name:  # (dim, rank)
            tensor.normal_(generator=generator)
        state[name] = tensor
    return state
