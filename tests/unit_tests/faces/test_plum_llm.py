"""PlumLLM: text in and text out, as a LangChain user meets it."""

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import PromptTemplate

from plum_langchain.errors import InvalidInputError, MissingUserError

ASK = "Hello"


def test_it_says_what_the_chat_model_says(served: Any) -> None:
    for user in ("ana", "bob"):
        said = served.llm(user).invoke(ASK)
        assert said == served.chat_model(user).invoke(ASK).content
        assert "".join(served.llm(user).stream(ASK)) == said
        assert served.llm().invoke(ASK, user_id=user) == said
        assert "".join(served.llm().bind(user_id=user).stream(ASK)) == said
        assert served.llm(user).batch([ASK, ASK]) == [said, said]
    assert served.llm(memory="none").invoke(ASK) == (
        served.chat_model(memory="none").invoke(ASK).content
    )


async def test_async_says_the_same(served: Any) -> None:
    said = served.llm("ana").invoke(ASK)
    assert await served.llm("ana").ainvoke(ASK) == said
    assert await served.llm("bob").ainvoke(ASK, user_id="ana") == said
    assert "".join([piece async for piece in served.llm("ana").astream(ASK)]) == said


async def test_the_event_loop_is_free_while_a_reply_is_made(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticked = threading.Event()
    chat = served.engine.chat

    def slow_chat(*given: Any, **how: Any) -> Any:
        assert ticked.wait(10), "the event loop stood still"
        return chat(*given, **how)

    monkeypatch.setattr(served.engine, "chat", slow_chat)

    async def tick() -> None:
        await asyncio.sleep(0.05)
        ticked.set()

    await asyncio.gather(served.llm("ana").ainvoke(ASK), tick())


def test_what_a_generation_tells(served: Any) -> None:
    result = served.llm("ana").generate([ASK, "Who is it?"])
    for (generation,) in result.generations:
        assert generation.generation_info["generation"] == 1
        assert generation.generation_info["model_name"] == f"{served.model_name}+ana@1"
        assert generation.generation_info["finish_reason"] in ("stop", "length")
    usage = result.llm_output["token_usage"]
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_options_of_a_call_and_of_the_field(served: Any) -> None:
    whole = served.llm("ana").invoke(ASK)
    short = served.llm("ana", max_tokens=2).invoke(ASK)
    assert whole.startswith(short) and short != whole
    assert served.llm("ana").invoke(ASK, max_tokens=2) == short
    assert "".join(served.llm("ana").stream(ASK, max_tokens=2)) == short
    word = whole[4:7]
    before = whole[: whole.index(word)]
    assert served.llm("ana").invoke(ASK, stop=[word]) == before
    assert served.llm("ana", stop=[word]).invoke(ASK) == before


def test_a_stream_tells_its_tokens_to_callbacks(served: Any) -> None:
    class Tokens(BaseCallbackHandler):
        def __init__(self) -> None:
            self.said: list[str] = []

        def on_llm_new_token(self, token: str, **_: Any) -> None:
            self.said.append(token)

    tokens = Tokens()
    said = "".join(served.llm("ana").stream(ASK, config={"callbacks": [tokens]}))
    assert "".join(tokens.said) == said


def test_it_stands_in_a_chain(served: Any) -> None:
    chain = PromptTemplate.from_template("{greeting}") | served.llm("ana")
    assert chain.invoke({"greeting": ASK}) == served.llm("ana").invoke(ASK)


def test_no_user_is_an_error(served: Any) -> None:
    for ask in (lambda m: m.invoke(ASK), lambda m: list(m.stream(ASK))):
        with pytest.raises(MissingUserError, match="no user is named"):
            ask(served.llm())


def test_a_wrong_option_is_one_clear_error(served: Any) -> None:
    for options in ({"max_tokens": 0}, {"memory": "psychic"}, {"user_id": ""}):
        with pytest.raises(InvalidInputError):
            served.llm("ana").invoke(ASK, **options)


def test_a_batch_is_one_generation(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = served.llm("ana")
    asked = ["Hello", "Good morning", "Hi"]
    alone = [llm.invoke(one) for one in asked]
    rows: list[int] = []
    generate = served.engine.base.model.generate

    def counted(input_ids: Any, **options: Any) -> Any:
        rows.append(len(input_ids))
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(served.engine.base.model, "generate", counted)
    assert llm.batch(asked) == alone and rows == [3]
    with pytest.raises(InvalidInputError, match="tokens"):
        llm.batch(["Hello", "word " * 5000])


def test_what_only_a_chat_model_takes_is_refused(served: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"no response_format.*plum.chat_model"):
        served.llm("ana").invoke("Hello", response_format={"type": "json_object"})


def test_log_probabilities_are_told(served: Any) -> None:
    result = served.llm("ana", logprobs=True).generate(["Hello"])
    info = result.generations[0][0].generation_info
    assert "".join(t["token"] for t in info["logprobs"]["content"]) == result.generations[0][0].text
