"""The experiments as data: what each changes, and what the paper reports of it.

"PLUM" and "the paper" are Magister et al., "On the Way to LLM Personalization: Learning to Remember
User Conversations", arXiv 2411.13405. Its accuracies are of about 200 questions about 100
conversations, answered Yes or No by Llama 3 8B Instruct; where it reports none, none stands here.

An experiment is one change of the paper's settings, of a session's questions, or of the order in
which sessions are learned. What several of them have in common, the paper's own way above all, is
one experiment in several groups, and is run once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from plum_langchain.errors import InvalidInputError
from plum_langchain.evaluation.compare import Arm
from plum_langchain.evaluation.exam import Exam
from plum_langchain.settings import LearningSettings

PAPER = LearningSettings(
    recite=False,
    packed=False,
    upper_layers=1.0,
    epochs=10,
    patience=None,
    batch_size=8,
    tokens_at_once=None,
    replay_per_batch=2,
    everyday_per_batch=0,
    rewordings=0,
    answer_weight=10.0,
    question_weight=10.0,
    frame_weight=1.0,
    learning_rate=1e-3,
    final_learning_rate=1.0,
    dtype="float32",
    gate=None,
)
"""PLUM's own way (arXiv 2411.13405), but for the replay; the learning rate is ours."""

BASE = replace(PAPER, replay_per_batch=0)
"""What experiments change: the paper may discard a conversation once its epochs are over, so that
nothing of it is there to be replayed."""

QuestionChange = Literal[
    "none",
    "positives only",
    "more positives",
    "more negatives",
    "unrelated negatives",
    "swapped negatives",
    "random negatives",
]
"""What is done to a session's questions before they are learned (`questions.py`)."""

Order = Literal["sequential", "mixed", "stream"]
"""How sessions are learned: each person's one after another; all of a person's at once; or those of
all people, one person after the other, as if they were one user's."""


@dataclass(frozen=True)
class Experiment:
    """One row of the table.

    Attributes:
        name: What it is chosen by.
        groups: What it is compared in; a group's name chooses all of it.
        title: What is done.
        learning: What it changes of `BASE`.
        questions: What it changes of the questions.
        order: How it learns the sessions.
        arm: The memory that is asked; only "parametric" learns anything.
        paper: The accuracy the paper reports, in percent.
        says: What the paper says in words.
    """

    name: str
    groups: tuple[str, ...]
    title: str
    learning: Mapping[str, Any] = field(default_factory=dict)
    questions: QuestionChange = "none"
    order: Order = "sequential"
    arm: Arm = "parametric"
    paper: float | None = None
    says: str = ""

    def settings(self, base: LearningSettings = BASE) -> LearningSettings:
        """Its learning settings."""
        return replace(base, **self.learning)

    def trainings(self, exams: Sequence[Exam]) -> int:
        """How many trainings it takes on these people; a mixed one is as long as its sessions'."""
        if self.arm != "parametric":
            return 0
        return len(exams) if self.order == "mixed" else sum(len(e.sessions) for e in exams)

    def session_epochs(self, exams: Sequence[Exam]) -> int:
        """How many times a session's questions are gone through: what an experiment costs."""
        sessions = sum(len(exam.sessions) for exam in exams)
        return sessions * (self.settings().epochs or 0) if self.arm == "parametric" else 0


def _weighted(factor: float) -> dict[str, float]:
    """PLUM's lambda: the weight of a token of question and answer, where any other has 1."""
    return {"answer_weight": factor, "question_weight": factor}


_NO_SYSTEM_PROMPT = {"system_prompt": None}
_REPLAY = {"replay_per_batch": PAPER.replay_per_batch}

EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        "zero-shot", ("baselines",), "the base model without memory", arm="floor", paper=50.0
    ),
    Experiment(
        "rag",
        ("baselines",),
        "three exchanges of the chats retrieved",
        arm="retrieval",
        paper=86.5,
        says="conversation-RAG, top-3: of whole conversations, not exchanges",
    ),
    Experiment(
        "context",
        ("baselines",),
        "the right chat in the prompt",
        arm="context",
        paper=89.5,
    ),
    Experiment(
        "plum",
        ("loss", "lambda", "epochs", "balance", "negatives", "order"),
        "λ=10, 10 epochs, system prompt, as many negatives as positives",
        paper=81.5,
    ),
    Experiment(
        "plum-no-system",
        ("loss",),
        "λ=10, no system prompt",
        learning=_NO_SYSTEM_PROMPT,
        paper=75.0,
    ),
    Experiment(
        "ce",
        ("loss", "lambda"),
        "plain cross-entropy (λ=1), system prompt",
        learning=_weighted(1.0),
        paper=41.0,
    ),
    Experiment(
        "ce-no-system",
        ("loss",),
        "plain cross-entropy (λ=1), no system prompt",
        learning={**_weighted(1.0), **_NO_SYSTEM_PROMPT},
        paper=17.0,
    ),
    *(
        Experiment(f"lambda-{value}", ("lambda",), f"λ={value}", learning=_weighted(float(value)))
        for value in (2, 5, 15, 20)
    ),
    *(
        Experiment(
            f"epochs-{value}",
            ("epochs",),
            f"{value} epoch{'s' if value > 1 else ''} a session",
            learning={"epochs": value},
            says={1: "10 is best", 5: "10 is best", 15: "10 is best", 20: "incoherent text"}[value],
        )
        for value in (1, 5, 15, 20)
    ),
    Experiment("positives-only", ("balance",), "no negatives", questions="positives only"),
    Experiment(
        "more-positives",
        ("balance",),
        "a quarter more positives than negatives",
        questions="more positives",
        says="leans to Yes, lower in total",
    ),
    Experiment(
        "more-negatives",
        ("balance",),
        "a quarter more negatives than positives",
        questions="more negatives",
        says="leans to No, lower in total",
    ),
    Experiment(
        "negatives-unrelated",
        ("negatives",),
        "negatives of unrelated chats: other people's positives",
        questions="unrelated negatives",
    ),
    Experiment(
        "negatives-swapped",
        ("negatives",),
        "negatives slightly changed: positives with one value swapped",
        questions="swapped negatives",
    ),
    Experiment(
        "negatives-random",
        ("negatives",),
        "random negatives: any topic never raised",
        questions="random negatives",
    ),
    Experiment(
        "replay",
        ("order",),
        "sessions one after another, 2 of 8 in each batch from earlier sessions",
        learning=_REPLAY,
    ),
    Experiment("mixed", ("order",), "all sessions of a person in one training", order="mixed"),
    Experiment(
        "stream",
        ("stream",),
        "all chats as one user's, asked about the first half; 2 of 8 in each batch replayed",
        learning=_REPLAY,
        order="stream",
    ),
    Experiment(
        "stream-no-replay",
        ("stream",),
        "the same, nothing of earlier sessions replayed",
        order="stream",
        says="no sign of forgetting over 100",
    ),
)
"""All of them, in the order in which they are run."""

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(group for e in EXPERIMENTS for group in e.groups))


def choose(names: Iterable[str] | None = None) -> tuple[Experiment, ...]:
    """The experiments of these names or groups, in their own order; all of them by default.

    Raises:
        InvalidInputError: a name is unknown, or there is none.
    """
    if names is None:
        return EXPERIMENTS
    wanted = set(names)
    unknown = sorted(wanted - {e.name for e in EXPERIMENTS} - set(GROUPS))
    if unknown or not wanted:
        raise InvalidInputError(
            f"{', '.join(map(repr, unknown)) or 'nothing'} is no experiment of the paper's; the "
            f"groups are {', '.join(GROUPS)}; the experiments "
            f"{', '.join(e.name for e in EXPERIMENTS)}"
        )
    return tuple(e for e in EXPERIMENTS if e.name in wanted or not wanted.isdisjoint(e.groups))


def why_not(experiment: Experiment, exams: Sequence[Exam]) -> str | None:
    """What an experiment needs that these people don't have; None if it can be run."""
    sessions = sum(len(exam.sessions) for exam in exams)
    if experiment.questions == "unrelated negatives" and len(exams) < 2:
        return (
            "asks other people's questions and needs chats of two people, but there are those of "
            f"{len(exams)}"
        )
    if experiment.order == "stream" and sessions < 2:
        return (
            "learns one half of the sessions after the other and needs two, but there is "
            f"{sessions}"
        )
    return None


def check_people(experiments: Iterable[Experiment], exams: Sequence[Exam]) -> None:
    """Say now what would stop a long run in the middle.

    Raises:
        InvalidInputError: other people's questions are needed and there is one person, or a stream
            of one session.
    """
    for experiment in experiments:
        if (why := why_not(experiment, exams)) is not None:
            raise InvalidInputError(
                f"the experiment {experiment.name!r} {why}; give more chats, or choose experiments "
                "without it"
            )
