"""Replies of a form: whatever a model would rather say, it says JSON, or calls a tool rightly."""

import json
import re
from datetime import date, datetime, time, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
import torch
from pydantic import AnyUrl, BaseModel, Field, HttpUrl, PositiveFloat, TypeAdapter

from plum_langchain.errors import InvalidInputError
from plum_langchain.learning.template import ChatTemplate
from plum_langchain.models import Engine, Sampling, Toolbox
from plum_langchain.models.calls import CallSyntax
from plum_langchain.models.grammar import Constraint, Grammars
from plum_langchain.models.schemas import inlined, json_of
from tests.tiny import make_tokenizer
from tests.unit_tests.models.conftest import Shelf, chat
from tests.unit_tests.models.test_calls import BOX, NOW, TEMPLATES, WEATHER

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "sizes": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    },
    "required": ["colour", "sizes"],
    "additionalProperties": False,
}


@pytest.fixture
def engine(shelf: Shelf) -> Engine:
    return shelf.engine()


@pytest.mark.parametrize("seed", range(4))
def test_a_reply_is_json_of_its_schema(engine: Engine, seed: int) -> None:
    drawn = Sampling(max_new_tokens=200, temperature=5.0, seed=seed, schema=SCHEMA)
    reply = engine.chat(chat("Hello"), None, drawn)
    said = json.loads(reply.text)
    assert said["colour"] in ("red", "blue")
    assert 2 <= len(said["sizes"]) <= 3 and all(isinstance(size, bool) for size in said["sizes"])
    assert reply.text == json.dumps(said)  # compact: no white space to go on with for ever
    assert reply.finish_reason == "stop"


def test_what_is_streamed_is_the_same(engine: Engine) -> None:
    drawn = Sampling(max_new_tokens=200, temperature=5.0, seed=1, schema=SCHEMA)
    *pieces, reply = engine.stream_chat(chat("Hello"), None, drawn)
    assert "".join(map(str, pieces)) == reply.text == engine.chat(chat("Hello"), None, drawn).text


@pytest.mark.parametrize("choice", ["any", "now", "weather"])
@pytest.mark.parametrize("seed", range(3))
def test_a_tool_that_must_be_called_is(engine: Engine, choice: str, seed: int) -> None:
    drawn = Sampling(max_new_tokens=300, temperature=5.0, seed=seed)
    short = {**WEATHER["function"], "parameters": {**SCHEMA}}  # type: ignore[dict-item]
    box = Toolbox(({"type": "function", "function": short}, NOW), choice)
    reply = engine.chat(chat("Hello"), None, drawn, box)
    (call,) = reply.calls
    assert call.name == choice or choice == "any"
    assert (set(call.arguments) == {"colour", "sizes"}) is (call.name == "weather")
    assert (reply.text, reply.broken, reply.finish_reason) == ("", (), "tool_calls")
    *pieces, streamed = engine.stream_chat(chat("Hello"), None, drawn, box)
    assert (pieces, streamed) == ([], reply)


@pytest.mark.parametrize("seed", range(4))
def test_a_reply_of_a_form_ends_in_time(engine: Engine, seed: int) -> None:
    """Though a text in it could go on for ever."""
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
        },
        "required": ["text", "parts"],
        "additionalProperties": False,
        "$defs": {"part": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
    for room in (40, 60, 100):
        drawn = Sampling(max_new_tokens=room, temperature=5.0, seed=seed, schema=schema)
        reply = engine.chat(chat("Hello"), None, drawn)
        assert set(json.loads(reply.text)) == {"text", "parts"}
        assert reply.completion_tokens <= room


NUMBERS = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "all": {"type": "array", "items": {"type": "number"}},
        "b": {"type": "boolean"},
    },
    "required": ["n", "all", "b"],
}
NESTED = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "boolean"} for name in "abcdefgh"},
                "required": list("abcdefgh"),
            },
        },
    },
    "required": ["items"],
}
PATTERN = {
    "type": "object",
    "properties": {"mail": {"type": "string", "pattern": "^[a-z]+x$"}, "n": {"type": "integer"}},
    "required": ["mail", "n"],
}


@pytest.mark.parametrize("schema", [NUMBERS, NESTED], ids=["numbers", "nested"])
@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_what_comes_after_a_number_or_inside_a_list_ends_too(
    engine: Engine, schema: Any, temperature: float
) -> None:
    for seed in range(6):
        drawn = Sampling(90, temperature=temperature, seed=seed, schema=schema)
        said = json.loads(engine.chat(chat("Hello"), None, drawn).text)
        assert set(said) == set(schema["properties"])


OVENS = [f"temperature_of_oven_{name}" for name in "abcdefgh"]
LONG = {"type": "object", "properties": {o: {"type": "number"} for o in OVENS}, "required": OVENS}


def test_an_item_is_not_begun_where_there_is_no_room_for_it(engine: Engine) -> None:
    listed = {"type": "array", "items": LONG}
    schema = {"type": "object", "properties": {"all": listed}, "required": ["all"]}
    for room in range(100, 180, 20):
        for seed, temperature in ((0, 0.0), (1, 3.0)):
            drawn = Sampling(room, temperature, seed=seed, schema=schema)
            json.loads(engine.chat(chat("Hello"), None, drawn).text)


def test_what_has_no_end_that_can_be_found_is_left_to_the_model(engine: Engine) -> None:
    endless = {"type": "object", "properties": {"mail": {"type": "string", "minLength": 900}}}
    schema = {**endless, "required": ["mail"]}
    reply = engine.chat(chat("Hello"), None, Sampling(60, schema=schema))
    assert reply.text.startswith('{"mail": "') and reply.finish_reason == "length"


class Leaf(BaseModel):
    kind: Literal["leaf"]
    number: int


class Branch(BaseModel):
    kind: Literal["branch"]
    left: "Tree"
    right: "Tree"


Tree = Annotated[Branch | Leaf, Field(discriminator="kind")]
Branch.model_rebuild()


class Shop(BaseModel):
    name: str
    price: PositiveFloat
    since: date


class Forest(BaseModel):
    name: str
    trees: list[Branch]


@pytest.mark.parametrize("made", [Shop, Branch, Forest])
@pytest.mark.parametrize("temperature", [0.0, 5.0])
def test_whatever_the_model_begins_is_an_object_of_its_class_in_time(
    engine: Engine, made: type[BaseModel], temperature: float
) -> None:
    for seed, room in ((0, 90), (1, 120), (2, 160)):
        drawn = Sampling(room, temperature, seed=seed, schema=inlined(made.model_json_schema()))
        reply = engine.chat(chat("Hello"), None, drawn)
        made.model_validate_json(reply.text)
        assert reply.completion_tokens <= room


def test_a_text_of_a_pattern_ends_in_time(engine: Engine) -> None:
    for seed in range(4):
        drawn = Sampling(80, temperature=5.0, seed=seed, schema=PATTERN)
        said = json.loads(engine.chat(chat("Hello"), None, drawn).text)
        assert re.fullmatch("[a-z]+x", said["mail"])


def test_a_call_with_a_number_above_zero_ends_in_time(engine: Engine) -> None:
    function = {"name": "sell", "parameters": Shop.model_json_schema()}
    box = Toolbox(({"type": "function", "function": function},), "sell")
    for seed in range(4):
        drawn = Sampling(max_new_tokens=100, temperature=5.0, seed=seed)
        (call,) = engine.chat(chat("Hello"), None, drawn, box).calls
        assert call.arguments["price"] > 0


def test_definitions_and_what_can_not_be_enforced_are_no_hindrance(engine: Engine) -> None:
    parameters = {
        "type": "object",
        "properties": {
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "uniqueItems": True},
        },
        "required": ["parts"],
        "$defs": {"part": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
    tool = {"type": "function", "function": {"name": "cut", "parameters": parameters}}
    drawn = Sampling(120, temperature=3.0, seed=0)
    for choice in ("any", "cut"):
        (call,) = engine.chat(chat("Hello"), None, drawn, Toolbox((tool,), choice)).calls
        assert all(set(part) <= {"n"} for part in call.arguments["parts"])
    assert engine.chat(chat("Hello"), None, Sampling(8), Toolbox((tool,))).completion_tokens


def test_objects_are_closed_and_what_only_looks_like_one_is_left(engine: Engine) -> None:
    named = {"type": "object", "properties": {"properties": {"const": {"properties": {"a": 1}}}}}
    one, two = ({"properties": {n: {"type": "boolean"}}, "required": [n]} for n in "ab")
    joined = {"type": "object", "allOf": [one, two]}
    schema = {
        "type": "object",
        "properties": {"named": {**named, "required": ["properties"]}, "joined": joined},
        "required": ["named", "joined"],
    }
    for seed in range(3):
        drawn = Sampling(200, temperature=3.0, seed=seed, schema=schema)
        said = json.loads(engine.chat(chat("Hello"), None, drawn).text)
        assert said["named"] == {"properties": {"properties": {"a": 1}}}
        assert {"a", "b"} <= set(said["joined"])


def test_a_tool_without_parameters_is_one(engine: Engine) -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    reply = engine.chat(chat("Hello"), None, Sampling(60), Toolbox((bare,), "any"))
    assert [(call.name, call.arguments) for call in reply.calls] == [("now", {})]


def test_tools_that_can_not_be_enforced_are_told_where_none_must_be_called(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"properties": {"a": 3}}}}
    assert engine.chat(chat("Hello"), None, Sampling(8), Toolbox((odd,))).completion_tokens
    assert "may turn out broken" in caplog.text
    with pytest.raises(InvalidInputError, match="can't be enforced"):
        engine.chat(chat("Hello"), None, Sampling(8), Toolbox((odd,), "odd"))


def test_a_schema_beside_tools_that_need_not_be_called(engine: Engine) -> None:
    for seed in range(3):
        drawn = Sampling(120, temperature=5.0, seed=seed, schema=SCHEMA)
        reply = engine.chat(chat("Hello"), None, drawn, BOX)
        assert reply.calls or set(json.loads(reply.text)) == {"colour", "sizes"}
        forced = engine.chat(chat("Hello"), None, drawn, Toolbox((NOW,), "any"))
        assert forced.calls


def test_a_call_ends_in_time(engine: Engine) -> None:
    box = Toolbox((WEATHER,), "weather")
    drawn = Sampling(max_new_tokens=80, temperature=5.0, seed=0)
    reply = engine.chat(chat("Hello"), None, drawn, box)
    assert reply.calls and not reply.broken and reply.completion_tokens <= 80


def test_a_call_for_which_there_is_no_room_is_broken(engine: Engine) -> None:
    box = Toolbox((WEATHER,), "weather")
    reply = engine.chat(chat("Hello"), None, Sampling(max_new_tokens=12), box)
    assert reply.finish_reason == "length" and not reply.calls and reply.broken


def test_a_model_that_need_not_call_may_say_anything(engine: Engine) -> None:
    plain = engine.chat(chat("Hello"), None, Sampling(max_new_tokens=8))
    free = engine.chat(chat("Hello"), None, Sampling(max_new_tokens=8), BOX)
    assert not free.calls and free.text and free.prompt_tokens > plain.prompt_tokens


@pytest.mark.parametrize(
    "schema", [{"type": "object", "properties": 3}, {"$ref": "#/$defs/nowhere"}]
)
def test_a_schema_that_can_not_be_enforced_is_told(engine: Engine, schema: Any) -> None:
    with pytest.raises(InvalidInputError, match="can't be enforced"):
        engine.chat(chat("Hello"), None, Sampling(schema=schema))


# -- token by token ----------------------------------------------------------------------------


def allowed_after(tokenizer: Any, grammar: str, text: str) -> set[str]:
    """The tokens that may come after a reply has begun with this text."""
    grammars = Grammars(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    made: Constraint = grammars.constraint(grammar)
    made.begin(1, 1_000)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    scores = made(torch.tensor([[0]]), torch.zeros(1, len(tokenizer)))
    for size in range(1, len(ids) + 1):
        assert scores[0, ids[size - 1]] == 0, f"{tokenizer.decode(ids[:size])!r} can't be said"
        scores = made(torch.tensor([[0, *ids[:size]]]), torch.zeros(1, len(tokenizer)))
    return {tokenizer.decode([i]) for i in scores[0].isfinite().nonzero().flatten().tolist()}


@pytest.fixture(params=TEMPLATES)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return make_tokenizer(*TEMPLATES[request.param])


def test_a_forced_call_is_of_the_models_own_syntax(tokenizer: Any) -> None:
    syntax = CallSyntax.of(ChatTemplate(tokenizer))
    grammar = f"start: {syntax.call(Toolbox((NOW,), 'now'), tokenizer)}"
    call = json.dumps({"name": "now", syntax.arguments: {}})
    end = allowed_after(tokenizer, grammar, f"{syntax.begin}{call}{syntax.end}")
    assert end == {tokenizer.eos_token}


def test_a_free_reply_calls_rightly_or_not_at_all(tokenizer: Any) -> None:
    syntax = CallSyntax.of(ChatTemplate(tokenizer))
    grammar = syntax.free(BOX, tokenizer)
    if grammar is None:  # a call begins as other text may, or with a token of its own
        assert syntax.sign == "{" or syntax.sign == "["
        return
    assert len(allowed_after(tokenizer, grammar, "It rains, I think.")) > 300
    begun = allowed_after(tokenizer, grammar, f"Let me see.\n{syntax.begin}")
    assert begun and all(token.startswith("{") for token in begun)
    call = json.dumps({"name": "now", syntax.arguments: {}})
    after = allowed_after(tokenizer, grammar, f"{syntax.begin}{call}{syntax.end}")
    assert tokenizer.eos_token in after and len(after) > 300


def test_any_json_object(engine: Engine) -> None:
    tokenizer = make_tokenizer()
    grammar = f"start: {json_of({'type': 'object'})}"
    assert allowed_after(tokenizer, grammar, '{"a": [1, null]}') == {tokenizer.eos_token}


# -- ends --------------------------------------------------------------------------------------


def brought_to_its_end(grammar: str, begun: str) -> str:
    """What a reply that began so becomes, if the model has nothing to add to it."""
    tokenizer = make_tokenizer()
    made = Grammars(tokenizer, len(tokenizer), [tokenizer.eos_token_id]).constraint(grammar)
    nothing = torch.full((1, len(tokenizer)), -torch.inf)
    for room in range(50, 400, 50):  # it is brought to its end where there is little more than that
        ids = tokenizer(begun, add_special_tokens=False)["input_ids"]
        made.begin(1, len(ids) + room)
        for _ in range(room):
            next_ones = made(torch.tensor([[0, *ids]]), nothing)[0].isfinite().nonzero()
            if not len(next_ones):
                return str(tokenizer.decode(ids))
            ids.append(int(next_ones[0]))
    raise AssertionError(f"{tokenizer.decode(ids)!r} has no end")


def shape_of(made: Any) -> str:
    return f"start: {json_of(TypeAdapter(made).json_schema())}"


MAIL = Annotated[
    str, Field(json_schema_extra={"format": "email"}, pattern=r"^[^@]+@[^@]+\.[a-z]+$")
]
ENDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "above 0": (PositiveFloat, ("", "0", "0.0", "0.00", "1", "1.5")),
    "below 0": (Annotated[float, Field(lt=0)], ("", "-", "-0.0", "-2")),
    "between": (Annotated[float, Field(gt=0.5, lt=0.6)], ("", "0.5", "0.50")),
    "great": (Annotated[float, Field(gt=250)], ("", "25", "250.0")),
    "tens": (Annotated[int, Field(multiple_of=10, gt=0)], ("", "1", "12", "123")),
    "date": (date, ("", '"', '"2024-0', '"000', '"2023-02-')),
    "time": (time, ("", '"1', '"12:30', '"12:30:00.')),
    "datetime": (datetime, ("", '"2024-02-', '"2024-02-03')),
    "timedelta": (timedelta, ("", '"P1', '"PT')),
    "uuid": (UUID, ("", '"12', '"12345678-')),
    "ipv4": (IPv4Address, ("", '"19', '"192.168.')),
    "ipv6": (IPv6Address, ("", '"fe80:', '"1:2:3')),
    "url": (HttpUrl, ("", '"', '"http', '"https://pl')),
    "any url": (AnyUrl, ("", '"ftp', '"ftp://pl')),
    "mail": (MAIL, ("", '"', '"bob', '"bob@', '"bob.smith')),
    "version": (Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")], ("", '"1', '"1.2.')),
    "plate": (Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{4}$")], ("", '"B', '"BN-')),
    "ending in x": (Annotated[str, Field(pattern="^[a-z]+x$")], ("", '"a', '"xxa')),
    "long": (Annotated[str, Field(min_length=20)], ("", '"', '"a } or a ] is no end')),
    "dates": (Annotated[list[date], Field(min_length=3)], ("", '["2024-')),
    "a date or none": (date | None, ("",)),
    "numbers or lists of them": (list[PositiveFloat | list[PositiveFloat]], ("", "[[", "[0")),
}


@pytest.mark.parametrize(
    ("made", "begun"), [(made, begun) for made, begun in ENDS.values()], ids=list(ENDS)
)
def test_what_has_begun_ends_as_what_it_is(made: Any, begun: tuple[str, ...]) -> None:
    for one in begun:
        said = brought_to_its_end(shape_of(made), one)
        assert said.startswith(one)
        TypeAdapter(made).validate_json(said)


class Sum(BaseModel):
    left: "int | Sum"
    right: "Sum | int"


class Product(BaseModel):
    value: "Quotient | Ratio"


class Quotient(BaseModel):
    of: "Product"


class Ratio(BaseModel):
    rate: PositiveFloat


class Node(BaseModel):
    number: int
    next: "Node | None" = Field(json_schema_extra={"example": None})
    kids: list["Node"] = Field(deprecated=True)


BRANCH = '{"kind": "branch", "left": '
RECURSIVE: dict[str, tuple[Any, tuple[str, ...]]] = {
    "branch": (Branch, ("", "{", BRANCH, BRANCH * 4, f'{BRANCH}{{"kind": "leaf", "number": 3')),
    "sum": (Sum, ("", '{"left": {"left": {', '{"left": 1')),
    "product": (Product, ("", '{"value": ', '{"value": {"of": ')),
    "node": (Node, ("", '{"number": 1, "next": ', '{"number": 1, "next": null, "kids": [')),
    "forest": (Forest, ("", '{"name": "a", "trees": [', '{"name": "a\\"}')),
}


@pytest.mark.parametrize(
    ("made", "begun"), [(made, begun) for made, begun in RECURSIVE.values()], ids=list(RECURSIVE)
)
def test_what_holds_itself_ends(made: type[BaseModel], begun: tuple[str, ...]) -> None:
    for one in begun:
        said = brought_to_its_end(shape_of(made), one)
        assert said.startswith(one)
        made.model_validate_json(said)


def test_a_call_after_a_text_with_quotes_ends() -> None:
    tokenizer = make_tokenizer()
    syntax = CallSyntax.of(ChatTemplate(tokenizer))
    grammar = syntax.free(BOX, tokenizer)
    assert grammar is not None
    begun = 'It is 5" long.\n<tool_call>\n{"name": "weather", "arguments": {"place": "Por'
    (call,) = syntax.parsed(brought_to_its_end(grammar, begun), BOX).calls
    assert call.arguments == {"place": "Por"}


# -- references --------------------------------------------------------------------------------

KINDS = {
    "part": {"type": "object", "properties": {"of": {"$ref": "#/$defs/part"}}},
    "a/b~c": {"type": "string", "title": "Left out"},
    "pair": {"type": "array", "items": {"$ref": "#/$defs/part"}},
}


def test_references_are_put_in_place() -> None:
    properties = {
        "text": {"$ref": "#/$defs/a~1b~0c", "description": "Told."},
        "same": {"$ref": "#/properties/text"},
        "title": {"type": "integer"},
        "$ref": {"const": {"$ref": "#/$defs/part"}},
    }
    schema = {"title": "Own", "type": "object", "properties": properties, "$defs": KINDS}
    told = {"type": "string", "description": "Told."}
    assert inlined(schema) == {
        "title": "Own",
        "type": "object",
        "properties": {**properties, "text": told, "same": told},
    }


def test_references_to_what_holds_itself_stay() -> None:
    kept = {"$ref": "#/$defs/part"}
    assert inlined({"items": {"$ref": "#/$defs/pair"}, "$defs": KINDS}) == {
        "items": {"type": "array", "items": kept},
        "$defs": {"part": KINDS["part"]},
    }
    # At the root it is put in its place: there an object must say that it is one.
    assert inlined({**kept, "definitions": {}, "$defs": KINDS}) == {
        **KINDS["part"],
        "$defs": {"part": KINDS["part"]},
    }


def test_a_schema_that_is_its_own_part() -> None:
    schema = {"type": "object", "properties": {"of": {"$ref": "#"}, "n": {"$ref": "#/$defs/no"}}}
    own = {
        "type": "object",
        "properties": {"of": {"$ref": "#/$defs/_"}, "n": {"$ref": "#/$defs/no"}},
    }
    assert inlined(schema) == {**own, "$defs": {"_": own}}


def test_two_that_are_called_the_same_are_told_apart() -> None:
    one, two = (
        {"type": kind, "items": {"$ref": f"#/$defs/{kind}/a"}} for kind in ("array", "object")
    )
    schema = {
        "prefixItems": [{"$ref": "#/$defs/array/a"}, {"$ref": "#/$defs/object/a"}],
        "$defs": {"array": {"a": one}, "object": {"a": two}},
    }
    made = inlined(schema)
    kinds = [made["$defs"][one["$ref"].split("/")[-1]]["type"] for one in made["prefixItems"]]
    assert kinds == ["array", "object"]


def test_what_holds_itself_is_enforced_in_a_tool() -> None:
    tokenizer = make_tokenizer()
    syntax = CallSyntax.of(ChatTemplate(tokenizer))
    tool = {"type": "function", "function": {"name": "add", "parameters": Node.model_json_schema()}}
    grammar = f"start: {syntax.call(Toolbox((tool,), 'add'), tokenizer)}"
    begun = '<tool_call>\n{"name": "add", "arguments": {"number": 1, "next": null, "kids": ['
    for one in (begun, f'{begun}{{"number": 1, "next": null, "kids": ['):
        assert {token[0] for token in allowed_after(tokenizer, grammar, one)} == {"{", "]"}
