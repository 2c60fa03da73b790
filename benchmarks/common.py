"""What the benchmarks share: the example chats, adapters to ask, spreads."""

import argparse
import ast
import json
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plum_langchain import LearningSettings, Plum
from plum_langchain.adapters import AdapterRef, AdapterStore, Manifest
from plum_langchain.evaluation.exam import ExamQuestion
from plum_langchain.evaluation.metrics import Graded, summarise
from plum_langchain.evaluation.report import SUMMARY_COLUMNS, markdown_row, summary_row
from plum_langchain.memories.told import Told
from plum_langchain.models import ResolvedModel
from plum_langchain.verdicts import Judge
from plum_langchain.verdicts.pairs import shipped_pairs
from plum_langchain.writer import Writer
from plum_langchain.writer.examples import shipped_examples

CHATS = Path(__file__).parents[1] / "examples" / "chats"
CORRECTIONS = Path(__file__).parent / "corrections.jsonl"


def hold_out(plum: Plum, people: Sequence[str]) -> None:
    """Have the judge and the writer taught anew, without the pairs and examples of these people.

    ana and bo are among those whom the shipped ones were taught with. They are taught when they are
    first needed, for some minutes and a quarter of an hour.
    """
    judge = Judge(plum.engine, [one for one in shipped_pairs() if one.of not in people])
    plum._judge = judge
    plum._writer = Writer(
        plum.engine, judge, [one for one in shipped_examples() if one.of not in people]
    )


def changed(person: str) -> list[ExamQuestion]:
    """What later sessions changed: the new is true, the old is not any more."""
    asked: list[ExamQuestion] = []
    for line in CORRECTIONS.read_text("utf-8").splitlines():
        change = json.loads(line)
        if change["of"] == person:
            about, filed = change["about"], "changed"
            asked += [ExamQuestion(about, q, "Yes", "yes", filed) for q in change["new"]]
            asked += [ExamQuestion(about, q, "No", "no_same_slot", filed) for q in change["old"]]
            asked.append(ExamQuestion(about, **change["open"], kind="open", category=filed))
    return asked


def taught(plum: Plum, person: str) -> tuple[AdapterRef, Told]:
    """A person's adapter in a home that recall.py made, and what it was taught.

    Ends the program with a sentence where the home has none, or keeps nothing of that.
    """
    adapter = plum.recalled(plum.memory_named("parametric"), person, "").adapter
    if adapter is None:
        raise SystemExit(
            f"{plum.home.root} has no adapter of {person!r}; make it with recall.py --home, and "
            "name the people it has with --people"
        )
    told = Told(plum.journal, person, adapter.generation)
    if not told.facts:
        raise SystemExit(
            f"{plum.home.root} keeps nothing of what {person!r}'s adapter was taught, so there is "
            "nothing to look up; learn with HomeSettings(retention='transcript')"
        )
    return adapter, told


def parse_with_home(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with those that name a home that recall.py made, and its people."""
    parser.add_argument("--home", type=Path, required=True, help="that recall.py --home made")
    parser.add_argument("--people", nargs="+", default=["chidi", "dara"])
    arguments = parser.parse_args()
    if not (arguments.home / "journal.db").exists():
        parser.error(f"--home {arguments.home}: nothing was learned there; see recall.py --home")
    return arguments


def shelve(
    store: AdapterStore,
    resolved: ResolvedModel,
    owner: str,
    settings: LearningSettings,
    fill: Callable[[Path], object],
) -> AdapterRef:
    """An adapter as a user's first generation, so that an engine can be asked with it.

    Args:
        store: Where to.
        resolved: The base model it belongs to.
        owner: Stands for a user.
        settings: It was trained with.
        fill: Puts PEFT's two files into the directory it is given.
    """

    def fill_and_describe(directory: Path) -> Manifest:
        fill(directory)
        return Manifest(
            generation=1,
            base_model=resolved.id,
            base_fingerprint=resolved.fingerprint,
            session_keys=(1,),
            settings=asdict(settings),
            question_maker="benchmark",
            metrics={},
            created="",
        )

    return store.write(owner, 1, fill_and_describe)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Smallest, median and largest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def shown(found: dict[str, float], digits: int, factor: float = 1.0) -> str:
    """A spread as min-**median**-max, or one number where they are the same."""
    low, middle, high = (f"{factor * found[k]:.{digits}f}" for k in ("min", "median", "max"))
    return middle if low == high else f"{low}-**{middle}**-{high}"


def peak_mib() -> float:
    """The most memory this process has had resident, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def named(texts: Sequence[str]) -> dict[str, Any]:
    """`name=value`, the value a Python literal or a word."""
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def summary_tables(answers: Mapping[str, Sequence[Graded]]) -> str:
    """What each arm reached, in Markdown, as `plum compare` tells it; a table for each category."""
    tables = []
    for category in dict.fromkeys(one.category for graded in answers.values() for one in graded):
        of = {arm: [g for g in graded if g.category == category] for arm, graded in answers.items()}
        rows = [summary_row(arm, summarise(graded)) for arm, graded in of.items()]
        rows = [[*SUMMARY_COLUMNS], ["---"] * len(SUMMARY_COLUMNS), *rows]
        tables.append(f"{category}:\n\n" if category else "")
        tables[-1] += "\n".join(markdown_row(row) for row in rows)
    return "\n\n".join(tables)
