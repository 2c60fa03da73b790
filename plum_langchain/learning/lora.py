"""LoRA layers put onto a model and taken off again without a trace, in PEFT's format on disk.

PEFT draws initial weights from torch's global generator, which a chat that samples in another
thread may be using. So what it draws is given back, and the layers are filled here, from a
generator of our own or from the generation before. (PEFT can make empty layers, but for that it
patches torch for all threads, and a model that is loaded meanwhile comes out broken.)
"""

import copy
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.adapters.manifest import CONFIG
from plum_langchain.adapters.weights import read_weights, write_weights
from plum_langchain.encryption.box import Seal
from plum_langchain.errors import DamagedAdapterError, InvalidInputError
from plum_langchain.learning.randomness import set_aside
from plum_langchain.settings import UPPER_LAYERS, LearningSettings

if TYPE_CHECKING:
    import torch

_NAME = "default"


@contextmanager
def attached(
    model: Any,
    parent: Path | None,
    settings: LearningSettings,
    *,
    layers: Sequence[int] | None = None,
    seal: Seal | None = None,
) -> Iterator[tuple[Any, int]]:
    """`model` with a trainable adapter for the length of the block; afterwards as it was, frozen.

    Yields PEFT's model, and how many of the lowest layers carry nothing of the adapter.

    Args:
        model: A causal LM without adapters.
        parent: Directory of the generation to go on from; None starts a fresh adapter.
        settings: Rank, alpha, modules, layers, and the seed of a fresh adapter.
        layers: Which of them carry a fresh adapter; None for what the settings say.
        seal: What opens the parent's weights, where they are encrypted.

    Raises:
        InvalidInputError: the model has no such modules or layers, or the parent is of other rank,
            alpha, modules or layers than the settings.
        DamagedAdapterError: the parent's weights don't fit the model.
    """
    from peft import get_peft_model
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    config = _config(model, parent, settings, layers)
    try:
        try:
            with set_aside():
                adapted = get_peft_model(model, config)
        except ValueError as error:
            raise InvalidInputError(
                f"target_modules={settings.target_modules!r} doesn't suit "
                f"{type(model).__name__}: {error}"
            ) from error
        _refuse_embeddings(adapted, settings)
        empty = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        state = read_weights(parent, seal) if parent else _initial(empty, settings.seed)
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in empty.items()}:
            raise DamagedAdapterError(
                f"the weights in {parent} don't fit the layers of {type(model).__name__}; go back "
                "with Plum.rollback(user_id, generation) to one that fits"
            )
        set_peft_model_state_dict(adapted, state)
        adapted.eval()  # no dropout: neither LoRA's (it has none) nor the model's own
        yield adapted, min(config.layers_to_transform or [0])
    finally:
        strip(model)
        model.eval()
        model.requires_grad_(False)


def _refuse_embeddings(adapted: Any, settings: LearningSettings) -> None:
    """Serving adds to what linear layers make, and to nothing else."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in adapted.named_modules():
        if isinstance(module, BaseTunerLayer) and isinstance(
            module.get_base_layer(), torch.nn.Embedding
        ):
            raise InvalidInputError(
                f"target_modules={settings.target_modules!r} names {name}, an embedding; only "
                "linear modules can be adapted"
            )


def save(
    adapted: Any,
    directory: Path,
    *,
    dtype: "torch.dtype | None" = None,
    base_model: str | None = None,
    seal: Seal | None = None,
) -> None:
    """Write the adapter's weights and configuration as PEFT, vLLM and others load them.

    Args:
        adapted: PEFT's model.
        directory: An existing one.
        dtype: Of the weights on disk; None for what they are trained in.
        base_model: What the configuration calls the base model; None for where it was loaded from.
        seal: What to encrypt the weights with; then nobody else can load them.
    """
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save as to_bytes

    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()
    }
    # Written by us, so that a full disk is an OSError like any other.
    write_weights(directory, to_bytes(tensors, metadata={"format": "pt"}), seal)
    config = copy.copy(adapted.peft_config[_NAME])
    config.inference_mode = True
    if base_model is not None:
        config.base_model_name_or_path = base_model
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


def _config(
    model: Any, parent: Path | None, settings: LearningSettings, fresh: Sequence[int] | None
) -> Any:
    from peft import LoraConfig

    if parent is None:
        modules, layers = _placed(model, settings.target_modules, settings.upper_layers)
        return LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules=modules,
            layers_to_transform=layers if fresh is None else list(fresh),
            task_type="CAUSAL_LM",
        )
    check_shape(parent, settings)
    config = LoraConfig.from_pretrained(str(parent))
    layers = config.layers_to_transform
    if settings.upper_layers is not None:
        _, wanted = _placed(model, settings.target_modules, settings.upper_layers)
        if wanted != layers:
            raise _other_shape(_spelled(layers), _spelled(wanted), "upper_layers")
    config.inference_mode = False
    config.base_model_name_or_path = None  # get_peft_model names the model at hand
    return config


def check_shape(parent: Path, settings: LearningSettings) -> None:
    """Whether learning with these settings can go on from a generation, as far as files tell.

    Raises:
        InvalidInputError: it is of other rank, alpha or modules.
    """
    config = json.loads((parent / CONFIG).read_text("utf-8"))
    theirs, wanted = config["target_modules"], settings.target_modules
    pairs: list[tuple[str, Any, Any]] = [
        ("rank", config["r"], settings.rank),
        ("alpha", config["lora_alpha"], settings.alpha),
    ]
    # "all-linear" and patterns are saved as the names they stood for, so they can't be compared.
    if not isinstance(wanted, str) and not isinstance(theirs, str):
        pairs.append(("target_modules", sorted(theirs), sorted(wanted)))
    for name, has, asked in pairs:
        if has != asked:
            raise _other_shape(f"{name}={has!r}", f"{name}={asked!r}", name)


def _other_shape(has: str, asked: str, name: str) -> InvalidInputError:
    return InvalidInputError(
        f"the user's adapter has {has}, but the settings ask for {asked}; an adapter can't change "
        f"its shape. Keep LearningSettings.{name} as it was, or learn the user's chats anew: "
        "Plum.rollback(user_id, 0), then consolidate"
    )


def _placed(
    model: Any, wanted: str | tuple[str, ...], upper_layers: float | None
) -> tuple[str | list[str], list[int] | None]:
    """The modules to adapt, and the layers they are in (None for all)."""
    from plum_langchain.learning.layers import DecoderLayers

    pattern = isinstance(wanted, str) and wanted != "all-linear"
    if upper_layers == 1.0 or (pattern and upper_layers is None):
        return wanted if isinstance(wanted, str) else list(wanted), None
    if pattern:
        raise InvalidInputError(
            f"the pattern target_modules={wanted!r} names its layers itself, so upper_layers="
            f"{upper_layers} can't choose among them; name modules, or leave upper_layers out"
        )
    layers = DecoderLayers(model)
    # PEFT takes no layers beside "all-linear".
    modules = layers.linear_modules() if isinstance(wanted, str) else list(wanted)
    first = layers.first_of_upper(UPPER_LAYERS if upper_layers is None else upper_layers)
    return modules, list(range(first, len(layers)))


def _spelled(layers: list[int] | None) -> str:
    return "all layers" if layers is None else f"layers {min(layers)} to {max(layers)}"


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
        state[name] = tensor
    return state
