"""What a session is learned from: its own questions, screened and fitted, and those replayed."""

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from plum_langchain.errors import QuestionError, QuestionTooLongError
from plum_langchain.learning import Encoder
from plum_langchain.questions.balance import Chooser, balance
from plum_langchain.questions.corrections import corrected, latest
from plum_langchain.questions.maker import QuestionMaker, StoppableMaker
from plum_langchain.questions.raised import Heard
from plum_langchain.questions.recorded import recorded_updates
from plum_langchain.screening import screen, told
from plum_langchain.session import EARLIER, NEVER_RAISED_KINDS, Question, Session, Update
from plum_langchain.settings import QuestionSettings

logger = logging.getLogger(__name__)

_THIS = -1
"""Stands for the session at hand; no session has it as its key."""

_MAX_REPLAY = 600
"""Questions of earlier sessions considered for replay in one session; a bound, so that a session's
training doesn't grow with those before it."""

_SHARE_NEVER_RAISED = 0.15
"""Of what is replayed, those about what was never raised, if facts are recited: their one answer is
soon known. Bare answers are replayed in the balance that they were learned in. Measured:
docs/experiments.md, "What is replayed"."""


@dataclass(frozen=True)
class Made:
    """What is made of a session before it is learned.

    Attributes:
        questions: The maker's, without those that would bring back what was left out, and those
            that ask as never raised for what earlier sessions told.
        updates: What came with the session of facts that it changes; likewise.
        left_out: How many sentences the maker wasn't shown, by why (`plum_langchain.screening`).
    """

    questions: list[Question]
    updates: list[Update]
    left_out: Mapping[str, int] = field(default_factory=dict)


def make_questions(
    maker: QuestionMaker,
    session: Session,
    learned_before: Mapping[int, Sequence[Question]] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Made:
    """The maker's questions about what may be learned of a session.

    The session is screened as the maker's `settings` say (`QuestionSettings.screening`), or by
    default if it has none: what is left out it isn't shown. What holds it all the same, since it
    was recorded with the chat, is dropped, and the rest is balanced again if it was.

    Args:
        maker: Any.
        session: With its turns.
        learned_before: The questions of earlier sessions, by which it is known what an assistant
            only says again, and what isn't to be asked as if it was never told.
        should_stop: For a maker that can be stopped.

    Raises:
        StoppedError: `should_stop` returned True.
        QuestionError: the session gives none, or none that may be learned.
        TypeError: the maker returned something else.
        Exception: whatever the maker pleases.
    """
    updates = recorded_updates(session)  # before an LLM is paid for the rest
    settings = _settings_of(maker)
    before = _statements(learned_before or {})
    if settings.screening is None:
        asked = _asked(maker, session, should_stop)
        return Made(_without_told(asked, before, session, settings.seed), updates)
    screened = screen(session, settings.screening, before)
    name, left_out = session.session_id, told(screened.counts)
    if screened.left_out:
        logger.info("session %r: %s", name, left_out)
        if not any(turn.content.strip() for turn in screened.session.turns):
            raise QuestionError(f"session {name!r} holds nothing that may be learned: {left_out}")
    try:
        asked = _asked(maker, screened.session, should_stop)
    except QuestionError as error:
        if not screened.left_out:
            raise
        raise QuestionError(f"{error} ({left_out})") from error
    updates = [update for update in updates if screened.may_be_told(update.old, update.new)]
    allowed = [question for question in asked if screened.may_be_learned(question)]
    questions = _rest(allowed, asked, "hold what isn't learned", session, settings.seed)
    return Made(_without_told(questions, before, session, settings.seed), updates, screened.counts)


def _without_told(
    asked: list[Question], before: Sequence[str], session: Session, seed: int
) -> list[Question]:
    """Without what would be answered "We never talked about that." although an earlier chat did.

    A maker sees one chat, and what is near to it may well be in another. A kind of which nothing
    would be left to balance the rest with stays: better some wrong ones than no session.
    """
    heard = Heard(before)
    told = {
        question
        for question in asked
        if question.kind in NEVER_RAISED_KINDS and heard.telling(question.question)
    }
    left = {question.kind for question in asked if question not in told}
    kept = [q for q in asked if q not in told or q.kind not in left]
    return _rest(kept, asked, "ask for what earlier chats told as if it never was", session, seed)


def _rest(
    kept: list[Question], asked: Sequence[Question], why: str, session: Session, seed: int
) -> list[Question]:
    """What is kept of the questions, in balance again if they were.

    Raises:
        QuestionError: that is nothing, or too little to be balanced.
    """
    if len(kept) == len(asked):
        return kept
    name = session.session_id
    dropped = f"{len(asked) - len(kept)} of {len(asked)} questions {why}"
    logger.info("session %r: %s", name, dropped)
    kept = _balanced_again(kept, asked, f"session {name!r}: {dropped}", seed)
    if not kept:
        raise QuestionError(f"session {name!r} holds nothing that may be learned: {dropped}")
    return kept


def _balanced_again(
    kept: list[Question], asked: Sequence[Question], dropped: str, seed: int
) -> list[Question]:
    """What is kept of the questions, balanced if all of them were.

    Raises:
        QuestionError: it can't be; the message begins with why the others were dropped.
    """
    if not _balanced(asked):
        return kept
    try:
        return balance(kept, seed=seed)
    except QuestionError as error:
        raise QuestionError(f"{dropped}, and of the rest {error}") from error


def _asked(
    maker: QuestionMaker, session: Session, should_stop: Callable[[], bool] | None
) -> list[Question]:
    if isinstance(maker, StoppableMaker):
        questions = list(maker.make(session, should_stop=should_stop))
    else:
        questions = list(maker.make(session))
    for question in questions:
        if not isinstance(question, Question):
            raise TypeError(
                f"the question maker {maker.name!r} returned a {type(question).__name__} where a "
                "plum_langchain.Question is needed; mend its make()"
            )
    return questions


def _settings_of(maker: QuestionMaker) -> QuestionSettings:
    """A maker's own settings, or the defaults; it needs none."""
    settings = getattr(maker, "settings", None)
    return settings if isinstance(settings, QuestionSettings) else QuestionSettings()


def _statements(learned_before: Mapping[int, Sequence[Question]]) -> list[str]:
    """What earlier sessions told: of a fact that changed, what was so before as well."""
    questions = (question for own in learned_before.values() for question in own)
    statements = dict.fromkeys(q.statement for q in questions if q.statement)
    return [part for statement in statements for part in statement.split(EARLIER)]


def fit_questions(questions: Sequence[Question], encoder: Encoder, *, seed: int) -> list[Question]:
    """The questions that are short enough to be trained on, in balance again if they were.

    One that is too long costs its own place and a counterpart's, not the whole session.

    Raises:
        QuestionError: too few are left to be balanced.
    """
    kept = _short_enough(questions, encoder)
    if len(kept) == len(questions):
        return kept
    too_long = (
        f"{len(questions) - len(kept)} of {len(questions)} questions take more than "
        f"{encoder.max_tokens} tokens (max_sample_tokens)"
    )
    kept = _balanced_again(kept, questions, too_long, seed)
    if not kept:
        raise QuestionError(f"{too_long}; raise it, or ask shorter ones")
    logger.warning("%s; the session is learned from %d others", too_long, len(kept))
    return kept


def _balanced(questions: Sequence[Question]) -> bool:
    """As a maker of this package leaves them; another's may have its own idea."""
    closed = [question.positive for question in questions if question.closed]
    return sum(question.positive for question in questions) * 2 == len(questions) and any(closed)


def correct(
    updates: Sequence[Update],
    questions: Sequence[Question],
    learned_before: Mapping[int, Sequence[Question]],
    encoder: Encoder,
) -> list[Question]:
    """The questions, and with them what was asked before about facts that the session changes.

    What it changes is what came with it (`updates`), and what the maker found (`replaces`). Where
    what is true now is too long with what was true before, it stands alone; a question that is too
    long all the same is left out.
    """
    earlier = [q for own in latest(learned_before).values() for q in own]
    found: list[Question] = []
    for question in corrected([*updates, *noted_updates(questions)], questions, earlier):
        now = (question.statement or "").partition(EARLIER)[0] or None
        found += _short_enough([question], encoder) or _short_enough(
            [replace(question, statement=now)], encoder
        )
    return found


def noted_updates(questions: Sequence[Question]) -> list[Update]:
    """What a maker found that a session changes (`Question.replaces`)."""
    noted = (Update(q.replaces, q.statement) for q in questions if q.replaces and q.statement)
    return list(dict.fromkeys(noted))


def choose_replay(
    learned_before: Mapping[int, Sequence[Question]],
    questions: Sequence[Question],
    encoder: Encoder,
    *,
    seed: int,
) -> list[Question]:
    """A bounded, seeded choice among the questions of earlier sessions.

    It is spread evenly over the facts, however many questions each has: one of every fact (or of as
    many facts as there is room for), then another one of every fact, and so on. What a later
    session answers anew, or this one with its `questions`, is no longer among them. Of those chosen
    the few that ask as never raised for what a session after theirs told are left out.
    """
    *before, _ = latest({**learned_before, _THIS: questions}).values()
    everything = [question for own in before for question in own]
    told = [question for question in everything if question.kind not in NEVER_RAISED_KINDS]
    never = [question for question in everything if question.kind in NEVER_RAISED_KINDS]
    if not told:
        share = 1.0
        size = len(never)
    else:
        share = _SHARE_NEVER_RAISED if encoder.recite else len(never) / len(everything)
        size = round(len(told) / (1 - share))
    size = min(size, _MAX_REPLAY)
    of_never = min(len(never), round(share * size))
    of_told = min(len(told), size - of_never)
    chooser = Chooser(random.Random(seed))
    chosen = chooser.choose(told, of_told) + chooser.choose(never, of_never)
    told_since = _told_since({**learned_before, _THIS: questions}, chosen)
    return _short_enough([one for one in chosen if one not in told_since], encoder)


def _told_since(
    learned: Mapping[int, Sequence[Question]], questions: Iterable[Question]
) -> set[Question]:
    """Those asked as never raised, which a session after theirs told."""
    last_told = {
        statement: place
        for place, own in enumerate(learned.values())
        for statement in _statements({0: own})
    }
    asked_in = {question: place for place, own in enumerate(learned.values()) for question in own}
    heard = Heard(last_told)
    return {
        question
        for question in questions
        if question.kind in NEVER_RAISED_KINDS
        and any(last_told[one] > asked_in[question] for one in heard.telling(question.question))
    }


def _short_enough(questions: Iterable[Question], encoder: Encoder) -> list[Question]:
    kept = []
    for question in questions:
        try:
            encoder.encode_question(question)
        except QuestionTooLongError:
            continue
        kept.append(question)
    return kept
