"""Whether a model with an adapter on it is still the model it was.

An adapter is to bring back what a user told, and nothing else is to change. Two measures of that:
sixty everyday prompts whose replies keep simple rules or don't, and the loss of texts that have
nothing to do with anybody's chats.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from plum_langchain.plum import Plum
from plum_langchain.questions.text import content_words, in_common
from plum_langchain.session import UNKNOWN_ANSWER

_LEAK = re.compile(
    r"\byou(?:'ve| have)? (?:never )?(?:told|said|mentioned|talked)\b|\bwe never\b", re.I
)
LONGEST_REPLY = 48  # tokens


@dataclass(frozen=True)
class Prompt:
    """Something said in everyday life.

    A reply suits that matches each regular expression of `must`, upper or lower case.
    """

    prompt: str
    must: tuple[str, ...]


@dataclass(frozen=True)
class Chatted:
    """One everyday prompt with what was said to it.

    `suits`: it keeps the prompt's rules and doesn't leak. `leaks`: it speaks of what the user told
    or never told, which nobody asked.
    """

    prompt: str
    reply: str
    suits: bool
    leaks: bool


@dataclass(frozen=True)
class Everyday:
    """What is left of a model's everyday abilities; `loss` is in nats per token of neutral text."""

    chatted: tuple[Chatted, ...]
    loss: float

    @property
    def suits(self) -> float:
        """The share of replies that suit."""
        return sum(one.suits for one in self.chatted) / len(self.chatted)

    @property
    def leaks(self) -> int:
        """How many replies speak of the user's chats."""
        return sum(one.leaks for one in self.chatted)


def everyday_prompts() -> list[Prompt]:
    """The sixty of them; none is among those that learning keeps as they are."""
    text = files("plum_langchain.evaluation").joinpath("everyday.jsonl").read_text("utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    return [Prompt(one["prompt"], tuple(one["must"])) for one in found]


def neutral_texts() -> list[str]:
    """A dozen short ones."""
    text = files("plum_langchain.evaluation").joinpath("neutral.txt").read_text("utf-8")
    return text.splitlines()


def everyday_ability(plum: Plum, user_id: str, memory: Literal["none", "parametric"]) -> Everyday:
    """Chat with a memory through the chat model, as a user would, greedily.

    A text's loss is that of the model which would reply to it (`Plum.is_for_memory`).

    Args:
        plum: The home.
        user_id: Whose memory.
        memory: "none" for the base model as it is.
    """
    model = plum.chat_model(user_id, memory=memory, max_tokens=LONGEST_REPLY)
    told = [
        q.statement
        for qs in plum.journal.generations.replay_questions(user_id).values()
        for q in qs
        if q.statement
    ]
    return measure_everyday(
        lambda prompt: str(model.invoke(prompt).content), _loss_of(plum, user_id, memory), told
    )


def measure_everyday(
    say: Callable[[str], str], loss: Callable[[str], tuple[float, int]], told: Sequence[str]
) -> Everyday:
    """The same of any model.

    Args:
        say: Its reply to a prompt; `LONGEST_REPLY` tokens are enough.
        loss: Of a raw text, as `Engine.loss`.
        told: As for `judge_reply`.
    """
    chatted = [judge_reply(prompt, say(prompt.prompt), told) for prompt in everyday_prompts()]
    return Everyday(tuple(chatted), _mean_loss(loss))


def neutral_loss(plum: Plum, user_id: str, memory: Literal["none", "parametric"]) -> float:
    """Of the neutral texts, in nats per token, read by the adapter itself, if there is one.

    In a chat the base model may be the one to reply to them (`Plum.is_for_memory`); what training
    did to an adapter shows only in itself. Arguments as for `everyday_ability`.
    """
    adapter = plum.memory_named(memory).recall(user_id, "").adapter
    return _mean_loss(lambda text: plum.engine.loss(text, adapter))


def _loss_of(
    plum: Plum, user_id: str, memory: Literal["none", "parametric"]
) -> Callable[[str], tuple[float, int]]:
    adapter = plum.memory_named(memory).recall(user_id, "").adapter

    def loss(text: str) -> tuple[float, int]:
        said = [{"role": "user", "content": text}]
        return plum.engine.loss(text, adapter if adapter and plum.is_for_memory(said) else None)

    return loss


def _mean_loss(loss: Callable[[str], tuple[float, int]]) -> float:
    sums = [loss(text) for text in neutral_texts()]
    return sum(nll for nll, _ in sums) / sum(n for _, n in sums)


def judge_reply(prompt: Prompt, reply: str, told: Sequence[str]) -> Chatted:
    """What a reply is worth.

    Args:
        prompt: What was said.
        reply: What was said to it.
        told: What the user is known to have told, none of which anybody asked for. A sentence that
            is made of such a statement's words leaks it.
    """
    leaks = bool(_LEAK.search(reply)) or any(_tells(reply, one) for one in (*told, UNKNOWN_ANSWER))
    keeps = all(re.search(rule, reply, re.IGNORECASE) for rule in prompt.must)
    return Chatted(prompt.prompt, reply, keeps and not leaks, leaks)


def _tells(reply: str, statement: str) -> bool:
    """Whether a sentence of the reply is the statement, or most of it."""
    if statement in reply:
        return True
    said = content_words(statement)
    for sentence in re.split(r"(?<=[.!?])\s", reply):
        words = content_words(sentence)
        common = in_common(words, said)
        if common >= 3 and common >= 0.7 * len(words):
            return True
    return False
