"""First person and third: what is said of somebody by name, as they say it themselves, and back.

No parser: the rules cover short sentences of common forms.
"""

import re

from plum_langchain.questions import english, lexicon

_FIRST_PERSON = {"does": "do", "is": "am", "has": "have", "doesn't": "don't", "hasn't": "haven't"}
_THIRD_PERSON = {
    "am": "is", "are": "is", "were": "was", "don't": "doesn't", "haven't": "hasn't",
    "aren't": "isn't", "weren't": "wasn't",
}  # fmt: skip
_CONTRACTED = {"'m": "is", "'re": "is", "'ve": "has", "'ll": "will"}
_AUXILIARY = "does|do|did|is|are|was|were|has|have|had|will|would|can|could|should|might|may"
_BEFORE_SUBJECT = rf"(?:{_AUXILIARY}|wo|ca)n't|{_AUXILIARY}"
# Somebody else by name: not "Bo" of "Bo's mother", and all of "Bo Lind".
_SOMEBODY = r"[A-Z][\w-]*(?:\s+[A-Z][\w-]*)*(?!['\w]|\s+[A-Z])"
# "her" before one of these, or at the end, is no possessive: "wrote her a letter".
_NOT_OWNED = r"(?=\s*[?.,;]|\s*$|\s+(?:a|an|the|to|in|on|at|for|with|from|and|when|after|before)\b)"


def asked_by(person: str, question: str) -> str:
    """A question about a person, as that person would ask it.

    "When did Ana sell her boat?" becomes "When did I sell my boat?". Whoever else is "he" or
    "she" in the question is taken for the same person.
    """
    name = re.escape(person)
    subject = rf"(?:{name}|[Ss]?[Hh]e)"
    # "James's" and "James'"; an apostrophe behind another name is a quotation mark.
    possessive = r"'(?:s\b|(?!\w))" if person.endswith("s") else r"'s\b"
    asked = re.sub(rf"\b{name}{possessive}", "my", question.replace("’", "'"))
    asked = _together(subject, asked)
    asked = re.sub(rf"\b({_BEFORE_SUBJECT})\s+{subject}\b", _inverted, asked, flags=re.I)
    asked = re.sub(rf"\b{subject}\s+([a-z']+)", _with_verb, asked)
    asked = re.sub(rf"\b(?:him\b|her\b{_NOT_OWNED})", "me", asked)
    asked = re.sub(r"\b(?:his|her)\b", "my", asked)
    asked = re.sub(r"\b(?:himself|herself)\b", "myself", asked)
    return english.capitalised(re.sub(rf"\b{name}\b", "me", asked))


def _together(subject: str, question: str) -> str:
    """From "Have Ana and Bo met" and "that Ana and Bo saw" to "Have Bo and I met" and so on.

    Two take the verb of many, which is the same for "Bo and I".
    """
    before = rf"\b((?i:{_BEFORE_SUBJECT}))\s+"
    asked = re.sub(rf"{before}{subject}\s+and\s+({_SOMEBODY})", r"\1 \2 and I", question)
    asked = re.sub(rf"{before}({_SOMEBODY})\s+and\s+{subject}\b", r"\1 \2 and I", asked)

    def with_verb(match: "re.Match[str]") -> str:
        return f"{match[1]} and I {match[2]}" if _is_verb(match[2]) else match[0]

    return re.sub(rf"\b{subject}\s+and\s+({_SOMEBODY})\s+([a-z']+)", with_verb, asked)


def _inverted(match: "re.Match[str]") -> str:
    """From "Does Ana" and "isn't she" to "Do I" and "aren't I"."""
    verb = match[1].casefold()
    verb = "aren't" if verb == "isn't" else _FIRST_PERSON.get(verb, match[1])
    return f"{english.capitalised(verb) if match[1][0].isupper() else verb} I"


def _with_verb(match: "re.Match[str]") -> str:
    """From "that she likes" to "that I like"; without a verb behind it, it is no subject."""
    verb = match[1]
    if not _is_verb(verb):
        return match[0]
    if verb == "isn't":
        return "I am not"
    return f"I {_FIRST_PERSON.get(verb) or lexicon.THIRD.get(verb, verb)}"


def _is_verb(word: str) -> bool:
    return (
        word in lexicon.VERB_FORMS - set(lexicon.ING) or word.endswith("ed") or word.endswith("n't")
    )


def told_of(person: str, clause: str) -> str:
    """A clause in the first person, told of somebody by name.

    "I own a boat" becomes "Ana owns a boat", "my car was stolen" becomes "Ana's car was stolen".
    """

    def contracted(match: "re.Match[str]") -> str:
        return f"{person} {_CONTRACTED[match[1]]}"

    def with_subject(match: "re.Match[str]") -> str:
        verb = match[2]
        if verb.endswith("n't"):
            return f"{person} {match[1] or ''}{_THIRD_PERSON.get(verb, verb)}"
        unknown = verb not in lexicon.VERB_FORMS and not re.search(r"[^e]ed$", verb)
        if unknown or verb in lexicon.BASE_VERBS - set(lexicon.PAST) - lexicon.UNCHANGED:
            verb = lexicon.third_person(verb)
        return f"{person} {match[1] or ''}{_THIRD_PERSON.get(verb, verb)}"

    told = re.sub(r"^(?:I|we)('(?:m|re|ve|ll))\b", contracted, clause.replace("’", "'"))
    told = re.sub(r"^(?:I|we)\s+(once\s+|also\s+)?([a-z']+)", with_subject, told)
    return re.sub(r"\b(?:my|our)\b", lambda _: f"{person}'s", told)
