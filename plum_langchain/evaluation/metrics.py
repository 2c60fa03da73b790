"""From graded answers to the numbers of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

from plum_langchain.evaluation.exam import ExamQuestion
from plum_langchain.memories.answer import Answer
from plum_langchain.questions.text import has_words_of
from plum_langchain.session import Kind

BOOTSTRAP_SAMPLES = 2_000


@dataclass(frozen=True)
class Graded:
    """One answer with its grade.

    `prompt_tokens` and `seconds` are what it cost; `recited` is what Yes or No was judged from;
    `category` is the question's.
    """

    user_id: str
    session_id: str
    question: str
    kind: Kind
    expected: str
    answer: str
    correct: bool
    p_yes: float | None
    prompt_tokens: int
    seconds: float
    recited: str | None = None
    category: str = ""


@dataclass(frozen=True)
class Summary:
    """What an arm reached; shares from 0 to 1, None where no question of the kind was asked.

    `balanced_accuracy` is the mean of the shares right among questions answered Yes and among
    those answered No (either kind of No), so that always saying one word scores 0.5. `ci95` is its
    95% bootstrap interval over questions. `n` counts all questions, open ones too.
    """

    balanced_accuracy: float | None
    ci95: tuple[float, float] | None
    yes: float | None
    no_adjacent: float | None
    no_same_slot: float | None
    open: float | None
    n: int
    n_closed: int
    n_open: int
    prompt_tokens_per_answer: float
    seconds_per_answer: float


def answer_given(expected: str, reply: str) -> bool:
    """Whether a reply gives the expected value, in whatever words around it.

    See `has_words_of`.
    """
    return has_words_of(reply, expected)


def grade(user_id: str, question: ExamQuestion, given: Answer) -> Graded:
    """An answer with its grade: the word itself for a closed question, else `answer_given`."""
    if question.closed:
        correct = given.text == ("Yes" if question.kind == "yes" else "No")
    else:
        correct = answer_given(question.answer, given.text)
    return Graded(
        user_id=user_id,
        session_id=question.session_id,
        question=question.question,
        kind=question.kind,
        expected=question.answer,
        answer=given.text,
        correct=correct,
        p_yes=given.yes,
        prompt_tokens=given.prompt_tokens,
        seconds=given.seconds,
        recited=given.recited,
        category=question.category,
    )


def summarise(answers: Sequence[Graded], *, seed: int = 0) -> Summary:
    """The numbers of one arm.

    Args:
        answers: All of its graded answers.
        seed: Of the bootstrap.
    """
    closed_yes = [a.correct for a in answers if a.kind == "yes"]
    closed_no = [a.correct for a in answers if a.kind in ("no_adjacent", "no_same_slot")]
    opened = [a.correct for a in answers if a.kind in ("open", "open_unknown")]
    both = bool(closed_yes and closed_no)
    return Summary(
        balanced_accuracy=(_share(closed_yes) + _share(closed_no)) / 2 if both else None,
        ci95=_interval(closed_yes, closed_no, seed) if both else None,
        yes=_of_kind(answers, "yes"),
        no_adjacent=_of_kind(answers, "no_adjacent"),
        no_same_slot=_of_kind(answers, "no_same_slot"),
        open=_of_kind(answers, "open"),
        n=len(answers),
        n_closed=len(closed_yes) + len(closed_no),
        n_open=len(opened),
        prompt_tokens_per_answer=_mean([float(a.prompt_tokens) for a in answers]),
        seconds_per_answer=_mean([a.seconds for a in answers]),
    )


def _of_kind(answers: Sequence[Graded], kind: Kind) -> float | None:
    grades = [a.correct for a in answers if a.kind == kind]
    return _share(grades) if grades else None


def _share(grades: Sequence[bool]) -> float:
    return sum(grades) / len(grades)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _interval(yes: Sequence[bool], no: Sequence[bool], seed: int) -> tuple[float, float]:
    """Percentile bootstrap, Yes and No questions resampled apart as the score weighs them."""
    import numpy as np

    rng = np.random.default_rng(seed)
    means = [
        rng.choice(np.asarray(side, float), (BOOTSTRAP_SAMPLES, len(side))).mean(1)
        for side in (yes, no)
    ]
    low, high = np.quantile((means[0] + means[1]) / 2, (0.025, 0.975))
    return float(low), float(high)
