"""Killed at every durable step, or at any moment: nothing acknowledged is lost, all goes on."""

import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture.ledger import Ledger, Observed, traces
from tests.torture.life import SEALED
from tests.torture.nursery import Ground, Report
from tests.torture.scenes import Stage, copied
from tests.torture.steps import Plan, apart
from tests.torture.worker import Call, Died, Worker


def plans(steps: tuple[str, ...]) -> Iterator[Plan]:
    """Every step (`apart`), just before and, of a write, half-way.

    And just after one that commits, or is the last: what is durable then wasn't acknowledged. After
    any other the disk is as it is just before the next.
    """
    for number, name in apart(steps):
        yield Plan(number)
        if name.startswith("write "):
            yield Plan(number, when="half")
        if name.startswith("sql COMMIT") or number == len(steps):
            yield Plan(number, when="after")


def run(
    stage: Stage, plan: Plan, model: Path, scratch: Path, report: Report
) -> tuple[bool, list[str]]:
    """Live a scene, be killed as planned, and see what comes after it.

    Returns:
        Whether the plan struck, and what is wrong then.
    """
    home, ledger = copied(stage.home, scratch), stage.ledger.copy()
    under_way: Call | None = None
    wrong = []
    with Worker(home, model, plan) as worker:
        try:
            for under_way in stage.scene.calls:
                answer = worker.answer(under_way)
                assert answer.error is None, (under_way, answer)
                report.counts["operations"] += 1
                ledger.apply(under_way)
                ledger.weights = answer.weights
            else:
                under_way = None
        except Died:
            if worker.close() != signal.SIGKILL:
                wrong.append(f"{under_way} ended the process")
    wrong += aftermath(home, ledger, model, under_way)
    return under_way is not None, wrong


def aftermath(
    home: Path, ledger: Ledger, model: Path, *under_way: Call | None, ended: bool = True
) -> list[str]:
    """What is wrong with a home, whose users come back to it and go on.

    Args:
        home: Nobody has it open.
        ledger: What was acknowledged.
        model: The base model.
        under_way: The calls that were not. They are made again, and then all is learned.
        ended: Nothing that was acknowledged is still to be ended when the home is opened.
    """
    calls = [call for call in under_way if call is not None]
    left = traces(home, ledger.erased) if ended else []
    wrong = [f"a trace is left in {found}" for found in left]
    wrong += [f"not sealed is {found}" for found in _in_the_clear(home, ledger, *calls)]
    with Worker(home, model) as worker:
        worker.do("open")
        seen = worker.do("observe")
        wrong += ledger.wrong(seen, *calls)
        ledger.note(seen)
        for call in calls:
            wrong += again(worker, ledger, call, seen)
        wrong += learned_and_found(worker, ledger)
        worker.do("close")
        worker.close()
    wrong += [f"at the end a trace is left in {found}" for found in traces(home, ledger.erased)]
    return wrong + [f"not sealed is {found}" for found in _in_the_clear(home, ledger)]


def _in_the_clear(home: Path, ledger: Ledger, *under_way: Call) -> list[str]:
    """The files of an encrypted home in which something can be read that was said."""
    if home.name != SEALED:
        return []
    told = (*ledger.said.values(), *(call.args[2:] for call in under_way))
    return traces(home, {str(text) for texts in told for text in texts})


def again(worker: Worker, ledger: Ledger, call: Call, seen: Observed) -> list[str]:
    """Make a call again, as a user would who has heard no answer."""
    done = ledger.copy()
    done.apply(call)
    landed = done.said != ledger.said and not done.wrong(seen, call)
    # To append again would be to say it twice; back by one generation again is back by two.
    if call.name != "rollback" and not (call.name == "append" and landed):
        answer = worker.answer(call)
        if answer.error is not None and not (landed and answer.error == "UnknownSessionError"):
            return [f"{call}, made again: {answer.message}"]
    ledger.apply(call)
    ledger.note(worker.do("observe"))
    return []


def learned_and_found(worker: Worker, ledger: Ledger) -> list[str]:
    """What is wrong after the next round of learning, and what the index doesn't find."""
    worker.do("settle")
    ledger.apply(Call("settle"))
    seen = worker.do("observe")
    wrong = ledger.wrong_when_settled(seen)
    ledger.note(seen)
    for user in seen["sessions"] if seen["indexed"] else ():
        told = {text for (who, _), texts in ledger.said.items() if who == user for text in texts}
        found = "\n".join(worker.do("recall", user, "canary"))
        wrong += [f"{text} of {user} is not found" for text in told if text not in found]
        strange = set(_CANARY.findall(found)) - told
        wrong += [f"{text} is found, and was not told by {user}" for text in strange]
    return wrong


_CANARY = re.compile(r"canary-\w+")


def torture(ground: Ground, made: Sequence[Stage]) -> Report:
    """Kill it at every step of every scene."""

    def one(chosen: tuple[Stage, Plan], scratch: Path, report: Report) -> None:
        stage, plan = chosen
        struck, wrong = run(stage, plan, ground.model, scratch, report)
        report.counts["kills"] += struck
        report.found(f"{stage.scene.name!r} at {plan}", wrong)

    tries = ground.sample((stage, plan) for stage in made for plan in plans(stage.steps))
    report = ground.spread(tries, one, "crashes")
    report.counts["durable steps"] += sum(len(stage.steps) for stage in made)
    return report
