"""A disk that fails or is full: each call says so and changes nothing, or works; nothing is lost.

Two kinds of disk. One fails at a durable step of our choice, once or ever after (`steps.Plan`), as
it may in a bad sector. The other is really full: the kernel tears a write in two (a limit on the
size of files), or SQLite has no page left.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture.crashes import aftermath, again
from tests.torture.ledger import Ledger
from tests.torture.nursery import Ground, Report
from tests.torture.scenes import Stage, copied
from tests.torture.steps import Plan, apart
from tests.torture.worker import Call, Worker

LIMITS = (0, 100, 3000, 4096, 5000, 9000, 20_000, 33_000, 50_000, 70_000, 100_000, 170_000)
"""Sizes in bytes that no file may pass: in SQLite's first pages, in its log, in an adapter."""

PAGES = (0, 1, 2)


def plans(steps: tuple[str, ...]) -> Iterator[Plan]:
    """Every step (`apart`) fails: once in one of two ways, or all from it on, by turns.

    And of a write, half is done.
    """
    for turn, (number, name) in enumerate(apart(steps)):
        if turn % 3:
            yield Plan(number, "ENOSPC" if turn % 3 == 1 else "EIO")
        else:
            yield Plan(number, "ENOSPC", lasting=True)
        if name.startswith("write "):
            yield Plan(number, "ENOSPC", "half")


def run(
    stage: Stage, model: Path, scratch: Path, plan: Plan | None = None, full: Call | None = None
) -> tuple[int, list[str]]:
    """Live a scene on a disk that fails, and what comes after it.

    Args:
        stage: The scene.
        model: The base model.
        scratch: Where the home is to be.
        plan: How the disk fails.
        full: Or the call that fills it.

    Returns:
        How many calls failed, and what is wrong.
    """
    home, ledger = copied(stage.home, scratch), stage.ledger.copy()
    failed, wrong = 0, []
    left: Call | None = None
    with Worker(home, model, plan) as worker:
        for call in stage.scene.calls:
            filled = full is not None and (full.name == "limit" or call.name != "open")
            if filled:
                worker.do(full.name, *full.args)  # type: ignore[union-attr]
            answer = worker.answer(call)
            if filled:
                worker.do(full.name, None)  # type: ignore[union-attr]
            if answer.error is None:
                ledger.apply(call)
                ledger.weights = answer.weights
                continue
            failed += 1
            if not answer.clear:
                wrong.append(f"{call} raised {answer.message}")
            if plan is not None and plan.lasting:
                left = call
                break
            wrong += _made_good(worker, ledger, call)
        worker.close()
    # What a call could not do any more is done when the home is opened the next time.
    wrong += aftermath(home, ledger, model, left, ended=not failed)
    return failed, wrong


def _made_good(worker: Worker, ledger: Ledger, call: Call) -> list[str]:
    """What is wrong when the disk is whole again, and the same process goes on."""
    if call.name == "open":
        worker.do("open")
        return []
    seen = worker.do("observe")
    wrong = ledger.wrong(seen, call)
    ledger.note(seen)
    return wrong + again(worker, ledger, call, seen)


def torture(ground: Ground, made: Sequence[Stage]) -> Report:
    """Every step of every scene fails, and every scene is lived on disks that are full."""

    def one(chosen: tuple[Stage, Plan | None, Call | None], scratch: Path, report: Report) -> None:
        stage, plan, full = chosen
        failed, wrong = run(stage, ground.model, scratch, plan, full)
        report.counts["faults"] += 1
        report.counts["operations"] += len(stage.scene.calls)
        report.counts["calls that failed"] += failed
        report.found(f"{stage.scene.name!r} with {plan or full}", wrong)

    tries: list[tuple[Stage, Plan | None, Call | None]] = []
    for stage in made:
        tries += [(stage, plan, None) for plan in plans(stage.steps)]
        tries += [(stage, None, Call("limit", (size,))) for size in LIMITS]
        tries += [(stage, None, Call("fill", (pages,))) for pages in PAGES]
    return ground.spread(ground.sample(tries), one, "faults")
