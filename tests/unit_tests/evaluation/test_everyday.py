"""What counts as an ordinary reply, and as one that speaks of the user's chats."""

import re
from typing import Any

import pytest

from plum_langchain.evaluation import everyday_ability
from plum_langchain.evaluation.everyday import (
    Prompt,
    everyday_prompts,
    judge_reply,
    neutral_loss,
    neutral_texts,
)
from tests.tiny import session

CAPITAL = Prompt("What is the capital of France?", (r"\bParis\b",))
POEM = Prompt("Write a poem about the moon.", (r"\bmoon\b", r"\n"))


def test_there_are_enough_of_them_with_rules_that_can_be_read() -> None:
    prompts = everyday_prompts()
    assert len({prompt.prompt for prompt in prompts}) >= 50
    for prompt in prompts:
        assert prompt.must
        for rule in prompt.must:
            re.compile(rule)
            assert not re.search(rule, "")  # an empty reply suits nothing
    assert len(neutral_texts()) >= 10


@pytest.mark.parametrize(
    ("prompt", "reply", "suits", "leaks"),
    [
        (CAPITAL, "The capital of France is Paris.", True, False),
        (CAPITAL, "It is paris", True, False),
        (CAPITAL, "It is Parisian.", False, False),
        (CAPITAL, "", False, False),
        (CAPITAL, "We never talked about that.", False, True),
        (CAPITAL, "Paris, as you told me.", False, True),
        (CAPITAL, "You've mentioned Paris.", False, True),
        (CAPITAL, "Your bakery is closed on Mondays.", False, True),
        (CAPITAL, "Paris. Your bakery is closed on a Monday!", False, True),
        (CAPITAL, "Paris has a bakery that is open on Mondays.", True, False),
        (POEM, "O moon,\nso round", True, False),
        (POEM, "O moon, so round", False, False),
    ],
)
def test_a_reply_suits_that_keeps_the_rules_and_leaks_nothing(
    prompt: Prompt, reply: str, suits: bool, leaks: bool
) -> None:
    found = judge_reply(prompt, reply, ["Your bakery is closed on Mondays."])
    assert (found.suits, found.leaks) == (suits, leaks)


@pytest.fixture
def plum(open_plum: Any) -> Any:
    """Where ana's chat is learned."""
    plum = open_plum()
    plum.add_session(session("ana", "monday"))
    plum.consolidate("ana")
    return plum


def test_it_is_measured_as_the_chat_model_replies(
    plum: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [Prompt("Hello", ("",)), Prompt("Bye", ("never to be found",))]
    monkeypatch.setattr("plum_langchain.evaluation.everyday.everyday_prompts", lambda: few)
    base, adapted = (everyday_ability(plum, "ana", memory) for memory in ("none", "parametric"))
    assert [one.prompt for one in base.chatted] == ["Hello", "Bye"]
    assert base.suits == 0.5
    reply = plum.chat_model("ana", max_tokens=48).invoke("Hello").content
    assert adapted.chatted[0].reply == reply != base.chatted[0].reply
    assert base.loss != adapted.loss
    texts = neutral_texts()
    per_token = [plum.engine.loss(text, None) for text in texts]
    assert base.loss == pytest.approx(sum(a for a, _ in per_token) / sum(b for _, b in per_token))


def test_what_training_did_to_an_adapter_shows_in_what_it_reads_itself(
    plum: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plum, "is_for_memory", lambda messages: False)  # nor would it reply to any
    base, adapted = (neutral_loss(plum, "ana", memory) for memory in ("none", "parametric"))
    assert abs(adapted - base) > 1e-4
