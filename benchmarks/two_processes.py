"""Two processes that compute at once: threads that spin while they wait, and threads that sleep.

    python benchmarks/two_processes.py

Each runs the same matrix products as a training step has, on all cores: first one process alone,
then two at once, both with OpenMP's default and with OMP_WAIT_POLICY=PASSIVE. A fair half of the
machine would be a ratio of 2.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from common import shown, spread

from plum_langchain.evaluation import machine


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    if arguments.worker:
        print(_compute(arguments.seconds))
        return
    rates: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for policy in ("default", "PASSIVE"):
            for number in (1, 2):
                found = _run(policy, number, arguments.seconds)
                rates.setdefault(f"{policy}, {number}", []).extend(found)
    report = {
        policy: spread(
            [
                alone / one
                for alone, together in zip(
                    rates[f"{policy}, 1"], _pairs(rates[f"{policy}, 2"]), strict=True
                )
                for one in together
            ]
        )
        for policy in ("default", "PASSIVE")
    }
    print("| OMP_WAIT_POLICY | a process beside another takes, times as long |\n| --- | --- |")
    for policy, slower in report.items():
        print(f"| {policy} | {shown(slower, 1)} |")
    alone = spread(
        [one / two for one, two in zip(rates["PASSIVE, 1"], rates["default, 1"], strict=True)]
    )
    print(f"\nalone, PASSIVE does {shown(alone, 2)} times as much as the default")
    if arguments.json is not None:
        document = {"slower": report, "alone": alone, "rates": rates, "machine": machine()}
        arguments.json.write_text(json.dumps(document, indent=1), "utf-8")


def _run(policy: str, number: int, seconds: float) -> list[float]:
    environment = {name: v for name, v in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy != "default":
        environment["OMP_WAIT_POLICY"] = policy
    command = [sys.executable, __file__, "--worker", "--seconds", str(seconds)]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    return [float(process.communicate()[0]) for process in started]


def _compute(seconds: float) -> float:
    """Products a second, of the sizes of SmolLM2-135M at 256 tokens."""
    import torch

    x, up, down = torch.randn(256, 576), torch.randn(1536, 576), torch.randn(576, 1536)
    done = 0
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        y = torch.nn.functional.linear(x, up).sigmoid()
        torch.nn.functional.linear(y, down).mul(0.5)
        done += 1
    return done / seconds


def _pairs(values: list[float]) -> list[tuple[float, float]]:
    return list(zip(values[::2], values[1::2], strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
