"""A fact that a later chat changes: what was asked about it is answered anew.

The adapter has learned the old fact, and replay would go on teaching it. So in the session that
changes it everything that was asked about it is asked again, with both behind it, what is true now
first: "The bakery is now closed on Wednesdays. Earlier: Your bakery is closed on Mondays." And of
all answers that a question was ever given only the latest is replayed. What joins the two, and the
questions that are asked beyond those of the chats, is English in any language.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from plum_langchain.questions.lexicon import VALUE_LISTS
from plum_langchain.questions.text import alike, content_words, listed, normalised, words_of
from plum_langchain.session import EARLIER, Question, Update

_IS_ABOUT = 0.6
"""Share of the words of one text that another must have to speak of the same."""

# Words that tell whether a question asks for what was; see `of_earlier_days`.
_TELLING = frozenset(
    listed("tell told say said mention mentioned speak spoken talk talked discuss discussed")
)
_ASKING_WORDS = frozenset(listed("what which who whom whose when where why how"))
_PAST_VERBS = frozenset(listed("was were had did wasn't weren't hadn't didn't"))
_MARKS_EARLIER = frozenset(listed("originally original initially earlier formerly"))

_ASKING = ("Is it true: {}?", "Is this still so: {}?", "What about this: {}?")
"""In these the old fact itself is asked about, however it was asked about before."""


def latest(learned_before: Mapping[int, Sequence[Question]]) -> dict[int, list[Question]]:
    """Without the questions that a session learned later answers anew.

    Args:
        learned_before: Of each session by its key, in the order they were learned.
    """
    found: dict[int, list[Question]] = {}
    answered: set[str] = set()
    for key in reversed(list(learned_before)):
        own = learned_before[key]
        found[key] = [q for q in own if normalised(q.question) not in answered]
        answered.update(normalised(q.question) for q in own)
    return dict(reversed(found.items()))


def corrected(
    updates: Iterable[Update], own: Sequence[Question], before: Iterable[Question]
) -> list[Question]:
    """A session's questions, with what was asked before about facts that it changes.

    A question of today ("Is the bakery closed on Mondays?") goes by what is true now, one of
    earlier days ("Was it closed on Mondays at first?") by what was true then. More of them are
    answered No than Yes, and they come on top of `QuestionSettings.max_questions`.

    Args:
        updates: What changed, in this order.
        own: The questions of the session that changes it: of their statements the one that speaks
            of the change is what is true now, and where none does the update's own words.
        before: The questions of earlier sessions, each with its latest answer.

    Returns:
        Its own in their order, those about a change with what was true before behind them as well;
        then those of earlier sessions.
    """
    questions = list(own)
    asked = {normalised(question.question) for question in own}
    known = {
        normalised(q.question): q
        for q in before
        if q.statement and normalised(q.question) not in asked
    }
    again: dict[str, Question] = {}
    for update in updates:
        change = _Change(update, own)
        touched = {text: q for text, q in {**known, **again}.items() if change.concerns(q)}
        told = change.told(max(touched.values(), key=change.nearness, default=None))
        again |= {text: change.answered(question) for text, question in touched.items()}
        for form in _ASKING:
            denied = Question(form.format(update.old.rstrip(".")), "No", "no_same_slot", (), told)
            again[normalised(denied.question)] = denied
        questions = [
            replace(q, statement=told) if _now_of(q) == change.now else q for q in questions
        ]
    return [*questions, *(replace(question, again=True) for question in again.values())]


class _Change:
    """What one update takes away, what it puts there, and the statement that says so."""

    def __init__(self, update: Update, own: Sequence[Question]) -> None:
        self._update = update
        self._old, self._new = content_words(update.old), content_words(update.new)
        gone = [word for word in self._old if not _among(word, self._new)]
        self._come = [word for word in self._new if not _among(word, self._old)]
        # A date for a date, a name for a name; the rest may be said in other words by accident.
        # Where the new tells all words of the old ("... is no longer ..."), each of them is gone.
        kinds = {_kind(word) for word in self._come}
        self._gone = [word for word in gone if _kind(word) in kinds] or gone or self._old
        self.now = _spoken_of([*self._new, *self._come], own) or _sentence(update.new)

    def concerns(self, question: Question) -> bool:
        """Whether the fact behind it is the one that changed."""
        said = content_words(_now_of(question))
        return _held(self._old, said) and any(_among(word, said) for word in self._gone)

    def nearness(self, question: Question) -> int:
        """How many of the old fact's words the one behind it has."""
        said = content_words(_now_of(question))
        return sum(_among(word, said) for word in self._old)

    def told(self, question: Question | None) -> str:
        """What is true now, with what this question was first answered by."""
        if question is None or question.statement is None:
            return self.now
        return f"{self.now}{EARLIER}{question.statement.rpartition(EARLIER)[2]}"

    def answered(self, question: Question) -> Question:
        """The question with the answer it has now, and the fact with what it was."""
        now = replace(question, evidence=(), statement=self.told(question))
        if of_earlier_days(question.question):
            return now
        if question.kind == "open":
            asked = any(_among(word, words_of(question.answer)) for word in self._gone)
            return replace(now, answer=self._update.new) if asked else now
        asks = content_words(question.question)
        if question.kind == "yes" and self._says_old(asks):
            return replace(now, kind="no_same_slot", answer="No")
        if question.kind == "no_same_slot" and self._says_new(asks):
            return replace(now, kind="yes", answer="Yes")
        return now

    def _says_old(self, asks: Sequence[str]) -> bool:
        if self._gone is self._old:
            return _held(self._old, asks)
        return any(_among(word, asks) for word in self._gone)

    def _says_new(self, asks: Sequence[str]) -> bool:
        return bool(self._come) and all(_among(word, asks) for word in self._come)


def of_earlier_days(question: str) -> bool:
    """Whether a question asks for what was ("Was it closed on Mondays?", "... at first?").

    "Did I tell you that it is closed?" is of today, as far as what was told goes.
    """
    words = words_of(question)
    if words[:1] in (["did"], ["have"]) and not _TELLING.isdisjoint(words[2:3]):
        words = words[3:]
    beginning = words[:4] if words[:1] and words[0] in _ASKING_WORDS else words[:1]
    text = f" {' '.join(words)} "
    return (
        not _PAST_VERBS.isdisjoint(beginning)
        or not _MARKS_EARLIER.isdisjoint(words)
        or any(f" {phrase} " in text for phrase in ("at first", "used to", "use to"))
        or words[-1:] == ["before"]
    )


def _now_of(question: Question) -> str:
    return (question.statement or "").partition(EARLIER)[0]


def _kind(word: str) -> object:
    """What a value is of: the first list that has it, a number, or anything else."""
    if word[0].isdigit():
        return "number"
    for place, values in enumerate(VALUE_LISTS):
        if any(alike(word, value.casefold()) for value in values):
            return place
    return "other"


def _spoken_of(new: Sequence[str], questions: Sequence[Question]) -> str | None:
    """The statement that has most words of what is new, if it has most of them."""
    statements = dict.fromkeys(q.statement for q in questions if q.statement)
    said = {statement: content_words(statement) for statement in statements}
    best = max(said, key=lambda one: sum(_among(word, said[one]) for word in new), default=None)
    return best if best is not None and new and _held(new, said[best]) else None


def _held(words: Sequence[str], said: Sequence[str]) -> bool:
    return sum(_among(word, said) for word in words) >= _IS_ABOUT * len(words)


def _among(word: str, others: Iterable[str]) -> bool:
    return any(alike(word, other) for other in others)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
