"""Replies that can't but have a form: no token is drawn that would break it (llguidance).

A grammar is in llguidance's variant of Lark
(https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import InvalidInputError
from plum_langchain.models.closing import Closers, Place, Way

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher, LLTokenizer


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
    def _closers(self) -> "Closers":
        return Closers(self._read)

    @cached_property
    def _read(self) -> "LLTokenizer":
        from llguidance.hf import from_tokenizer

        return from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)


_LONGEST_END = 400
"""Tokens after which an end is no longer looked for."""

_NEAR = 64
"""Tokens before the last possible moment from which on each is checked before it is chosen.

Until then those are that begin a value, which may have to be longer than this.
"""

_TRIES = 8
"""Of the likeliest tokens, how many are checked for room."""


class Constraint:
    """A logits processor of transformers, of one reply.

    Args:
        matcher: Of the grammar.
        closers: Tokens to bring it to an end with.
    """

    def __init__(self, matcher: "LLMatcher", closers: Closers) -> None:
        self._matcher = matcher
        self._closers = closers
        self.begin(0, 0)

    def begin(self, prompt_length: int, room: int) -> None:
        """A reply begins.

        Args:
            prompt_length: Tokens before it.
            room: Tokens that it may have. It is brought to an end in time, if that can be.
        """
        self._matcher.reset()
        self._place = Place()
        self._ends: dict[int, list[int]] = {}  # what is known after tokens that may come next
        self.cut = False
        """Whether it was brought to an end before the model came to one."""
        self._seen = prompt_length
        self._last = prompt_length + room - 1  # where its last token stands that isn't its end

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """The scores (1, V), -inf for what can't come next; `ids` (1, T) are all tokens so far."""
        import torch

        new = ids[0, self._seen :].tolist()
        self._seen = ids.shape[1]
        for token in new:
            self._matcher.consume_token(token)
            # Where it may end, it may be in the text before a call, whose quotes are its own.
            ended = self._matcher.is_accepting()
            self._place = Place() if ended else self._after(self._place, token)
        allowed = _allowed(self._matcher)[: scores.shape[-1]].to(scores.device)
        if self._matcher.is_error():
            raise InvalidInputError(
                f"the reply's form could not be kept: {self._matcher.get_error().splitlines()[0]}; "
                "use a simpler schema"
            )
        possible = scores.masked_fill(~allowed, -torch.inf)
        room = self._last - self._seen
        if room > _LONGEST_END + _NEAR:
            return possible
        # An end that is known must hold: from further on, another may be found that is longer.
        end = self._ends.get(new[0]) if len(new) == 1 else None
        if end is None:
            end = self._end(self._matcher, self._place)
        self._ends = {end[0]: end[1:]} if end else {}
        if not end:
            return possible
        if room - len(end) > _NEAR:
            return self._with_room(possible, room)
        return self._in_time(possible, end, room)

    def _with_room(self, scores: "torch.Tensor", room: int) -> "torch.Tensor":
        """The scores, -inf for the likeliest that begin what there is no room for."""
        import torch

        for token in _likeliest(scores):
            place = replace(self._place)
            text = self._closers.tokenizer.decode_str([token])
            if any(mark in "{[," for mark in place.read(text)):
                after = self._end_after(token)
                if after is None or len(after) > room - 1:
                    scores[0, token] = -torch.inf
        return scores

    def _in_time(self, scores: "torch.Tensor", end: list[int], room: int) -> "torch.Tensor":
        """Only one token is possible: the likeliest after which there is room for an end."""
        import torch

        for token in _likeliest(scores) if len(end) < room else ():
            after = self._end_after(token)
            if after is not None and len(after) <= room - 1:
                break
        else:
            self.cut, token = True, end[0]
        return torch.full_like(scores, -torch.inf).index_fill_(
            1, torch.tensor([token], device=scores.device), 0.0
        )

    def _end_after(self, token: int) -> list[int] | None:
        """The end after a token that may come next."""
        if token not in self._ends:
            ahead = self._matcher.deep_copy()
            ahead.consume_token(token)
            end = self._end(ahead, self._after(self._place, token))
            if end is None:
                return None
            self._ends[token] = end
        return self._ends[token]

    def _after(self, place: Place, token: int) -> Place:
        found = replace(place)
        for _ in found.read(self._closers.tokenizer.decode_str([token])):
            pass
        return found

    def _end(self, matcher: "LLMatcher", place: Place) -> list[int] | None:
        """Tokens that bring a reply to an end: none if it may end there, None if none is found."""
        way = Way(place)
        end = self._gone(matcher, way)
        if end is None or not way.turned:
            return end
        # It may be a detour: what it turned to at last is tried first.
        straight = self._gone(matcher, Way(place, way.turned))
        return end if straight is None else min(end, straight, key=len)

    def _gone(self, matcher: "LLMatcher", way: Way) -> list[int] | None:
        """Tokens that bring a reply to an end on this way."""
        ahead = matcher.deep_copy()
        end: list[int] = []
        while not (ahead.is_accepting() or ahead.is_error()) and len(end) < _LONGEST_END:
            # Those that can't but come next, if there are any.
            tokens = ahead.compute_ff_tokens() or list(self._closers.next(ahead, way))
            if not tokens:
                return None
            ahead.consume_tokens(tokens)
            way.went(self._closers.tokenizer.decode_str(tokens))
            end += tokens
        return end if ahead.is_accepting() and not ahead.is_error() else None


def _likeliest(scores: "torch.Tensor") -> list[int]:
    """A few tokens that are possible, the likeliest first."""
    found = scores[0].topk(min(_TRIES, scores.shape[-1])).indices
    return [token for token in found.tolist() if scores[0, token].isfinite()]


def _allowed(matcher: "LLMatcher") -> "torch.Tensor":
    """Which tokens may come next; a bool for each of the vocabulary, or a few more."""
    import torch

    packed = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
    return ((packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten().bool()
