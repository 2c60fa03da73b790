"""What a statement says is so no more: "closed on Wednesdays now instead of Mondays"."""

import re

from plum_langchain.questions.corrections import value_kind
from plum_langchain.questions.text import content_words, in_common, listed, words_of

_WITHIN = r"(?:[^,;:.!?\"()]|(?<=\d)[:.,](?=\d))"  # no mark but that of "3:40" or "1,900"
_VALUE = rf"(?P<over>{_WITHIN}+?)"
_END = r"(?=\s+(?:and|but|because|since|so|as|after|where|when|while|which|who)\b|[,;:.!?\"()]|$)"
_BOUND = (  # "no longer than an hour", "not before nine": the value is a bound, and not over
    r"(?! (?:than|before|after|until|later|earlier|more|less|only|just|even|all|every|always)\b)"
)
_CHANGING = (
    r"(?:moved?|changed?|switched|shifted|rescheduled|postponed|cut|raised|lowered|reduced|"
    r"increased|rose|fell|dropped|grew|shrank|extended|shortened|"
    r"(?:went|goes|gone)(?= (?:up |down )?from \d))"
)
_SAYINGS = tuple(
    re.compile(saying, re.IGNORECASE)
    for saying in (
        rf"\b(?:instead of|rather than|no longer){_BOUND} {_VALUE}{_END}",
        rf"(?:\bnot|n't) {_VALUE} (?:any ?more|any longer)\b",
        rf", not{_BOUND} {_VALUE}{_END}",
        rf"\b{_CHANGING}\b{_WITHIN}*?\bfrom {_VALUE} to\b",
    )
)

_AT_MOST = 4
"""Words of a value; what is longer is half a sentence, and no value."""

_TODAY = frozenset(listed("am are do does is"))
_OF_CHANGE = frozenset(
    listed("any anymore change changed from gone instead left longer moved not over rather stopped")
)


def asks_what_is_over(statement: str, question: str) -> bool:
    """Whether the question is whether that is so today which the statement says no longer is.

    English only, and only if it asks for the value that is over and for no other of its kind: "Did
    the rent go up from 620 to 680?" is another question.
    """
    words = words_of(question)
    if not words or words[0] not in _TODAY or not _OF_CHANGE.isdisjoint(words):
        return False
    asked = content_words(question)
    for saying in _SAYINGS:
        match = saying.search(statement)
        if match is not None:
            over = content_words(match["over"])
            rest = content_words(
                f"{statement[: match.start('over')]} {statement[match.end('over') :]}"
            )
            kinds = {value_kind(word) for word in over} - {"other"}
            others = [word for word in rest if value_kind(word) in kinds]
            return (
                0 < len(over) <= _AT_MOST
                and in_common(over, asked) == len(over)
                and in_common(over, rest) < len(over)  # "from a marathon to a half marathon"
                and not in_common(others, asked)
            )
    return False
