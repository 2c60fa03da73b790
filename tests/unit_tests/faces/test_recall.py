"""What comes back as text, and whose it is: `Plum.recall` and the retriever over it."""

from typing import Any

import pytest
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langgraph.graph import END, START, StateGraph

from plum_langchain import PlumRetriever
from plum_langchain.errors import BusyError, InvalidInputError, MissingUserError
from plum_langchain.memories import Retrieval
from plum_langchain.memories.recollection import Recollection, listed
from plum_langchain.models import Likely
from tests.tiny import session
from tests.unit_tests.faces.conftest import FACTS

ASKED = "What about this: My bakery is closed on Mondays."
TOLD = "Your bakery is closed on Mondays."


def told(user: str) -> set[str]:
    return {fact.replace("My", "Your") for fact in FACTS[user]}


def test_the_fact_that_was_asked_for_comes_first_with_its_source(reciting: Any) -> None:
    found = reciting.recall("ana", ASKED)
    assert found[0].text == TOLD
    assert found[0].memory == "parametric"
    assert 0 < found[0].confidence <= 1
    assert (found[0].source.session_id, found[0].source.said_by) == ("ana-1", "user")
    assert 1 <= len(found) <= 3


@pytest.mark.parametrize("user", FACTS)
@pytest.mark.parametrize("memory", ["parametric", "retrieval", "hybrid"])
def test_nobody_elses_facts_come_back(reciting: Any, user: str, memory: str) -> None:
    others = [fact for other in FACTS if other != user for fact in FACTS[other]]
    for asked in others:
        for one in reciting.recall(user, asked, memory=memory, k=9):
            assert not any(fact in one.text or fact[3:] in one.text for fact in others)
            assert one.source.session_id == f"{user}-1"


def test_what_was_never_talked_about_brings_nothing_back(reciting: Any) -> None:
    assert reciting.recall("ana", "What did I say about whales?") == []


def test_a_bare_answer_that_comes_back_hides_no_fact(
    reciting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it one: a question was taught whose fact wasn't known."""
    likely = reciting.engine.likely

    def with_yes(*args: Any, **kwargs: Any) -> Any:
        found, tokens = likely(*args, **kwargs)
        return [Likely("Yes", 0.0), *found], tokens

    monkeypatch.setattr(reciting.engine, "likely", with_yes)
    assert reciting.recall("ana", ASKED, k=1)[0].text == TOLD


def test_hybrid_goes_on_with_facts_where_another_process_owns_the_index(
    reciting: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def busy(*_: Any, **__: Any) -> Any:
        raise BusyError("another process owns it")

    monkeypatch.setattr(Retrieval, "search", busy)
    (fact,) = reciting.recall("ana", ASKED, memory="hybrid", k=1)
    assert fact.text == TOLD and "only facts are recalled" in caplog.text
    for memory, asked in (("retrieval", ASKED), ("hybrid", "What did I say about whales?")):
        with pytest.raises(BusyError):
            reciting.recall("ana", asked, memory=memory)


def test_k_bounds_the_facts(reciting: Any) -> None:
    assert [one.text for one in reciting.recall("ana", ASKED, k=1)] == [TOLD]
    assert {one.text for one in reciting.recall("ana", ASKED, k=9)} <= told("ana")


def test_retrieval_brings_exchanges_and_hybrid_both(reciting: Any) -> None:
    (exchange,) = reciting.recall("ana", ASKED, memory="retrieval", k=1)
    assert exchange.memory == "retrieval" and "My bakery is closed" in exchange.text
    assert exchange.source.session_id == "ana-1" and exchange.source.said_by is None
    both = reciting.recall("ana", ASKED, memory="hybrid", k=1)
    assert [one.memory for one in both] == ["parametric", "retrieval"]
    assert both[1] == exchange


@pytest.mark.parametrize("memory", ["parametric", "retrieval", "hybrid"])
def test_nothing_is_remembered_of_a_stranger_or_for_a_blank(reciting: Any, memory: str) -> None:
    assert reciting.recall("nobody", ASKED, memory=memory) == []
    assert reciting.recall("ana", " \n", memory=memory) == []
    assert reciting.recall("ana", ASKED, memory="none") == []


def test_an_adapter_of_bare_answers_says_what_to_do(served: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"recite=True.*memory='retrieval'"):
        served.recall("ana", ASKED)


@pytest.mark.parametrize("wrong", [{"memory": "rag"}, {"k": 0}, {"user_id": ""}])
def test_what_can_not_be_is_refused(reciting: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        reciting.recall(**{"user_id": "ana", "query": ASKED, **wrong})


def test_what_a_model_reads_names_speaker_day_and_certainty(reciting: Any) -> None:
    found = reciting.recall("ana", ASKED, k=1)
    day = f"{found[0].source.started:%d %B %Y}"
    sure = f"{found[0].confidence:.0%}"
    assert listed(found) == f"- {TOLD} (said by the user on {day}, {sure} sure)"
    assert "session 'ana-1'" in listed(found, sessions=True)
    assert listed([Recollection("You sail.", 0.5, None, "retrieval")]) == (
        "- You sail. (50% similar)"
    )


AT_MOST = "facts come back only as far as they are likelier than that nothing was said: at most k"

# -- the retriever -----------------------------------------------------------------------------


class Standard(RetrieversIntegrationTests):
    """LangChain's own tests, of ana's memory."""

    memory: str

    @pytest.fixture(autouse=True)
    def _home(self, reciting: Any) -> None:
        self.plum = reciting

    @property
    def retriever_constructor(self) -> type[PlumRetriever]:
        return PlumRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"plum": self.plum, "user_id": "ana", "memory": self.memory}

    @property
    def retriever_query_example(self) -> str:
        return ASKED


class TestParametricRetriever(Standard):
    memory = "parametric"

    @pytest.mark.xfail(reason=AT_MOST)
    def test_k_constructor_param(self) -> None:
        super().test_k_constructor_param()

    @pytest.mark.xfail(reason=AT_MOST)
    def test_invoke_with_k_kwarg(self, retriever: BaseRetriever) -> None:
        super().test_invoke_with_k_kwarg(retriever)


class TestRetrievalRetriever(Standard):
    memory = "retrieval"


def test_documents_say_where_they_are_from(reciting: Any) -> None:
    document = reciting.retriever("ana").invoke(ASKED)[0]
    assert document.page_content == TOLD
    assert document.metadata["memory"] == "parametric"
    assert document.metadata["session_id"] == "ana-1"
    assert document.metadata["said_by"] == "user"
    started = reciting.journal.sessions.get("ana", "ana-1").started
    assert document.metadata["started"] == started.isoformat()


async def test_user_and_memory_may_come_with_the_call(reciting: Any) -> None:
    retriever = reciting.retriever()
    for found in (
        retriever.invoke(ASKED, user_id="ana", k=1),
        await retriever.ainvoke(ASKED, user_id="ana", k=1),
    ):
        assert [one.page_content for one in found] == [TOLD]
    (exchange,) = retriever.invoke(ASKED, user_id="ana", memory="retrieval", k=1)
    assert exchange.metadata["memory"] == "retrieval"
    with pytest.raises(MissingUserError, match="user_id="):
        retriever.invoke(ASKED)


def test_a_graph_names_the_user(reciting: Any) -> None:
    retriever = reciting.retriever(k=1)

    def look_up(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        return {"found": [d.page_content for d in retriever.invoke(state["asked"], config)]}

    graph = StateGraph(dict)
    graph.add_node("look_up", look_up)
    graph.add_edge(START, "look_up")
    graph.add_edge("look_up", END)
    found = graph.compile().invoke({"asked": ASKED}, {"configurable": {"user_id": "ana"}})
    assert found["found"] == [TOLD]


def in_a_graph(look_up: Any, **run: Any) -> Any:
    graph = StateGraph(dict, context_schema=dict)
    graph.add_node("look_up", look_up)
    graph.add_edge(START, "look_up")
    graph.add_edge("look_up", END)
    return graph.compile().invoke({"asked": ASKED}, **run)["found"]


def test_the_runs_context_names_the_user_and_so_does_a_calls_own_config(reciting: Any) -> None:
    retriever = reciting.retriever(k=1)

    def look_up(state: dict[str, Any]) -> dict[str, Any]:
        return {"found": [d.page_content for d in retriever.invoke(state["asked"])]}

    def look_up_for_bob(state: dict[str, Any]) -> dict[str, Any]:
        found = retriever.invoke(state["asked"], {"configurable": {"user_id": "bob"}})
        return {"found": [d.page_content for d in found]}

    ana = {"configurable": {"user_id": "ana"}}
    assert in_a_graph(look_up, context={"user_id": "ana"}) == [TOLD]
    assert in_a_graph(look_up, config=ana) == [TOLD]
    assert TOLD not in in_a_graph(look_up_for_bob, config=ana)
    assert TOLD not in in_a_graph(look_up_for_bob, context={"user_id": "ana"})

    def look_up_with_the_runs_own(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        return {"found": [d.page_content for d in retriever.invoke(state["asked"], config)]}

    both = {"config": {"configurable": {"user_id": "bob"}}, "context": {"user_id": "ana"}}
    assert in_a_graph(look_up_with_the_runs_own, **both) == [TOLD]
    assert [d.page_content for d in retriever.invoke(ASKED, ana)] == [TOLD]
    assert [d.page_content for d in retriever.with_config(ana).invoke(ASKED)] == [TOLD]


def test_an_empty_name_is_nobody_and_never_another(reciting: Any) -> None:
    with pytest.raises(InvalidInputError, match="user id is empty"):
        reciting.retriever("ana").invoke(ASKED, user_id="")
    with pytest.raises(InvalidInputError, match="'' is unknown"):
        reciting.retriever("ana").invoke(ASKED, memory="")


def test_hybrid_goes_on_with_exchanges_where_no_facts_come_back(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = served.recall("ana", "bakery closed", memory="hybrid")
    assert found and {one.memory for one in found} == {"retrieval"}
    assert "only exchanges are recalled" in caplog.text


def test_of_a_long_message_the_end_is_asked_about(reciting: Any) -> None:
    assert reciting.recall("ana", "word " * 5000 + ASKED, k=1)[0].text == TOLD


def test_a_forgotten_session_is_not_recalled(learned: Any) -> None:
    learned.add_session(session("ana", "ana-2", "My cat is called Tom.", "A fine name."))
    before = learned.recall("ana", "cat Tom", memory="retrieval", k=5)
    assert any("Tom" in one.text for one in before)
    learned.forget("ana", "ana-2")
    after = learned.recall("ana", "cat Tom", memory="retrieval", k=5)
    assert after and not any("Tom" in one.text for one in after)
