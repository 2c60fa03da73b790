"""What is to be forgotten, what quotes it elsewhere, and what of it is told while it is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from plum_langchain.errors import InvalidInputError, MissingKeyError, UnknownSessionError
from plum_langchain.forgetting.echoes import find_echoes, find_updates
from plum_langchain.forgetting.mentions import Mention
from plum_langchain.journal import Journal
from plum_langchain.session import Question, SessionState


@dataclass(frozen=True)
class Doomed:
    """What is to be forgotten.

    Attributes:
        sessions: Those that go whole; None for all the user has.
        turns: Of others, the positions of turns.
        updates: Of others, the positions in `material["updates"]` of what quotes the doomed.
    """

    sessions: tuple[str, ...] | None = ()
    turns: Mapping[str, tuple[int, ...]] | None = None
    updates: Mapping[str, tuple[int, ...]] | None = None

    @classmethod
    def of_mentions(cls, journal: Journal, user_id: str, mentions: Sequence[Mention]) -> "Doomed":
        """The turns that were found, and the sessions of which there is no transcript.

        What only tells others of them again is left out: it goes with those by itself.

        Raises:
            InvalidInputError: they are another user's, or not what is there any more.
        """
        for one in mentions:
            stale = one.user_id != user_id
            if not stale and one.turn is not None:
                turns = journal.sessions.get(user_id, one.session_id).turns
                stale = one.turn >= len(turns) or turns[one.turn].content != one.text
            if stale:
                raise InvalidInputError(
                    f"what was found in session {one.session_id!r} is not there of user "
                    f"{user_id!r}, or not any more; nothing was forgotten. Look for it again with "
                    "plum.mentions()"
                )
        mentions = [one for one in mentions if not one.again] or mentions
        whole = tuple(dict.fromkeys(m.session_id for m in mentions if m.turn is None))
        found: dict[str, tuple[int, ...]] = {}
        for one in mentions:
            if one.turn is not None and one.session_id not in whole:
                found[one.session_id] = (*found.get(one.session_id, ()), one.turn)
        return cls(whole, found)

    def has(self, session_id: str) -> bool:
        """Whether the session goes whole."""
        return self.sessions is None or session_id in self.sessions

    def named(self) -> list[str]:
        """The sessions that it was told in, as far as they are named."""
        return [*(self.sessions or ()), *(self.turns or {})]

    def is_nothing(self) -> bool:
        """Whether nothing is to be forgotten."""
        return self.sessions == () and not self.turns


@dataclass(frozen=True)
class Told:
    """What of the doomed is in memory while it is forgotten, and nowhere else afterwards.

    Attributes:
        texts: Whatever is about to be erased.
        said: Of that, what the user said, and the statements that were made of it.
        questions: What was learned of it.
    """

    texts: tuple[str, ...]
    said: tuple[str, ...]
    questions: tuple[Question, ...]


def told_of(journal: Journal, user_id: str, doomed: Doomed) -> Told:
    """What is about to be erased; of one whose key is lost nothing can be told."""
    texts: list[str] = []
    said: list[str] = []
    asked: list[Question] = []
    parts, quoting = doomed.turns or {}, doomed.updates or {}
    try:
        sessions = journal.sessions.all(user_id)
    except MissingKeyError:
        if doomed.sessions is not None:
            raise
        sessions = []
    for session in sessions:
        name = session.session_id
        for place in quoting.get(name, ()):
            texts.append(str(session.material["updates"][place].get("old", "")))
        whole = doomed.has(name)
        if session.state == SessionState.FORGOTTEN or not (whole or name in parts):
            continue
        at = list(range(len(session.turns)) if whole else parts[name])
        turns = [session.turns[i] for i in at if 0 <= i < len(session.turns)]
        questions = journal.generations.questions_kept(user_id, name)
        if not whole:
            questions = [q for q in questions if q.evidence and set(q.evidence) <= set(at)]
        statements = [q.statement for q in questions if q.statement]
        texts += [*(turn.content for turn in turns), *statements]
        said += [*(turn.content for turn in turns if turn.role == "user"), *statements]
        asked += questions
    return Told(tuple(texts), tuple(said), tuple(asked))


def mentions_of(journal: Journal, user_id: str, session_id: str) -> list[Mention]:
    """A session's turns, or the whole of one whose transcript isn't kept.

    Raises:
        UnknownUserError, UnknownSessionError: it isn't there, or was forgotten.
    """
    session = journal.sessions.get(user_id, session_id)
    if session.state == SessionState.FORGOTTEN:
        raise UnknownSessionError(f"user {user_id!r} has no session {session_id!r} to forget")
    turns = [
        Mention(user_id, session_id, place, turn.role, turn.content, session.started, 0.0)
        for place, turn in enumerate(session.turns)
        if turn.content and session.kept == "transcript"
    ]
    return turns or [Mention(user_id, session_id, None, None, "", session.started, 0.0)]


def told_again(journal: Journal, user_id: str, doomed: Doomed) -> list[Mention]:
    """The turns in which an assistant tells the doomed again, and which go with it."""
    wider = _with_what_quotes_it(journal, user_id, doomed)
    found = []
    for name, places in (wider.turns or {}).items():
        session = journal.sessions.get(user_id, name)
        for at in sorted({*places} - {*(doomed.turns or {}).get(name, ())}):
            role, text = session.turns[at].role, session.turns[at].content
            found.append(Mention(user_id, name, at, role, text, session.started, 0.0, again=True))
    return found


def with_what_goes_along(journal: Journal, user_id: str, doomed: Doomed) -> Doomed:
    """The doomed, with what quotes it, and the whole of sessions in which no user speaks then."""
    wider = _with_what_quotes_it(journal, user_id, doomed)
    turns = dict(wider.turns or {})
    emptied = [
        name
        for name, at in turns.items()
        if all(
            place in at or not turn.content
            for place, turn in journal.sessions.get(user_id, name).turns_of("user")
        )
    ]
    if not emptied:
        return wider
    return replace(
        wider,
        sessions=(*(wider.sessions or ()), *emptied),
        turns={name: at for name, at in turns.items() if name not in emptied},
    )


def _with_what_quotes_it(journal: Journal, user_id: str, doomed: Doomed) -> Doomed:
    """The doomed, with turns in which an assistant tells it again, and updates that quote it."""
    if doomed.sessions is None:
        return doomed
    there = journal.sessions.all(user_id)
    named = set(doomed.named())
    others = [
        one
        for one in there
        if one.state != SessionState.FORGOTTEN and not doomed.has(one.session_id)
    ]
    said = told_of(journal, user_id, doomed).said
    told = [one for one in there if one.session_id in named]
    times = [turn.at for one in told for turn in one.turns if turn.at is not None]
    since = min([*(one.started for one in told), *times])
    turns = dict(doomed.turns or {})
    for name, at in find_echoes(said, others, turns, since).items():
        turns[name] = tuple(sorted({*turns.get(name, ()), *at}))
    return replace(doomed, turns=turns, updates=find_updates(said, others, named))
