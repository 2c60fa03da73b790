"""First person and third: what is said of somebody by name, as they say it themselves, and back.

No parser: the rules cover short sentences of common forms.
"""

import re

from plum_langchain.questions import english, lexicon

_FIRST_PERSON = {"does": "do", "is": "am", "has": "have"}
_THIRD_PERSON = {"am": "is", "are": "is", "were": "was"}
_BEFORE_SUBJECT = "does|do|did|is|was|has|had|will|would|can|could|should|might|may"
# "her" before one of these, or at the end, is no possessive: "wrote her a letter".
_NOT_OWNED = r"(?=\s*[?.,;]|\s*$|\s+(?:a|an|the|to|in|on|at|for|with|from|and|when|after|before)\b)"


def asked_by(person: str, question: str) -> str:
    """A question about a person, as that person would ask it.

    "When did Ana sell her boat?" becomes "When did I sell my boat?". Whoever else is "he" or
    "she" in the question is taken for the same person.
    """
    name = re.escape(person)
    subject = rf"(?:{name}|[Ss]?[Hh]e)"
    asked = re.sub(rf"\b{name}['’]s\b", "my", question)
    asked = re.sub(rf"\b({_BEFORE_SUBJECT})\s+{subject}\b", _inverted, asked, flags=re.I)
    asked = re.sub(rf"\b{subject}\s+([a-z']+)", _with_verb, asked)
    asked = re.sub(rf"\b(?:him\b|her\b{_NOT_OWNED})", "me", asked)
    asked = re.sub(r"\b(?:his|her)\b", "my", asked)
    asked = re.sub(r"\b(?:himself|herself)\b", "myself", asked)
    return english.capitalised(re.sub(rf"\b{name}\b", "me", asked))


def _inverted(match: "re.Match[str]") -> str:
    """From "Does Ana" and "is she" to "Do I" and "am I"."""
    verb = _FIRST_PERSON.get(match[1].casefold(), match[1])
    return f"{english.capitalised(verb) if match[1][0].isupper() else verb} I"


def _with_verb(match: "re.Match[str]") -> str:
    """From "that she likes" to "that I like"; without a verb behind it, it is no subject."""
    verb = match[1]
    if verb not in lexicon.VERB_FORMS - set(lexicon.ING) and not verb.endswith("ed"):
        return match[0]
    return f"I {_FIRST_PERSON.get(verb) or lexicon.THIRD.get(verb, verb)}"


def told_of(person: str, clause: str) -> str:
    """A clause in the first person, told of somebody by name.

    "I own a boat" becomes "Ana owns a boat", "my car was stolen" becomes "Ana's car was stolen".
    """

    def with_subject(match: "re.Match[str]") -> str:
        verb = match[2]
        unknown = verb not in lexicon.VERB_FORMS and not re.search(r"[^e]ed$", verb)
        if unknown or verb in lexicon.BASE_VERBS - set(lexicon.PAST) - lexicon.UNCHANGED:
            verb = lexicon.third_person(verb)
        return f"{person} {match[1] or ''}{_THIRD_PERSON.get(verb, verb)}"

    told = re.sub(r"^(?:I|we)\s+(once\s+|also\s+)?([a-z']+)", with_subject, clause)
    return re.sub(r"\b(?:my|our)\b", lambda _: f"{person}'s", told)
