"""A comparison as JSON, Markdown and a table for the terminal."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from plum_langchain.evaluation.compare import Comparison
from plum_langchain.evaluation.metrics import Graded, Summary
from plum_langchain.session import CLOSED_KINDS

if TYPE_CHECKING:
    from rich.table import Table

SUMMARY_COLUMNS = (
    "arm",
    "balanced",
    "95% interval",
    "yes",
    "no, adjacent",
    "no, same slot",
    "open",
    "n",
    "prompt tokens",
    "s/answer",
)

ARM_TITLES = {
    "floor": "floor (no memory)",
    "stranger": "another person's adapter",
    "context": "right session in prompt",
    "retrieval": "retrieval (Chroma)",
    "parametric": "parametric (PLUM)",
    "hybrid": "hybrid",
}


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Everything, as one JSON-ready object; `arms` holds a summary for each arm."""
    arms: dict[str, Any] = {name: asdict(summary) for name, summary in comparison.arms.items()}
    if comparison.by_k:
        arms["retrieval"]["by_k"] = {str(k): asdict(s) for k, s in comparison.by_k.items()}
    return {
        "arms": arms,
        "per_user": {
            user: {arm: asdict(summary) for arm, summary in summaries.items()}
            for user, summaries in comparison.per_user.items()
        },
        "retention": [asdict(point) for point in comparison.retention],
        "consolidation": {
            "seconds_per_session": comparison.seconds_per_session,
            "adapter_bytes": comparison.adapter_bytes,
            "sessions": [asdict(result) for result in comparison.consolidated],
        },
        "answers": {arm: [asdict(g) for g in graded] for arm, graded in comparison.answers.items()},
        "about": comparison.about,
    }


def to_table(comparison: Comparison) -> "Table":
    """The arms side by side, for the terminal."""
    from rich.table import Table

    table = Table(title="Unseen questions about learned chats", title_justify="left")
    for number, name in enumerate(SUMMARY_COLUMNS):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in _rows(comparison):
        style = "bold" if row[0].startswith("parametric") else None
        table.add_row(*row, style=style)
    return table


def to_samples(comparison: Comparison, number: int = 8) -> "Table":
    """A few of the questions with what each arm answered, for the terminal: half of them open."""
    from rich.table import Table

    arms = [arm for arm in comparison.answers if arm not in ("retrieval@1", "retrieval@5")]
    table = Table(title="Some of the questions, side by side", title_justify="left")
    for name in ("question", "right answer", *(ARM_TITLES[arm.partition("@")[0]] for arm in arms)):
        table.add_column(name)
    asked = list(zip(*(comparison.answers[arm] for arm in arms), strict=True))
    opened = [graded for graded in asked if graded[0].kind == "open"]
    closed = [graded for graded in asked if graded[0].kind in CLOSED_KINDS]
    chosen = _spaced(opened, number // 2)
    chosen += _spaced(closed, number - len(chosen))
    for graded in chosen:
        cells = [f"{'✓' if one.correct else '✗'} {_shortened(one.answer)}" for one in graded]
        expected = _shortened(graded[0].expected)
        table.add_row(_shortened(graded[0].question), expected, *cells, end_section=True)
    return table


def _spaced(items: "list[tuple[Graded, ...]]", number: int) -> "list[tuple[Graded, ...]]":
    """At most `number` of them, from beginning to end."""
    wanted = min(number, len(items))
    return [items[len(items) * place // wanted] for place in range(wanted)]


def _shortened(text: str, length: int = 80) -> str:
    flat = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def to_markdown(comparison: Comparison) -> str:
    """A report a person reads: what was asked of whom, the table, retention, limits."""
    about = comparison.about
    people = ", ".join(f"{user} ({n} sessions)" for user, n in about["people"].items())
    machine = about["machine"]
    lines = [
        "# Memories compared",
        "",
        f"Model {about['model']}; people: {people}; questions for learning: "
        f"{about['question_maker']}; seed {about['learning']['seed']}; {about['at']}.",
        "",
        markdown_row(SUMMARY_COLUMNS),
        markdown_row(["---"] * len(SUMMARY_COLUMNS)),
        *(markdown_row(row) for row in _rows(comparison)),
        "",
        "Balanced accuracy is the mean of the shares right among questions answered Yes and among "
        "those answered No: always saying one word scores 50%. Closed questions are decided by the "
        "probability of Yes against No: judged from the fact that comes back where an adapter was "
        "taught facts, else of the two words. An open answer is right when it holds the expected "
        "value. The interval is a bootstrap over questions. What counts for a memory is its "
        "distance from the floor.",
    ]
    if comparison.retention:
        lines += [
            "",
            "## Retention",
            "",
            "The parametric memory after each session: balanced accuracy on the Yes/No questions "
            "about all sessions so far, the newest and the first; and the share right of the open "
            "questions about all so far.",
            "",
            *_retention_rows(comparison),
        ]
    if comparison.seconds_per_session is not None:
        size = (comparison.adapter_bytes or 0) / 1e6
        lines += [
            "",
            "## Cost",
            "",
            f"Learning took {comparison.seconds_per_session:.0f} s a session on "
            f"{machine['processor']} ({machine['cores']} cores); an adapter is {size:.1f} MB.",
        ]
    failed = [c for c in comparison.consolidated if c.state == "failed"]
    if failed:
        lines += ["", "## Not learned", ""]
        lines += [f"- {c.user_id}, {c.session_id}: {c.reason}" for c in failed]
    return "\n".join(lines) + "\n"


def _rows(comparison: Comparison) -> list[list[str]]:
    rows = []
    for arm, summary in comparison.arms.items():
        if arm == "retrieval":
            rows += [
                summary_row(f"retrieval (Chroma, k={k})", of_k)
                for k, of_k in comparison.by_k.items()
            ]
        else:
            rows.append(summary_row(ARM_TITLES[arm], summary))
    return rows


def summary_row(title: str, s: Summary) -> list[str]:
    """What an arm reached, a cell for each of `SUMMARY_COLUMNS`."""
    interval = f"{percent(s.ci95[0])}-{percent(s.ci95[1])}" if s.ci95 else "-"
    return [
        title,
        percent(s.balanced_accuracy),
        interval,
        percent(s.yes),
        percent(s.no_adjacent),
        percent(s.no_same_slot),
        percent(s.open),
        str(s.n),
        f"{s.prompt_tokens_per_answer:.0f}",
        f"{s.seconds_per_answer:.2f}",
    ]


def percent(share: float | None) -> str:
    """A share as whole percent, "-" where nothing was asked."""
    return "-" if share is None else f"{100 * share:.0f}%"


def markdown_row(cells: "list[str] | tuple[str, ...]") -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"


def _retention_rows(comparison: Comparison) -> list[str]:
    header = [
        "person",
        "sessions learned",
        "all so far",
        "the newest",
        "the first",
        "open, all so far",
        "n",
    ]
    rows = [markdown_row(header), markdown_row(["---"] * len(header))]
    for point in comparison.retention:
        rows.append(
            markdown_row(
                [
                    point.user_id,
                    str(point.learned),
                    percent(point.so_far.balanced_accuracy),
                    percent(point.newest.balanced_accuracy),
                    percent(point.first.balanced_accuracy),
                    percent(point.so_far.open),
                    str(point.so_far.n),
                ]
            )
        )
    return rows
