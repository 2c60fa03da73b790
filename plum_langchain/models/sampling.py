"""How a reply is drawn, and what it is once it is finished."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plum_langchain.errors import InvalidInputError
from plum_langchain.models.calls import BrokenCall, Call


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. Temperature 0 is greedy; `seed` makes a sampled reply repeatable.

    With a `schema` (JSON schema) the reply can't but be JSON of it. With `logprobs` each token is
    told with its log-probability, and so are as many of the likeliest in its place.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    logprobs: int | None = None

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn; else the likeliest is taken."""
        return self.temperature >= _GREEDY_BELOW

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InvalidInputError(f"max_tokens must be at least 1, not {self.max_new_tokens}")
        if not 0 <= self.temperature < math.inf:
            raise InvalidInputError(f"temperature must be 0 or more, not {self.temperature}")
        if self.logprobs is not None and not 0 <= self.logprobs <= _MOST_LOGPROBS:
            raise InvalidInputError(
                f"top_logprobs must be from 0 to {_MOST_LOGPROBS}, not {self.logprobs}"
            )
        if not 0 < self.top_p <= 1:
            raise InvalidInputError(f"top_p must be in (0, 1], not {self.top_p}")


@dataclass(frozen=True)
class TokenLogprob:
    """A token of a reply.

    Attributes:
        token: Its text.
        logprob: The natural logarithm of its probability, whatever the reply's form and sampling.
        top: The likeliest tokens in its place, with theirs.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


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
        logprobs: Of its tokens without its end, if they were asked for.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    calls: tuple[Call, ...] = ()
    broken: tuple[BrokenCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None


_GREEDY_BELOW = 1e-5
"""Logits divided by a smaller temperature overflow; the reply is the greedy one anyway."""

_MOST_LOGPROBS = 20
"""As many as OpenAI gives."""
