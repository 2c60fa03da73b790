"""Words as the question makers compare them: in any script, whatever the case or punctuation."""

import re
import unicodedata
from collections.abc import Collection, Iterable


def listed(words: str) -> tuple[str, ...]:
    """The words of a list written with spaces."""
    return tuple(words.split())


_UNITS = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_TENS = {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80}
NUMBER_WORDS: dict[str, str] = {
    **{word: str(value) for value, word in enumerate(_UNITS)},
    **{word: str(value) for word, value in _TENS.items()},
    "ninety": "90",
}
"""Small number words of English with their digits: "eight" and "8" are one answer."""

# Scripts written without spaces are compared character by character: Thai, kana, Han, Hangul.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
# What stands on a letter, as vowels do in Devanagari or Hebrew; no letters to `re`.
_MARKS = "".join(c for c in map(chr, range(0x300, 0x1100)) if unicodedata.category(c)[0] == "M")
_TOKEN = re.compile(
    rf"\d+(?:[.,:]\d+)*|[{_UNSPACED}]"
    rf"|(?:(?![{_UNSPACED}])[^\W\d_][{_MARKS}]*)+(?:['’][^\W\d_]+)*"
)
_UNSPACED_RUN = re.compile(rf"[{_UNSPACED}]+")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")

# Words too small to tell one sentence from another.
SMALL_WORDS = frozenset(
    listed(
        "a about after again all also am an and any anyway are as at back be because been before "
        "being between both but by can can't could did didn't do does doesn't doing don't during "
        "each else even ever every few for from get gets getting give given go goes going gone "
        "got had has have having he he'd he'll he's her here hers him his how i i'd i'll i'm i've "
        "if im in instead into is isn't it it'll it's its just let let's like lot made make makes "
        "many maybe me mine more most mostly much my no nor not now of off often ok okay on once "
        "one only or other our ours out over own perhaps please put quite rather really said same "
        "say says she she'd she'll she's should since so some something soon still such take than "
        "thanks that that'll that's the their them then there there's these they they'd they'll "
        "they're they've thing things this those though through till to too under until up upon "
        "us use used using usually very was wasn't way we we'd we'll we're we've well were "
        "weren't what what's when where which while who whose why will with without won't would "
        "wouldn't yes yet you you'd you'll you're you've your yours"
    )
)


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, comparable: lower case, no possessive 's, digits for words.

    "Rui's 1,150 euros" gives rui, 1150, euros; "eight" gives 8; "3:40" stays one word.
    """
    return [_canonical(token) for token in _TOKEN.findall(_composed(text))]


def _composed(text: str) -> str:
    """In small letters, each with its accents in one character where there is one."""
    return unicodedata.normalize("NFC", text.casefold())


def _canonical(token: str) -> str:
    if not token[0].isdigit():
        token = token.replace("’", "'").removesuffix("'s")
        return NUMBER_WORDS.get(token, token)
    if token.isdecimal():
        return str(int(token)) if len(token) < 19 else token
    if _THOUSANDS.fullmatch(token):
        return token.replace(",", "")
    return token.replace(",", ".")


def content_words(text: str) -> list[str]:
    """The words of a text that carry meaning; numbers among them."""
    return [word for word in words_of(text) if word not in SMALL_WORDS]


def normalised(text: str) -> str:
    """Text by which two questions count as the same one."""
    return " ".join(text.casefold().split()).rstrip("?.!… ")


def alike(one: str, other: str) -> bool:
    """Whether two words are forms of one word ("Monday", "Mondays"; "move", "moving")."""
    if one == other:
        return True
    if one[0].isdigit() or other[0].isdigit():
        return False
    stem_one, stem_other = stem(one), stem(other)
    return len(stem_one) >= 3 and stem_one == stem_other


def has_words_of(text: str, value: str) -> bool:
    """Whether all words of a value occur in a text that carry meaning (all, if none does).

    In any form ("Mondays" for "Monday"), but every number exactly ("8" for "eight"), and what is
    written without spaces in one piece.
    """
    said = words_of(text)
    wanted = content_words(value) or words_of(value)
    whole = _composed(text)
    return (
        bool(wanted)
        and all(run in whole for run in _UNSPACED_RUN.findall(_composed(value)))
        and all(any(alike(word, other) for other in said) for word in wanted)
    )


def in_common(words: Iterable[str], others: Collection[str]) -> int:
    """How many of the words are among the others, in any form."""
    return sum(any(alike(word, other) for other in others) for word in words)


def stem(word: str) -> str:
    """What the forms of a word have in common; for a word without digits."""
    for endings in (("s",), ("ing", "ie", "ed", "y", "e")):
        ending = next((e for e in endings if word.endswith(e) and len(word) - len(e) >= 3), "")
        word = word.removesuffix(ending) if ending else word
    # "planning" and "plan" share a stem once the doubled letter is gone.
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


class Said:
    """Everything that was said in a chat, to ask whether a word or value occurs in it."""

    def __init__(self, texts: Iterable[str]) -> None:
        tokens = [word for text in texts for word in words_of(text)]
        self.words = frozenset(tokens)
        # The 16 and the 8 of "16.8" count as said: a swapped value must not sound familiar.
        self._parts = frozenset(part for word in tokens for part in re.findall(r"\d+", word))
        self._stems = frozenset(stem(word) for word in tokens)
        self._sequence = f" {' '.join(tokens)} "

    def has_word(self, word: str) -> bool:
        """Whether this word, or another form of it, occurs."""
        if word in self.words:
            return True
        form = stem(word)
        return not word[0].isdigit() and len(form) >= 3 and form in self._stems

    def has(self, value: str) -> bool:
        """Whether this value (a name, a number, a few words) occurs as a whole."""
        tokens = words_of(value)
        if len(tokens) == 1:
            return tokens[0] in self._parts or self.has_word(tokens[0])
        return bool(tokens) and f" {' '.join(tokens)} " in self._sequence
