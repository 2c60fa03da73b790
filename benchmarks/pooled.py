"""One table of what several runs asked, as when people were measured a process each.

    python benchmarks/recall.py --people chidi --sessions 10 --json chidi.json
    python benchmarks/recall.py --people dara --sessions 10 --json dara.json
    python benchmarks/pooled.py chidi.json dara.json

Reads what `recall.py`, `locomo.py` or `looked_up.py` wrote with --json, one of them at a time, and
prints what each arm reached on all questions of all files; with recall.py's --corrections those
too. A file must hold one row: leave out --vary and give one seed. Each must be of other people: the
same question twice would make the interval narrower than it is.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from common import summary_tables

from plum_langchain.evaluation.locomo import to_markdown
from plum_langchain.evaluation.metrics import Graded

_NAMES = {field.name for field in fields(Graded)}


def main() -> None:
    """Read, pool and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="JSON")
    arguments = parser.parse_args()
    reports = [json.loads(path.read_text("utf-8")) for path in arguments.paths]
    if all(isinstance(report, dict) and "dialogues" in report for report in reports):
        found = [one["found"]["answers"] for report in reports for one in report["dialogues"]]
        print(to_markdown(_pooled(found)), end="")
    elif all(isinstance(report, list) and len(report) == 1 for report in reports):
        rows = [report[0] for report in reports]
        print(summary_tables(_pooled(row["comparison"]["answers"] for row in rows)))
        if corrected := [row["corrections"] for row in rows if row["corrections"]]:
            print()
            print(summary_tables(_pooled(corrected)))
    elif all(isinstance(report, dict) and "dialogues" not in report for report in reports):
        print(summary_tables(_pooled(reports)))
    else:
        parser.error(
            "these aren't all of one kind: name files that recall.py, or locomo.py, or "
            "looked_up.py wrote with --json, each with a single row"
        )


def _pooled(
    found: Iterable[Mapping[str, Sequence[Mapping[str, Any]]]],
) -> dict[str, list[Graded]]:
    """All answers of each arm, whoever was asked."""
    answers: dict[str, list[Graded]] = defaultdict(list)
    people: set[str] = set()
    for one in found:
        here = {graded["user_id"] for arm in one.values() for graded in arm}
        if twice := people & here:
            raise SystemExit(
                f"{', '.join(sorted(twice))} is in more than one file; pool different people, and "
                "tell several seeds apart"
            )
        people |= here
        for arm, graded in one.items():
            answers[arm] += [Graded(**{k: v for k, v in g.items() if k in _NAMES}) for g in graded]
    return answers


if __name__ == "__main__":
    main()
