"""Replies of a form: whatever a model would rather say, it says JSON, or calls a tool rightly."""

import json
from typing import Any

import pytest
import torch

from plum_langchain.errors import InvalidInputError
from plum_langchain.learning.template import ChatTemplate
from plum_langchain.models import Engine, Sampling, Toolbox
from plum_langchain.models.calls import CallSyntax
from plum_langchain.models.grammar import Constraint, Grammars, json_of
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


def test_what_has_no_end_that_can_be_found_is_left_to_the_model(engine: Engine) -> None:
    reply = engine.chat(chat("Hello"), None, Sampling(60, schema=PATTERN))
    assert reply.text.startswith('{"mail": "')


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
