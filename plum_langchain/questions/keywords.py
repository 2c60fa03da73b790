"""What a statement is about, in a few words that can follow "What did I tell you about"."""

import re
from collections import Counter
from collections.abc import Mapping

from plum_langchain.questions import english, lexicon
from plum_langchain.questions.names import Names
from plum_langchain.questions.sentences import Statement
from plum_langchain.questions.text import SMALL_WORDS, listed, words_of

_TOKEN = re.compile(r"[^\W_]+(?:['’.:,-][^\W_]+)*")
_POSSESSIVE = frozenset(listed("my our his her their your"))
_ARTICLES = frozenset(listed("the a an"))
_CALENDAR = frozenset(
    value.casefold() for values in lexicon.VALUE_LISTS[:3] for value in values
)  # days and months are answers, not subjects
_VAGUE = _CALENDAR | frozenset(
    listed(
        "kronor metres seconds degrees percent grams kilos line page bar piece theirs words down "
        "back off lucky funny slow fast longer shorter bigger smaller cheaper concrete enough "
        "extra different same free already below above almost nearly roughly aside apart together "
        "alone inside outside away yours true false unlikely possible impossible easy hard badly "
        "sorry afraid angry happy sad thing things way day days week weeks month months year "
        "years time times bit lot kind hour hours minute minutes number first second last next "
        "morning mornings evening evenings one ones place end side good great best more new old "
        "big long little full whole half main only everything something nothing anything "
        "everybody somebody man woman today tomorrow yesterday tonight crazy euro euros ago "
        "better later earlier early late always never ready sure able start finish top bottom "
        "left right reason point idea word list plain"
    )
)
# Irregular verbs that no noun looks like: "the new plank settle" ends before its verb.
_NO_HEADS = (
    _VAGUE
    | frozenset(lexicon.ING)
    | {"settle", "ask", "seem", "arrive", "happen", "cut", "put"}
    | frozenset(
        listed(
            "become begin bring choose come do eat find forget get give go grow have hear hide "
            "hold keep know lend let lose make mean meet pay say see send sit speak take teach "
            "tell think throw understand write"
        )
    )
)
_NUMBERS = frozenset(
    listed(
        "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty "
        "sixty hundred thousand million"
    )
)
MAX_WORDS = 4


def word_counts(texts: list[str]) -> Counter[str]:
    """How often each word occurs in a chat: rare ones tell statements apart."""
    return Counter(word for text in texts for word in words_of(text))


def subjects_of(statement: Statement, names: Names, counts: Mapping[str, int]) -> list[str]:
    """What the statement is about, in the user's voice, the most telling first; may be empty.

    Args:
        statement: What was said.
        names: The people and places of the chat.
        counts: How often each word occurs in it.
    """
    text = statement.text
    if not statement.english:
        return _foreign(text, counts)
    if statement.role == "assistant":
        text = english.exchanged(text)
    phrases = _noun_phrases(text)
    known = [name.text for name in names.find(text)]
    bare = [run for run in _bare_runs(text) if not any(run in other for other in phrases + known)]
    candidates = list(dict.fromkeys(phrases + known + bare))

    def telling(candidate: str) -> tuple[float, int]:
        """Lower is better: phrases before names before lone words, rare before frequent."""
        rank = 0.0 if candidate in phrases else (1.0 if candidate in known else 2.5)
        content = [w for w in words_of(candidate) if w not in SMALL_WORDS] or [""]
        rarest = min(counts.get(word, 1) for word in content)
        return rank + 0.7 * min(rarest, 6) - 0.3 * len(content), text.find(candidate)

    return sorted(candidates, key=telling)


def _noun_phrases(text: str) -> list[str]:
    """Phrases that open with "my", "the" or "a" and run up to the next verb or small word."""
    tokens = list(_TOKEN.finditer(text))
    phrases = []
    for index, opening in enumerate(tokens):
        determiner = opening.group().casefold()
        if determiner not in _POSSESSIVE | _ARTICLES:
            continue
        taken: list[str] = []
        end = opening.end()
        for token in tokens[index + 1 : index + 1 + MAX_WORDS]:
            word = token.group()
            if text[end : token.start()] != " " or not _continues(word, taken):
                break
            taken.append(word)
            end = token.end()
        while taken and taken[-1].casefold() in _NO_HEADS:
            taken.pop()
        # "a nap": after an article, what is a verb elsewhere is a noun.
        if taken and any(_is_noun_like(w) or w.casefold() in lexicon.BASE_VERBS for w in taken):
            phrases.append(" ".join([determiner if determiner in _POSSESSIVE else "the", *taken]))
    return phrases


def _bare_runs(text: str) -> list[str]:
    """Nouns without an article, with what stands before them: "sunflower seeds"."""
    runs: list[list[str]] = [[]]
    end = 0
    for token in _TOKEN.finditer(text):
        word = token.group()
        glued = text[end : token.start()] == " " and len(runs[-1]) < MAX_WORDS - 1
        end = token.end()
        if not glued:
            runs.append([])
        plain = word.casefold().removesuffix("'s")
        if word[0].isdigit() or plain in SMALL_WORDS | _NUMBERS | lexicon.VERB_FORMS:
            runs.append([])
        else:
            runs[-1].append(english.uncapitalised(word) if token.start() == 0 else word)
    return [" ".join(run) for run in runs if run and _is_noun_like(run[-1])]


def _continues(word: str, taken: list[str]) -> bool:
    plain = word.casefold()
    if plain in SMALL_WORDS or word[0].isdigit() or plain in _NUMBERS:
        return False
    base = plain.removesuffix("'s")
    if base in lexicon.PAST or base in lexicon.AUXILIARIES:
        return not taken  # "the used car"
    return not (taken and base in lexicon.THIRD and base not in lexicon.BASE_VERBS)


def _is_noun_like(token: str) -> bool:
    plain = token.casefold().removesuffix("'s")
    return (
        len(plain) >= 3
        and not plain[0].isdigit()
        and "'" not in plain
        and plain not in SMALL_WORDS | _VAGUE | _NUMBERS | lexicon.VERB_FORMS
        and not plain.endswith(("ly", "n't"))
    )


def _foreign(text: str, counts: Mapping[str, int]) -> list[str]:
    """The rarest longer words; in scripts without spaces, how the sentence begins."""
    words = [word.strip(".,;:!?،؛«»„“”'()-–—") for word in text.split()]
    if any(ord(c) > 0x2E80 or "\u0e00" <= c <= "\u0eff" for c in text):
        pieces = [piece for piece in re.split(r"[\s，。、；：,;:]+", text) if len(piece) >= 2]
        return [f"“{piece[:12]}”" for piece in pieces]
    telling = [word for word in words if 4 <= len(word) <= 24 and not word[0].isdigit()]
    ranked = sorted(telling, key=lambda w: (counts.get(w.casefold(), 1), -len(w), text.find(w)))
    return list(dict.fromkeys(ranked))
