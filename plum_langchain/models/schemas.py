"""JSON schemas as grammars take them: with what they refer to in place, and closed.

`%json` stands in llguidance's variant of Lark for all texts of a JSON schema
(https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md).
"""

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import unquote

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
