"""Question makers that change one thing about another maker's questions.

Whatever is changed, the rest stands as it was and where it was: the same positives in every
experiment on negatives, and as many negatives of each form. Where questions are only left out, as
for another balance, there are fewer to learn and so fewer steps; the table tells how many.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, tee, zip_longest

from plum_langchain import __version__
from plum_langchain.errors import QuestionError
from plum_langchain.evaluation.exam import Exam
from plum_langchain.evaluation.paper.experiments import QuestionChange
from plum_langchain.evaluation.paper.results import Record, Results, digest
from plum_langchain.questions.english import is_english
from plum_langchain.questions.maker import QuestionMaker
from plum_langchain.questions.names import Names
from plum_langchain.questions.negatives import open_unknown, swap_values, topics_never_raised
from plum_langchain.questions.raised import was_raised
from plum_langchain.questions.statements import topic_forms
from plum_langchain.questions.text import Said, normalised
from plum_langchain.session import UNKNOWN_ANSWER, Question, Session

Change = Callable[[Session, list[Question], random.Random], list[Question]]

_A_QUARTER_MORE = 1.25
"""Of one kind than of the other: PLUM's imbalance (arXiv 2411.13405)."""


class Once:
    """Another maker's questions, made once for each session.

    All experiments learn from the same questions then, even if an LLM makes them, and it is paid
    once: `keep_in` a file of results has them read there by the next process. That a session gives
    none is kept as well. None replaces what an earlier conversation told, as we read the paper.

    Args:
        maker: Makes them.
        made_with: What else they depend on, its settings above all.
    """

    def __init__(self, maker: QuestionMaker, made_with: object = None) -> None:
        self.name = maker.name
        self._maker = maker
        self._made_with = made_with
        self._made: dict[str, Record] = {}
        self._results: Results | None = None

    def keep_in(self, results: Results) -> None:
        """From now on take those of this file, and write there what it lacks."""
        self._results = results

    def make(self, session: Session) -> list[Question]:
        """The questions of `session`.

        Raises:
            QuestionError: as the maker raises it.
        """
        run = self._run(session)
        # What the file's results were learned from goes before what was made for another file.
        record = self._results.questions(run) if self._results is not None else None
        if record is None:
            record = self._made.get(run) or self._asked(run, session)
            if self._results is not None:
                self._results.add(record)
        self._made[run] = record
        if record["error"] is not None:
            raise QuestionError(record["error"])
        return [Question(**{**q, "evidence": tuple(q["evidence"])}) for q in record["made"]]

    def _run(self, session: Session) -> str:
        """What stands for the questions of this session, in any experiment."""
        return digest(
            "questions",
            __version__,
            self.name,
            self._made_with,
            session.user_id,
            session.session_id,
            [(turn.role, turn.content) for turn in session.turns],
            session.material,
        )

    def _asked(self, run: str, session: Session) -> Record:
        made: list[Question] = []
        error = None
        try:
            made = self._maker.make(session)
        except QuestionError as found:
            error = str(found)
        return {
            "kind": "questions",
            "run": run,
            "maker": self.name,
            "user": session.user_id,
            "session": session.session_id,
            "made": [asdict(replace(question, replaces=None)) for question in made],
            "error": error,
        }


class Rearranged:
    """The questions of the sessions that a session was put together from.

    Args:
        maker: Makes those of the original sessions.
        originals: By the user and the id of the session put together.
    """

    def __init__(
        self, maker: QuestionMaker, originals: Mapping[tuple[str, str], Sequence[Session]]
    ) -> None:
        self.name = maker.name
        self._maker = maker
        self._originals = originals

    def make(self, session: Session) -> list[Question]:
        """All questions of the originals; their turns are counted through.

        Raises:
            QuestionError: an original gives none.
        """
        made: list[Question] = []
        turns = 0
        for original in self._originals[session.user_id, session.session_id]:
            made += [
                replace(question, evidence=tuple(turns + turn for turn in question.evidence))
                for question in self._maker.make(original)
            ]
            turns += len(original.turns)
        return made


class Changed:
    """Another maker's questions with one thing about them changed.

    Args:
        maker: Makes them.
        change: Does it, with a generator of its own for each session.
        what: Is told beside the maker's name.
        seed: Of the generators.
    """

    def __init__(self, maker: QuestionMaker, change: Change, *, what: str, seed: int) -> None:
        self.name = f"{maker.name}, {what}"
        self._maker = maker
        self._change = change
        self._seed = seed

    def make(self, session: Session) -> list[Question]:
        """The changed questions.

        Raises:
            QuestionError: the maker's, or there is nothing to change them with.
        """
        rng = random.Random(f"{self._seed}:{session.session_id}")
        return self._change(session, self._maker.make(session), rng)


def changed(
    maker: QuestionMaker, what: QuestionChange, exams: Sequence[Exam], *, seed: int
) -> QuestionMaker:
    """The maker that an experiment learns from.

    Args:
        maker: Makes the questions that are changed.
        what: Is done to them.
        exams: All people, for the questions of others and for what else a person told.
        seed: Of what is chosen.
    """
    if what == "none":
        return maker
    sessions = {exam.user_id: exam.sessions for exam in exams}

    def of(session: Session) -> Sequence[Session]:
        """All of the person's: what one of them denies, another must not have told."""
        return sessions.get(session.user_id, (session,))

    changes: dict[QuestionChange, Change] = {
        "positives only": lambda session, questions, rng: [q for q in questions if q.positive],
        "more positives": lambda session, questions, rng: _fewer(session, questions, False, rng),
        "more negatives": lambda session, questions, rng: _fewer(session, questions, True, rng),
        "unrelated negatives": lambda session, questions, rng: _unrelated(
            session, questions, rng, maker, exams
        ),
        "swapped negatives": lambda session, questions, rng: _swapped(
            session, questions, rng, of(session)
        ),
        "random negatives": lambda session, questions, rng: _random(
            session, questions, rng, of(session)
        ),
    }
    return Changed(maker, changes[what], what=what, seed=seed)


def _fewer(
    session: Session, questions: Sequence[Question], positive: bool, rng: random.Random
) -> list[Question]:
    """Without a fifth of one side, closed and open alike: the other is a quarter more than it."""
    gone: set[int] = set()
    for closed in (True, False):
        side = [q for q in questions if (q.positive, q.closed) == (positive, closed)]
        left = round(len(side) / _A_QUARTER_MORE)
        gone.update(id(question) for question in rng.sample(side, len(side) - left))
    if not gone:
        raise QuestionError(
            f"session {session.session_id!r} has {len(questions)} questions, too few for a quarter "
            "more of one kind than of the other; learn from ten a session or more"
        )
    return [question for question in questions if id(question) not in gone]


def _unrelated(
    session: Session,
    questions: Sequence[Question],
    rng: random.Random,
    maker: QuestionMaker,
    exams: Sequence[Exam],
) -> list[Question]:
    """Each negative made a question of somebody else's: about what they told, while there are."""
    own = [s for exam in exams if exam.user_id == session.user_id for s in exam.sessions]
    theirs = [
        question
        for exam in exams
        if exam.user_id != session.user_id
        for other in exam.sessions
        for question in _of(maker, other)
    ]
    rng.shuffle(theirs)
    theirs.sort(key=lambda question: not question.positive)
    # Looked at only as far as they are needed: to look takes a while in long chats.
    fresh = (q for q in theirs if not any(was_raised(q.question, s) for s in own or [session]))
    closed, opened = tee(fresh)
    return _replaced(
        session,
        questions,
        closed=(Question(q.question, "No", "no_adjacent") for q in closed if q.closed),
        opened=(
            Question(q.question, UNKNOWN_ANSWER, "open_unknown") for q in opened if not q.closed
        ),
    )


def _of(maker: QuestionMaker, session: Session) -> list[Question]:
    """None, where a session gives none: that fails the session itself, and no other."""
    try:
        return maker.make(session)
    except QuestionError:
        return []


def _swapped(
    session: Session,
    questions: Sequence[Question],
    rng: random.Random,
    all_of_them: Sequence[Session],
) -> list[Question]:
    """Each closed negative made a positive with one value swapped; one that is so is left.

    What was never told can't be a value swapped, so open negatives stay as they are.
    """
    texts = [turn.content for turn in session.turns]
    said = _said(all_of_them)
    names = Names(texts) if is_english(" ".join(texts)) else None
    each = [
        [
            replace(question, question=swap.text, answer="No", kind="no_same_slot")
            for swap in swap_values(question.question, said, rng, names)
        ]
        for question in questions
        if question.kind == "yes"
    ]
    rng.shuffle(each)
    in_turn = [swap for swaps in zip_longest(*each) for swap in swaps if swap is not None]
    return _replaced(session, questions, closed=in_turn, keep=("no_same_slot", "open_unknown"))


def _random(
    session: Session,
    questions: Sequence[Question],
    rng: random.Random,
    all_of_them: Sequence[Session],
) -> list[Question]:
    """Each negative made one about any topic that was never raised, near the chat's or far."""
    topics = topics_never_raised(_said(all_of_them), rng)
    rng.shuffle(topics)  # they come with the nearest first
    forms = [(topic_forms(topic, "user"), topic) for topic in topics]
    # A topic's forms in turn, so that the form of a question doesn't give its answer away.
    closed = [ways[n % len(ways)] for n, (ways, _) in enumerate(forms)]
    closed += [ways[(n + 1) % len(ways)] for n, (ways, _) in enumerate(forms)]
    asked = [open_unknown(f"Did I tell you about {topic.about}?") for _, topic in forms]
    return _replaced(
        session,
        questions,
        closed=(Question(text, "No", "no_adjacent") for text in closed),
        opened=chain.from_iterable(zip(*(ways[:2] for ways in asked), strict=True)),
    )


def _said(sessions: Iterable[Session]) -> Said:
    return Said([turn.content for session in sessions for turn in session.turns])


def _replaced(
    session: Session,
    questions: Sequence[Question],
    *,
    closed: Iterable[Question] = (),
    opened: Iterable[Question] = (),
    keep: Sequence[str] = (),
) -> list[Question]:
    """With other negatives in the places of its own.

    Args:
        session: Whose they are, for the error.
        questions: The session's.
        closed: To take for closed negatives; those whose text is asked already are passed over.
        opened: To take for open ones.
        keep: Kinds of negatives that stay.

    Raises:
        QuestionError: there are too few.
    """
    asked = {normalised(q.question) for q in questions if q.positive or q.kind in keep}

    def unasked(others: Iterable[Question]) -> Iterator[Question]:
        for other in others:
            text = normalised(other.question)
            if text not in asked:
                asked.add(text)
                yield other

    sources = {True: unasked(closed), False: unasked(opened)}
    found = []
    for question in questions:
        if question.positive or question.kind in keep:
            found.append(question)
            continue
        other = next(sources[question.closed], None)
        if other is None:
            raise QuestionError(
                f"session {session.session_id!r} has {sum(not q.positive for q in questions)} "
                "negative questions, and there aren't as many others to take their places; learn "
                "from fewer questions a session, or from more chats"
            )
        found.append(other)
    return found
