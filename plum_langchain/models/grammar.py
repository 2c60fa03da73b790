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
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def json_of(schema: Mapping[str, Any]) -> str:
    """What stands in a grammar for a JSON value of this schema."""
    return f"%json {json.dumps({**schema, 'x-guidance': _COMPACT})}"


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


_CLOSERS = ('"}', '"]', '"', "}", "]", "0", "1", "true", "null", '""', "{}", "[]", "{", "[", "a")

_LONGEST_END = 512
"""Tokens after which an end is no longer looked for."""


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
        self._seen = prompt_length
        self._last = prompt_length + room - 1  # where its last token stands that isn't its end

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """The scores (1, V), -inf for what can't come next; `ids` (1, T) are all tokens so far."""
        import torch

        self._matcher.consume_tokens(ids[0, self._seen :].tolist())
        self._seen = ids.shape[1]
        end = self._end()
        if end and len(end) >= self._last - self._seen:
            self.cut = True
            allowed = torch.zeros(scores.shape[-1], dtype=torch.bool)
            allowed[end[0]] = True
        else:
            allowed = _allowed(self._matcher)[: scores.shape[-1]]
        if self._matcher.is_error():
            raise InvalidInputError(
                f"the reply's form could not be kept: {self._matcher.get_error().splitlines()[0]}; "
                "use a simpler schema"
            )
        return scores.masked_fill(~allowed.to(scores.device), -torch.inf)

    def _end(self) -> list[int]:
        """Tokens that bring the reply to an end from here; none if it may end here."""
        ahead = self._matcher.deep_copy()
        end: list[int] = []
        while not (ahead.is_accepting() or ahead.is_error()) and len(end) < _LONGEST_END:
            tokens = ahead.compute_ff_tokens()  # those that can't but come next
            if not tokens:
                allowed = _allowed(ahead)
                closer = next((token for token in self._closers if allowed[token]), None)
                tokens = [int(allowed.int().argmax()) if closer is None else closer]
            ahead.consume_tokens(tokens)
            end += tokens
        return end


def _allowed(matcher: "LLMatcher") -> "torch.Tensor":
    """Which tokens may come next; a bool for each of the vocabulary, or a few more."""
    import torch

    packed = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
    return ((packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten().bool()
