"""Which turns of a user's chats speak of a subject: what is shown before it is forgotten."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from plum_langchain.journal import Journal
from plum_langchain.memories.embeddings import LocalEmbeddings
from plum_langchain.questions.english import mostly_latin
from plum_langchain.questions.text import content_words, has_words_of, words_of
from plum_langchain.screening.spans import sentences
from plum_langchain.session import Role, Session, SessionState

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_NEAR = 0.35
"""Cosine similarity from which a sentence speaks of the subject. Measured: docs/experiments.md,
"Turns about a subject". Beyond Latin script all-MiniLM-L6-v2 can't tell: there unrelated
sentences are as near."""


@dataclass(frozen=True)
class Mention:
    """A turn that speaks of a subject.

    Attributes:
        user_id: Whose.
        session_id: Of which session.
        turn: Its position in it; None where the transcript isn't kept, but what was learned from
            it speaks of the subject: then it is the whole session.
        role: Who said it; None for a whole session.
        text: What was said.
        started: When the session began.
        similarity: Of its nearest sentence to the subject, at most 1; 0 where it wasn't found by
            its subject.
        again: In this turn an assistant only tells again what was said in others that were found;
            if those are forgotten, it is too.
    """

    user_id: str
    session_id: str
    turn: int | None
    role: Role | None
    text: str
    started: datetime
    similarity: float
    again: bool = False


def find_mentions(
    journal: Journal, embeddings: "Embeddings", user_id: str, about: str
) -> list[Mention]:
    """What of a user's chats speaks of a subject, in the order it was said.

    A turn speaks of it if one of its sentences means much the same, or has all words of the subject
    that carry meaning; or if a statement does that was made of it ("Your heron is called Ida." of a
    turn that says no more than "Ida."). Beyond Latin script words alone count, unless the
    embeddings are others than the default ones, which can't tell there.

    Args:
        journal: Of the home.
        embeddings: Of any LangChain kind.
        user_id: Whose chats.
        about: A subject or a sentence, in free text.
    """
    parts: list[tuple[Mention, str]] = []
    for session in journal.sessions.all(user_id):
        if session.state != SessionState.FORGOTTEN:
            parts += _told(journal, session)
    if not parts:
        return []
    subject = embeddings.embed_query(about)
    reads = mostly_latin(about) or not isinstance(embeddings, LocalEmbeddings)
    texts = list(dict.fromkeys(text for _, text in parts))
    vectors = dict(zip(texts, embeddings.embed_documents(texts), strict=True))
    found: dict[tuple[str, int | None], Mention] = {}
    for one, text in parts:
        near = _cosine(subject, vectors[text])
        if (near >= _NEAR and reads) or _named(about, text):
            key = one.session_id, one.turn
            before = found.get(key)
            if before is None or before.similarity < near:
                found[key] = replace(one, similarity=min(1.0, near))
    order = {(one.session_id, one.turn): place for place, (one, _) in enumerate(parts)}
    return sorted(found.values(), key=lambda one: order[one.session_id, one.turn])


def _told(journal: Journal, session: Session) -> Iterator[tuple[Mention, str]]:
    """What of a session can be looked through: each turn, with each text that tells of it."""
    user_id, name = session.user_id, session.session_id
    whole = Mention(user_id, name, None, None, "", session.started, 0.0)
    statements: dict[tuple[int | None, str], None] = {}
    for question in journal.generations.questions_kept(user_id, name):
        if question.statement and not question.again:
            places = question.evidence if session.kept == "transcript" else (None,)
            statements.update({(place, question.statement): None for place in places})
    facts = session.material.get("facts")
    for fact in facts if isinstance(facts, list) else ():
        if isinstance(fact, Mapping) and isinstance(fact.get("statement"), str):
            place = fact.get("turn")
            statements[place if isinstance(place, int) else None, fact["statement"]] = None
    for place, turn in enumerate(session.turns):
        if turn.content:
            one = replace(whole, turn=place, role=turn.role, text=turn.content)
            yield from ((one, turn.content[a:b]) for a, b in sentences(turn.content))
            yield from ((one, text) for at, text in statements if at == place)
    if session.kept != "transcript":
        yield from ((replace(whole, text=text), text) for at, text in statements if at is None)


def _named(about: str, text: str) -> bool:
    """Whether a text has the subject's words, in any form."""
    words, said = content_words(about), words_of(text)
    if not words:
        return False
    endings = not mostly_latin(about) and all(
        any(_differ_in_ending(word, other) for other in said) for word in words
    )
    return endings or has_words_of(text, about)


def _differ_in_ending(one: str, other: str) -> bool:
    shared = max(4, len(one) - 3, len(other) - 3)
    return len(one) >= 4 and one[:shared] == other[:shared]


def _cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = sum(a * a for a in one) * sum(b * b for b in other)
    return product / lengths**0.5 if lengths else 0.0
