"""Replies that can't but have a form: no token is drawn that would break it (llguidance).

A grammar is in llguidance's variant of Lark, in which `%json` stands for all texts of a JSON schema
(https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from string import ascii_lowercase, ascii_uppercase, punctuation
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

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


_DEFINED = ("$defs", "definitions")
"""Keywords whose value is what references refer to."""

_NAMED = ("properties", "patternProperties", "dependentSchemas", *_DEFINED)
"""Keywords whose value is schemas by name."""

_VALUES = ("enum", "const", "default", "examples")
"""Keywords whose value is no schema."""

_ENFORCED = frozenset([
    "$ref", "type", "enum", "const", "format", "pattern", "minLength", "maxLength", "minimum",
    "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "items", "prefixItems",
    "additionalItems", "unevaluatedItems", "contains", "minContains", "maxContains", "minItems",
    "maxItems", "uniqueItems", "required", "additionalProperties", "unevaluatedProperties",
    "propertyNames", "minProperties", "maxProperties", "dependentRequired", "allOf", "anyOf",
    "oneOf", "not", "if", "then", "else", "$schema", "$id", "$anchor", *_NAMED,
])  # fmt: skip
"""Keywords that say what a value must be, or where that is said."""


def _closed(schema: Any, *, joined: bool = False) -> Any:
    """What a schema enforces; its objects have no other properties than those it names.

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
        # Others are no harm but beside a reference to what holds itself: llguidance takes none.
        if key not in _ENFORCED:
            continue
        if key in _NAMED and isinstance(value, Mapping):
            found[key] = {name: _closed(inner) for name, inner in value.items()}
        else:
            found[key] = value if key in _VALUES else _closed(value, joined=key == "allOf")
    if found.get("properties") and "allOf" not in found and not joined:
        found.setdefault("additionalProperties", False)
    return found


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to in place of its references.

    What holds itself can't stand in its own place: references to that remain, to `$defs` at the
    schema's root; one without `$defs` has none. Those to what isn't there remain as they are.
    Titles are left out, but the schema's own: they enforce nothing, and are read with every prompt.
    """
    return _Inlining(schema).whole()


class _Inlining:
    """Of one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._names: dict[str, str] = {}  # by reference
        self._defs: dict[str, Any] = {}

    def whole(self) -> dict[str, Any]:
        # What the root refers to is put there even if it holds itself: a call's arguments must be
        # an object that says so.
        root, followed = dict(self._schema), set[str]()
        while (target := self._target(root)) is not None and root["$ref"] not in followed:
            followed.add(root.pop("$ref"))
            root = {**target, **root}
        made = self._put(root)
        title = {"title": root["title"]} if "title" in root else {}
        return {**title, **made, **({"$defs": self._defs} if self._defs else {})}

    def _put(self, part: Any) -> Any:
        if isinstance(part, list):
            return [self._put(one) for one in part]
        if not isinstance(part, Mapping):
            return part
        beside = {
            key: {name: self._put(inner) for name, inner in value.items()}
            if key in _NAMED and isinstance(value, Mapping)
            else (value if key in _VALUES else self._put(value))
            for key, value in part.items()
            if key not in (*_DEFINED, "title")
        }
        target = self._target(part)
        if target is None:
            return beside
        del beside["$ref"]
        reference = str(part["$ref"])
        if self._holds_itself(reference):
            return {"$ref": f"#/$defs/{self._defined(reference, target)}", **beside}
        return {**self._put(target), **beside}

    def _defined(self, reference: str, target: Any) -> str:
        """The name in `$defs` of what a reference refers to; it is put there."""
        if reference not in self._names:
            name = "".join(c if c.isalnum() else "_" for c in reference.split("/")[-1])
            while name in self._defs:
                name += "_"
            self._names[reference] = name
            self._defs[name] = {}  # it is taken, while what refers to it is put there
            self._defs[name] = self._put(target)
        return self._names[reference]

    def _target(self, part: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What a part refers to; None if it doesn't, or that isn't there."""
        reference = part.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found: Any = self._schema
        for step in reference.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, Mapping) and name in found:
                found = found[name]
            else:
                return None
        return found if isinstance(found, Mapping) else None

    def _holds_itself(self, reference: str) -> bool:
        seen: set[str] = set()
        to_see = [reference]
        while to_see:
            for inner in _references(self._target({"$ref": to_see.pop()})):
                if inner == reference:
                    return True
                if inner not in seen:
                    seen.add(inner)
                    to_see.append(inner)
        return False


def _references(part: Any) -> Iterator[str]:
    """The references in a part of a schema."""
    if isinstance(part, list):
        yield from chain.from_iterable(map(_references, part))
    elif isinstance(part, Mapping):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for key, value in part.items():
            if key in _NAMED and isinstance(value, Mapping):
                yield from chain.from_iterable(map(_references, value.values()))
            elif key not in _VALUES:
                yield from _references(value)


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
    def _closers(self) -> "_Closers":
        return _Closers(self._read)

    @cached_property
    def _read(self) -> "LLTokenizer":
        from llguidance.hf import from_tokenizer

        return from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)


_ENDS = {True: ('"}', '"]', '"'), False: ("}", "]", ",", ", ")}
"""What ends a value, inside a string and outside of one; those that end the most first."""

_JOINTS = ("://a.aa", "https://a.aa", "@a.aa", "a.aa", "@", ":", "Z", "T", "D", "S", ".")
"""What a string of a form may lack to be whole: an address, a time, a duration, a version.

Of addresses it is more than their form asks for: "a:" is a URI and "a@a" an address, but few
programs take them.
"""

_FILLERS = {
    True: tuple("1023456789" + ascii_lowercase + ascii_uppercase + punctuation),
    False: ('""', *"1023456789", "null", "true", "-", ".", "{}", "[]", '"', "[", "{"),
}
"""What a value may begin or go on with; where it may begin, the shortest first.

1 before 0: a number may have to be above 0, and no date is of the year 0.
"""


_Tokens = tuple[int, ...]


class _Closers:
    """Tokens to bring a reply to an end with.

    Args:
        tokenizer: Theirs.
    """

    def __init__(self, tokenizer: "LLTokenizer") -> None:
        self.tokenizer = tokenizer
        self._ends = {inside: self._tokens(texts) for inside, texts in _ENDS.items()}
        self._fillers = {inside: self._tokens(texts) for inside, texts in _FILLERS.items()}
        self._joints = self._tokens(_JOINTS)
        self._space = self._tokens(" ")

    def _tokens(self, texts: Sequence[str]) -> list[_Tokens]:
        # By its bytes alone: some tokenizers put a space before what begins a text.
        return [tuple(self.tokenizer.greedy_tokenize(text)) for text in texts]

    def next(self, ahead: "LLMatcher", way: "_Way") -> _Tokens:
        """The tokens to go on with; none if none can come."""
        mask, inside = ahead.compute_bitmask(), way.place.inside

        def may_come(tokens: _Tokens) -> bool:
            first = tokens[0]
            return bool(mask[first >> 3] >> (first & 7) & 1) and (
                len(tokens) == 1 or ahead.validate_tokens(list(tokens)) == len(tokens)
            )

        for end in self._ends[inside]:
            if may_come(end):
                return end
        # Where a space may come, a text is of no form.
        is_of_form = inside and not any(map(may_come, self._space))
        candidates = chain(self._joints if is_of_form else (), self._fillers[inside])
        possible = tuple(filter(may_come, candidates))
        if possible:
            return way.choose(possible)
        bits = int.from_bytes(mask, "little")
        return ((bits & -bits).bit_length() - 1,) if bits else ()


@dataclass
class _Place:
    """Where in JSON a text ends.

    Attributes:
        inside: In a string.
        escaped: After a backslash in it.
    """

    inside: bool = False
    escaped: bool = False

    def read(self, text: str) -> Iterator[str]:
        """Goes on with a text: its brackets and commas, and the quotes that end a string."""
        for character in text:
            if self.escaped:
                self.escaped = False
            elif self.inside and character == "\\":
                self.escaped = True
            elif character == '"':
                self.inside = not self.inside
                if not self.inside:
                    yield character
            elif not self.inside and character in "{[}],":
                yield character


class _Way:
    """On the way to an end, chooses what was chosen the fewest times where it came by before.

    So it turns from what only leads to more of the same: a digit after which a number is as far
    from its end as before, an object that must hold another of its kind. A place is known by what
    may come there. What counts is what was chosen in the objects and lists around it, and in its
    own one since the last value there: values that are alike may follow each other.

    Args:
        place: Where it begins.
        first: What is chosen first, by where.

    Attributes:
        turned: What it turned to at last, by where.
    """

    def __init__(self, place: _Place, first: Mapping[int, _Tokens] | None = None) -> None:
        self.place = replace(place)
        self._open: list[list[tuple[int, _Tokens]]] = [[]]
        self._since = 0
        self._first = first or {}
        self.turned: dict[int, _Tokens] = {}

    def choose(self, possible: tuple[_Tokens, ...]) -> _Tokens:
        """One of these: of those that are as good what it turned to here, or the first."""
        *around, own = self._open
        at = hash(possible)
        past = Counter(one for where, one in chain(*around, own[self._since :]) if where == at)
        first = self.turned.get(at) or self._first.get(at, possible[0])
        choice = first
        if past:
            choice = min(possible, key=lambda one: (past[one], one != first))
            self.turned[at] = choice
        own.append((at, choice))
        return choice

    def went(self, text: str) -> None:
        """It went on with this."""
        for mark in self.place.read(text):
            if mark in "{[":
                self._open.append([])
                self._since = 0
                continue
            if mark in "}]" and len(self._open) > 1:
                self._open.pop()
            self._since = len(self._open[-1])


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

    def __init__(self, matcher: "LLMatcher", closers: _Closers) -> None:
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
        self._place = _Place()
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
            self._place = _Place() if ended else self._after(self._place, token)
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

    def _after(self, place: _Place, token: int) -> _Place:
        found = replace(place)
        for _ in found.read(self._closers.tokenizer.decode_str([token])):
            pass
        return found

    def _end(self, matcher: "LLMatcher", place: _Place) -> list[int] | None:
        """Tokens that bring a reply to an end: none if it may end there, None if none is found."""
        way = _Way(place)
        end = self._gone(matcher, way)
        if end is None or not way.turned:
            return end
        # It may be a detour: what it turned to at last is tried first.
        straight = self._gone(matcher, _Way(place, way.turned))
        return end if straight is None else min(end, straight, key=len)

    def _gone(self, matcher: "LLMatcher", way: _Way) -> list[int] | None:
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
