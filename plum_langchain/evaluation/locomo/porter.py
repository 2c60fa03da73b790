"""Porter's stemmer, as the LoCoMo benchmark stems.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980. The benchmark uses NLTK's
`PorterStemmer`, whose rules depart from the paper's in a few places, marked below. Written here
because a metric of one benchmark is no reason to install NLTK with every chatbot, and
`questions.text.alike` joins other words; it gives the same stem as NLTK 3.9 for every word of the
five dialogues it was measured with, of the example chats and of a few hundred thousand made-up
words.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

_IRREGULAR = {  # NLTK's; the paper has none
    "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "innings": "inning",
    "outings": "outing", "cannings": "canning",
    **{word: word for word in
       ("sky", "news", "inning", "outing", "canning", "howe", "proceed", "exceed", "succeed")},
}  # fmt: skip

_Condition = Callable[[str], bool]
_Rule = tuple[str, str]  # a suffix, and what stands in its place


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """The stem of an English word in lower case: "parties" and "party" are both "parti"."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plural, _past, _final_y, _double_suffix, _other_suffix, _bare_suffix, _final_e):
        word = step(word)
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


# --- what the rules ask of what is left of a word ------------------------------------------------


def _consonants(word: str) -> list[bool]:
    """For each letter whether it is a consonant; a y is one at the start or after a vowel."""
    found: list[bool] = []
    for letter in word:
        after_consonant = bool(found) and found[-1]
        found.append(not after_consonant if letter == "y" else letter not in "aeiou")
    return found


def _measure(word: str) -> int:
    """How often vowels are followed by consonants: the paper's m in [C](VC)^m[V]."""
    letters = _consonants(word)
    return sum(not one and other for one, other in pairwise(letters))


def _has_vowel(word: str) -> bool:
    return not all(_consonants(word))


def _doubled(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and _consonants(word)[-1]


def _short(word: str) -> bool:
    """Whether it ends in consonant, vowel and a consonant other than w, x and y ("hop")."""
    letters = _consonants(word)
    if len(word) == 2:
        return letters == [False, True]  # NLTK's
    return letters[-3:] == [True, False, True] and word[-1] not in "wxy"


# --- the steps ------------------------------------------------------------------------------------


def _replaced(word: str, rules: Sequence[_Rule], condition: _Condition) -> str:
    """By the first rule whose suffix the word has, if what is left fulfils the condition."""
    for suffix, other in rules:
        if word.endswith(suffix):
            left = word.removesuffix(suffix)
            return left + other if condition(left) else word
    return word


def _plural(word: str) -> str:  # 1a
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]  # NLTK's: "dies" is a "die"
    return _replaced(
        word, (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")), lambda left: True
    )


def _past(word: str) -> str:  # 1b
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]  # NLTK's
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    suffix = next((s for s in ("ed", "ing") if word.endswith(s)), "")
    left = word.removesuffix(suffix)
    if not suffix or not _has_vowel(left):
        return word
    if left.endswith(("at", "bl", "iz")):
        return left + "e"
    if _doubled(left):
        return left if left[-1] in "lsz" else left[:-1]
    return left + "e" if _measure(left) == 1 and _short(left) else left


def _final_y(word: str) -> str:  # 1c
    # NLTK's: after a consonant that isn't the first letter; the paper's: after any vowel.
    turns = word.endswith("y") and len(word) > 2 and _consonants(word)[-2]
    return word[:-1] + "i" if turns else word


_DOUBLE: tuple[_Rule, ...] = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
    ("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"),
    ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"),
    ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"),
    ("fulli", "ful"),
)  # fmt: skip


def _double_suffix(word: str) -> str:  # 2
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _double_suffix(word[:-2])  # NLTK's: what is left is looked at again
    if word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) > 0 else word  # Porter's own later rule
    return _replaced(word, _DOUBLE, lambda left: _measure(left) > 0)


_OTHER: tuple[_Rule, ...] = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""),
    ("ness", ""),
)  # fmt: skip


def _other_suffix(word: str) -> str:  # 3
    return _replaced(word, _OTHER, lambda left: _measure(left) > 0)


_BARE = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
)  # fmt: skip


def _bare_suffix(word: str) -> str:  # 4
    for suffix in _BARE:
        if word.endswith(suffix):
            left = word.removesuffix(suffix)
            goes = _measure(left) > 1 and (suffix != "ion" or left.endswith(("s", "t")))
            return left if goes else word
    return word


def _final_e(word: str) -> str:  # 5a
    if not word.endswith("e"):
        return word
    left = word[:-1]
    measure = _measure(left)
    return left if measure > 1 or (measure == 1 and not _short(left)) else word
