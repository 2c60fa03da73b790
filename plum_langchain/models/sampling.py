"""How a reply is drawn, and what it is once it is finished."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from plum_langchain.errors import InvalidInputError
from plum_langchain.learning.randomness import set_aside
from plum_langchain.models.calls import BrokenCall, Call


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. Temperature 0 is greedy; `seed` makes a sampled reply repeatable.

    With a `schema` (JSON schema) the reply can't but be JSON of it, unless it is cut off.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InvalidInputError(f"max_tokens must be at least 1, not {self.max_new_tokens}")
        if not 0 <= self.temperature < math.inf:
            raise InvalidInputError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InvalidInputError(f"top_p must be in (0, 1], not {self.top_p}")


@dataclass(frozen=True)
class Reply:
    """A finished reply.

    Attributes:
        text: What it says, without the tools it calls.
        finish_reason: "stop" (its own end or a stop string), "length", or "tool_calls".
        prompt_tokens: Read.
        completion_tokens: Written.
        calls: The tools it calls.
        broken: What was to be a call of a tool, and can't be read as one.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    calls: tuple[Call, ...] = ()
    broken: tuple[BrokenCall, ...] = ()


_GREEDY_BELOW = 1e-5
"""Logits divided by a smaller temperature overflow; the reply is the greedy one anyway."""


def drawing(sampling: Sampling) -> dict[str, Any]:
    """The arguments of `generate` that say how a token is chosen."""
    if sampling.temperature < _GREEDY_BELOW:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
    }


@contextmanager
def seeded(sampling: Sampling, device: str) -> Iterator[None]:
    """Torch's generators at the sampling's seed, and afterwards as they were."""
    import torch

    if sampling.seed is None:
        yield
        return
    cuda = [torch.device(device)] if device.startswith("cuda") else []
    with set_aside(cuda):
        torch.manual_seed(sampling.seed)
        yield
