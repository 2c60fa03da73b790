"""What an assistant only says again, or says of the user by itself.

A reply may hold what the memory brought back. Learned from the reply, a fact would outlive the
session that told it, also after that was forgotten. So an assistant's sentence is left out if the
user said so in the session, if an earlier session is known to say so, and if it claims something of
the user that the session's user didn't say. What is left is advice.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from plum_langchain.questions import lexicon
from plum_langchain.questions.text import content_words, listed, stem
from plum_langchain.screening.spans import Found, sentences

_RESTATED = 0.8
"""Share of the words of one that another must have to say the same; numbers must all be in it."""

_LEAST = 3
"""Words that carry meaning, below which a known fact isn't looked for inside a longer sentence."""

_TOLD_OF = frozenset(
    listed(
        "are were had have own live like love hate prefer work study teach speak play sing run "
        "drive eat drink sleep wake train suffer come know believe trust enjoy"
    )
)
"""Verbs of what somebody is or does, beside those in the past; "you braise the duck" is advice."""

_CLAIM = re.compile(
    r"(?:^|[,;:.!?–—-]\s+|\b(?:and|but|so|since|because|as|that|though|although|remember|know|recall)"
    r"\s+)(?P<claim>(?:you(?:['’](?:re|ve))\s+\w+|you\s+(?:also\s+|always\s+|usually\s+|never\s+|"
    r"just\s+|really\s+|both\s+)?(?P<verb>\w+)(?:n['’]t)?|your\s+(?:[\w'’-]+\s+){1,4}?(?:is|are|was|"
    r"were|has|have|had|likes?|loves?|lives?|works?|\w+ed)\b)[^,;:.!?\n]*)",
    re.IGNORECASE,
)


def words(text: str) -> frozenset[str]:
    """The words of a text that carry meaning, each in one form; numbers among them."""
    return frozenset(w if w[0].isdigit() else stem(w) for w in content_words(text))


def restates(sentence: frozenset[str], said: frozenset[str]) -> bool:
    """Whether a sentence says no more than what was said."""
    common = sentence & said
    if any(word[0].isdigit() for word in sentence - common):
        return False
    return len(sentence) >= 2 and len(common) >= _RESTATED * len(sentence)


class Known:
    """The statements of earlier sessions, to find those that a sentence tells again."""

    def __init__(self, statements: Iterable[str]) -> None:
        self._statements = [words(text) for text in dict.fromkeys(statements)]
        self._with: dict[str, list[int]] = defaultdict(list)
        for number, statement in enumerate(self._statements):
            for word in statement:
                self._with[word].append(number)

    def told_again(self, sentence: frozenset[str], here: frozenset[str]) -> bool:
        """Whether a sentence restates one of them, or holds one that isn't said `here`."""
        common = Counter(number for word in sentence for number in self._with.get(word, ()))
        for number in common:
            statement = self._statements[number]
            if restates(sentence, statement):
                return True
            if (
                len(statement) >= _LEAST
                and restates(statement, sentence)
                and not restates(statement, here)
            ):
                return True
        return False


def find_repeated(
    text: str, user_turns: list[frozenset[str]], here: frozenset[str], known: Known
) -> Iterator[Found]:
    """The sentences of an assistant's turn that aren't its own.

    Args:
        text: The turn.
        user_turns: The words of each of the user's turns.
        here: The words of all of them.
        known: What earlier sessions told.
    """
    for start, end in sentences(text):
        sentence = text[start:end]
        if sentence.endswith(("?", "？", "؟")):
            continue  # nothing is learned of what is asked
        told = words(sentence)
        if any(restates(told, said) for said in user_turns) or known.told_again(told, here):
            yield Found(start, end, "repeated")
        elif _claims(sentence, here):
            yield Found(start, end, "assistant's claim")


def _claims(sentence: str, here: frozenset[str]) -> bool:
    """Whether it says something of the user that they didn't say themselves."""
    for claim in _CLAIM.finditer(sentence):
        verb = (claim["verb"] or "").casefold()
        if verb and verb not in _TOLD_OF and verb not in lexicon.PAST:
            continue
        told = words(claim["claim"])
        if told and not restates(told, here) and not (len(told) == 1 and told <= here):
            return True
    return False
