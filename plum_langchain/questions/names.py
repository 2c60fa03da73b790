"""Names of people and places in a chat, told apart by the company they keep.

No name list knows a user's friends, so a capitalised word is taken for a person or a place only
on evidence from the chat itself ("my friend Maeve", "Finn won't", "in Renmore"). What stays in
doubt is left alone: a wrong guess would make nonsense of a swapped sentence.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from plum_langchain.questions import lexicon
from plum_langchain.questions.text import SMALL_WORDS, listed

NameKind = Literal["person", "place"]

_TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_START = re.compile(r"(?:^|[.!?…:\n\"“(])\s*$")
_NOT_NAMES = frozenset(
    value.casefold() for values in lexicon.VALUE_LISTS for value in values
) | frozenset(listed("i ok okay god christmas easter euro internet eu uk us usa tv"))
_STRONG_PLACE = frozenset(listed("in near around outside across"))
_MOVING = frozenset(
    listed(
        "moved move moving go going went fly flying flight train bus ferry trip travel travelled "
        "drive driving back home way come coming come came down up off boat reach live lives "
        "living"
    )
)
_AUXILIARY = lexicon.AUXILIARIES | frozenset(
    listed(
        "won't can't doesn't didn't isn't wasn't hasn't says said thinks thought wants wanted "
        "asked asks told likes loves hates"
    )
)


@dataclass(frozen=True)
class Name:
    """One name where it stands in a sentence, without titles and possessive 's."""

    start: int
    end: int
    text: str
    kind: NameKind


class Names:
    """The people and places of a chat."""

    def __init__(self, texts: Iterable[str]) -> None:
        votes: dict[str, Counter[NameKind]] = defaultdict(Counter)
        inside: set[str] = set()  # capitalised where no sentence starts
        lower: set[str] = set()
        for text in texts:
            tokens = list(_TOKEN.finditer(text))
            lower.update(m.group() for m in tokens if m.group().islower())
            for run in _runs(text, tokens):
                name = run.group_text
                evidence = _evidence(text, run)
                if not run.starts_sentence or run.titled or ("person", 3) in evidence:
                    inside.add(name)
                for kind, weight in evidence:
                    votes[name][kind] += weight
        self.kinds: dict[str, NameKind] = {}
        for name, counted in votes.items():
            likelier: NameKind = "person" if counted["person"] > counted["place"] else "place"
            known = name in inside and name.casefold() not in lower
            if known and counted[likelier] >= 2:
                self.kinds[name] = likelier
        self.common = frozenset(lower)
        """Words seen in lower case: no names, even where a sentence begins with them."""

    def find(self, sentence: str) -> list[Name]:
        """The known names of a sentence, in order."""
        found = []
        for run in _runs(sentence, list(_TOKEN.finditer(sentence))):
            kind = self.kinds.get(run.group_text)
            if kind is not None:
                found.append(Name(run.start, run.end, run.group_text, kind))
        return found


@dataclass(frozen=True)
class _Run:
    """Capitalised words in a row: "Viana do Castelo", "Port Harcourt"."""

    start: int
    end: int
    group_text: str
    before: tuple[str, ...]  # up to four words before, in lower case
    after: str  # the text behind
    titled: bool
    starts_sentence: bool


def _runs(text: str, tokens: list["re.Match[str]"]) -> Iterable[_Run]:
    index = 0
    while index < len(tokens):
        if not _is_name_like(tokens[index].group()):
            index += 1
            continue
        first, titled = index, False
        while (
            tokens[index].group().casefold() in lexicon.TITLES
            and index + 1 < len(tokens)
            and _is_name_like(tokens[index + 1].group())
        ):
            index, titled = index + 1, True
        last = index
        while last + 1 < len(tokens) and _joined(text, tokens[last], tokens[last + 1]):
            step = last + 1
            if _is_name_like(tokens[step].group()):
                last = step
            elif (
                tokens[step].group() in ("do", "da", "de", "del", "van", "von", "of")
                and step + 1 < len(tokens)
                and _joined(text, tokens[step], tokens[step + 1])
                and _is_name_like(tokens[step + 1].group())
            ):
                last = step + 1
            else:
                break
        start, end = tokens[index].start(), tokens[last].end()
        name = text[start:end]
        for ending in ("'s", "’s"):
            if name.endswith(ending):
                name, end = name[: -len(ending)], end - len(ending)
        yield _Run(
            start=start,
            end=end,
            group_text=name,
            before=_words_before(text, tokens, first, index),
            after=text[end : end + 30],
            titled=titled,
            starts_sentence=_SENTENCE_START.search(text[max(0, start - 5) : start]) is not None,
        )
        index = last + 1


def _words_before(
    text: str, tokens: list["re.Match[str]"], first: int, index: int
) -> tuple[str, ...]:
    """Words that lead up to a name; none if a comma or a number stands in between."""
    if first == 0 or text[tokens[first - 1].end() : tokens[first].start()] != " ":
        first_kept = first
    else:
        first_kept = max(0, first - 4)
    return tuple(token.group().casefold() for token in tokens[first_kept:index])


def _joined(text: str, one: "re.Match[str]", other: "re.Match[str]") -> bool:
    return text[one.end() : other.start()] == " " and not one.group().endswith(("'s", "’s"))


def _is_name_like(token: str) -> bool:
    plain = token.split("'")[0].split("’")[0]
    return (
        len(plain) > 1
        and plain[0].isupper()
        and plain[1:].replace("-", "").isalpha()
        and not plain[1:].isupper()
        and plain.casefold() not in SMALL_WORDS
        and plain.casefold() not in _NOT_NAMES
    )


def _evidence(text: str, run: _Run) -> list[tuple[NameKind, int]]:
    """What speaks for a person or for a place, with its weight; 2 is enough."""
    found: list[tuple[NameKind, int]] = []
    before = run.before[-1] if run.before else ""
    if run.titled or before in lexicon.PERSON_CUES:
        found.append(("person", 3))
    elif "my" in run.before[-3:-1] and before not in SMALL_WORDS:
        found.append(("person", 2))  # "my beagle Feijão"
    apposition = re.match(r",? (?:my|our|the|his|her) (?:\w+ )?(\w+)", run.after)
    if apposition and apposition.group(1) in lexicon.PERSON_CUES:
        found.append(("person", 3))  # "Inger, my wife"
    if run.after.startswith(("'s", "’s")):
        found.append(("person", 1))
    following = _TOKEN.match(run.after.lstrip())
    word = following.group().casefold().replace("’", "'") if following else ""
    glued = run.after[:1] == " " and before != "of"
    if (glued and word in _AUXILIARY) or (
        glued and (word in lexicon.PAST or (word in lexicon.THIRD and word != "plans"))
    ):
        found.append(("person", 2))
    if re.match(r" \(\d{1,2}\)|, \d{1,2}\b(?! ?[a-z%])", run.after):
        found.append(("person", 2))  # "Aoife (12)"
    if run.after.startswith(("'s", "’s")):
        return found  # "in Aoife's room"
    if before in _STRONG_PLACE:
        found.append(("place", 3))
    elif before in ("to", "from", "at", "via") and _MOVING & set(run.before[:-1]):
        found.append(("place", 2))
    elif before in ("with", "ask", "tell", "and", "give", "let"):
        found.append(("person", 1))
    return found
