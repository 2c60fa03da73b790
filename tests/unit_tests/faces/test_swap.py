"""Memories are swapped by one word, by whoever makes a request."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.chains import LLMChain
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult
from langchain_core.prompts import PromptTemplate

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


WEARS = {"parametric": 1, "retrieval": None, "hybrid": 1, "none": None}
"""By memory, the generation that replies."""

ASK = {"input": "When is my bakery closed?"}


class Generations(BaseCallbackHandler):
    """Which generation replied, call by call."""

    def __init__(self) -> None:
        self.seen: list[int | None] = []

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        for (one,) in response.generations:
            message = getattr(one, "message", None)
            info = message.response_metadata if message else one.generation_info
            self.seen.append((info or {})["generation"])


def classic(learned: Any, face: str, **fields: Any) -> tuple[LLMChain, Generations]:
    model = getattr(learned, face)("ana", max_tokens=4, **fields)
    memory = learned.memory("ana", "today", input_key="input")
    chain = LLMChain(llm=model, prompt=PROMPT, memory=memory)
    return chain, Generations()


PROMPT = PromptTemplate.from_template("{history}\nHuman: {input}\nAI:")


@pytest.mark.parametrize("face", ["chat_model", "llm"])
async def test_a_classic_chain_s_own_model_wears_what_the_call_says(
    learned: Any, face: str
) -> None:
    chain, generations = classic(learned, face)
    told = {"callbacks": [generations]}
    for memory in WEARS:
        chain.invoke({**ASK, "memory": memory}, told)
        await chain.ainvoke({**ASK, "memory": memory}, told)
        chain.invoke(ASK, told)  # the next call is as ever
    assert generations.seen == [one for wears in WEARS.values() for one in (wears, wears, 1)]


@pytest.mark.parametrize("face", ["chat_model", "llm"])
def test_what_a_call_says_ends_with_it_and_is_of_its_user(learned: Any, face: str) -> None:
    ana, bob, named = (Generations() for _ in range(3))
    memory = learned.memory("ana", "today")
    memory.load_memory_variables({**ASK, "memory": "none"})
    getattr(learned, face)("bob").invoke("Hello", {"callbacks": [bob]})
    getattr(learned, face)("ana").invoke("Hello", {"callbacks": [named]}, memory="parametric")
    memory.save_context({**ASK, "memory": "none"}, {"output": "On Mondays."})
    getattr(learned, face)("ana").invoke("Hello", {"callbacks": [ana]})
    assert (ana.seen, bob.seen, named.seen) == ([1], [1], [1])


def test_a_chain_s_choice_reaches_every_prompt_of_a_batch(learned: Any) -> None:
    model, generations = learned.llm("ana", max_tokens=4), Generations()
    memory = learned.memory("ana", "today")
    for name in WEARS:
        memory.load_memory_variables({**ASK, "memory": name})
        model.generate(["Hello", "Where do I live?"], callbacks=[generations])
    assert generations.seen == [one for wears in WEARS.values() for one in (wears, wears)]


@pytest.mark.parametrize("face", ["chat_model", "llm"])
def test_no_cache_takes_one_choice_for_another(learned: Any, face: str) -> None:
    replies = []
    for cache in (None, InMemoryCache()):
        chain, _ = classic(learned, face, cache=cache)
        for name in ("parametric", "none", "parametric"):
            replies.append(chain.invoke({**ASK, "memory": name})["text"])
            chain.memory.clear()
    assert replies[:3] == replies[3:] and replies[0] != replies[1]
