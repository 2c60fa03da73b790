"""Replies that can't but have a form: no token is drawn that would break it (llguidance).

A grammar is in llguidance's variant of Lark, in which `%json` stands for all texts of a JSON schema
(https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import InvalidInputError

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher, LLTokenizer

# Between values nothing but what Python's json writes: a small model may go on with white space
# for as long as it is let.
_OPTIONS = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,  # what can't be enforced (that items are unique, say) is left to who reads it
    "coerce_one_of": True,
}


def json_of(schema: Mapping[str, Any]) -> str:
    """What stands in a grammar for a JSON value of this schema.

    Objects have no other properties than those it names, unless it says that they may.
    """
    return f"%json {json.dumps({**_closed(schema), 'x-guidance': _OPTIONS})}"


_NAMED = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
"""Keywords whose value is schemas by name."""

_VALUES = ("enum", "const", "default", "examples")
"""Keywords whose value is no schema."""


def _closed(schema: Any, *, joined: bool = False) -> Any:
    """A schema whose objects have no other properties than those it names.

    Args:
        schema: Or a list of them; anything else stays as it is.
        joined: It is joined to others, whose properties it must leave room for.
    """
    if isinstance(schema, list):
        return [_closed(one, joined=joined) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            found[key] = {name: _closed(inner) for name, inner in value.items()}
        else:
            found[key] = value if key in _VALUES else _closed(value, joined=key == "allOf")
    if found.get("properties") and "allOf" not in found and not joined:
        found.setdefault("additionalProperties", False)
    return found


class Grammars:
    """Makes constraints for one model.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        vocabulary: How many logits the model has for a token.
        ends: The tokens that end a reply.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._ends = list(ends)

    def constraint(self, grammar: str) -> "Constraint":
        """For one reply.

        Args:
            grammar: With a rule `start`.

        Raises:
            InvalidInputError: it is no grammar, or asks for what can't be enforced.
        """
        from llguidance import LLMatcher

        matcher = LLMatcher(self._read, grammar)
        if matcher.is_error():
            raise InvalidInputError(
                f"a reply of this form can't be enforced: {matcher.get_error().splitlines()[0]}; "
                "use a schema of objects, arrays, strings, numbers, booleans and enums"
            )
        return Constraint(matcher, self._closers)

    @cached_property
    def _closers(self) -> list[int]:
        """Tokens that end a value or are a short one, those that end the most first."""
        ids = [self._read.tokenize_str(text) for text in _CLOSERS]
        return [tokens[0] for tokens in ids if len(tokens) == 1]

    @cached_property
    def _read(self) -> "LLTokenizer":
        from llguidance.hf import from_tokenizer

        return from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)


_CLOSERS = (
    '"}', '"]', '"', "}", "]", ",", ", ", "null", "true", '""', "{}", "[]", "{", "[",
    *"0123456789", "-", ".", "a",
)  # fmt: skip

_LONGEST_END = 400
"""Tokens after which an end is no longer looked for."""

_NEAR = 64
"""Tokens before the last possible moment from which on each is checked before it is chosen."""

_TRIES = 8
"""Of the likeliest tokens, how many are checked before the reply is brought to its end."""


class Constraint:
    """A logits processor of transformers, of one reply.

    Args:
        matcher: Of the grammar.
        closers: Tokens to bring it to an end with.
    """

    def __init__(self, matcher: "LLMatcher", closers: Sequence[int]) -> None:
        self._matcher = matcher
        self._closers = closers
        self._seen = self._last = 0
        self.cut = False
        """Whether it was brought to an end before the model came to one."""

    def begin(self, prompt_length: int, room: int) -> None:
        """A reply begins.

        Args:
            prompt_length: Tokens before it.
            room: Tokens that it may have. It is brought to an end in time, if that can be.
        """
        self._matcher.reset()
        self.cut = False
        self._seen = prompt_length
        self._last = prompt_length + room - 1  # where its last token stands that isn't its end

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """The scores (1, V), -inf for what can't come next; `ids` (1, T) are all tokens so far."""
        import torch

        self._matcher.consume_tokens(ids[0, self._seen :].tolist())
        self._seen = ids.shape[1]
        allowed = _allowed(self._matcher)[: scores.shape[-1]].to(scores.device)
        if self._matcher.is_error():
            raise InvalidInputError(
                f"the reply's form could not be kept: {self._matcher.get_error().splitlines()[0]}; "
                "use a simpler schema"
            )
        possible = scores.masked_fill(~allowed, -torch.inf)
        room = self._last - self._seen
        end = self._end(self._matcher)
        if not end or room - len(end) > _NEAR:
            return possible
        return self._in_time(possible, end, room)

    def _in_time(self, scores: "torch.Tensor", end: list[int], room: int) -> "torch.Tensor":
        """Only one token is possible: the likeliest after which there is room for an end."""
        import torch

        chosen = end[0]
        for token in scores[0].topk(_TRIES).indices.tolist() if len(end) < room else ():
            ahead = self._matcher.deep_copy()
            if not scores[0, token].isfinite() or not ahead.consume_token(token):
                continue
            after = self._end(ahead)
            if after is not None and len(after) <= room - 1:
                chosen = token
                break
        else:
            self.cut = True
        return torch.full_like(scores, -torch.inf).index_fill_(
            1, torch.tensor([chosen], device=scores.device), 0.0
        )

    def _end(self, matcher: "LLMatcher") -> list[int] | None:
        """Tokens that bring a reply to an end: none if it may end there, None if none is found."""
        ahead = matcher.deep_copy()
        end: list[int] = []
        while not (ahead.is_accepting() or ahead.is_error()) and len(end) < _LONGEST_END:
            tokens = ahead.compute_ff_tokens()  # those that can't but come next
            if not tokens:
                allowed = _allowed(ahead)
                closer = next((token for token in self._closers if allowed[token]), None)
                tokens = [int(allowed.int().argmax()) if closer is None else closer]
            ahead.consume_tokens(tokens)
            end += tokens
        return end if ahead.is_accepting() and not ahead.is_error() else None


def _allowed(matcher: "LLMatcher") -> "torch.Tensor":
    """Which tokens may come next; a bool for each of the vocabulary, or a few more."""
    import torch

    packed = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
    return ((packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten().bool()
