"""Which turns of a user's chats speak of a subject: what is shown before it is forgotten."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from plum_langchain.journal import Journal
from plum_langchain.questions.text import alike, content_words
from plum_langchain.screening.spans import sentences
from plum_langchain.session import Role, Session, SessionState

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_NEAR = 0.35
"""Cosine similarity from which a sentence speaks of the subject. Measured: docs/experiments.md,
"Turns about a subject"."""


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
    turn that says no more than "Ida.").

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
    words = content_words(about)
    subject = embeddings.embed_query(about)
    texts = list(dict.fromkeys(text for _, text in parts))
    vectors = dict(zip(texts, embeddings.embed_documents(texts), strict=True))
    found: dict[tuple[str, int | None], Mention] = {}
    for one, text in parts:
        near = _cosine(subject, vectors[text])
        if near >= _NEAR or _has_all(words, content_words(text)):
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
    for fact in session.material.get("facts") or ():
        if isinstance(fact, Mapping) and isinstance(fact.get("statement"), str):
            statements[fact.get("turn"), fact["statement"]] = None
    for place, turn in enumerate(session.turns):
        if turn.content:
            one = replace(whole, turn=place, role=turn.role, text=turn.content)
            yield from ((one, turn.content[a:b]) for a, b in sentences(turn.content))
            yield from ((one, text) for at, text in statements if at == place)
    if session.kept != "transcript":
        yield from ((replace(whole, text=text), text) for at, text in statements if at is None)


def _has_all(words: list[str], others: list[str]) -> bool:
    return bool(words) and all(any(alike(word, other) for other in others) for word in words)


def _cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = sum(a * a for a in one) * sum(b * b for b in other)
    return product / lengths**0.5 if lengths else 0.0
