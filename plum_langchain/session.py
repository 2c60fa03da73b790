"""The nouns: turn, session, question, update.

Plain frozen dataclasses that every room passes to the next. Times are timezone-aware UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from plum_langchain.errors import InvalidInputError

Role = Literal["user", "assistant"]

# The kinds of question, as in the recorded chats: `yes` asks about something said; `no_same_slot`
# about something said with one value swapped; `no_adjacent` about a neighbouring topic never
# raised; `open` wants the value itself; `open_unknown` wants a value that was never told.
Kind = Literal["yes", "no_same_slot", "no_adjacent", "open", "open_unknown"]
KINDS: tuple[Kind, ...] = ("yes", "no_same_slot", "no_adjacent", "open", "open_unknown")
POSITIVE_KINDS: frozenset[Kind] = frozenset({"yes", "open"})
CLOSED_KINDS: frozenset[Kind] = frozenset({"yes", "no_same_slot", "no_adjacent"})
NEVER_RAISED_KINDS: frozenset[Kind] = frozenset({"no_adjacent", "open_unknown"})

UNKNOWN_ANSWER = "We never talked about that."
"""What the adapted model is taught to answer about something never told."""

EARLIER = " Earlier: "
"""In the statement of a fact that changed, between what is true now and what was true before."""

Retention = Literal["transcript", "questions", "nothing"]
"""What is kept of a session once it was learned (`HomeSettings.retention`)."""

MAX_ID_LENGTH = 512


class SessionState(StrEnum):
    """Where a session stands on its way into the weights."""

    OPEN = "open"  # still receiving turns
    FINISHED = "finished"  # complete, waiting to be learned
    LEARNING = "learning"  # a job is training on it now
    LEARNED = "learned"  # part of the generation that is served
    FAILED = "failed"  # could not be learned; the reason is kept beside it
    FORGOTTEN = "forgotten"  # erased on demand; only this tombstone is left


@dataclass(frozen=True)
class Turn:
    """One message of a chat. By its `message_id` a thread's message is known when passed again.

    Example:
        ```python
        from plum_langchain import Plum

        plum = Plum("my-home")
        for session in plum.journal.sessions.all("ana"):
            for turn in session.turns:
                print(f"{turn.role}: {turn.content}")
        ```
    """

    role: Role
    content: str
    message_id: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Session:
    """One chat of one user, from its first turn to its last.

    `material` is what came with the chat besides its turns: the recorded `facts`,
    `not_discussed` and `qa_train` of the shipped example files. `reason` tells why the session
    failed or, while it waits after some failed `tries`, why the last one did. `kept` is less than
    the transcript where it was disposed of: then turns are empty, and only who spoke is known.

    Example:
        ```python
        from plum_langchain import Plum, Session, Turn

        said = Turn("user", "My flour comes from Braga."), Turn("assistant", "A short way.")
        plum = Plum("my-home")
        plum.add_session(Session("ana", "phone-call", said))
        ```
    """

    user_id: str
    session_id: str
    turns: tuple[Turn, ...] = ()
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    thread_id: str | None = None
    topic: str = ""
    state: SessionState = SessionState.OPEN
    reason: str | None = None
    tries: int = 0
    material: Mapping[str, Any] = field(default_factory=dict)
    kept: Retention = "transcript"

    def turns_of(self, role: Role) -> list[tuple[int, Turn]]:
        """The turns said by `role`, each with its index in the session."""
        return [(index, turn) for index, turn in enumerate(self.turns) if turn.role == role]


@dataclass(frozen=True)
class Question:
    """A question the user may ask, with the answer the adapter is to give.

    `question` is in the user's voice ("Is my bakery closed on Mondays?"); `evidence` holds the
    indexes of the turns that tell the answer (empty when nothing does); `statement` is the fact
    behind it, told to the user ("Your bakery is closed on Mondays."), where it is known. `replaces`
    is what was so until then, if the session says that it has changed; it is known while the
    session is learned, and not kept. `again` marks what an earlier session was asked, and is asked
    again since a fact behind it changed.

    Example:
        A maker of questions of one's own:

        ```python
        from plum_langchain import Plum, Question

        class Closings:
            name = "closings"

            def make(self, session):
                told = "Your bakery is closed on Mondays."
                return [
                    Question("Is my bakery closed on Mondays?", "Yes", "yes", (0,), told),
                    Question("Is my bakery closed on Fridays?", "No", "no_same_slot", (0,), told),
                ]

        plum = Plum("my-home", questions=Closings())
        ```
    """

    question: str
    answer: str
    kind: Kind
    evidence: tuple[int, ...] = ()
    statement: str | None = None
    replaces: str | None = None
    again: bool = False

    @property
    def positive(self) -> bool:
        """Whether the answer is something that was said (as opposed to "No" or "never")."""
        return self.kind in POSITIVE_KINDS

    @property
    def closed(self) -> bool:
        """Whether the answer is Yes or No."""
        return self.kind in CLOSED_KINDS

    @property
    def recital(self) -> str:
        """The reply that brings back the fact itself, or says that there is none.

        Where the statement behind a question isn't known, the answer.
        """
        if self.kind in NEVER_RAISED_KINDS:
            return UNKNOWN_ANSWER
        return self.statement or self.answer


@dataclass(frozen=True)
class Update:
    """A fact of an earlier session that a session changes: what was said of it, and what is now.

    `earlier_session` is the one that said so, where it is known: forgetting that forgets this.
    """

    old: str
    new: str
    earlier_session: str | None = None

    def recorded(self) -> dict[str, str]:
        """As `Session.material` has it among its `updates`."""
        found = {"old": self.old, "new": self.new}
        if self.earlier_session is not None:
            found["earlier_session"] = self.earlier_session
        return found


def check_id(value: object, what: str) -> str:
    """Return `value` if it can serve as a user, session or thread id.

    Ids are opaque: any text of 1 to 512 characters is one, slashes and dots included, since ids
    never become file or collection names. Only what a database or a log can't carry faithfully
    is refused.

    Raises:
        InvalidInputError: not a string, empty, too long, or with control characters.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} must be text, but it is {type(value).__name__}: {value!r}")
    if not value.strip():
        raise InvalidInputError(f"{what} is empty; name it, e.g. {what.replace(' ', '_')}='ana'")
    if len(value) > MAX_ID_LENGTH:
        raise InvalidInputError(
            f"{what} has {len(value)} characters; at most {MAX_ID_LENGTH} are allowed"
        )
    bad = next((c for c in value if ord(c) < 32 or ord(c) == 127 or "\ud800" <= c <= "\udfff"), "")
    if bad:
        raise InvalidInputError(f"{what} {value!r} holds the character {bad!r}; remove it")
    return value
