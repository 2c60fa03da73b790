"""Memories are swapped by one word, by whoever makes a request."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent

from plum_langchain import PlumMiddleware, RetrievalMiddleware
from plum_langchain.errors import InvalidInputError
from tests.unit_tests.faces.test_middleware import foreign, say, to


def in_context(memory: str) -> dict[str, Any]:
    return {"context": {"memory": memory}, "config": to("ana", f"by-{memory}")}


def in_configurable(memory: str) -> dict[str, Any]:
    config = to("ana", f"by-{memory}")
    config["configurable"]["memory"] = memory
    return {"config": config}


@pytest.mark.parametrize("named", [in_context, in_configurable])
def test_a_request_chooses_its_memory_by_one_word(
    learned: Any, named: Callable[[str], dict[str, Any]]
) -> None:
    agent = create_agent(learned.chat_model(), middleware=[PlumMiddleware(learned)])
    generations, tokens = {}, {}
    for memory in ("parametric", "retrieval", "hybrid", "none"):
        reply = agent.invoke(say("When is my bakery closed?"), **named(memory))["messages"][-1]
        generations[memory] = reply.response_metadata["generation"]
        tokens[memory] = reply.usage_metadata["input_tokens"]
    assert generations == {"parametric": 1, "retrieval": None, "hybrid": 1, "none": None}
    assert tokens["retrieval"] > tokens["none"] and tokens["hybrid"] > tokens["parametric"]
    with pytest.raises(InvalidInputError, match="'rag' is unknown"):
        agent.invoke(say("Hello"), **named("rag"))


def test_a_request_on_a_foreign_model_chooses_too(learned: Any) -> None:
    model = foreign()
    agent = create_agent(model, middleware=[RetrievalMiddleware(learned)])
    for memory, recalls in (("retrieval", True), ("none", False)):
        agent.invoke(say("When is my bakery closed?"), **in_context(memory))
        assert ("closed on Mondays" in str(model.sent[-1])) is recalls
    with pytest.raises(InvalidInputError, match="PlumRecallMiddleware"):
        agent.invoke(say("Hello"), **in_context("parametric"))


def test_a_call_chooses_its_memory_by_one_word(learned: Any) -> None:
    memory = learned.memory("ana", "today")
    asked = {"input": "When is my bakery closed?"}
    for name, recalls in (("parametric", False), ("retrieval", True), ("none", False)):
        shown = memory.load_memory_variables({**asked, "memory": name})["history"]
        assert ("closed on Mondays" in shown) is recalls
    with pytest.raises(InvalidInputError, match="'rag' is unknown"):
        memory.load_memory_variables({**asked, "memory": "rag"})
    memory.save_context({**asked, "memory": "retrieval"}, {"output": "On Mondays."})
    assert "On Mondays." in memory.load_memory_variables(asked)["history"]
