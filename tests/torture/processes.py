"""Several processes on one home: each finds what the others wrote, and none undoes it."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from plum_langchain import HomeSettings
from tests.torture.crashes import learned_and_found
from tests.torture.ledger import Ledger
from tests.torture.life import IDLE, KEPT
from tests.torture.nursery import Ground, Report
from tests.torture.scenes import Stage, copied
from tests.torture.steps import Plan, apart
from tests.torture.worker import Call, Worker

LEASE = 0.1
HASTY = HomeSettings(
    idle_seconds=IDLE, keep_generations=KEPT, lease_seconds=LEASE, busy_seconds=0.2
)
"""Whoever isn't heard of for a moment is taken for dead."""

_LEASED = ("consolidate", "forget", "rollback")


def overtaken(stage: Stage, plan: Plan, model: Path, scratch: Path) -> tuple[bool, list[str]]:
    """A worker is paused past its lease; another takes over; then it goes on.

    Returns:
        Whether it was overtaken, and what is wrong.
    """
    home, ledger = copied(stage.home, scratch), stage.ledger.copy()
    taken_over, wrong = False, []
    with (
        Worker(home, model, plan, settings=HASTY) as slow,
        Worker(home, model, settings=HASTY) as quick,
    ):
        for call in stage.scene.calls:
            slow.start(call)
            if not slow.paused_itself():
                answer = slow.wait()
                assert answer.error is None, (call, answer)
                ledger.apply(call)
                ledger.weights = answer.weights
                continue
            time.sleep(2 * LEASE)
            opened = quick.answer(Call("open"))  # it may have been paused in a transaction
            known = call.args and call.args[0] in {who for who, _ in ledger.said}
            learn = Call("consolidate", (call.args[0] if known else None,))
            other = quick.answer(learn) if opened.error is None else opened
            if other.error not in (None, "BusyError"):
                wrong.append(f"who took over: {other.message}")
            between = quick.do("observe") if other.error is None else None
            slow.resume()
            answer = slow.wait()
            if answer.error not in (None, "LeaseLostError", "BusyError"):
                wrong.append(f"who was overtaken: {answer.message}")
            taken_over = answer.error == "LeaseLostError"
            if opened.error is not None:
                quick.do("open")
            seen = quick.do("observe")
            wrong += ledger.wrong(seen, call, Call("consolidate"))
            if between is not None and taken_over and seen["kept"] != between["kept"]:
                wrong.append(f"{between['kept']} became {seen['kept']}")
            if answer.error is None:
                ledger.apply(call)
            elif call.name == "forget":
                again = slow.answer(call)
                if again.error is not None:
                    wrong.append(f"{call}, made again: {again.message}")
                ledger.apply(call)
            ledger.note(quick.do("observe"))
            break
        slow.close()
        quick.close()
    with Worker(home, model) as worker:
        worker.do("open")
        wrong += learned_and_found(worker, ledger)
    return taken_over, wrong


def chatted_while_learned(model: Path, scratch: Path, report: Report, rounds: int) -> None:
    """One process chats, one learns and forgets, one is the command line; some are killed."""
    home, ledger, chosen = scratch / "home", Ledger(), random.Random(rounds)
    texts = (f"canary-sings_{number}" for number in range(10**6))
    workers = [Worker(home, model) for _ in range(3)]
    try:
        for worker in workers:
            worker.do("open")
        for number in range(rounds):
            thread = f"chat {number // 3}"
            calls = [
                Call("append", ("ana", thread, next(texts), next(texts))),
                Call("consolidate"),
                Call("cli", ("status", "--json")),
            ]
            if number % 3 == 2:
                workers[0].do("finish", "ana", thread)
                ledger.apply(Call("finish", ("ana", thread)))
                calls[0] = Call("add", ("ana", f"import {number}", next(texts), next(texts)))
            if number % 4 == 3:
                calls[2] = Call("forget", ("ana", chosen.choice(ledger.alive("ana"))))
            for worker, call in zip(workers, calls, strict=True):
                worker.start(call)
            report.counts["calls at once"] += len(calls)
            for worker, call in zip(workers, calls, strict=True):
                answer = worker.wait()
                if answer.error is None:
                    ledger.apply(call)
                    if call.name == "cli" and answer.value[0] != 0:
                        report.found(call, [answer.value[1]])
                elif answer.error not in ("StoppedError", "BusyError") or call.name == "append":
                    report.found(call, [answer.message])
            seen = workers[0].do("observe")
            report.found(f"round {number}", ledger.wrong(seen, Call("consolidate"), *calls[2:]))
            ledger.note(seen)
        report.found("chatted while learned", learned_and_found(workers[1], ledger))
    finally:
        for worker in workers:
            worker.kill()


def scheduled_twice(model: Path, scratch: Path, report: Report, sessions: int) -> None:
    """Two schedules on one home: each session is learned once."""
    home, ledger = scratch / "home", Ledger()
    with Worker(home, model) as one, Worker(home, model) as two, Worker(home, model) as chat:
        for worker in (chat, one, two):
            worker.do("open")
        for worker in (one, two):
            worker.do("schedule", 0.05)
        for number in range(sessions):
            call = Call("add", (("ana", "bo")[number % 2], f"s{number}", f"canary-sings_{number}"))
            chat.do(call.name, *call.args)
            ledger.apply(call)
            report.counts["sessions for two schedules"] += 1
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            states = [
                state
                for found in chat.do("observe", False)["sessions"].values()
                for state, _ in found.values()
            ]
            if set(states) == {"learned"}:
                break
            time.sleep(0.05)
        for worker in (one, two):
            if (error := worker.do("unschedule")) is not None:
                report.found("two schedules", [error])
        report.found("two schedules", learned_and_found(chat, ledger))


def written_at_once(model: Path, scratch: Path, report: Report, rounds: int) -> None:
    """Several processes say something in one thread; one of them is killed at it, each time."""
    home = scratch / "home"
    acknowledged: list[str] = []
    tried: list[str] = []
    workers = [Worker(home, model) for _ in range(3)]
    try:
        for worker in workers:
            worker.do("open")
        for number in range(rounds):
            calls = [
                Call("append", ("ana", "chat", f"canary-sings_{number}-{i}")) for i in range(3)
            ]
            for worker, call in zip(workers, calls, strict=True):
                worker.start(call)
            os.kill(workers[0].pid, signal.SIGKILL)
            for worker, call in zip(workers[1:], calls[1:], strict=True):
                answer = worker.wait()
                report.found(call, [] if answer.error is None else [answer.message])
                acknowledged.append(call.args[2])
            tried += [call.args[2] for call in calls]
            workers[0].close()
            workers[0] = Worker(home, model)
            workers[0].do("open")
            report.counts["killed while three write"] += 1
        ((_, there),) = workers[1].do("observe", False)["sessions"]["ana"].values()
        lost = set(acknowledged) - set(there)
        doubled = sorted({text for text in there if there.count(text) > 1})
        strange = set(there) - set(tried)
        report.found(
            "written at once", [f"{lost=} {doubled=} {strange=}"] * bool(lost or doubled or strange)
        )
    finally:
        for worker in workers:
            worker.kill()


def torture(ground: Ground, made: Sequence[Stage]) -> Report:
    """All of it: overtaken at every other step of what needs a lease (by the seed, which)."""

    def one(chosen: tuple[Stage, int], scratch: Path, report: Report) -> None:
        stage, number = chosen
        happened, wrong = overtaken(stage, Plan(number, "pause"), ground.model, scratch)
        report.counts["pauses past the lease"] += 1
        report.counts["leases lost"] += happened
        report.found(f"{stage.scene.name!r} paused at step {number}", wrong)

    leased = [s for s in made if {call.name for call in s.scene.calls} & set(_LEASED)]
    every = [(stage, number) for stage in leased for number, _ in apart(stage.steps)]
    tries = ground.sample(every[ground.seed % 2 :: 2])
    report = ground.spread(tries, one, "overtaken")
    rounds = 60 if ground.few is None else 3
    for part in (chatted_while_learned, scheduled_twice, written_at_once):
        (scratch := ground.directory / part.__name__).mkdir()
        part(ground.model, scratch, report, rounds)
    return report
