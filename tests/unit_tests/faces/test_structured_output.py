"""Structured output and tools of classes whose values are hard to end, or hold themselves."""

from datetime import date
from functools import reduce
from operator import add as add_up
from typing import Any, Literal

import pytest
from langchain.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import AnyUrl, BaseModel, Field, PositiveFloat
from pydantic.v1 import BaseModel as OldModel

Method = Literal["json_schema", "function_calling"]


class Bread(BaseModel):
    name: str
    price: PositiveFloat


class Debt(BaseModel):
    name: str
    amount: float = Field(lt=0)


class Visit(BaseModel):
    name: str
    day: date
    page: AnyUrl


class Node(BaseModel):
    """A node."""

    v: int
    kids: list["Node"] = []


class OldNode(OldModel):
    v: int
    kids: list["OldNode"]


OldNode.update_forward_refs()


class Many(BaseModel):
    of: list["Many"]


class Plain(BaseModel):
    """A place."""

    title: str
    node: Bread


def add(node: Node, times: int = 1) -> str:
    """Adds it.

    Args:
        node: The first one.
        times: How often.
    """
    return "done"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize(("made", "room"), [(Bread, 60), (Debt, 60), (Visit, 100), (Node, 70)])
def test_an_object_comes_in_time(
    served: Any, made: type[BaseModel], room: int, method: Method
) -> None:
    for seed in range(3):
        model = served.chat_model(memory="none", max_tokens=room, temperature=3.0, seed=seed)
        found = model.with_structured_output(made, method=method).invoke("Hello")
        assert isinstance(found, made)


def test_a_demanded_call_for_which_there_is_no_room_is_an_invalid_one(served: Any) -> None:
    model = served.chat_model(memory="none")
    for room in (1, 4, 12, 20):
        demanded = model.bind_tools([Bread], tool_choice="Bread").bind(max_tokens=room)
        for reply in (demanded.invoke("Hello"), reduce(add_up, demanded.stream("Hello"))):
            assert (reply.content, reply.tool_calls) == ("", [])
            assert len(reply.invalid_tool_calls) == 1


# -- what holds itself -------------------------------------------------------------------------


def asked(bound: Any) -> dict[str, Any]:
    """The schema that the reply is asked to be of."""
    shape = bound.first.kwargs["response_format"]
    assert isinstance(shape, dict)
    return shape


def taken(bound: Any) -> dict[str, Any]:
    """What the only tool takes."""
    (one,) = bound.kwargs["tools"]
    return dict(one["function"]["parameters"])


def is_a_node(shape: Any, defined: Any) -> bool:
    name = shape["$ref"].removeprefix("#/$defs/")
    return bool(defined[name]["properties"]["kids"]["items"] == {"$ref": f"#/$defs/{name}"})


@pytest.mark.parametrize("given", [Node, OldNode, Node.model_json_schema()])
def test_a_class_that_holds_itself_keeps_its_definition(served: Any, given: Any) -> None:
    model = served.chat_model(memory="none")
    shape = asked(model.with_structured_output(given))
    assert shape["type"] == "object" and shape["required"][0] == "v"
    assert is_a_node(shape["properties"]["kids"]["items"], shape["$defs"])
    takes = taken(model.bind_tools([given]))
    assert is_a_node(takes["properties"]["kids"]["items"], takes["$defs"])


@pytest.mark.parametrize("given", [add, tool(add)])
def test_a_tool_that_takes_what_holds_itself_keeps_its_definition(served: Any, given: Any) -> None:
    model = served.chat_model(memory="none", temperature=3.0)
    bound = model.bind_tools([given], tool_choice="add")
    takes = taken(bound)
    assert is_a_node(takes["properties"]["node"], takes["$defs"])
    for seed in range(3):
        (call,) = bound.invoke("Hello", max_tokens=90, seed=seed).tool_calls
        Node.model_validate(call["args"]["node"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_what_a_list_of_its_kind_holds_is_enforced(served: Any, method: Method) -> None:
    for seed in range(6):
        model = served.chat_model(memory="none", max_tokens=80, temperature=9.0, seed=seed)
        assert isinstance(model.with_structured_output(Many, method=method).invoke("Hello"), Many)


@pytest.mark.parametrize("given", [Plain, Bread])
def test_other_classes_are_as_langchain_has_them(served: Any, given: Any) -> None:
    model = served.chat_model(memory="none")
    assert asked(model.with_structured_output(given)) == convert_to_json_schema(given)
    assert model.bind_tools([given]).kwargs["tools"] == [convert_to_openai_tool(given)]
