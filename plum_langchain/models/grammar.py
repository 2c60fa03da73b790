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

_JOINTS = ("://a.aa", "https://a.aa", "@a.aa", "@", ":", "Z", "T", "D", "S", ".")
"""What a string of a form may lack to be whole: an address, a time, a duration, a version.

Of addresses it is more than their form asks for, which neither pydantic nor a browser is content
with: "a:" is a URI, "a@a" an address.
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
        self._ends = {inside: self._single(texts) for inside, texts in _ENDS.items()}
        self._fillers = {inside: self._single(texts) for inside, texts in _FILLERS.items()}
        self._joints = [tuple(tokenizer.tokenize_str(text)) for text in _JOINTS]
        self._space = self._single(" ")

    def _single(self, texts: Sequence[str]) -> list[_Tokens]:
        ids = [tuple(self.tokenizer.tokenize_str(text)) for text in texts]
        return [tokens for tokens in ids if len(tokens) == 1]

    def next(self, ahead: "LLMatcher", way: "_Way") -> _Tokens:
        """The tokens to go on with; none if none can come."""
        mask, inside = ahead.compute_bitmask(), way.place.inside
        for end in self._ends[inside]:
            if _is_in(mask, end):
                return end
        possible = [filler for filler in self._fillers[inside] if _is_in(mask, filler)]
        # Where a space may come, a text is of no form.
        if inside and not any(_is_in(mask, space) for space in self._space):
            possible[:0] = [
                joint
                for joint in self._joints
                if _is_in(mask, joint) and ahead.validate_tokens(list(joint)) == len(joint)
            ]
        if possible:
            return way.choose(tuple(possible))
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
    """

    def __init__(self, place: _Place) -> None:
        self.place = replace(place)
        self._open: list[list[tuple[int, _Tokens]]] = [[]]
        self._since = 0
        self._turned: dict[int, _Tokens] = {}

    def choose(self, possible: tuple[_Tokens, ...]) -> _Tokens:
        """One of these; of those that are as good what it last turned to here, or the first."""
        *around, own = self._open
        at = hash(possible)
        past = Counter(one for where, one in chain(*around, own[self._since :]) if where == at)
        turned = self._turned.get(at, possible[0])
        choice = min(possible, key=lambda one: (past[one], one != turned)) if past else turned
        if past:
            self._turned[at] = choice
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
"""Tokens before the last possible moment from which on each is checked before it is chosen."""

_TRIES = 8
"""Of the likeliest tokens, how many are checked before the reply is brought to its end."""


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
        self._planned: list[int] | None = None  # the end that was last found
        self.cut = False
        """Whether it was brought to an end before the model came to one."""
        self._seen = prompt_length
        self._last = prompt_length + room - 1  # where its last token stands that isn't its end

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """The scores (1, V), -inf for what can't come next; `ids` (1, T) are all tokens so far."""
        import torch

        new = ids[0, self._seen :].tolist()
        self._seen = ids.shape[1]
        self._matcher.consume_tokens(new)
        self._place = self._after(self._place, new)
        if self._matcher.is_accepting():  # in text before a call, perhaps, whose quotes are its own
            self._place = _Place()
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
        # What was planned must hold while it is followed: from further on, another end may be found
        # that is longer.
        if self._planned is not None and new and self._planned[: len(new)] == new:
            self._planned = self._planned[len(new) :]
        else:
            self._planned = self._end(self._matcher, self._place)
        if not self._planned or room - len(self._planned) > _NEAR:
            return possible
        return self._in_time(possible, self._planned, room)

    def _in_time(self, scores: "torch.Tensor", end: list[int], room: int) -> "torch.Tensor":
        """Only one token is possible: the likeliest after which there is room for an end."""
        import torch

        for token in scores[0].topk(_TRIES).indices.tolist() if len(end) < room else ():
            ahead = self._matcher.deep_copy()
            if not scores[0, token].isfinite() or not ahead.consume_token(token):
                continue
            after = self._end(ahead, self._after(self._place, [token]))
            if after is not None and len(after) <= room - 1:
                self._planned = [token, *after]
                break
        else:
            self.cut, token = True, end[0]
        return torch.full_like(scores, -torch.inf).index_fill_(
            1, torch.tensor([token], device=scores.device), 0.0
        )

    def _after(self, place: _Place, tokens: Sequence[int]) -> _Place:
        found = replace(place)
        for _ in found.read(self._closers.tokenizer.decode_str(list(tokens))):
            pass
        return found

    def _end(self, matcher: "LLMatcher", place: _Place) -> list[int] | None:
        """Tokens that bring a reply to an end: none if it may end there, None if none is found."""
        ahead, way = matcher.deep_copy(), _Way(place)
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


def _is_in(mask: bytes, tokens: _Tokens) -> int:
    """Whether the first of these may come next, by a matcher's mask: 1 or 0."""
    return mask[tokens[0] >> 3] >> (tokens[0] & 7) & 1


def _allowed(matcher: "LLMatcher") -> "torch.Tensor":
    """Which tokens may come next; a bool for each of the vocabulary, or a few more."""
    import torch

    packed = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
    return ((packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten().bool()
