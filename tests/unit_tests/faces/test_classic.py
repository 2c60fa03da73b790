"""Classic memories beside the rest of the home: silence, swapping, the default embeddings."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_classic.chains import ConversationChain, LLMChain
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.prompts import PromptTemplate

from plum_langchain import HomeSettings
from plum_langchain.session import SessionState, Turn
from tests.tiny import session

pytestmark = pytest.mark.filterwarnings("ignore:The class `(ConversationChain|LLMChain)` was")


def shown(memory: Any) -> str:
    return str(memory.load_memory_variables({"input": "?"})["history"])


def texts(plum: Any) -> list[list[str]]:
    """What was said in each session of ana, oldest session first."""
    return [[turn.content for turn in s.turns] for s in plum.journal.sessions.all("ana")]


# -- silence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds_over", "goes_on"), [(-60, True), (60, False)])
def test_the_session_shown_is_the_one_that_is_written_to(
    plum: Any, seconds_over: float, goes_on: bool
) -> None:
    idle = plum.settings.idle_seconds
    last = datetime.now(UTC) - timedelta(seconds=idle + seconds_over)
    before = [Turn("user", "Hello"), Turn("assistant", "Hi Ana.")]
    plum.journal.sessions.append("ana", "today", before, idle_seconds=idle, now=last)
    chain = ConversationChain(
        llm=FakeListLLM(responses=["Good evening."]), memory=plum.memory("ana", "today")
    )
    result = chain.invoke({"input": "Good evening"})
    if goes_on:
        assert result["history"] == "Human: Hello\nAI: Hi Ana."
        assert texts(plum) == [["Hello", "Hi Ana.", "Good evening", "Good evening."]]
    else:
        assert result["history"] == ""
        assert texts(plum) == [["Hello", "Hi Ana."], ["Good evening", "Good evening."]]
        assert shown(chain.memory) == "Human: Good evening\nAI: Good evening."
        states = [s.state for s in plum.journal.sessions.all("ana")]
        assert states == [SessionState.FINISHED, SessionState.OPEN]


def test_without_any_idle_time_every_exchange_is_a_session(open_plum: Callable[..., Any]) -> None:
    plum = open_plum(settings=HomeSettings(idle_seconds=0))
    memory = plum.memory("ana", "today")
    for number in ("one", "two"):
        assert shown(memory) == ""
        memory.save_context({"input": number}, {"output": f"re {number}"})
    assert texts(plum) == [["one", "re one"], ["two", "re two"]]


# -- swapping ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faces", "recalls"),
    [
        (lambda plum: plum, False),
        (lambda plum: plum.retrieval(k=1), True),
        (lambda plum: plum.hybrid(k=1), True),
    ],
    ids=["parametric", "retrieval", "hybrid"],
)
async def test_swapping_the_memory_changes_one_word(plum: Any, faces: Any, recalls: bool) -> None:
    plum.add_session(session("ana", "old", "My bakery is closed on Mondays.", "Enjoy."))
    chain = LLMChain(
        llm=FakeListChatModel(responses=["On Mondays.", "Bye."]),
        prompt=PromptTemplate.from_template("{history}\n{input}"),
        memory=faces(plum).memory("ana", "today"),
    )
    first = await chain.ainvoke({"input": "When is my bakery closed?"})
    assert ("User: My bakery is closed on Mondays." in first["history"]) == recalls
    second = await chain.ainvoke({"input": "Goodbye to my bakery"})
    assert second["history"].endswith("Human: When is my bakery closed?\nAI: On Mondays.")
    assert texts(plum)[1] == [
        "When is my bakery closed?",
        "On Mondays.",
        "Goodbye to my bakery",
        "Bye.",
    ]


# -- the default embeddings --------------------------------------------------------------------


def test_a_chat_is_found_by_its_meaning_even_with_half_an_emoji(
    open_plum: Callable[..., Any],
) -> None:
    """By all-MiniLM-L6-v2 from its package: no word of the question is in what is found."""
    plum = open_plum(embeddings=None)
    plum.add_session(session("ana", "s1", "My bakery is closed on Mondays. \ud83d", "Enjoy."))
    plum.add_session(session("ana", "s2", "I keep seven grey geese.", "Seven geese!"))
    plum.add_session(session("ana", "s3", "Our violin comes from Prague.", "A fine one."))
    chain = ConversationChain(
        llm=FakeListLLM(responses=["Mondays."]), memory=plum.retrieval(k=1).memory("ana", "today")
    )
    result = chain.invoke({"input": "When does the bread shop have a day off? \ud83d"})
    assert "My bakery is closed on Mondays. \ufffd" in result["history"]
    assert texts(plum)[-1] == ["When does the bread shop have a day off? \ufffd", "Mondays."]


def test_local_embeddings_read_a_lone_surrogate_as_the_journal_keeps_it() -> None:
    from plum_langchain.memories.embeddings import LocalEmbeddings

    embeddings = LocalEmbeddings()
    halved, replaced, other = embeddings.embed_documents(["hi \ud83d", "hi \ufffd", "geese"])
    assert halved == pytest.approx(replaced, abs=1e-5)
    assert halved != pytest.approx(other, abs=1e-1)
    assert len(halved) == 384
    assert sum(x * x for x in halved) == pytest.approx(1.0, abs=1e-5)
    assert embeddings.embed_query("") == pytest.approx(embeddings.embed_documents([""])[0])
