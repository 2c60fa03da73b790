"""The experiments as a list and as a table with the paper's numbers beside ours, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from plum_langchain.evaluation.exam import Exam
from plum_langchain.evaluation.paper.experiments import Experiment
from plum_langchain.evaluation.paper.results import Record
from plum_langchain.evaluation.paper.runs import Setup
from plum_langchain.evaluation.report import markdown_row, percent

SECONDS_PER_SESSION_EPOCH = 24
"""Of 100 questions as `BASE` trains them, with SmolLM2-135M-Instruct on two cores of an AMD EPYC:
242 s for ten (docs/performance.md, the row `plain`). A guess for anything else."""

_COLUMNS = (
    "experiment",
    "what is done",
    "paper",
    "ours, as said",
    "ours, scored",
    "95% interval",
    "yes",
    "no, adjacent",
    "no, same slot",
    "open",
    "loss of neutral text",
    "own questions recalled",
    "sessions learned",
    "questions asked",
    "steps a session",
    "s a session",
)

_NOTES = (
    "The paper's numbers (Magister et al., arXiv 2411.13405) are the share right of about 200 "
    "questions about 100 conversations, answered by Llama 3 8B Instruct, good to about 2.7 "
    "points; where it reports no number, its words are given, or a dash. Ours are of the model "
    "named above and of as many sessions and questions as two columns of the table say, of one "
    "seed, with a learning rate of our own; as in the paper nothing of earlier sessions is "
    "replayed, but for the rows that say so: compare the rows of one column with each other, and "
    "between the columns only which row is above which.",
    "Rows may differ in how much they train as well: where questions are left out there are fewer "
    "steps a session, where batches hold replayed ones there are more, and all sessions in one "
    "training fill their batches better. The column of steps tells by how much.",
    "As said: the share right of the questions answered Yes or No, by the first word of the "
    "reply; a reply that begins with neither is wrong. This is how we read the paper's numbers, "
    "since its plain cross-entropy is right of fewer than half; so it is the column to hold "
    "beside them. Scored: the mean of the shares right among questions answered Yes and among "
    "those answered No, decided by the probability of Yes against No, with a bootstrap interval "
    "over questions; a guess is right of half of them.",
    "The loss of neutral text (nats a token, lower is better) stands for the paper's MMLU (65.65 "
    "before, 64.93 after) and ARC-C (59.39, 58.45), and for its incoherent text at 20 epochs. Own "
    "questions recalled: the share of a session's training questions whose answers were known at "
    "the end of its training; the paper finds conversations that are never learned.",
    "Without a system prompt of ours the chat template may put in one of the model's own, as "
    "SmolLM2's does. The retrieval memory here holds exchanges: the paper's 86.5% are of three "
    "whole conversations in the prompt, and its Q/A-RAG (83.5%) has no row. The numbers of "
    "`stream` are about the first half of its sessions, asked after the last; the people are one "
    "user there, and where two of them contradict each other, what was learned later is held "
    "against the first half.",
)


def to_list(
    experiments: Sequence[Experiment], exams: Sequence[Exam], done: Mapping[str, bool]
) -> tuple[Sequence[str], list[Sequence[object]]]:
    """The columns and rows of `--list`.

    Args:
        experiments: Which.
        exams: On whose sessions.
        done: By name, whether its result is there.
    """
    columns = ("experiment", "groups", "what is done", "paper", "trainings", "session-epochs", "")
    rows: list[Sequence[object]] = [
        (
            e.name,
            ", ".join(e.groups),
            e.title,
            _paper(e),
            e.trainings(exams),
            e.session_epochs(exams),
            "done" if done.get(e.name) else None,
        )
        for e in experiments
    ]
    return columns, rows


def estimate(
    experiments: Sequence[Experiment],
    exams: Sequence[Exam],
    done: Mapping[str, bool],
    max_questions: int | None,
    *,
    packed: bool = False,
) -> str:
    """What is still to be run, and about how long it may take, in a sentence or two.

    Args:
        experiments: Which.
        exams: On whose sessions.
        done: By name, whether its result is there.
        max_questions: Of a session; where there is no bound, the estimate is for 100.
        packed: Whether batches are packed, which takes less than was measured.
    """
    left = [e for e in experiments if not done.get(e.name)]
    trainings = sum(e.trainings(exams) for e in left)
    epochs = sum(e.session_epochs(exams) for e in left)
    questions = max_questions or 100
    each = SECONDS_PER_SESSION_EPOCH * questions / 100
    how, bound = ("", "at most") if packed else (", not packed", "about")
    return (
        f"To be run: {len(left)} of {len(experiments)} experiments with {trainings} trainings, in "
        f"which a session's questions are gone through {epochs} times. At {each:.0f} s each "
        f"({questions} questions, SmolLM2-135M-Instruct, two cores of an AMD EPYC{how}) that is "
        f"{bound} {epochs * each / 3600:.1f} hours; asking comes on top."
    )


def to_markdown(
    experiments: Sequence[Experiment], setup: Setup, found: Mapping[str, Record]
) -> str:
    """The table, the forgetting curve if a stream was run, and what they don't say.

    Args:
        experiments: The rows; one that has no result yet says so.
        setup: What they have in common.
        found: The results by the experiments' names.
    """
    people = ", ".join(f"{exam.user_id} ({len(exam.sessions)} sessions)" for exam in setup.exams)
    most = setup.question_settings.max_questions
    lines = [
        "# The paper's experiments",
        "",
        f"Model {setup.model.id}; people: {people}; questions for learning: {setup.maker.name}, "
        f"{'all' if most is None else f'at most {most}'} a session; seed {setup.base.seed}"
        f"{_machine(found)}.",
        "",
        markdown_row(_COLUMNS),
        markdown_row(["---"] * len(_COLUMNS)),
        *(markdown_row(_row(e, found.get(e.name))) for e in experiments),
    ]
    for note in _NOTES:
        lines += ["", note]
    for experiment in experiments:
        record = found.get(experiment.name)
        if record is not None and record.get("curve"):
            lines += ["", *_curve(experiment, record)]
    return "\n".join(lines) + "\n"


def curves(
    experiments: Sequence[Experiment], found: Mapping[str, Record]
) -> dict[str, list[tuple[int, float | None]]]:
    """What `picture.draw_forgetting` draws of the streams: Yes/No questions and open ones."""
    return {
        f"{experiment.name}, {label}": [
            (point["further"], point["first_half"][share])
            for point in found[experiment.name]["curve"]
        ]
        for experiment in experiments
        if experiment.order == "stream" and experiment.name in found
        for share, label in (("balanced_accuracy", "Yes/No"), ("open", "open"))
    }


def _machine(found: Mapping[str, Record]) -> str:
    names = {f"{r['machine']['processor']} ({r['machine']['cores']} cores)" for r in found.values()}
    return f"; {', '.join(sorted(names))}" if names else ""


def _row(experiment: Experiment, record: Record | None) -> list[str]:
    begins = [experiment.name, experiment.title, _paper(experiment)]
    if record is None:
        return [*begins, "not run", *["-"] * (len(_COLUMNS) - len(begins) - 1)]
    summary: Mapping[str, Any] = record["summary"]
    interval = summary["ci95"]
    learned = [s for s in record["sessions"] if s["state"] == "learned"]
    whole = sum(record["people"].values())
    # A mixed training is of all sessions of a person.
    number = sum(record["people"][s["user"]] if experiment.order == "mixed" else 1 for s in learned)
    sessions = "-"
    if record["trainings"]:
        sessions = str(number) if number == whole else f"{number} of {whole}"
    seconds = [s["seconds"] for s in learned if s["seconds"] is not None]
    timed = number * len(seconds) / len(learned) if learned else 0.0
    return [
        *begins,
        percent(record["said_right"]),
        percent(summary["balanced_accuracy"]),
        f"{percent(interval[0])}-{percent(interval[1])}" if interval else "-",
        *(percent(summary[kind]) for kind in ("yes", "no_adjacent", "no_same_slot", "open")),
        _number(record["neutral_loss"], 3),
        _number(_mean([s["recalled"] for s in learned]), 2),
        sessions,
        str(summary["n"]),
        _number(sum(s["steps"] or 0 for s in learned) / number if number else None, 0),
        _number(sum(seconds) / timed if timed else None, 0),
    ]


def _curve(experiment: Experiment, record: Record) -> list[str]:
    """The first half's accuracy by the sessions learned after it."""
    header = (
        "further sessions",
        "first half, scored",
        "95% interval",
        "first half, open",
        "the newest, scored",
        "questions about the first half",
    )
    rows = []
    for point in record["curve"]:
        half, newest = point["first_half"], point["newest"]
        interval = half["ci95"]
        rows.append(
            markdown_row(
                [
                    str(point["further"]),
                    percent(half["balanced_accuracy"]),
                    f"{percent(interval[0])}-{percent(interval[1])}" if interval else "-",
                    percent(half["open"]),
                    percent(newest["balanced_accuracy"]),
                    str(half["n"]),
                ]
            )
        )
    return [
        f"## Forgetting: {experiment.name}",
        "",
        f"{experiment.title[0].upper()}{experiment.title[1:]}: after the first half itself, and "
        "after each further session.",
        "",
        markdown_row(header),
        markdown_row(["---"] * len(header)),
        *rows,
    ]


def _paper(experiment: Experiment) -> str:
    if experiment.paper is None:
        return experiment.says or "-"
    says = f" ({experiment.says})" if experiment.says else ""
    return f"{experiment.paper:.1f}%{says}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
