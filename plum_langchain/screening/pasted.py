"""Text that a user pasted rather than said, and instructions that are aimed at the memory.

Plain rules, so that everybody can tell beforehand what is learned: what is fenced, quoted,
forwarded or announced ("here's the article:") is not the user's own, and neither are those
paragraphs of a very long message in which nobody says "I".
"""

import re
from collections.abc import Iterator

from plum_langchain.screening.spans import Found, sentences

_FENCED = re.compile(r"^[ \t]*(```+|~~~+).*?(?:^[ \t]*\1[^\S\n]*$|\Z)|```.+?```", re.DOTALL | re.M)
_QUOTED = re.compile(r"^[ \t]*(?:>|&gt;)[^\n]*", re.MULTILINE)
_MARKUP = re.compile(
    r"<(html|body|div|article|section|table|p|ul|ol|blockquote|script|style|document|context|"
    r"search_results?|tool_result|web_page|page|doc)\b[^<>]{0,200}>.*?(?:</\1>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_FORWARDED = re.compile(
    r"^[ \t]*(?:-{2,}\s*(?:original|forwarded|begin forwarded) message|begin forwarded message:|"
    r"from: [^\n]+\n(?:[^\n]*\n){0,3}?[ \t]*(?:subject|sent|date|to): |"
    r"on [^\n]{5,80} wrote:[ \t]*$).*",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_WHAT = (
    r"(?:article|page|web ?page|web ?site|site|blog(?: post)?|post|thread|e-?mail|mail|letter|"
    r"document|doc|pdf|text|transcript|excerpt|extract|passage|paragraph|section|abstract|paper|report|"
    r"chapter|contract|policy|terms|review|output|logs?|error(?: message)?|traceback|code|snippet|"
    r"script|search results?|wikipedia|wiki|press release|prompt|readme)"
)
_GAP = r"\b[^.!?:\n]{0,60}?"
_ANNOUNCED = (
    re.compile(  # "here's the article:", and all that follows
        rf"\b(?:here(?:['’]s|\s+is|\s+are)|this\s+is|below\s+is|past(?:e|ed|ing)|quot(?:e|ing)|"
        rf"summari[sz]e|translate|proofread|rewrite){_GAP}\b{_WHAT}{_GAP}:(?!\d|//)\s*(?P<pasted>\S.*)",
        re.DOTALL | re.IGNORECASE,
    ),
    re.compile(  # "I got this mail:", where it begins a line of its own or is quoted
        rf"\b(?:see|read|found|copied|from|got|says?|said){_GAP}\b(?:{_WHAT}|this){_GAP}"
        rf":[ \t]*(?P<pasted>(?:\n\s*|[\"“„«])\S.*)",
        re.DOTALL | re.IGNORECASE,
    ),
)

# In other languages where they are words of their own; verbs often say it without one.
_FIRST_PERSON = re.compile(
    r"(?<!\w)(?:i|i['’]\w+|me|my|mine|myself|we|we['’]\w+|our|ours|us|"
    r"ich|mein\w*|mich|mir|wir|unser\w*|je|j['’]\w+|mon|ma|mes|moi|nous|notre|nos|yo|mis?|conmigo|"
    r"nosotr[oa]s|nuestr[oa]s?|eu|meus?|minhas?|noss[oa]s?|io|mi[oa]|miei|mie|noi|nostr[oa]|ik|mijn|"
    r"wij|ons|onze|jag|jeg|mig|meg|min|mitt|mina|mine|vi|vår\w*|minä|minu\w*|olen|meidän|"
    r"ja|mnie|mój|moj\w*|jestem|nasz\w*|já|můj|jsem|én|nekem|vagyok|ben|benim|bana|eu|sunt|"
    r"я|мой|моя|моё|мои|моего|моей|мне|меня|мы|наш\w*|εγώ|μου|είμαι|אני|שלי|أنا|مैं|मैं|मेर\w+|मुझे)"
    r"(?!\w)|[我俺僕]|私|わたし|ぼく|(?:나|저|제|내)(?:는|가|의|를|도)?(?!\w)|ฉัน|ผม|من",
    re.IGNORECASE,
)
_OWN_SHARE = 5
"""One sentence in so many says "I" in what somebody tells of themselves."""

_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.!?\n]{0,30}\b(?:previous|prior|earlier|above|"
    r"preceding|all|your|system)\b[^.!?\n]{0,20}\b(?:instructions?|prompts?|rules|guidelines)\b|"
    r"\b(?:remember|note|memori[sz]e|store|save|record|learn|add|update|write|know)\b[^.!?\n]{0,60}"
    r"\bthe\s+user(?:['’]s)?\b(?!\s*(?:manual|guide|interface|name|group|account|experience|id)\b)|"
    r"\b(?:save|store|add|write|commit)\b[^.!?\n]{0,30}\b(?:to|in|into)\s+(?:your\s+|the\s+)?"
    r"(?:long-?term\s+)?memory\b|"
    r"<\|[^|\n]{1,30}\|>|\[/?INST\]|^[^\S\n]*(?:system|assistant|tool)[^\S\n]*:",
    re.IGNORECASE | re.MULTILINE,
)


def find_pasted(text: str, longest: int) -> Iterator[Found]:
    """What in a user's turn is somebody else's text.

    Args:
        text: The turn.
        longest: Characters of a turn beyond which its paragraphs are looked at one by one.
    """
    for pattern in (_FENCED, _QUOTED, _MARKUP, _FORWARDED):
        for match in pattern.finditer(text):
            yield Found(*match.span(), "pasted text")
    for pattern in _ANNOUNCED:
        if announced := pattern.search(text):
            yield Found(*announced.span("pasted"), "pasted text")
    if len(text) > longest:
        for paragraph in re.finditer(r"[^\n]+", text):
            if not _is_own(paragraph.group()):
                yield Found(*paragraph.span(), "pasted text")


def _is_own(paragraph: str) -> bool:
    """Whether enough of its sentences say "I"."""
    said = [paragraph[start:end] for start, end in sentences(paragraph)]
    own = sum(bool(_FIRST_PERSON.search(sentence)) for sentence in said)
    return own * _OWN_SHARE >= len(said)


def find_instructions(text: str) -> Iterator[Found]:
    """Lines that tell a model what to hold of "the user", or to drop its instructions.

    Nobody speaks so of themselves; who does is a page, a tool or a document.
    """
    for match in _INSTRUCTION.finditer(text):
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.end())
        yield Found(start, end if end >= 0 else len(text), "instruction")
