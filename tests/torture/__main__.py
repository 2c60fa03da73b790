"""`python -m tests.torture`: what a home goes through, and that nothing of it is lost or crossed.

    python -m tests.torture                    everything (make torture)
    python -m tests.torture --few 5            five tries of each kind, in seconds
    python -m tests.torture crashes --seed 7   one part, with other random choices

It ends with what was done, as text or (--json FILE) as JSON, and fails if anything is wrong.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

PARTS = ("crashes", "faults", "processes", "machine", "storm")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--few", type=int, help="tries of each kind; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if strangers := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(strangers)}; there are {', '.join(PARTS)}")
    # Before torch and transformers are imported.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")
    found = _torture(options.parts or PARTS, options.few, options.seed, options.jobs)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), "utf-8")
    return int(any(part["wrong"] for part in found.values()))


def _torture(parts: Any, few: int | None, seed: int, jobs: int) -> dict[str, Any]:
    from tests.torture import crashes, faults, machine, nursery, processes, scenes, storm

    found = {}
    with nursery.scratch_directory() as directory:
        model = nursery.warm_up(directory)
        made = []
        if {*PARTS[:3]} & {*parts}:
            made = scenes.stages(directory, model, short=few is not None and few < 10)
        for name in parts:
            (place := directory / name).mkdir()
            ground = nursery.Ground(place, model, few, seed, jobs)
            started = time.monotonic()
            report = {
                "crashes": lambda ground: crashes.torture(ground, made),
                "faults": lambda ground: faults.torture(ground, made),
                "processes": lambda ground: processes.torture(ground, made),
                "machine": machine.torture,
                "storm": storm.torture,
            }[name](ground)
            seconds = round(time.monotonic() - started, 1)
            found[name] = {
                "counts": dict(report.counts),
                "wrong": report.wrong,
                "seconds": seconds,
            }
            counts = ", ".join(f"{number} {what}" for what, number in report.counts.items())
            _tell(f"{name}: {counts}; {len(report.wrong)} wrong ({seconds:.0f} s)")
            for one in report.wrong[:50]:
                _tell(f"  {one}")
    _tell(_summary(found))
    return found


def _summary(found: dict[str, Any]) -> str:
    """What was done to homes, and what became of what they hold."""
    from tests.torture.ledger import LOST

    counts = sum((Counter(part["counts"]) for part in found.values()), Counter())
    lost = [one for part in found.values() for one in part["wrong"] if LOST in one]
    return (
        f"steps killed {counts['kills']}, faults injected {counts['faults']}, "
        f"operations {counts['operations']}, questions {counts['questions']}, "
        f"users crossed {counts['users crossed']}, turns lost {len(lost)}"
    )


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
