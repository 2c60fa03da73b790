"""ChatPlum: several requests at once, one that nobody waits for any more, and log-probabilities."""

import asyncio
import math
import threading
import time
from typing import Any

import pytest

from plum_langchain.errors import InvalidInputError

ASK = "Hello"


def named(*users: str) -> list[dict[str, Any]]:
    return [{"configurable": {"user_id": user}} for user in users]


@pytest.fixture
def generations(served: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each generation had."""
    rows: list[int] = []
    model = served.engine.base.model
    generate = model.generate

    def counted(input_ids: Any, **options: Any) -> Any:
        rows.append(len(input_ids))
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "generate", counted)
    return rows


def test_a_batch_is_one_generation(served: Any, generations: list[int]) -> None:
    asked = [ASK, "Good morning", "Hi"]
    alone = [served.chat_model("ana").invoke(one).content for one in asked]
    generations.clear()
    assert [one.content for one in served.chat_model("ana").batch(asked)] == alone
    assert generations == [3]


async def test_an_async_batch_too(served: Any, generations: list[int]) -> None:
    replies = await served.chat_model("bob").abatch([ASK, ASK])
    assert generations == [2] and replies[0].content == replies[1].content


def test_users_at_the_same_time_share_a_generation_and_nothing_else(
    served: Any, generations: list[int]
) -> None:
    model = served.chat_model()
    alone = {user: model.invoke(ASK, user_id=user).content for user in ("ana", "bob", "carl")}
    generations.clear()
    replies: dict[str, str] = {}

    def ask(user: str) -> None:
        replies[user] = model.invoke(ASK, user_id=user).content

    threads = [threading.Thread(target=ask, args=(user,)) for user in alone]
    with served.engine.expecting(3):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert replies == alone and len(set(alone.values())) == 3
    assert generations == [3]


def test_one_of_a_batch_may_fail(served: Any) -> None:
    model = served.chat_model("ana")
    first, second = model.batch([ASK, [("tool", "x")]], return_exceptions=True)
    assert first.content == model.invoke(ASK).content
    assert isinstance(second, Exception)


@pytest.mark.parametrize("face", ["chat_model", "llm"])
async def test_a_cancelled_request_stops_generating(served: Any, face: str) -> None:
    engine = served.engine
    steps = [0]
    hook = engine.base.model.register_forward_hook(lambda *_: steps.__setitem__(0, steps[0] + 1))
    eos = engine.base.model.generation_config.eos_token_id
    engine.base.model.generation_config.eos_token_id = 1_000_000
    try:
        model = getattr(served, face)("ana", max_tokens=1500)
        task = asyncio.create_task(model.ainvoke(ASK))
        while steps[0] < 5:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stopped = steps[0]
        await asyncio.to_thread(time.sleep, 0.3)
        assert steps[0] <= stopped + 2
    finally:
        hook.remove()
        engine.base.model.generation_config.eos_token_id = eos


def test_log_probabilities_are_as_openais(served: Any) -> None:
    plain = served.chat_model("ana").invoke(ASK)
    assert "logprobs" not in plain.response_metadata
    reply = served.chat_model("ana", logprobs=True, top_logprobs=3).invoke(ASK)
    tokens = reply.response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == reply.content == plain.content
    for token in tokens:
        assert token["logprob"] <= 0 and bytes(token["bytes"]).decode() == token["token"]
        tops = [top["logprob"] for top in token["top_logprobs"]]
        assert len(tops) == 3 and tops == sorted(tops, reverse=True)
        assert tops[0] == pytest.approx(token["logprob"])  # the likeliest was taken
        assert sum(map(math.exp, tops)) <= 1 + 1e-6


def test_log_probabilities_of_what_was_drawn(served: Any) -> None:
    model = served.chat_model("bob", temperature=5.0, seed=1, logprobs=True)
    reply = model.invoke(ASK, max_tokens=6)
    tokens = reply.response_metadata["logprobs"]["content"]
    assert all(token["top_logprobs"] == [] for token in tokens)
    *_, last = model.stream(ASK, max_tokens=6)
    assert last.response_metadata["logprobs"]["content"] == tokens
    with pytest.raises(InvalidInputError, match="top_logprobs must be from 0 to 20, not 21"):
        model.invoke(ASK, top_logprobs=21)
