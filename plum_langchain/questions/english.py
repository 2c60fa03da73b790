"""Rewriting English sentences word by word: who speaks to whom, and statement to question.

No parser: each rule covers a form that is common in chats, and a sentence that fits none is left
as it is by its caller. The verbs are those of `lexicon.py`.
"""

import re

from plum_langchain.questions import lexicon
from plum_langchain.questions.text import SMALL_WORDS, listed
from plum_langchain.questions.topics import THEMES

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

# Common enough that a sentence of any length holds some, and rare in other languages.
_ENGLISH = frozenset(
    listed(
        "the and a an is are was were of to in on at for with my your i i'm i've i'd i'll it it's "
        "he she we we're they this that there not don't doesn't didn't can't have has had do does "
        "be been but so if when what from by about me you him her his our their will would can "
        "could should no just or as get got up out need want like"
    )
)

_EXCHANGE = {
    "i": "you", "i'm": "you're", "im": "you're", "i've": "you've", "ive": "you've", "i'd": "you'd",
    "i'll": "you'll", "my": "your", "mine": "yours", "me": "you", "myself": "yourself",
    "you're": "I'm", "you've": "I've", "you'd": "I'd", "you'll": "I'll",
    "your": "my", "yours": "mine", "yourself": "myself",
}  # fmt: skip
_WE_TO_YOU = {
    "we": "you", "we're": "you're", "we've": "you've", "we'd": "you'd", "we'll": "you'll",
    "our": "your", "ours": "yours", "us": "you", "ourselves": "yourselves",
}  # fmt: skip
_AGREEMENT = {
    ("i", "am"): "are", ("i", "was"): "were", ("i", "wasn't"): "weren't",
    ("you", "are"): "am", ("you", "were"): "was", ("you", "weren't"): "wasn't",
    ("you", "aren't"): "am not", ("am", "i"): "you", ("was", "i"): "you",
}  # fmt: skip
PREPOSITIONS = frozenset(
    listed(
        "to for with from at of about on in by near behind beside before after between without "
        "than around under over against towards like"
    )
)
_NEGATION = re.compile(r"\b(?:not|never|no|nobody|nothing|hardly|only)\b|n['’]t\b", re.IGNORECASE)
_SECOND_CLAUSE = re.compile(r"[,;:(]|\b(?:but|so|because|while|when|if|until|then|as)\b|[.!?…]\s")
_ADVERBS = frozenset(
    listed(
        "already also always just mostly never now often only really still usually normally "
        "officially currently finally"
    )
)


def words(text: str) -> list[str]:
    """The words of a text in lower case, apostrophes straightened."""
    return [word.casefold().replace("’", "'") for word in _WORD.findall(text)]


def is_english(text: str) -> bool:
    """Whether the text reads like English: enough of its words are English's small words."""
    hits = small_words(text)
    return hits >= 1 and 6 * hits >= len(words(text)) and mostly_latin(text)


def small_words(text: str) -> int:
    """How many of a text's words are English's small ones."""
    return sum(word in _ENGLISH for word in words(text))


def mostly_latin(text: str) -> bool:
    """Whether nine of ten letters are Latin ones."""
    letters = [c for c in text if c.isalpha()]
    return 10 * sum(c < "\u0250" for c in letters) >= 9 * len(letters)


def exchanged(sentence: str, *, we: bool = False) -> str:
    """The sentence as the other side would say it: "I own my bakery" is "you own your bakery".

    Args:
        sentence: An English sentence.
        we: Also turn "we" and "our" into "you" and "your": right for what the user says of
            themselves and their family, not for what an assistant says of both of them.
    """
    table = {**_EXCHANGE, **_WE_TO_YOU} if we else _EXCHANGE
    before = ""

    def exchange(match: "re.Match[str]") -> str:
        nonlocal before
        word = match.group()
        plain = word.casefold().replace("’", "'")
        previous, before = before, plain
        if (previous, plain) in _AGREEMENT:
            return _AGREEMENT[previous, plain]
        if plain == "you":
            return _i_or_me(previous)
        return table.get(plain, word)

    return _WORD.sub(exchange, sentence)


def _i_or_me(before: str) -> str:
    """What becomes of "you", as subject or object by the word before it."""
    if before in PREPOSITIONS and before not in ("before", "after", "than", "like"):
        return "me"
    if before in lexicon.AUXILIARIES or before in ("that", "what", "and"):
        return "I"
    is_verb = before in lexicon.VERB_FORMS and before not in SMALL_WORDS - {"give", "let", "get"}
    return "me" if is_verb or before.endswith("ing") else "I"


def capitalised(sentence: str) -> str:
    """With a capital first letter."""
    return sentence[:1].upper() + sentence[1:]


def uncapitalised(sentence: str, common: frozenset[str] = frozenset()) -> str:
    """With a small first letter, unless the first word is "I" or may be a name.

    Args:
        sentence: An English sentence.
        common: Words seen in lower case in the chat: no names.
    """
    match = _WORD.match(sentence)
    if not match:
        return sentence
    word = match.group()
    plain = word.casefold().replace("’", "'").removesuffix("'s")
    if plain == "i" or plain.startswith("i'"):
        return "I" + sentence[1:]
    if plain in _PROPER or word[1:] != word[1:].lower():
        return sentence
    known = plain in _SMALL_OR_VERB | _VALUES | _NOUNS or plain in common
    plural = re.match(r"\w+s (?:are|were)\b", sentence)  # "Curtains are thin"
    if known or plural or _opens_a_noun_phrase(sentence, len(word)):
        return word.lower() + sentence[len(word) :]
    return sentence


def _opens_a_noun_phrase(sentence: str, length: int) -> bool:
    """Whether an adjective stands before its noun: "Loose bread is". A verb follows a name."""
    second = _WORD.match(sentence, length + 1)
    if second is None or not second.group()[0].islower():
        return False
    return second.group().casefold().replace("’", "'") not in _SMALL_OR_VERB


_SMALL_OR_VERB = SMALL_WORDS | lexicon.VERB_FORMS
# Nouns and adjectives that often open an informal sentence, without an article.
_NOUNS = frozenset(cue for theme in THEMES for cue in theme.cues) | frozenset(
    listed(
        "address apartment appointment baby balance battery best bigger boyfriend bread breakfast "
        "budget change class coffee colleague concert course dad deadline deposit dinner exam fee "
        "flight girlfriend goal grandma grandpa half hotel house kids last letter lunch main "
        "meeting milk most mum name next nights old only orange paper parents people pickup plan "
        "price problem readings rent result room salary seat second size spare station ticket "
        "traffic train tutor visa weather weekend weekends"
    )
)
_VALUES = frozenset(value for values in lexicon.VALUE_LISTS for value in values if value.islower())
_PROPER = frozenset(
    value.casefold() for values in lexicon.VALUE_LISTS for value in values if value[0].isupper()
) | {"dr", "mr", "mrs", "ms", "sr"}


def with_capital_i(sentence: str) -> str:
    """Informal "i" and "i'm" with their capital; "im" and "ive" with their apostrophe."""
    sentence = re.sub(r"\bi(?=\b(?!\.\w))", "I", sentence)
    sentence = re.sub(r"\b[Ii]m\b", "I'm", sentence)
    return re.sub(r"\b[Ii]ve\b", "I've", sentence)


# --- what a clause is --------------------------------------------------------------------------

_PRONOUNS = frozenset(
    listed(
        "i we he she it they you this that these those there everyone everybody someone nobody "
        "everything nothing both half"
    )
)
_CONTRACTED = re.compile(
    r"(?:i|we|he|she|it|they|you|that|there)'(?:m|s|re|ve|d|ll)|im|ive", re.IGNORECASE
)
_DETERMINERS = frozenset(
    listed(
        "my our his her their its the a an your this that these those one every each some most "
        "all both half"
    )
)
SUBORDINATE = frozenset(
    listed(
        "when if because although while unless until since before after as once where whenever so "
        "that which who whose though"
    )
)
_NOT_SUBJECTS = PREPOSITIONS | SUBORDINATE | {"and", "or", "but", "not", "no"}


def is_clause(sentence: str) -> bool:
    """Whether the sentence can stand after "I told you that": a subject with its verb."""
    if re.match(r"\d[\d:.,]*(?: \w+)? (?:is|was|are|were)\b", sentence):
        return True  # "5:10 is your flashcard slot"
    found = words(sentence)
    if len(found) < 2 or found[0] in SUBORDINATE - {"that"} or is_imperative(sentence):
        return False
    first, second = found[0], found[1]
    if first in ("this", "that", "these", "those") and second not in lexicon.VERB_FORMS:
        return subject_length(sentence) is not None
    if _CONTRACTED.fullmatch(first):
        return True
    if first in _PRONOUNS:
        rest = found[1:4]
        return any(word in lexicon.VERB_FORMS or word.endswith(("n't", "ed")) for word in rest)
    # "Dona Graça, my neighbour, gives him toast": the subject is what stands outside the commas.
    apposition = r"(?:my|our|the|an?|his|her|their|who|which|[A-Z])\b"
    plain = re.sub(rf"^([^,]{{2,40}}),\s{apposition}.*,\s(?=\w)", r"\1 ", sentence)
    return subject_length(sentence) is not None or subject_length(plain) is not None


def subject_length(sentence: str) -> int | None:
    """Words in a subject of the form "my twin brother Tomás" or "Rui", before its verb.

    None if no verb that must be one (is, has, will, "moved", "walks") follows within reach.
    """
    pause = re.search(r"[,;:()]", sentence)
    found = words(sentence[: pause.start()] if pause else sentence)
    if not found:
        return None
    starts_np = found[0] in _DETERMINERS
    named = sentence[0].isupper() and found[0] not in SMALL_WORDS
    bare = (  # "class is online": a noun without its article
        len(found) > 1 and found[0] not in SMALL_WORDS | lexicon.VERB_FORMS and _finite(found[1])
    )
    if not (starts_np or named or bare):
        return None
    if named and not starts_np and found[0].endswith("'s") and _second_is_complement(found):
        return 1  # "Rui's a full baker"
    for index in range(2 if starts_np else 1, min(len(found), 9)):
        word = found[index]
        if word in SUBORDINATE or word in ("and", "or", "but"):
            if word not in ("and", "or"):
                return None
            continue
        if word in ("i", "we", "you"):
            return None  # "the timer I have"
        follows = found[index + 1] if index + 1 < len(found) else ""
        # Only with an object behind, as in "the doctor cut the dose".
        cuts = word in lexicon.UNCHANGED and follows in _DETERMINERS
        if (cuts or _finite(word)) and found[index - 1] not in _NOT_SUBJECTS | _DETERMINERS:
            return index
    return None


def _second_is_complement(found: list[str]) -> bool:
    return len(found) > 1 and (
        found[1] in ("a", "an", "the", "not", "already", "still") or found[1] in lexicon.ING
    )


def _finite(word: str) -> bool:
    """Forms that are hardly ever nouns in this place."""
    return (
        word in lexicon.AUXILIARIES - {"do"}
        or (word.endswith("n't") and word[:-3] in lexicon.AUXILIARIES | {"wo", "ca"})
        or (word in lexicon.PAST and word not in ("felt", "left", "cut", "set", "saw", "used"))
        or (word in lexicon.THIRD and word not in _PLURAL_NOUNS)
    )


# Third-person verbs that are more often plural nouns.
_PLURAL_NOUNS = frozenset(
    listed(
        "bakes balances brushes cans changes charges checks claims climbs collects copies costs "
        "covers cuts dries drinks drives drops feeds fits flags folds fries guesses hands hates "
        "heads heats hires holds hopes hosts irons jogs joins joints jumps knits labels lands "
        "laughs lifts lights lists locks measures minds misses mixes monitors moves notes notices "
        "numbers orders packs paints parks passes photographs picks places plans plants plays "
        "points posts presses prints produces promises questions raises records reports requests "
        "reserves rests returns reviews rewards rides rings rises rolls schedules searches sets "
        "shares ships shops shows signs slices smiles sounds spells splits spreads stays steps "
        "sticks stops stores stretches studies supports swims tastes tests ties times tips tops "
        "tosses tracks trains treats tries trims trips turns types updates uses values visits "
        "votes waits wastes watches waters wears weighs wins wishes worries wraps"
    )
)


def is_imperative(sentence: str) -> bool:
    """Whether the sentence tells somebody to do something: "Take a nap", "Don't heat it fast"."""
    found = words(sentence)
    if len(found) < 2:
        return False
    if found[0] in ("don't", "never"):
        return found[1] in lexicon.BASE_VERBS
    if found[0] not in lexicon.BASE_VERBS or _CONTRACTED.fullmatch(found[1]):
        return False
    # "Paper is fine", "Ask will do": a noun when a verb follows at once.
    return found[1] not in lexicon.AUXILIARIES - {"have", "do"} and found[:2] != ["let", "us"]


# --- statement to question ---------------------------------------------------------------------


def as_question(clause: str) -> str | None:
    """The clause as a yes/no question, or None where no rule fits for sure.

    "I own a bakery" becomes "Do I own a bakery", "Rui is 22" becomes "Is Rui 22". Only what has a
    capital in the middle of a sentence begins with one.
    """
    if _NEGATION.search(clause) or _SECOND_CLAUSE.search(clause) or len(clause.split()) > 16:
        return None
    coordinated = re.findall(r"\b(?:and|or)\s+(?:then\s+)?([\w']+)", clause.casefold())
    verbs = _PRONOUNS | {"am"}
    if any(w in verbs or _CONTRACTED.fullmatch(w) or _finite(w) for w in coordinated):
        return None  # "Rui is 22 and hums": the second verb would need a question of its own
    match = re.match(r"(I|we|he|she|it|they|there)(['’]\w+)?\s+(.+)", clause, re.I)
    if match:
        subject, contracted, rest = match.groups()
        subject = "I" if subject.casefold() == "i" else subject.casefold()
        if contracted:
            return _with_contraction(subject, contracted[1:].casefold(), rest)
        return _with_verb(subject, rest)
    length = subject_length(clause)
    if length is None:
        return None
    tokens = list(_WORD.finditer(clause))
    if length >= len(tokens):
        return None
    subject = clause[: tokens[length].start()].strip()
    if any(c.isdigit() for c in subject) or re.search(r"\b(?:and|or)\b", subject):
        return None
    return _with_verb(subject, clause[tokens[length].start() :])


def _with_contraction(subject: str, ending: str, rest: str) -> str | None:
    following = words(rest)[:1]
    participle = following != [] and (following[0] in lexicon.PARTICIPLES - {"set", "cut", "put"})
    if ending == "m":
        return f"Am {subject} {rest}"
    if ending == "re":
        return f"Are {subject} {rest}"
    if ending == "ve":
        return f"Have {subject} {rest}" if participle else f"Do {subject} have {rest}"
    if ending == "ll":
        return f"Will {subject} {rest}"
    if ending == "s" and following and following[0] in ("been", "got", "gone", "had"):
        return f"Has {subject} {rest}"
    return f"Is {subject} {rest}" if ending == "s" and not participle else None


def _with_verb(subject: str, rest: str) -> str | None:
    parts = rest.split(maxsplit=1)
    verb = parts[0].casefold()
    after = parts[1] if len(parts) > 1 else ""
    adverb = ""
    if verb in _ADVERBS and after:
        adverb = verb + " "
        parts = after.split(maxsplit=1)
        verb, after = parts[0].casefold(), parts[1] if len(parts) > 1 else ""
    if not after:
        return None
    plural = subject.casefold() in ("i", "we", "they", "you")
    if verb in lexicon.BE | lexicon.MODALS:
        return f"{capitalised(verb)} {subject} {adverb}{after}"
    if verb in ("have", "has"):
        if words(after)[:1] and words(after)[0] in lexicon.PARTICIPLES:
            return f"{capitalised(verb)} {subject} {adverb}{after}"
        return f"{'Do' if verb == 'have' else 'Does'} {subject} {adverb}have {after}"
    if verb in lexicon.PAST and not (plural and verb in lexicon.BASE_VERBS):
        return f"Did {subject} {adverb}{lexicon.PAST[verb]} {after}"
    if not plural and verb in lexicon.UNCHANGED:
        return f"Did {subject} {adverb}{verb} {after}"
    if plural and verb in lexicon.BASE_VERBS - lexicon.UNCHANGED - {"be"}:
        return f"Do {subject} {adverb}{verb} {after}"
    if not plural and verb in lexicon.THIRD:
        return f"Does {subject} {adverb}{lexicon.THIRD[verb]} {after}"
    return None
