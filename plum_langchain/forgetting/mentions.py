"""Which turns of a user's chats speak of a subject: what is shown before it is forgotten."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from plum_langchain.journal import Journal
from plum_langchain.questions.text import alike, content_words
from plum_langchain.session import Role, Session, SessionState

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

_NEAR = 0.35
"""Cosine similarity from which a sentence speaks of the subject. Measured: docs/experiments.md,
"Turns about a subject"."""

_SENTENCE = re.compile(r"(?<=[.!?…。！？])\s+|\n+")


@dataclass(frozen=True)
class Mention:
    """A turn that speaks of a subject.

    Attributes:
        session_id: Of which session.
        turn: Its position in it; None where the transcript isn't kept, but what was learned from
            it speaks of the subject: then it is the whole session.
        role: Who said it; None for a whole session.
        text: What was said.
        started: When the session began.
        similarity: Of its nearest sentence to the subject, at most 1.
    """

    session_id: str
    turn: int | None
    role: Role | None
    text: str
    started: datetime
    similarity: float


def find_mentions(
    journal: Journal, embeddings: "Embeddings", user_id: str, about: str
) -> list[Mention]:
    """What of a user's chats speaks of a subject, in the order it was said.

    A turn speaks of it if one of its sentences means much the same, or has all words of the subject
    that carry meaning.

    Args:
        journal: Of the home.
        embeddings: Of any LangChain kind.
        user_id: Whose chats.
        about: A subject or a sentence, in free text.
    """
    parts: list[tuple[Mention, str]] = []
    for session in journal.sessions.all(user_id):
        if session.state != SessionState.FORGOTTEN:
            told = _told(journal, session)
            parts += [(one, part) for one in told for part in _sentences(one.text)]
    if not parts:
        return []
    words = content_words(about)
    subject = embeddings.embed_query(about)
    vectors = embeddings.embed_documents([part for _, part in parts])
    found: dict[tuple[str, int | None], Mention] = {}
    for (one, part), vector in zip(parts, vectors, strict=True):
        near = _cosine(subject, vector)
        if near >= _NEAR or _has_all(words, content_words(part)):
            key = one.session_id, one.turn
            before = found.get(key)
            if before is None or before.similarity < near:
                found[key] = Mention(
                    one.session_id, one.turn, one.role, one.text, one.started, min(1.0, near)
                )
    return list(found.values())


def _told(journal: Journal, session: Session) -> Iterable[Mention]:
    """What of a session can be looked through, each with no similarity yet."""
    name, started = session.session_id, session.started
    if session.kept == "transcript":
        for place, turn in enumerate(session.turns):
            if turn.content:
                yield Mention(name, place, turn.role, turn.content, started, 0.0)
        return
    statements = dict.fromkeys(
        question.statement
        for question in journal.generations.questions_kept(session.user_id, name)
        if question.statement and not question.again
    )
    for statement in statements:
        yield Mention(name, None, None, statement, started, 0.0)


def _sentences(text: str) -> list[str]:
    return [part for part in _SENTENCE.split(text) if part.strip()]


def _has_all(words: list[str], others: list[str]) -> bool:
    return bool(words) and all(any(alike(word, other) for other in others) for word in words)


def _cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = sum(a * a for a in one) * sum(b * b for b in other)
    return product / lengths**0.5 if lengths else 0.0
