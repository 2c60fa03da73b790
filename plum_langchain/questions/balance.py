"""As many negatives as positives, among closed and among open questions.

PLUM (arXiv 2411.13405, section 5) finds that a quarter more of either kind makes the model lean
that way and lowers the total. So the larger side is sampled down, and no fact is silenced while
another keeps many questions.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from plum_langchain.errors import QuestionError
from plum_langchain.questions.text import listed, normalised, words_of
from plum_langchain.session import Kind, Question


def balance(
    questions: Sequence[Question], *, seed: int, max_questions: int | None = None
) -> list[Question]:
    """A seeded selection with as many negatives as positives, closed and open apart.

    Duplicates are removed, and so is a question that has two different answers. Which questions
    are chosen depends on the seed and on which there are, not on their order.

    Args:
        questions: In any number and kind.
        seed: Of the choice of what to leave out.
        max_questions: At most so many in all, about as many different facts as fit.

    Returns:
        The selection, in the order given. Without a single open question about something never
        told, there are no open questions in it at all: there is nothing to balance them with.

    Raises:
        QuestionError: there are no closed positives or no closed negatives to balance.
    """
    pool = distinct(questions)
    sides: dict[tuple[bool, bool], list[Question]] = defaultdict(list)
    for question in sorted(pool, key=_canonical):
        sides[question.closed, question.positive].append(question)
    closed = min(len(sides[True, True]), len(sides[True, False]))
    opened = min(len(sides[False, True]), len(sides[False, False]))
    if closed == 0:
        counts = Counter(q.kind for q in pool)
        found = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none at all"
        raise QuestionError(
            "no balanced questions can be made: closed questions answered Yes and closed questions "
            f"answered No are both needed, and without duplicates there are: {found}"
        )
    if max_questions is not None and closed + opened > max_questions // 2:
        pairs = max(1, max_questions // 2)
        share = round(pairs * opened / (closed + opened))
        opened = min(opened, share, pairs - 1)
        closed = min(closed, pairs - opened)
    chooser = Chooser(random.Random(seed))
    chosen = (
        chooser.choose(sides[True, True], closed)
        + chooser.choose(sides[False, True], opened)
        + chooser.choose_of_both_kinds(sides[True, False], closed)
        + chooser.choose(sides[False, False], opened)
    )
    keep = {id(question) for question in chosen}
    return [question for question in pool if id(question) in keep]


def distinct(questions: Sequence[Question]) -> list[Question]:
    """Without duplicates; a question that has two different answers is dropped altogether."""
    answers: dict[str, set[str]] = defaultdict(set)
    best: dict[str, Question] = {}
    for question in questions:
        key = normalised(question.question)
        answers[key].add(" ".join(words_of(question.answer)) or question.answer.strip())
        if key not in best or _canonical(question) < _canonical(best[key]):
            best[key] = question
    return [question for key, question in best.items() if len(answers[key]) == 1]


def _canonical(question: Question) -> tuple[object, ...]:
    """An order of questions that is the same whatever order they come in.

    Of two duplicates the one that comes first here is kept: the one that knows its fact.
    """
    return (
        question.statement is None,
        not question.evidence,
        question.question,
        question.answer,
        question.kind,
        question.evidence,
        question.statement or "",
    )


_FRAME = frozenset(
    listed(
        "did have had do i we you me ever already tell told mention mentioned say said talk "
        "talked discuss discussed ask asked about that what remember advise advice give gave "
        "anything is it was your my if so remind of"
    )
)


def fact_of(question: Question) -> Hashable:
    """What a question is about: its statement, else its turns, else the words of its topic."""
    if question.statement:
        return question.statement
    if question.evidence:
        return question.evidence
    topic = question.question.split("?")[0]
    return frozenset(word for word in words_of(topic) if word not in _FRAME)


class Chooser:
    """Chooses questions round by round, one of each fact, the facts asked about least first.

    Args:
        rng: Draws among those of a fact, and the order of facts.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._asked: Counter[Hashable] = Counter()

    def choose(self, questions: Sequence[Question], number: int) -> list[Question]:
        """So many of them, or all, if there aren't more."""
        groups: dict[Hashable, list[Question]] = defaultdict(list)
        for question in questions:
            groups[fact_of(question)].append(question)
        for group in groups.values():
            self._rng.shuffle(group)
        chosen: list[Question] = []
        while len(chosen) < min(number, len(questions)):
            facts = [fact for fact, group in groups.items() if group]
            self._rng.shuffle(facts)
            facts.sort(key=lambda fact: self._asked[fact])
            for fact in facts[: number - len(chosen)]:
                chosen.append(groups[fact].pop())
                self._asked[fact] += 1
        return chosen

    def choose_of_both_kinds(self, questions: Sequence[Question], number: int) -> list[Question]:
        """Closed negatives: half of each kind where there are enough of both."""
        of_kind: dict[Kind, list[Question]] = {"no_same_slot": [], "no_adjacent": []}
        for question in questions:
            of_kind[question.kind].append(question)
        swapped, adjacent = of_kind["no_same_slot"], of_kind["no_adjacent"]
        from_adjacent = min(len(adjacent), max(number // 2, number - len(swapped)))
        return self.choose(swapped, number - from_adjacent) + self.choose(adjacent, from_adjacent)
