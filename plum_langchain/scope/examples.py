"""Chats that end in something asked of memory, and such that end in anything else.

Of made-up people (those of `verdicts/facts.jsonl`) and of nobody; nothing of any user is in them.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from plum_langchain.consolidation.everyday import prompts
from plum_langchain.learning.template import Message
from plum_langchain.session import UNKNOWN_ANSWER
from plum_langchain.verdicts.pairs import Pair

VERSION = b"2"
"""Of how the chats are put together, which layer reads them and how it is fitted; another number
makes all readouts be fitted anew."""

_EVERY = 3
"""Of the people's questions and facts, every third is used: there are many of them."""

_FOLLOWUPS = 4
"""How often each follow-up is used on either side."""

_REPLIES = (
    "I see.",
    "That sounds good.",
    "Thank you for telling me.",
    "Of course! I'm happy to help.",
    "I'm sorry to hear that.",
    "Sure, here is one idea: start small and do a little every day.",
    "That's a good question. It depends on many things.",
    "Great!",
    "Okay, noted.",
)


@dataclass(frozen=True)
class Example:
    """A chat, and whether its last message asks for what the user told.

    `share` is how much it counts: those of one kind have 1 together.
    """

    chat: list[Message]
    asks: bool
    share: float


def examples(
    pairs: Sequence[Pair], asked: Sequence[str], others: Sequence[str], *, seed: int = 0
) -> list[Example]:
    """The chats to be read.

    Args:
        pairs: Questions of made-up users about themselves, and the facts behind them.
        asked: Other messages that ask for what was told.
        others: Such that don't.
        seed: Of how they are put together.
    """
    maker = _Maker(pairs, asked, others, random.Random(seed))
    return [Example(chat, asks, 1 / len(chats)) for asks, chats in maker.kinds() for chat in chats]


def shipped_messages() -> tuple[list[str], list[str]]:
    """Those that ask for what was told, and others, everyday prompts among them."""
    return lines("asked"), [*lines("others"), *prompts()]


def source() -> bytes:
    """All that the chats are put together from, but for the pairs."""
    asked, others = shipped_messages()
    return VERSION + "\n".join([*asked, *others, *lines("followups")]).encode()


def lines(name: str) -> list[str]:
    """Of one of the files: "asked", "others" or "followups"."""
    text = files("plum_langchain.scope").joinpath(f"{name}.txt").read_text("utf-8")
    return text.splitlines()


class _Maker:
    def __init__(
        self,
        pairs: Sequence[Pair],
        asked: Sequence[str],
        others: Sequence[str],
        rng: random.Random,
    ) -> None:
        self._pairs, self._asked, self._others, self._rng = pairs, asked, others, rng

    def kinds(self) -> Iterator[tuple[bool, list[list[Message]]]]:
        """Each kind of chat: whether it asks, and the chats; three that do, three that don't."""
        yield True, [_messages([], pair.question) for pair in self._pairs[::_EVERY]]
        for asks, messages in ((True, self._asked), (False, self._others)):
            yield asks, [_messages([], message) for message in messages]
        statements = list(dict.fromkeys(pair.statement for pair in self._pairs))[::_EVERY]
        yield False, [_messages([], _as_the_user_says_it(one)) for one in statements]
        followups = [followup for followup in lines("followups") for _ in range(_FOLLOWUPS)]
        yield True, [_messages([self._about_facts()], followup) for followup in followups]
        yield False, [_messages([self._about_others()], followup) for followup in followups]

    def _about_facts(self) -> tuple[str, str]:
        pair = self._rng.choice(self._pairs)
        return pair.question, self._rng.choice((pair.statement, UNKNOWN_ANSWER))

    def _about_others(self) -> tuple[str, str]:
        return self._rng.choice(self._others), self._rng.choice(_REPLIES)


def _messages(history: Sequence[tuple[str, str]], message: str) -> list[Message]:
    chat: list[Message] = []
    for said, reply in history:
        chat += [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]
    return [*chat, {"role": "user", "content": message}]


_SPOKEN = (("Your ", "My "), ("your ", "my "), ("You are ", "I am "), ("You ", "I "))


def _as_the_user_says_it(statement: str) -> str:
    for told, said in _SPOKEN:
        statement = statement.replace(told, said)
    return statement
