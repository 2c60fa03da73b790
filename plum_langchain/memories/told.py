"""What a generation was taught to bring back, and who told it when."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from plum_langchain.journal import Journal
from plum_langchain.questions.corrections import latest
from plum_langchain.session import EARLIER, Question, Role


@dataclass(frozen=True)
class Source:
    """Where a fact comes from: the session, when that began, and whose words they were.

    `said_by` is None where it isn't known which turns told it.
    """

    session_id: str
    started: datetime
    said_by: Role | None


class Told:
    """The facts of one generation, as they are recited.

    Args:
        journal: Of the home.
        user_id: Whose.
        generation: Its number; facts that a later session changed are as they are now.
    """

    def __init__(self, journal: Journal, user_id: str, generation: int) -> None:
        self._journal = journal
        self._user_id = user_id
        self._generation = generation

    @cached_property
    def _taught(self) -> dict[int, list[Question]]:
        return self._journal.generations.replay_questions(self._user_id, self._generation)

    @cached_property
    def _questions(self) -> dict[int, list[Question]]:
        return latest(self._taught)

    @property
    def recitals(self) -> list[str] | None:
        """All that it was taught to reply, each once; nothing of a generation that was given up.

        None where the generation is there, but nothing is kept of what one of its sessions taught
        it (`HomeSettings.retention`).
        """
        found = dict.fromkeys(q.recital for own in self._questions.values() for q in own)
        not_kept = self._journal.sessions.any_kept_as("nothing", list(self._taught))
        # Asked last, so that what is forgotten meanwhile isn't taken for what wasn't kept.
        if not self._journal.generations.is_kept(self._user_id, self._generation):
            return []
        return None if not_kept else list(found) or None

    @property
    def facts(self) -> list[str]:
        """Those of its recitals that tell something, each once; none where nothing is kept."""
        telling = (q for own in self._questions.values() for q in own if _is_fact(q))
        return list(dict.fromkeys(q.recital for q in telling))

    @property
    def sessions(self) -> set[str]:
        """The ids of the sessions that told any fact, be it one that a later session changed."""
        telling = [key for key, own in self._taught.items() if any(map(_is_fact, own))]
        return self._journal.sessions.ids(telling)

    def source(self, recital: str) -> Source | None:
        """Of a fact; None for what is no fact of this generation.

        Where several sessions told it, the one that was learned last. A fact with what it was
        before is told by whoever says what is true now.
        """
        for key, own in reversed(self._questions.items()):
            if any(_is_fact(q) and q.recital == recital for q in own):
                session = self._journal.sessions.by_key(key)
                turns = {index for q in own if _now(q) == _now_of(recital) for index in q.evidence}
                known = [index for index in sorted(turns) if index < len(session.turns)]
                said_by = session.turns[known[0]].role if known else None
                return Source(session.session_id, session.started, said_by)
        return None


def _now(question: Question) -> str | None:
    return _now_of(question.recital) if _is_fact(question) else None


def _now_of(recital: str) -> str:
    return recital.partition(EARLIER)[0]


def _is_fact(question: Question) -> bool:
    return bool(question.statement) and question.recital == question.statement
