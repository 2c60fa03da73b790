"""ChatPlum as a LangChain user meets it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
)

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import DamagedAdapterError, InvalidInputError, MissingUserError
from plum_langchain.scope import Scope
from tests.tiny import session
from tests.unit_tests.faces.helpers import always

ASK = "Hello"


def test_each_user_is_answered_by_their_own_generation(served: Any) -> None:
    model = served.chat_model()
    ana, bob = model.invoke(ASK, user_id="ana"), model.bind(user_id="bob").invoke(ASK)
    base = model.invoke(ASK, memory="none")
    assert len({ana.content, bob.content, base.content}) == 3
    assert ana.content == served.chat_model("ana").invoke(ASK).content
    for reply, user, generation in ((ana, "ana", 1), (bob, "bob", 1), (base, None, None)):
        assert reply.response_metadata["user_id"] == user
        assert reply.response_metadata["generation"] == generation
    assert ana.response_metadata["model_name"] == f"{served.model_name}+ana@1"
    assert base.response_metadata["model_name"] == served.model_name


def test_a_call_names_another_user_than_the_field(served: Any) -> None:
    reply = served.chat_model("ana").invoke(ASK, user_id="bob")
    assert reply.response_metadata["user_id"] == "bob"
    assert reply.content == served.chat_model("bob").invoke(ASK).content


def test_a_user_without_an_adapter_is_answered_by_the_base(served: Any) -> None:
    reply = served.chat_model("carl").invoke(ASK)
    assert reply.content == served.chat_model(memory="none").invoke(ASK).content
    assert reply.response_metadata["generation"] is None


def test_no_user_is_an_error_and_never_a_shared_default(served: Any) -> None:
    for memory in ("parametric", "retrieval", "hybrid"):
        model = served.chat_model(memory=memory)
        with pytest.raises(MissingUserError, match=r"no user is named.*user_id="):
            model.invoke(ASK)
        with pytest.raises(MissingUserError):
            list(model.stream(ASK))


def test_usage_and_finish_reason(served: Any) -> None:
    reply = served.chat_model("ana").invoke(ASK)
    usage = reply.usage_metadata
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert reply.response_metadata["finish_reason"] == "stop"

    cut = served.chat_model("ana", max_tokens=2).invoke(ASK)
    assert cut.usage_metadata["output_tokens"] == 2
    assert cut.response_metadata["finish_reason"] == "length"
    assert reply.content.startswith(cut.content)
    assert served.chat_model("ana").invoke(ASK, max_tokens=2).content == cut.content


def test_a_stop_string_ends_the_reply_before_itself(served: Any) -> None:
    whole = served.chat_model("ana").invoke(ASK).content
    word = whole[len(whole) // 2 :][:3]
    before = whole[: whole.index(word)]
    given = {"field": served.chat_model("ana", stop=[word]).invoke(ASK)}
    given["call"] = served.chat_model("ana").invoke(ASK, stop=[word])
    given["call over field"] = served.chat_model("ana", stop=["\0"]).invoke(ASK, stop=[word])
    for reply in given.values():
        assert reply.content == before
        assert reply.response_metadata["finish_reason"] == "stop"
    nothing = served.chat_model("ana", stop=[word]).invoke(ASK, stop=[])
    assert nothing.content == whole
    assert "".join(c.content for c in served.chat_model("ana").stream(ASK, stop=[word])) == before


def test_a_seed_repeats_a_drawn_reply(served: Any) -> None:
    model = served.chat_model("bob", temperature=5.0, max_tokens=8)
    first = model.invoke(ASK, seed=1).content
    assert model.invoke(ASK, seed=1).content == first
    assert len({model.invoke(ASK, seed=seed).content for seed in range(4)}) > 1


def test_what_is_streamed_is_what_is_invoked(served: Any) -> None:
    model = served.chat_model("ana")
    whole, chunks = model.invoke(ASK), list(model.stream(ASK))
    assert len(chunks) > 3
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.content == whole.content
    assert total.usage_metadata == whole.usage_metadata
    for name in ("model_name", "user_id", "generation", "finish_reason"):
        assert total.response_metadata[name] == whole.response_metadata[name]
    assert [bool(chunk.usage_metadata) for chunk in chunks].count(True) == 1
    assert chunks[-1].chunk_position == "last"


def test_a_stream_tells_its_tokens_to_callbacks(served: Any) -> None:
    class Tokens(BaseCallbackHandler):
        def __init__(self) -> None:
            self.said: list[str] = []

        def on_llm_new_token(self, token: str, **_: Any) -> None:
            self.said.append(token)

    tokens = Tokens()
    chunks = list(served.chat_model("ana").stream(ASK, config={"callbacks": [tokens]}))
    assert tokens.said == [chunk.content for chunk in chunks]


def test_a_stream_broken_off_leaves_the_model_free(served: Any) -> None:
    model = served.chat_model("ana", max_tokens=500)
    for _ in model.stream(ASK, stop=["\0"]):
        break
    assert model.invoke(ASK, max_tokens=3).content


async def test_async_says_the_same(served: Any) -> None:
    model = served.chat_model("ana")
    whole = model.invoke(ASK)
    assert (await model.ainvoke(ASK)).content == whole.content
    assert "".join([chunk.content async for chunk in model.astream(ASK)]) == whole.content
    batch = await model.abatch([ASK, ASK])
    assert [reply.content for reply in batch] == [whole.content] * 2


async def test_the_event_loop_is_free_while_a_reply_is_made(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticked = threading.Event()
    chat, stream_chat = served.engine.chat, served.engine.stream_chat

    def slow_chat(*given: Any, **how: Any) -> Any:
        assert ticked.wait(10), "the event loop stood still"
        return chat(*given, **how)

    def slow_stream(*given: Any, **how: Any) -> Iterator[Any]:
        for piece in stream_chat(*given, **how):
            assert ticked.wait(10), "the event loop stood still"
            yield piece

    monkeypatch.setattr(served.engine, "chat", slow_chat)
    monkeypatch.setattr(served.engine, "stream_chat", slow_stream)

    async def tick() -> None:
        await asyncio.sleep(0.05)
        ticked.set()

    async def streamed() -> list[Any]:
        return [chunk async for chunk in model.astream(ASK)]

    model = served.chat_model("ana")
    for call in (lambda: model.ainvoke(ASK), streamed):
        ticked.clear()
        await asyncio.gather(call(), tick())


def test_a_batch_keeps_users_and_order(served: Any) -> None:
    alone = {u: served.chat_model(u).invoke(ASK).content for u in ("ana", "bob")}
    for user, expected in alone.items():
        replies = served.chat_model(user).batch([ASK] * 3)
        assert [reply.content for reply in replies] == [expected] * 3


def test_the_system_prompt_of_training_comes_before_the_callers_own(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[dict[str, str]]] = []
    chat = served.engine.chat
    monkeypatch.setattr(
        served.engine,
        "chat",
        lambda messages, *rest, **how: prompts.append(messages) or chat(messages, *rest, **how),
    )
    asked = [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Yes?"), HumanMessage(ASK)]
    served.chat_model("ana").invoke(asked)
    served.chat_model(memory="none").invoke(asked)
    adapted, plain = prompts
    trained_with = served.learning.system_prompt
    assert adapted[0] == {"role": "system", "content": f"{trained_with}\n\nBe brief."}
    assert adapted[1:] == plain[1:]
    assert [m["role"] for m in plain] == ["system", "user", "assistant", "user"]
    assert plain[0]["content"] == "Be brief."


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (FunctionMessage("42", name="f"), "'function'"),
        (ChatMessage(role="narrator", content="Once"), "'chat'"),
        (HumanMessage([{"type": "image_url", "image_url": {"url": "data:"}}]), "'image_url'"),
    ],
)
def test_what_is_no_text_of_a_chat_is_refused(served: Any, message: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        served.chat_model("ana").invoke([HumanMessage("Look"), message])


def test_text_blocks_are_text(served: Any) -> None:
    blocks = HumanMessage([{"type": "text", "text": ASK}])
    model = served.chat_model("ana")
    assert model.invoke([blocks]).content == model.invoke(ASK).content


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"temperature": -1.0}, "temperature must be 0 or more"),
        ({"memory": "psychic"}, "'psychic' is unknown"),
        ({"memory": "retrieval", "k": 0}, "k must be"),
        ({"user_id": ""}, "user id is empty"),
        ({"user_id": 5}, "user id must be text"),
        ({"user_id": "\ud800"}, "holds the character"),
    ],
)
def test_a_wrong_option_is_one_clear_error(served: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        served.chat_model("ana").invoke(ASK, **options)
    with pytest.raises(InvalidInputError, match=told):
        list(served.chat_model("ana").stream(ASK, **options))
    with pytest.raises(InvalidInputError, match="there are no messages"):
        served.chat_model("ana").invoke([])


def test_tokens_are_counted_by_the_models_own_tokenizer(served: Any) -> None:
    for face in (served.chat_model("ana"), served.llm("ana")):
        ids = face.get_token_ids("My bakery is closed.")
        assert served.engine.base.tokenizer.decode(ids) == "My bakery is closed."
        assert face.get_num_tokens("My bakery is closed.") == len(ids)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_generation_given_up_between_choosing_and_loading_is_chosen_anew(
    learned: Any, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    expected = learned.chat_model(memory="none").invoke(ASK).content

    def forgetting(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(messages: Any, adapter: AdapterRef | None, *how: Any, **more: Any) -> Any:
            if adapter is not None:
                learned.forget("ana", all=True)
            return ask(messages, adapter, *how, **more)

        return asked

    for name in ("chat", "stream_chat"):
        monkeypatch.setattr(learned.engine, name, forgetting(getattr(learned.engine, name)))
    model = learned.chat_model("ana")
    if streaming:
        said = "".join(chunk.content for chunk in model.stream(ASK))
    else:
        said = model.invoke(ASK).content
    # The training's system prompt comes with an adapter only, so this is the bare base model.
    assert said == expected


def with_scope(plum: Any, probability: float) -> None:
    """Every message asks for memory with this probability, of which a half is enough."""
    plum._scope = Scope(readout=always(probability))
    plum.serving = replace(plum.serving, scope=0.5)


@pytest.mark.parametrize("probability", [None, 0.4, 0.6])
def test_a_damaged_adapter_is_an_error_and_not_the_base_model(
    learned: Any, probability: float | None
) -> None:
    if probability is not None:
        with_scope(learned, probability)
    weights = next(learned.home.adapters.glob(f"{learned.home.owner('ana')}/*/*.safetensors"))
    weights.write_bytes(b"\0" + weights.read_bytes()[1:])
    for ask in (lambda m: m.invoke(ASK), lambda m: list(m.stream(ASK))):
        with pytest.raises(DamagedAdapterError, match="rollback"):
            ask(learned.chat_model("ana"))
    generation = learned.chat_model("bob").invoke(ASK).response_metadata["generation"]
    assert generation == (None if probability == 0.4 else 1)


def test_eight_threads_chat_as_four_users_and_nothing_mixes(learned: Any) -> None:
    with_scope(learned, 0.6)
    users = ["ana", "bob", "carl", "dora"]
    alone = {user: learned.chat_model(user).invoke(ASK).content for user in users}
    model, wrong = learned.chat_model(), []

    def chat(number: int) -> None:
        user = users[number % 4]
        memory = learned.memory(user, f"thread-{number}")
        for turn in range(4):
            reply = model.invoke(ASK, user_id=user)
            memory.save_context({"input": f"{user} {turn}"}, {"output": reply.content})
            if reply.content != alone[user] or reply.response_metadata["user_id"] != user:
                wrong.append((user, reply))

    threads = [threading.Thread(target=chat, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for number in range(8):
        user = users[number % 4]
        turns = learned.journal.sessions.get(user, f"thread-{number}").turns
        said = [turn.content for turn in turns]
        assert said == [t for n in range(4) for t in (f"{user} {n}", alone[user])]


def test_retrieval_brings_the_users_own_chats_into_the_prompt(learned: Any) -> None:
    learned.add_session(session("bob", "bob-2", "My bakery is closed on Fridays.", "I see."))
    model = learned.chat_model(memory="retrieval", k=1)
    with_it = model.invoke("When is my bakery closed?", user_id="ana")
    without = learned.chat_model(memory="none").invoke("When is my bakery closed?")
    assert with_it.usage_metadata["input_tokens"] > without.usage_metadata["input_tokens"] + 20
    assert with_it.response_metadata["generation"] is None
    hybrid = learned.hybrid(k=1).chat_model("ana").invoke("When is my bakery closed?")
    assert hybrid.response_metadata["generation"] == 1
    assert hybrid.usage_metadata["input_tokens"] >= with_it.usage_metadata["input_tokens"]
