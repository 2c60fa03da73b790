"""PlumMemory in the chains of langchain-classic."""

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_classic.chains import ConversationChain, LLMChain
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from pydantic import ValidationError

from plum_langchain import HybridMemory, PlumMemory, RetrievalMemory
from plum_langchain.errors import InvalidInputError
from plum_langchain.session import SessionState
from tests.tiny import session


@pytest.fixture(autouse=True)
def no_warnings_of_ours() -> Iterator[None]:
    """Warnings are errors here, except for those of building LangChain's own old chains."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r"The class `(ConversationChain|LLMChain)` was")
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield


def turns(plum: Any, session_id: str = "today", user: str = "ana") -> list[tuple[str, str]]:
    return [(t.role, t.content) for t in plum.journal.sessions.get(user, session_id).turns]


def talk(memory: Any, *exchanges: tuple[str, str]) -> None:
    for said, reply in exchanges:
        memory.save_context({"input": said}, {"output": reply})


HELLO = [("user", "Hello"), ("assistant", "Hi Ana.")]


def test_a_conversation_chain_remembers_and_records(plum: Any) -> None:
    chain = ConversationChain(
        llm=FakeListLLM(responses=["Hi Ana.", "You said hello."]),
        memory=plum.memory("ana", "today"),
    )
    assert chain.predict(input="Hello") == "Hi Ana."
    result = chain.invoke({"input": "What did I say?"})
    assert result["history"] == "Human: Hello\nAI: Hi Ana."
    assert turns(plum) == [
        *HELLO,
        ("user", "What did I say?"),
        ("assistant", "You said hello."),
    ]


async def test_async_chains_record_the_same(plum: Any) -> None:
    chain = ConversationChain(
        llm=FakeListLLM(responses=["Hi Ana.", "You said hello."]),
        memory=plum.memory("ana", "today"),
    )
    await chain.ainvoke({"input": "Hello"})
    result = await chain.ainvoke({"input": "What did I say?"})
    assert result["history"] == "Human: Hello\nAI: Hi Ana."
    assert turns(plum)[:2] == HELLO and len(turns(plum)) == 4
    memory = plum.memory("ana", "today")
    assert (await memory.aload_memory_variables({"input": "?"}))["history"].startswith("Human: H")
    await memory.asave_context({"input": "Bye"}, {"output": "Bye Ana."})
    await memory.aclear()
    assert turns(plum)[-2:] == [("user", "Bye"), ("assistant", "Bye Ana.")]
    assert plum.journal.sessions.get("ana", "today").state == SessionState.FINISHED


def test_an_llm_chain_with_messages_and_keys_of_its_own(plum: Any) -> None:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Speak {language}."), MessagesPlaceholder("so_far"), ("human", "{question}")]
    )
    memory = plum.memory(
        "ana", "today", memory_key="so_far", input_key="question", return_messages=True
    )
    model = FakeListLLM(responses=["Hi Ana.", "Yes."])
    chain = LLMChain(llm=model, prompt=prompt, memory=memory)
    chain.invoke({"language": "English", "question": "Hello"})
    result = chain.invoke({"language": "English", "question": "Really?"})
    assert result["so_far"][:2] == [HumanMessage("Hello"), AIMessage("Hi Ana.")]
    assert turns(plum)[:2] == HELLO


def test_the_adapted_model_in_a_chain(learned: Any) -> None:
    prompt = PromptTemplate.from_template("{history}{input}")
    chain = LLMChain(llm=learned.llm("ana"), prompt=prompt, memory=learned.memory("ana", "today"))
    said = chain.invoke({"input": "Hello"})["text"]
    assert said == learned.llm("ana").invoke("Hello")
    assert turns(learned) == [("user", "Hello"), ("assistant", said)]


def test_it_always_has_its_variable(plum: Any) -> None:
    for memory in ("parametric", "retrieval", "hybrid", "none"):
        face = plum.memory("ana", "today", memory=memory)
        assert face.memory_variables == ["history"]
        assert face.load_memory_variables({"input": "Hello"}) == {"history": ""}
        with_messages = plum.memory("ana", "today", memory=memory, return_messages=True)
        assert with_messages.load_memory_variables({"input": "Hello"}) == {"history": []}


def test_several_inputs_and_outputs_need_naming(plum: Any) -> None:
    memory = plum.memory("ana", "today", memory="retrieval")
    two_in, two_out = {"question": "Hello", "tone": "kind"}, {"answer": "Hi Ana.", "sources": "-"}
    with pytest.raises(InvalidInputError, match=r"2 inputs \(question, tone\).*input_key="):
        memory.save_context(two_in, {"output": "Hi Ana."})
    with pytest.raises(InvalidInputError, match=r"2 outputs \(answer, sources\).*output_key="):
        memory.save_context({"input": "Hello"}, two_out)
    with pytest.raises(InvalidInputError, match="input_key='nosuch'"):
        plum.memory("ana", "today", input_key="nosuch").save_context(two_in, {"output": "Hi"})
    with pytest.raises(InvalidInputError, match="output_key='nosuch'"):
        plum.memory("ana", "today", output_key="nosuch").save_context({"input": "Hi"}, two_out)
    assert not plum.status()["users"]
    named = plum.memory("ana", "today", input_key="question", output_key="answer")
    named.save_context(two_in, two_out)
    plum.memory("ana", "today").save_context(
        {"history": "", "input": "Bye", "stop": ["\n"]}, {"output": "Bye.", "sources": "-"}
    )
    assert turns(plum) == [*HELLO, ("user", "Bye"), ("assistant", "Bye.")]


def test_messages_and_other_text_of_a_chain(plum: Any) -> None:
    """Chains over chat models may hand over a message instead of its text."""
    memory = plum.memory("ana", "today")
    memory.save_context({"input": [HumanMessage("Hello")]}, {"output": AIMessage("Hi Ana.")})
    assert turns(plum) == HELLO
    with pytest.raises(InvalidInputError, match="'output' holds a dict"):
        memory.save_context({"input": "Bye"}, {"output": {"text": "Bye."}})
    assert turns(plum) == HELLO


def test_clear_finishes_the_session_and_keeps_it(plum: Any) -> None:
    memory = plum.memory("ana", "today")
    talk(memory, ("Hello", "Hi Ana."))
    memory.clear()
    assert memory.load_memory_variables({"input": "?"}) == {"history": ""}
    assert plum.journal.sessions.get("ana", "today").state == SessionState.FINISHED
    talk(memory, ("Hello again", "Welcome back."))
    first, second = plum.journal.sessions.all("ana")
    assert [t.content for t in first.turns] == ["Hello", "Hi Ana."]
    assert [t.content for t in second.turns] == ["Hello again", "Welcome back."]
    assert "Hello again" in memory.load_memory_variables({"input": "?"})["history"]
    memory.clear()
    memory.clear()  # nothing open: nothing happens
    assert [s.state for s in plum.journal.sessions.all("ana")] == [SessionState.FINISHED] * 2


def test_sessions_and_users_are_apart(plum: Any) -> None:
    for user in ("ana", "bob"):
        for name in ("one", "two"):
            talk(plum.memory(user, name), (f"{user} {name}", "Hm."))
    for user in ("ana", "bob"):
        for name in ("one", "two"):
            said = plum.memory(user, name).load_memory_variables({"input": "?"})["history"]
            assert said == f"Human: {user} {name}\nAI: Hm."


def test_a_second_object_goes_on_where_the_first_was(
    plum: Any, open_plum: Callable[..., Any]
) -> None:
    talk(plum.memory("ana", "today"), ("Hello", "Hi Ana."))
    again = open_plum().memory("ana", "today", human_prefix="Ana", ai_prefix="Bot")
    assert again.load_memory_variables({"input": "?"})["history"] == "Ana: Hello\nBot: Hi Ana."


@pytest.mark.parametrize("kind", [RetrievalMemory, HybridMemory])
def test_retrieval_shows_the_users_earlier_chats(plum: Any, kind: Any) -> None:
    plum.add_session(session("ana", "old", "My bakery is closed on Mondays.", "Enjoy."))
    plum.add_session(session("bob", "old", "My bakery is closed on Sundays.", "I see."))
    memory = kind(plum=plum, user_id="ana", session_id="today", k=1)
    talk(memory, ("Hello", "Hi Ana."))
    history = memory.load_memory_variables({"input": "My bakery?"})["history"]
    assert "My bakery is closed on Mondays." in history and "Sundays" not in history
    assert history.endswith("Human: Hello\nAI: Hi Ana.")
    memory.return_messages = True
    recalled, *rest = memory.load_memory_variables({"input": "My bakery?"})["history"]
    assert isinstance(recalled, SystemMessage) and "Mondays" in str(recalled.content)
    assert rest == [HumanMessage("Hello"), AIMessage("Hi Ana.")]
    assert turns(plum) == HELLO  # what is recalled is not recorded again


def test_parametric_memory_puts_no_recalled_text_into_the_prompt(plum: Any) -> None:
    plum.add_session(session("ana", "old", "My bakery is closed on Mondays.", "Enjoy."))
    memory = PlumMemory(plum=plum, user_id="ana", session_id="today")
    assert memory.load_memory_variables({"input": "My bakery?"}) == {"history": ""}


def test_retrieval_in_a_chain(plum: Any) -> None:
    plum.add_session(session("ana", "old", "My bakery is closed on Mondays.", "Enjoy."))
    chain = ConversationChain(
        llm=FakeListLLM(responses=["On Mondays."]),
        memory=RetrievalMemory(plum=plum, user_id="ana", session_id="today", k=1),
    )
    assert "closed on Mondays" in chain.invoke({"input": "When is my bakery closed?"})["history"]
    assert turns(plum) == [("user", "When is my bakery closed?"), ("assistant", "On Mondays.")]


@pytest.mark.parametrize(("user", "name"), [("", "s"), ("ana", ""), ("ana", "x" * 513)])
def test_ids_that_cannot_be_are_refused_at_once(plum: Any, user: str, name: str) -> None:
    with pytest.raises(InvalidInputError, match="id"):
        plum.memory(user, name)
    with pytest.raises(ValidationError, match="id"):
        PlumMemory(plum=plum, user_id=user, session_id=name)
    with pytest.raises(InvalidInputError, match="k must be"):
        plum.memory("ana", "today", memory="retrieval", k=-1)


def test_threads_write_to_one_session_without_loss(plum: Any) -> None:
    def write(number: int) -> None:
        memory = plum.memory("ana", "today")
        for turn in range(5):
            talk(memory, (f"{number}.{turn}", f"re {number}.{turn}"))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [text for _, text in turns(plum)]
    assert sorted(said[::2]) == sorted(f"{n}.{t}" for n in range(6) for t in range(5))
    assert said[1::2] == [f"re {text}" for text in said[::2]]  # an exchange is never torn apart
