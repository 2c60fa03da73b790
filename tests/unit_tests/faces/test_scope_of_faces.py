"""Who replies: the adapter to what asks for memory, the base model to the rest."""

from dataclasses import replace
from typing import Any

import pytest

from plum_langchain.scope import Scope
from tests.unit_tests.faces.helpers import always

ASKED = "When is my bakery closed?"


@pytest.fixture
def gated(served: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The served home with a scope; `gated(p)` finds this probability in every message."""

    def at(probability: float) -> Any:
        monkeypatch.setattr(served, "_scope", Scope(readout=always(probability)))
        monkeypatch.setattr(served, "serving", replace(served.serving, scope=0.5))
        return served

    return at


def test_a_message_that_is_not_for_memory_is_answered_as_without_one(gated: Any) -> None:
    plum = gated(0.4)
    reply = plum.chat_model("ana").invoke(ASKED)
    base = plum.chat_model("ana", memory="none").invoke(ASKED)
    assert reply.content == base.content
    assert reply.usage_metadata == base.usage_metadata  # the very same prompt
    assert reply.response_metadata["generation"] is None
    assert plum.llm("ana").invoke(ASKED) == plum.llm("ana", memory="none").invoke(ASKED)
    streamed = "".join(str(chunk.content) for chunk in plum.chat_model("ana").stream(ASKED))
    assert streamed == base.content


def test_one_that_asks_for_memory_is_answered_by_the_adapter(gated: Any, served: Any) -> None:
    always = served.chat_model("ana").invoke(ASKED)
    reply = gated(0.6).chat_model("ana").invoke(ASKED)
    assert reply.content == always.content
    assert reply.response_metadata["generation"] == 1


def test_what_was_retrieved_is_read_whoever_replies(gated: Any) -> None:
    asked = gated(0.4).chat_model("ana", memory="hybrid", k=1).invoke(ASKED)
    same = gated(0.4).chat_model("ana", memory="retrieval", k=1).invoke(ASKED)
    assert asked.content == same.content
    assert asked.response_metadata["generation"] is None


def test_what_plum_ask_is_asked_is_for_memory(gated: Any) -> None:
    assert gated(0.01).ask("ana", ASKED).generation == 1


def test_a_cache_tells_scopes_apart(gated: Any, served: Any) -> None:
    always = served.chat_model("ana").identity()
    assert gated(0.4).chat_model("ana").identity() != always
