"""A comparison as one picture: arms side by side, and retention session after session."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_langchain.evaluation.compare import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour-blind safe (Okabe and Ito, https://jfly.uni-koeln.de/color/).
_COLOURS = {
    "floor": "#999999",
    "stranger": "#666666",
    "context": "#56B4E9",
    "retrieval": "#0072B2",
    "parametric": "#D55E00",
    "hybrid": "#CC79A7",
}
_SHORT = {
    "floor": "no\nmemory",
    "stranger": "another's\nadapter",
    "context": "session\nin prompt",
    "retrieval": "retrieval\n(Chroma)",
    "parametric": "parametric\n(PLUM)",
    "hybrid": "hybrid",
}
_KINDS = (
    ("yes", "what was said (Yes)"),
    ("no_adjacent", "topic never raised (No)"),
    ("no_same_slot", "one value swapped (No)"),
    ("open", "open question"),
)

# Of which sessions, which share of a summary, how it is called and drawn.
_CURVES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "so_far",
        "balanced_accuracy",
        "Yes/No: all sessions so far",
        {"color": "#D55E00", "marker": "o", "linestyle": "-", "linewidth": 2.5},
    ),
    (
        "newest",
        "balanced_accuracy",
        "Yes/No: the session just learned",
        {"color": "#0072B2", "marker": "o", "linestyle": "--", "linewidth": 1.5},
    ),
    (
        "first",
        "balanced_accuracy",
        "Yes/No: the first session",
        {"color": "#009E73", "marker": "o", "linestyle": ":", "linewidth": 1.8},
    ),
    (
        "so_far",
        "open",
        "open: all sessions so far",
        {
            "color": "#222222",
            "marker": "s",
            "markersize": 7,
            "markerfacecolor": "white",
            "linestyle": (0, (6, 2, 1, 2)),
            "linewidth": 2.0,
        },
    ),
)


def draw(comparison: Comparison, path: Path) -> None:
    """Write the picture as PNG.

    Args:
        comparison: What to show.
        path: Where to; its directory must exist.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    retained = bool(comparison.retention)
    figure = Figure(figsize=(13, 8.2 if retained else 4.6), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen and without pyplot's global state
    people = ", ".join(comparison.about["people"])
    model = Path(comparison.about["model"]).name
    figure.suptitle(f"What {model} remembers of {people}: unseen questions", fontsize=14)
    grid = figure.add_gridspec(2 if retained else 1, 2, width_ratios=(1, 1.5))
    _arms(figure.add_subplot(grid[0, 0]), comparison)
    _kinds(figure.add_subplot(grid[0, 1]), comparison)
    if retained:
        _retention(figure.add_subplot(grid[1, :]), comparison)
    figure.savefig(path, dpi=120, format="png")


def draw_forgetting(
    curves: Mapping[str, Sequence[tuple[int, float | None]]], path: Path, *, title: str
) -> None:
    """Write how what was learned first is recalled while more is learned, as PNG.

    Args:
        curves: By what they are called, the share right after so many further sessions.
        path: Where to; its directory must exist.
        title: Over it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=12)
    colours = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
    for number, (label, points) in enumerate(curves.items()):
        there = [(x, 100 * y) for x, y in points if y is not None]
        axes.plot(
            [x for x, _ in there],
            [y for _, y in there],
            label=label,
            color=colours[number % len(colours)],
            marker="o",
            linestyle="-" if number < len(colours) else "--",
        )
    axes.axhline(50, color="#333333", linewidth=1, linestyle=":", label="guessing, Yes/No")
    axes.set_xlabel("further sessions learned")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _percent_axis(axes)
    axes.legend(fontsize=9, frameon=False, loc="lower left")
    figure.savefig(path, dpi=120, format="png")


def _arms(axes: "Axes", comparison: Comparison) -> None:
    axes.set_title(
        "Yes/No questions, balanced accuracy (dotted: guessing)", loc="left", fontsize=11
    )
    names = [n for n, s in comparison.arms.items() if s.balanced_accuracy is not None]
    for position, name in enumerate(names):
        summary = comparison.arms[name]
        height = 100 * (summary.balanced_accuracy or 0)
        low, high = (100 * bound for bound in summary.ci95 or (0.0, 0.0))
        axes.bar(
            position,
            height,
            color=_COLOURS[name],
            yerr=[[max(0.0, height - low)], [max(0.0, high - height)]],
            error_kw={"ecolor": "#333333", "capsize": 4, "linewidth": 1},
        )
        axes.text(position, 3, f"{height:.0f}%", ha="center", color="white", fontweight="bold")
    axes.set_xticks(range(len(names)), [_SHORT[n] for n in names], fontsize=9)
    _percent_axis(axes)
    axes.axhline(50, color="#333333", linewidth=1, linestyle=":")


def _kinds(axes: "Axes", comparison: Comparison) -> None:
    axes.set_title("By kind of question, share right", loc="left", fontsize=11)
    names = list(comparison.arms)
    width = 0.8 / len(names)
    for offset, name in enumerate(names):
        places, heights = [], []
        for group, (kind, _) in enumerate(_KINDS):
            share: float | None = getattr(comparison.arms[name], kind)
            if share is not None:
                places.append(group + (offset - (len(names) - 1) / 2) * width)
                heights.append(100 * share)
        axes.bar(places, heights, width * 0.92, color=_COLOURS[name], label=_flat(name))
        for place, height in zip(places, heights, strict=True):
            axes.text(place, height + 1, f"{height:.0f}", ha="center", fontsize=7)
    labels = [title.replace(" (", "\n(") for _, title in _KINDS]
    axes.set_xticks(range(len(_KINDS)), labels, fontsize=9)
    _percent_axis(axes)
    axes.set_ylim(0, 125)
    axes.legend(fontsize=8, ncols=3, loc="upper center", frameon=False)


def _retention(axes: "Axes", comparison: Comparison) -> None:
    axes.set_title(
        "Parametric memory after each session (mean over people): balanced accuracy on Yes/No "
        "questions, share right of open ones",
        loc="left",
        fontsize=11,
    )
    for of, share, label, style in _CURVES:
        points: dict[int, list[float]] = defaultdict(list)
        for point in comparison.retention:
            reached: float | None = getattr(getattr(point, of), share)
            if reached is not None:
                points[point.learned].append(100 * reached)
        if points:
            xs = sorted(points)
            ys = [sum(points[x]) / len(points[x]) for x in xs]
            axes.plot(xs, ys, label=label, **style)
    floor = comparison.arms.get("floor")
    if floor is not None and floor.balanced_accuracy is not None:
        label = "Yes/No: floor (no memory)"
        axes.axhline(100 * floor.balanced_accuracy, color="#999999", label=label)
    last = max(point.learned for point in comparison.retention)
    axes.set_xticks(range(1, last + 1))
    axes.set_xlabel("sessions learned")
    _percent_axis(axes)
    axes.set_ylim(0, 130)  # the legend stands above the curves, wherever they run
    axes.legend(fontsize=9, frameon=False, loc="upper center", ncols=3)


def _percent_axis(axes: "Axes") -> None:
    axes.set_ylim(0, 105)
    axes.set_yticks(range(0, 101, 25), [f"{tick}%" for tick in range(0, 101, 25)])
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _flat(name: str) -> str:
    return _SHORT[name].replace("\n", " ")
