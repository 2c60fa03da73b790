"""What was not said: sentences with one value swapped, and topics that were never raised.

PLUM's negatives are "adjacent to the topic" (arXiv 2411.13405, section 3); swapped values are the
harder kind, since all but one word is true. Whatever is put in is checked against the whole chat:
a swapped value, or a word of a topic, that was said anywhere would teach the adapter a falsehood.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from plum_langchain.questions import lexicon
from plum_langchain.questions.names import Name, Names
from plum_langchain.questions.text import NUMBER_WORDS, Said, content_words, listed, words_of
from plum_langchain.questions.topics import THEMES, Topic
from plum_langchain.session import UNKNOWN_ANSWER, Question

# --- same slot, another value ------------------------------------------------------------------

# Latin letters before a number make it a code ("A2"); in scripts without spaces they are words.
_NUMBER = re.compile(
    r"(?<![0-9A-Za-zÀ-ɏ_.,:=/*$#])\d+(?:[.,:]\d+)*(?![\d_=/*])(?=(?P<unit>[^\W\d_]*))"
)
_UNITS = frozenset(
    listed(
        "k kg g mg km m cm mm l dl cl ml h hr hrs min mins am pm th st nd rd gb mb w v kr eur p c "
        "euros euro ft lb lbs oz mph kmh psi"
    )
)
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_LISTED = {value.casefold(): values for values in reversed(lexicon.VALUE_LISTS) for value in values}
# Months that are everyday words count only with their capital and beside a number or "in".
_CAPITAL_ONLY = frozenset(value for value in _LISTED if _LISTED[value][0][0].isupper())
_CLOCK_BEFORE = frozenset(listed("at before after until till by from around about past"))
_MONTH_NAMES = frozenset(month.casefold() for month in lexicon.MONTHS)


@dataclass(frozen=True)
class Slot:
    """A place in a sentence where another value could stand."""

    start: int
    end: int
    value: str
    name: Name | None = None


@dataclass(frozen=True)
class Swap:
    """A sentence with one value replaced."""

    text: str
    old: str
    new: str


def find_slots(sentence: str, names: Names | None = None) -> list[Slot]:
    """The values of a sentence that can be swapped, in order.

    Args:
        sentence: Any text; numbers are found in every script, words in English only.
        names: The people and places of the chat. Without it only numbers are found, which is what
            can be done for a sentence that isn't English.
    """
    slots = [
        Slot(match.start(), match.end(), match.group())
        for match in _NUMBER.finditer(sentence)
        if _swappable_number(match.group(), match.group("unit"))
    ]
    if names is None:
        return slots
    known = names.find(sentence)
    slots += [Slot(name.start, name.end, name.text, name) for name in known]
    for match in _WORD.finditer(sentence):
        word = match.group().removesuffix("'s")
        if any(name.start <= match.start() < name.end for name in known):
            continue
        if _swappable_word(sentence, match, word):
            slots.append(Slot(match.start(), match.start() + len(word), word))
    return sorted(slots, key=lambda slot: slot.start)


def _swappable_number(number: str, unit: str) -> bool:
    digits = re.sub(r"\D", "", number)
    if len(digits) > 9 or (unit.isascii() and unit and unit.casefold() not in _UNITS):
        return False  # an account number; "14C"
    if ":" in number:
        return re.fullmatch(r"\d{1,2}:\d{2}", number) is not None
    return re.fullmatch(r"\d+|\d{1,3}(?:[.,]\d{3})+|\d+[.,]\d+", number) is not None


def _swappable_word(sentence: str, match: "re.Match[str]", word: str) -> bool:
    plain = word.casefold()
    if plain not in _LISTED:
        return False
    if plain in _CAPITAL_ONLY and not word[0].isupper():
        return plain.rstrip("s") in ("monday", "tuesday", "wednesday", "thursday", "friday",
                                     "saturday", "sunday")  # fmt: skip
    before = words_of(sentence[: match.start()])[-1:]
    after = sentence[match.end() : match.end() + 6].strip()
    if word.islower() and sentence[match.end() : match.end() + 2].strip().isupper():
        return False  # "my brother Tomás": the name tells who it is
    if plain in ("may", "march"):
        return match.start() > 0 and (
            before[:1] == ["in"] or after[:1].isdigit() or _digits(before)
        )
    if plain in ("left", "right"):  # "he left", "that's right"
        return before in (["the"], ["my"], ["your"], ["on"]) and after[:1].isalpha()
    if plain in ("lower", "upper"):
        return before == ["the"]
    return not (plain in ("second-hand", "train", "duck", "plane") and before in (["to"], ["i"]))


def _digits(tokens: Sequence[str]) -> bool:
    return bool(tokens) and tokens[-1][0].isdigit()


def swap_values(
    sentence: str, said: Said, rng: random.Random, names: Names | None = None
) -> Iterator[Swap]:
    """The sentence with one value swapped, again and again with other values and places.

    Args:
        sentence: A statement.
        said: The whole chat; no value that occurs in it is put in.
        rng: Chooses what is put in, and where first.
        names: As for `find_slots`.
    """
    slots = find_slots(sentence, names)
    rng.shuffle(slots)
    tried = {slot.value.casefold() for slot in slots}
    for _ in range(4):
        for slot in slots:
            other = _other_value(sentence, slot, said, rng, tried)
            if other is not None:
                tried.add(other.casefold())
                yield Swap(_replaced(sentence, slot, other), slot.value, other)


def _other_value(
    sentence: str, slot: Slot, said: Said, rng: random.Random, tried: set[str]
) -> str | None:
    """A fresh value for the slot; None if two dozen draws give none."""
    if not slot.value[0].isdigit():
        fresh = [
            v for v in _choices(sentence, slot) if v.casefold() not in tried and not said.has(v)
        ]
        if not fresh:
            return None
        other = rng.choice(fresh)
        return other.capitalize() if slot.value[0].isupper() and other.islower() else other
    for _ in range(24):
        drawn = _other_number(sentence, slot, rng)
        if drawn is not None and drawn not in tried and not said.has(drawn):
            return drawn
    return None


def _choices(sentence: str, slot: Slot) -> Sequence[str]:
    if slot.name is None:
        alternatives = _LISTED[slot.value.casefold()]
        number = NUMBER_WORDS.get(slot.value.casefold())
        if number is None:
            return alternatives
        most = 2 * int(number) + 4  # "half seven" can't become "half sixty"
        return [word for word in alternatives if int(NUMBER_WORDS[word]) <= most]
    if slot.name.kind == "place":
        return lexicon.PLACES
    nearby = set(words_of(sentence[max(0, slot.start - 40) : slot.end + 40]))
    female, male = nearby & lexicon.FEMALE_CUES, nearby & lexicon.MALE_CUES
    if bool(female) != bool(male):
        return lexicon.WOMEN if female else lexicon.MEN
    return (*lexicon.WOMEN, *lexicon.MEN)


def _other_number(sentence: str, slot: Slot, rng: random.Random) -> str | None:
    value = slot.value
    before = words_of(sentence[: slot.start])[-1:]
    after = words_of(sentence[slot.end : slot.end + 20])[:1]
    if ":" in value:
        hours, minutes = (int(part) for part in value.split(":"))
        moved = (hours * 60 + minutes + rng.choice((-1, 1)) * rng.randrange(20, 155, 5)) % 1440
        width = len(value.split(":")[0])
        return f"{moved // 60:0{width}d}:{moved % 60:02d}"
    if re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", value):
        mark = value[-4]
        other = _near(int(re.sub(r"\D", "", value)), rng)
        return None if other is None or other < 1000 else f"{other:,}".replace(",", mark)
    if not value.isdecimal():
        mark = "," if "," in value else "."
        decimals = len(value.split(mark)[1])
        scaled = int(value.replace(mark, ""))
        reach = max(2, scaled // 3)
        other = scaled + rng.choice((-1, 1)) * rng.randint(1, reach)
        return None if other < 1 else f"{other / 10**decimals:.{decimals}f}".replace(".", mark)
    if value != str(int(value)):
        return None  # a leading zero, or digits of another script
    number = int(value)
    if 1900 <= number <= 2099:
        return str(number + rng.choice((-1, 1)) * rng.randint(1, 12))
    if number <= 31 and (set(before + after) & _MONTH_NAMES or after == ["th"]):
        return str(rng.randint(1, 28))
    if number <= 24 and before and before[0] in _CLOCK_BEFORE and after[:1] in ([], ["on"]):
        return str(rng.randint(1, 12 if number <= 12 else 24))
    other = _near(number, rng)
    if other is None or (after and after[0] in ("percent", "per") and other > 100):
        return None
    return str(other)


def _near(number: int, rng: random.Random) -> int | None:
    """Another number of about the same size and as round; never 1, which would need a singular."""
    if number < 2:
        return None
    unit = 1
    while number % (unit * 10) == 0 and number > unit * 20:
        unit *= 10
    steps = number // unit
    other = steps + rng.choice((-1, 1)) * rng.randint(1, max(3, steps // 3))
    return other * unit if other * unit >= 2 else None


def _replaced(sentence: str, slot: Slot, other: str) -> str:
    """With the value put in, "a" or "an" before it set right."""
    head, tail = sentence[: slot.start], sentence[slot.end :]
    article = re.search(r"\b(a|an) $", head)
    if article:
        vowel = other[0].casefold() in "aeiou" or re.match(r"8|11\b|18\b", other) is not None
        head = head[: article.start()] + ("an " if vowel else "a ")
    return head + other + tail


# --- never raised ------------------------------------------------------------------------------


def topics_never_raised(said: Said, rng: random.Random) -> list[Topic]:
    """Topics near the chat's that share no word with it, the nearest themes first.

    Args:
        said: The whole chat.
        rng: Orders the topics of a theme, and themes equally near.
    """
    scored = []
    for theme in THEMES:
        near = sum(said.has_word(cue) for cue in theme.cues)
        free = [topic for topic in theme.topics if not _touched(topic, said)]
        rng.shuffle(free)
        scored.append((-near, rng.random(), free))
    return [topic for _, _, free in sorted(scored, key=lambda s: s[:2]) for topic in free]


COLOURLESS = frozenset(listed("bought own take took started new broken went lost built old"))
"""Words of topics that are as good as in any chat, and so name none."""


def _touched(topic: Topic, said: Said) -> bool:
    """Whether a word of the topic was said; verbs as common as "took" don't count."""
    words = content_words(f"{topic.about} {topic.claim}")
    return any(said.has_word(word) for word in words if word not in COLOURLESS)


_ABOUT = re.compile(
    r"^(?:(?:did|have|had) (?:i|we|you) (?:ever |already )?"
    r"(?P<verb>tell you about|told you about|mention|mentioned|talk about|talked about|discuss|"
    r"discussed|ask you about|asked you about|asked about|ask about|say anything about|"
    r"said anything about|speak about|spoken about))\s+(?P<topic>.+)$",
    re.IGNORECASE,
)
_RESTATED = ("If so, what did I say?", "If I did, what was it?", "If so, remind me of it.")


def open_unknown(question: str) -> list[Question]:
    """Open forms of a closed question about something never raised.

    Open questions with an answer are balanced against these: a model that was never asked for
    what it can't know always finds an answer. "Have I told you about learning Swedish?" gives
    "What did I tell you about learning Swedish?", "What do you remember about learning Swedish?"
    and "Have I told you about learning Swedish? If so, what did I say?".

    Args:
        question: In the user's voice; its true answer is No.

    Returns:
        Two or more phrasings, all answered `UNKNOWN_ANSWER`.
    """
    asked = " ".join(question.split()).rstrip("?.! ")
    match = _ABOUT.match(asked)
    if match is None:
        forms = [f"{asked}? {tail}" for tail in _RESTATED]
    else:
        topic = match["topic"]
        if "ask" in match["verb"].casefold():
            forms = [f"What did I ask you about {topic}?"]
        else:
            forms = [f"What did I tell you about {topic}?"]
        forms += [f"What do you remember about {topic}?", f"{asked}? {_RESTATED[0]}"]
    return [Question(form, UNKNOWN_ANSWER, "open_unknown") for form in forms]


def never_raised(questions: Iterable[str]) -> list[Question]:
    """Closed questions about topics never raised (No), each also in its open forms."""
    made = []
    for question in questions:
        asked = " ".join(question.split()).rstrip("?.! ") + "?"
        made.append(Question(asked, "No", "no_adjacent"))
        made += open_unknown(asked)
    return made
