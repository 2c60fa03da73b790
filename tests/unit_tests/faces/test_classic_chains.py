"""Our memories in LangChain's other classic chains: agents with tools, retrieval with a history."""

import warnings
from typing import Any

import pytest
from langchain_classic.agents import AgentExecutor, create_react_agent
from langchain_classic.chains import ConversationalRetrievalChain, LLMChain
from langchain_core.language_models import FakeListLLM
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import tool

from plum_langchain import HybridMemory, PlumMemory, RetrievalMemory
from tests.tiny import session

REACT = PromptTemplate.from_template(
    "{history}\nTools: {tools} ({tool_names})\nQuestion: {input}\n{agent_scratchpad}"
)


@tool
def weather(place: str) -> str:
    """The weather of a place."""
    return f"Rain in {place}."


@pytest.fixture(params=[PlumMemory, RetrievalMemory, HybridMemory])
def memory(request: pytest.FixtureRequest, plum: Any) -> Any:
    """A memory of ana's, who has told of her bakery before."""
    plum.add_session(session("ana", "old", "My bakery is closed on Mondays.", "Enjoy."))
    return request.param(plum=plum, user_id="ana", session_id="today", k=1)


@pytest.fixture
def plum(open_plum: Any) -> Any:
    return open_plum()


def turns(plum: Any) -> list[tuple[str, str]]:
    return [
        (turn.role, turn.content)
        for found in plum.journal.sessions.all("ana")
        if found.session_id != "old"
        for turn in found.turns
    ]


def executor(memory: Any) -> AgentExecutor:
    llm = FakeListLLM(
        responses=[
            "Action: weather\nAction Input: Porto\n",
            "I now know the final answer\nFinal Answer: It rains.",
        ]
        * 2
    )
    return AgentExecutor(
        agent=create_react_agent(llm, [weather], REACT), tools=[weather], memory=memory
    )


def test_an_agent_executor_records_question_and_answer_and_no_steps(memory: Any, plum: Any) -> None:
    assert executor(memory).invoke({"input": "Rain in Porto?"})["output"] == "It rains."
    assert turns(plum) == [("user", "Rain in Porto?"), ("assistant", "It rains.")]


async def test_an_async_agent_executor_too(memory: Any, plum: Any) -> None:
    found = await executor(memory).ainvoke({"input": "Rain at my bakery?"})
    assert found["output"] == "It rains."
    assert ("closed on Mondays" in found["history"]) is (memory.memory != "parametric")
    assert turns(plum) == [("user", "Rain at my bakery?"), ("assistant", "It rains.")]


def documents(plum: Any, memory: Any) -> ConversationalRetrievalChain:
    memory.memory_key, memory.return_messages = "chat_history", True
    memory.input_key, memory.output_key = "question", "answer"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of LangChain's own, about its chain
        return ConversationalRetrievalChain.from_llm(
            FakeListLLM(responses=["On Mondays."] * 4),
            plum.retriever("ana", memory="retrieval", k=1),
            memory=memory,
            return_source_documents=True,
        )


def test_a_retrieval_chain_of_several_outputs(memory: Any, plum: Any) -> None:
    found = documents(plum, memory).invoke({"question": "When is my bakery closed?"})
    assert "closed on Mondays" in found["source_documents"][0].page_content
    assert turns(plum) == [("user", "When is my bakery closed?"), ("assistant", "On Mondays.")]


async def test_an_async_retrieval_chain_goes_on_with_the_chat(memory: Any, plum: Any) -> None:
    chain = documents(plum, memory)
    await chain.ainvoke({"question": "When is my bakery closed?"})
    second = await chain.ainvoke({"question": "Really?"})
    assert [message.content for message in second["chat_history"]][-2:] == [
        "When is my bakery closed?",
        "On Mondays.",
    ]
    assert turns(plum)[2:] == [("user", "Really?"), ("assistant", "On Mondays.")]


async def test_an_async_llm_chain(memory: Any, plum: Any) -> None:
    prompt = PromptTemplate.from_template("{history}\nUser: {input}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of LangChain's own, about its chain
        chain = LLMChain(llm=FakeListLLM(responses=["Hi."]), prompt=prompt, memory=memory)
    assert (await chain.ainvoke({"input": "Hello"}))["text"] == "Hi."
    assert turns(plum) == [("user", "Hello"), ("assistant", "Hi.")]


def test_none_of_our_own_warns_of_deprecation(plum: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in (PlumMemory, RetrievalMemory, HybridMemory):
            made = kind(plum=plum, user_id="ana", session_id="today")
            made.save_context({"input": "Hello"}, {"output": "Hi."})
            made.load_memory_variables({"input": "Hello"})
            made.clear()
