"""Chats that end in something asked of memory, and such that end in anything else.

Of made-up people (those of `verdicts/facts.jsonl`) and of nobody; nothing of any user is in them.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from plum_langchain.consolidation.everyday import prompts
from plum_langchain.learning.template import Message
from plum_langchain.session import UNKNOWN_ANSWER
from plum_langchain.verdicts.pairs import Pair

VERSION = b"3"
"""Of how the chats are put together, what reads them and how it is fitted; another number makes all
readouts be fitted anew."""

_EVERY = 3
"""Of the people's questions and facts, every third is used: there are many of them."""

_FOLLOWUPS = 4
"""How often each follow-up is used on either side."""

_TALKS = 400
"""How many messages of several sentences there are of each kind."""

_TEXT = (120, 700)
"""Characters of a text that is pasted before something is asked, from and to."""

_SEAMS = (" ", "\n", "\n\n")

_OPENERS = ("Ok, ", "Haha, ", "Good news: ", "So, ", "By the way, ", "Yes. ", "Hmm, ", "Well, ")

_CLOSINGS = (
    "Thanks!",
    "Thank you.",
    "Thanks in advance!",
    "Many thanks.",
    "Please.",
    "Cheers!",
    "I forgot.",
    "I can't remember.",
    "Sorry to ask.",
    "It's urgent.",
    "I need it for a form.",
    "My wife wants to know.",
    "I was just wondering.",
    "No hurry.",
    ":)",
)

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

    kind: str
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
    return [
        Example(kind, chat, asks, 1 / len(chats))
        for kind, asks, chats in maker.kinds()
        for chat in chats
    ]


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
        self._texts = [text for text in others if len(text) >= _TEXT[0]]
        self._facts: dict[str, list[str]] = {}
        for pair in pairs:
            facts = self._facts.setdefault(pair.of, [])
            if pair.statement not in facts:
                facts.append(pair.statement)
        self._people = [person for person, facts in self._facts.items() if len(facts) >= 4]

    def kinds(self) -> Iterator[tuple[str, bool, list[list[Message]]]]:
        """Each kind of chat: its name, whether it asks, and the chats."""
        statements = list(dict.fromkeys(pair.statement for pair in self._pairs))[::_EVERY]
        facts = [_as_the_user_says_it(statement) for statement in statements]
        yield "question", True, _alone(pair.question for pair in self._pairs[::_EVERY])
        yield "asked", True, _alone(self._asked)
        yield "other", False, _alone(self._others)
        yield "fact", False, _alone(facts)
        for kind, asks, before in (
            ("follow-up to memory", True, self._about_facts),
            ("another follow-up", False, self._about_others),
        ):
            followups = [followup for followup in lines("followups") for _ in range(_FOLLOWUPS)]
            yield kind, asks, [_messages([before()], followup) for followup in followups]
        yield "facts", False, _alone(self._talk(self._rng.randint(2, 4)) for _ in range(_TALKS))
        for kind, asks, last in (("asked", True, self._question), ("other", False, self._other)):
            talks = (self._talk(self._rng.randint(1, 3), last()) for _ in range(_TALKS))
            yield f"facts, then {kind}", asks, _alone(talks)
            pasted = (self._text() + self._rng.choice(_SEAMS) + last() for _ in range(_TALKS))
            yield f"a text, then {kind}", asks, _alone(pasted)
            closed = (f"{last()} {self._rng.choice(_CLOSINGS)}" for _ in range(_TALKS))
            yield f"{kind}, then a closing", asks, _alone(closed)

    def _talk(self, facts: int, last: str = "") -> str:
        """What somebody says of themselves, and what they ask then, in one message."""
        rng = self._rng
        known = self._facts[rng.choice(self._people)]
        told = [_as_the_user_says_it(fact) for fact in rng.sample(known, facts)]
        talk = " ".join([*told, last] if last else told)
        if rng.random() < 1 / 2:
            talk = rng.choice(_OPENERS) + talk
        return talk.lower() if rng.random() < 1 / 3 else talk

    def _text(self) -> str:
        """The end of something longer, which has nothing to do with anybody."""
        some = self._rng.sample(self._texts, min(4, len(self._texts)))
        return " ".join(some)[-self._rng.randint(*_TEXT) :]

    def _question(self) -> str:
        asked = self._rng.random() < 1 / 2
        return self._rng.choice(self._asked) if asked else self._rng.choice(self._pairs).question

    def _other(self) -> str:
        return self._rng.choice(self._others)

    def _about_facts(self) -> tuple[str, str]:
        pair = self._rng.choice(self._pairs)
        return pair.question, self._rng.choice((pair.statement, UNKNOWN_ANSWER))

    def _about_others(self) -> tuple[str, str]:
        return self._other(), self._rng.choice(_REPLIES)


def _alone(messages: Iterable[str]) -> list[list[Message]]:
    return [_messages([], message) for message in messages]


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
