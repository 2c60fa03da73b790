"""A turn's text into statements: sentences, split into clauses that each say one thing.

Chats are informal, so nothing is taken for granted: capitals, full stops and subjects may be
missing. English is split further than other languages, which are taken sentence by sentence.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from plum_langchain.questions import english, lexicon
from plum_langchain.questions.names import Names
from plum_langchain.questions.text import SMALL_WORDS, content_words, listed, words_of
from plum_langchain.session import Role

MAX_BYTES = 200
"""Of one statement in UTF-8. A byte-level tokenizer makes at most a token of a byte, and question
and answer both hold the statement, so a sample stays below 512 tokens in any script."""
MAX_SENTENCES_OF_A_TURN = 2_000
"""Read of one turn, from its beginning; what comes later in a turn so long is a pasted document."""

_MAX_JOINTS = 12  # commas and "and"s of a sentence that are tried; a longer one is a list
_LONGEST = 600  # characters of a sentence; what people write in one breath is well below

Form = Literal["clause", "advice", "quote"]


@dataclass(frozen=True)
class Statement:
    """Something said, without its full stop.

    `form` tells how it can be asked about: a `clause` after "that", an `advice` after "to", a
    `quote` only in quotation marks. `english` is False where only numbers are understood. `after`
    is what was said before it in the turn, where it can't be understood without.
    """

    text: str
    turn: int
    role: Role
    form: Form
    english: bool = True
    after: "Statement | None" = None


@dataclass(frozen=True)
class Clause:
    """A part of a sentence, and the statement it makes; None if it says too little, or asks."""

    text: str
    turn: int
    role: Role
    statement: Statement | None

    def as_antecedent(self) -> Statement | None:
        """What the next clause may point back at, though it says too little by itself."""
        text = english.with_capital_i(_closed(self.text))
        return Statement(text, self.turn, self.role, "clause") if english.is_clause(text) else None


_ABBREVIATED = re.compile(
    r"\b(?:Dr|Mr|Mrs|Ms|Sr|Sra|St|Prof|vs|ca|approx|etc|e\.g|i\.e|p\.m|a\.m|[A-HJ-Z])\.$",
    re.IGNORECASE,
)
_BREAK = re.compile(
    r"(?<=[.!?…])[\"'”’)]*\s+|(?<=[。！？।؟])|\n+|(?:(?<=\S)\s*[\U0001F300-\U0001FAFF]+)"
)
_QUESTION_END = ("?", "？", "؟", ";?")
_INTERJECTIONS = (  # dropped before anything
    "ok|okay|oh|ah|ha|haha|lol|btw|and|but|also|hi|hey|hello|omg|hm+|um|uh|yeah"
)
_REMARKS = (  # dropped before a pause or a pronoun
    "hiya|good morning|good evening|good afternoon|yes|yep|yup|no|nope|nah|well|aha|hahaha|wow|so|"
    "plus|or|by the way|anyways?|thanks|thank you|thx|ty|deal|good|great|perfect|smart|sure|right|"
    "ouch|noted|nice|lovely|cool|grand|deadly|brilliant|exactly|please|pls|understood|fine|then|"
    "fair|true|agreed|done|merci|sorry|first|next|finally|meanwhile|actually|basically|honestly|"
    "listen|look|small thing|last thing|second thing|side note|two more things|one more thing|big "
    "news|good news|new problem|problem|question|disaster|update|change of plan|fyi|like i said|as "
    "i said|you see|you know|i mean|i think|i guess|lastly|secondly|now|just|maybe"
)
_SUBJECT = (
    "i|i'm|i've|i'll|i'd|we|we're|we've|he|he's|she|she's|they|they're|my|our|there|there's|it|"
    "it's|the|you|you'd|you're|don't"
)
_OPENERS = re.compile(
    rf"^(?:(?:{_INTERJECTIONS})\b\s+|(?:{_INTERJECTIONS}|{_REMARKS})"
    rf"(?:\s*[,.!:;…]+\s*|\s+[-–—]+\s+|\s+(?=(?:{_SUBJECT})\b)))+",
    re.IGNORECASE,
)
# "then", "and" and the like need no comma before the rest of an assistant's advice.
_LEADING = re.compile(r"^(?:then|and|so|but|also|plus|or|because|instead)\s+(?=\S)", re.IGNORECASE)
_CLOSERS = re.compile(
    r"[\s,]+(?:lol|haha+|lmao|btw|by the way|pls|please|thanks|thank you|thx|sorry|sorry to say|"
    r"though|anyway|luckily|unfortunately|but ok|but okay|ok|okay|right|obviously|no guilt|"
    r"of course|you know|i think|i guess|xx?)[\s.!]*$",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"(?:[,;]|\s[-–—]|\.\.\.)\s*(?:(?:and|but|so|then|plus)\s+)*|\s+(?:and|but)\s+", re.IGNORECASE
)
_MARKUP = re.compile(r"```.*?(?:```|$)|<\|[^|]*\|>|https?://\S+", re.DOTALL)
_CODE = re.compile(r"[=_{}\\|<>$]|\w\(|\)\.")
_POINTS_BACK = re.compile(r"(?:it|that|this|these|those|they)(?:'\w+)?\b", re.IGNORECASE)
_PRONOUN_FIRST = re.compile(r"(?:i|we|he|she|they|it)\b", re.IGNORECASE)
_ASKING = re.compile(
    r"(?:(?:what|how|when|where|who|why|which|whose)(?:'s|'re)?\s+(?:do|does|did|is|are|can|could|"
    r"should|would|will|minds|i|to)\b|(?:can|could|should|would|will|do|does|did|is|are|am)\s+"
    r"(?:i|you|we|it|he|she|they|the|my|there)\b|any (?:idea|tip|advice)|how about|what about)",
    re.IGNORECASE,
)
_LEFT = frozenset(listed("the my our a an home work school it him her them everything early late"))
_NEEDS_I = frozenset(listed("need want love hate prefer own can't haven't"))
_REQUEST = re.compile(
    r"(?:help|give|show|tell|remind|make|let|write|redo|plan|keep|please)\b", re.I
)


def clauses_of(
    turn: int, role: Role, text: str, names: Names, *, english_chat: bool = True
) -> Iterator[Clause]:
    """The clauses of a turn, in order, with the statements they make.

    No questions, greetings or fragments of a word or two are statements. A question is a clause
    without text.

    Args:
        turn: Index of the turn in its session.
        role: Who said it.
        text: What was said, of any length and in any script.
        names: The people and places of the chat, to tell whom "he" means.
        english_chat: Whether short sentences that could be any language are English.
    """
    people: list[str] = []
    for sentence in _sentences(text):
        if not sentence:
            yield Clause("", turn, role, None)
            continue
        if not english.is_english(sentence) and not (english_chat and _may_be_english(sentence)):
            if not english_chat or role == "user":
                for statement in _foreign(turn, role, sentence):
                    yield Clause(sentence, turn, role, statement)
            continue  # what an assistant translates for the user is no advice
        for part in _clauses(sentence, role):
            meant = _with_subject(part, people)
            for name in names.find(part):
                if name.kind == "person" and name.text not in people:
                    people.append(name.text)
            yield Clause(meant, turn, role, _statement(turn, role, meant))


def as_statement(turn: int, role: Role, sentence: str) -> Statement:
    """A whole sentence that somebody wrote as one: it is neither split nor judged.

    Args:
        turn: Index of the turn that tells it.
        role: Who said it.
        sentence: In English, with its subject and its verb.
    """
    return Statement(_fitting(_tidy(sentence)), turn, role, "clause")


def _sentences(text: str) -> Iterator[str]:
    """What is told, and an empty one where something is asked."""
    text = _MARKUP.sub("\n", text.replace("\r", "\n").replace("’", "'"))
    text = "".join(_plain(c) for c in text)
    pending, made = "", 0
    for piece in _BREAK.split(text):
        pending = f"{pending} {piece}".strip() if pending else piece.strip()
        if not pending or _ABBREVIATED.search(pending[-8:]):
            continue
        asked = pending.endswith(_QUESTION_END)
        for part in _in_parts(_told_before(pending) if asked else pending):
            yield part
            made += 1
            if made >= MAX_SENTENCES_OF_A_TURN:
                return
        if asked:
            yield ""
        pending = ""
    if pending:
        yield from _in_parts(pending)


def _told_before(question: str) -> str:
    """What a question is put behind, or nothing: "I see her on Monday, should I ask?"."""
    for pause in islice(re.finditer(r",\s+", question), _MAX_JOINTS):
        left, right = question[: pause.start()], question[pause.end() :]
        if _ASKING.match(_LEADING.sub("", right)) and english.is_clause(_opened(left)):
            return "" if _ASKING.match(_opened(left)) else left
    return ""


def _in_parts(sentence: str) -> Iterator[str]:
    """A run-on without full stops in parts short enough to be looked at closely."""
    while len(sentence) > _LONGEST:
        space = sentence.rfind(" ", 1, _LONGEST)
        cut = space if space > 0 else _LONGEST
        yield sentence[:cut]
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence


def _plain(character: str) -> str:
    """Control characters and half surrogates become spaces: no tokenizer carries them."""
    if character == "\n" or not unicodedata.category(character).startswith("C"):
        return character
    # A joiner holds Persian and Indic words together.
    return character if character in "\u200c\u200d" else " "


def _may_be_english(sentence: str) -> bool:
    """Too short to hold English's small words, or with only few of them."""
    few = len(english.words(sentence)) < 6 or english.small_words(sentence) > 0
    return few and english.mostly_latin(sentence)


def _foreign(turn: int, role: Role, sentence: str) -> Iterator[Statement]:
    """Sentences of other languages as they stand; long ones cut where they pause."""
    pieces = [sentence]
    if len(sentence.encode()) > MAX_BYTES:
        pieces = re.split(r"[,;:،؛，、；：]\s*", sentence)
    for piece in pieces:
        text = _fitting(_tidy(piece))
        dense = any(
            ord(c) > 0x2E80 for c in text
        )  # scripts where a character is a word or syllable
        if len(set(words_of(text))) >= (5 if dense else 3) and any(c.isalpha() for c in text):
            yield Statement(text, turn, role, "quote", english=False)


def _clauses(sentence: str, role: Role) -> Iterator[str]:
    """The parts of a sentence that each say one thing."""
    whole = _opened(_tidy(sentence))
    for parenthesis in re.findall(r"\(([^()]{12,})\)", whole):
        if english.is_clause(parenthesis):
            whole = whole.replace(f"({parenthesis})", "").replace("  ", " ").replace(" ,", ",")
            yield parenthesis.strip()
    whole = whole.strip()
    while whole:
        cut = _joint(whole, role)
        if cut is None:
            break
        yield from _without_tail(_closed(whole[: cut.start()]))
        whole = _opened(whole[cut.end() :])
    if whole:
        yield from _without_tail(_closed(whole))


def _joint(sentence: str, role: Role) -> "re.Match[str] | None":
    """The first place where one complete clause ends and another begins."""
    for match in islice(_JOINT.finditer(sentence), _MAX_JOINTS):
        left = sentence[: match.start()]
        right = _LEADING.sub("", sentence[match.end() : match.end() + 150])
        opening = english.words(left)[:1]
        if not opening or left.count("(") != left.count(")"):
            continue
        if opening[0] in english.SUBORDINATE - {"so"} or opening[0] in english.PREPOSITIONS:
            continue  # "When we were seven, Tomás tied my kite": one cannot do without the other
        if role == "assistant" and "so" in match.group().split():
            continue  # the reason belongs to the advice
        if "," in match.group() and _POINTS_BACK.match(right):
            continue  # "I walk to the harbour and back, it's 17 minutes"
        follows = english.is_clause(right)
        if follows and len(left.split()) >= 2 and _stands(left, role):
            return match
        if follows and role == "user" and "," in match.group() and _PRONOUN_FIRST.match(right):
            return match
        commands = match.group().strip().startswith((",", ";")) and len(right.split()) >= 4
        commands = commands and role == "assistant" and "and" in match.group()
        if commands and english.is_imperative(right) and english.is_imperative(left):
            return match
    return None


def _stands(text: str, role: Role) -> bool:
    text = _opened(text)
    return english.is_clause(text) or (
        english.is_imperative(text) if role == "assistant" else _dropped_subject(text)
    )


def _without_tail(sentence: str) -> Iterator[str]:
    """A long clause apart from what trails behind its comma: "I own a bakery, up at 3:40, ..."."""
    if len(sentence.split()) > 9 and english.is_clause(sentence):
        match = re.search(r",\s+", sentence)
        if match:
            left, right = sentence[: match.start()], sentence[match.end() :]
            enough = len(left.split()) >= 4 and english.is_clause(left) and len(right.split()) >= 3
            enumeration = re.match(r"(?:[\w'-]+\s+){0,3}(?:and|or)\b|[\w'-]+,", right)
            together = enumeration or _POINTS_BACK.match(right)
            if enough and not together and not left.split()[-1][0].isdigit():
                yield left
                if not re.match(r"(?:which|who|where|so|as|if|or)\b", right):
                    yield _LEADING.sub("", right)
                return
    yield sentence


def _tidy(text: str) -> str:
    """Without emoji, quotation marks that would nest, and punctuation at the ends."""
    kept = (
        " " if unicodedata.category(c) in ("So", "Sk") and c != "°" else c
        for c in text.replace("\ufe0f", "").replace('"', "'").replace("“", "'").replace("”", "'")
    )
    tidy = " ".join("".join(kept).split()).replace(" ,", ",")
    tidy = re.sub(r"^[\s\-*#>•–—.,!:;']+(?=\s|\w)", "", tidy)
    tidy = re.sub(r"^\d{1,2}[.)]\s+", "", tidy)  # "1. Buy flour"
    tidy = tidy.rstrip(" .!…。！।,;:*-–—")
    return tidy[:-1] if tidy.endswith("'") and tidy.count("'") % 2 and " '" not in tidy else tidy


def _opened(text: str) -> str:
    """Without "ok so", "btw" and the like at its head."""
    text = text.strip()
    for _ in range(4):
        shorter = _LEADING.sub(
            "", _OPENERS.sub("", text, count=1) if _OPENERS.match(text) else text
        )
        shorter = shorter if _LEADING.match(text) or _OPENERS.match(text) else text
        if shorter == text or not shorter:
            break
        text = shorter.strip()
    return text


def _closed(text: str) -> str:
    """Without "lol", "sorry" and the like at its end."""
    while (shorter := _CLOSERS.sub("", text)) != text and shorter:
        text = shorter
    return text.rstrip(" .!…,;:").strip()


def _dropped_subject(text: str) -> bool:
    """Whether "I" is what is missing: "Paid 18,000 kronor to a widow"."""
    found = english.words(text)
    if len(text.split()) < 3 or len(found) < 2:
        return False
    by_past = found[0] in lexicon.PAST and found[1] not in ("in", "by", "at", "of", "with", "as")
    if found[0] == "left" and found[1] not in _LEFT:
        by_past = False  # "Left side of the oven runs hot"
    return by_past or (found[0] in _NEEDS_I and not english.is_clause(text))


def _with_subject(clause: str, people: list[str]) -> str:
    """Says "Rui is 22" for "He's 22" when Rui is the only person named so far in the turn."""
    if len(people) != 1:
        return clause
    match = re.match(r"(?:he|she)('s|'ll|'d)?(?=\s)", clause, re.IGNORECASE)
    if not match:
        return clause
    rest = clause[match.end() :]
    if match.group(1) == "'s":
        has = english.words(rest)[:1] and english.words(rest)[0] in ("been", "got", "gone", "had")
        return f"{people[0]} {'has' if has else 'is'}{rest}"
    auxiliary = {"'ll": " will", "'d": " would"}.get(match.group(1) or "", "")
    return f"{people[0]}{auxiliary}{rest}"


def _statement(turn: int, role: Role, clause: str) -> Statement | None:
    text = english.with_capital_i(_closed(clause))
    if role == "user" and _dropped_subject(text):
        text = "I " + english.uncapitalised(text)
    text = _fitting(text)
    if not _says_something(text, role) or _CODE.search(text) or _ASKING.match(text):
        return None
    form: Form = "quote"
    if english.is_imperative(text):
        if role == "user" and _REQUEST.match(text):
            return None  # asks for help rather than tells a fact
        form = "advice" if role == "assistant" else "quote"
    elif english.is_clause(text) or _is_period(text):
        form = "clause"
    return Statement(text, turn, role, form)


def _is_period(text: str) -> bool:
    """A condition or time, then a clause: "When we were seven, Tomás tied my kite"."""
    head, comma, rest = text.partition(", ")
    found = english.words(head)
    opens = found[:1] and found[0] in english.SUBORDINATE | {"on", "in", "at", "from", "for", "by"}
    return bool(comma and opens and english.is_clause(rest))


def _says_something(text: str, role: Role) -> bool:
    found = words_of(text)
    valued = any(word[0].isdigit() for word in found[1:])
    if valued and english.is_clause(text):
        return len(found) >= 2  # "I'm 34"
    meaning = [word for word in content_words(text) if len(word) > 1 or word.isdigit()]
    return len(found) >= 3 and len(set(meaning)) >= (2 if role == "user" else 3)


def _fitting(text: str) -> str:
    """Cut to `MAX_BYTES`, at a pause or between words where there is one."""
    if len(text.encode()) <= MAX_BYTES:
        return text
    cut = text.encode()[:MAX_BYTES].decode(errors="ignore")
    for mark in (r"[,;:，、；：]", r"\s"):
        ends = [match.start() for match in re.finditer(mark, cut) if match.start() > 60]
        if ends:
            return _trimmed(cut[: ends[-1]])
    return cut


def _trimmed(text: str) -> str:
    """Without small words left hanging where a sentence was cut."""
    kept = text.split()
    while len(kept) > 4 and kept[-1].casefold() in SMALL_WORDS:
        kept.pop()
    return " ".join(kept)
