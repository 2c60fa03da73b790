"""Any calls in any order, from two processes, killed and at once: the home is as a ledger says."""

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.torture.crashes import aftermath
from tests.torture.ledger import Ledger
from tests.torture.life import SEALED
from tests.torture.nursery import Ground, Report
from tests.torture.steps import Plan
from tests.torture.worker import Answer, Call, Died, Worker

KINDS = (
    *("append", "append", "merge", "finish", "add", "consolidate", "consolidate"),
    *("forget", "forget all", "rollback", "recall"),
)
what = st.tuples(st.sampled_from(KINDS), st.sampled_from(("ana", "bo")), st.integers(0, 9))
who = st.integers(0, 1)

REFUSED = {
    "BusyError",  # the other one is at work
    "StoppedError",  # the other one forgets
    "SessionStateError",  # it was finished meanwhile
    "UnknownSessionError",  # or forgotten
    "UnknownUserError",
    "UnknownGenerationError",
}
"""What a call may be told that comes at the same time as another."""


class Machine(RuleBasedStateMachine):
    """Two processes have a home open. `texts` are never said twice."""

    model: Path
    directory: Path
    report: Report

    def __init__(self) -> None:
        super().__init__()
        self.home = Path()
        self.ledger = Ledger()
        self.texts = (f"canary-sings_{number:04d}" for number in itertools.count())
        self.workers: list[Worker] = []
        self.to_scrub = False

    @initialize(name=st.sampled_from(("home", SEALED)))
    def open(self, name: str) -> None:
        self.home = Path(tempfile.mkdtemp(dir=self.directory)) / name
        for _ in range(2):
            self._open()

    @rule(who=who, what=what)
    def alone(self, who: int, what: tuple[str, str, int]) -> None:
        if call := self._call(*what):
            answer = self.workers[who].answer(call)
            if answer.error == "BusyError" and call.name in ("forget", "recall"):
                return  # the index belongs to the other process for as long as that lives
            assert answer.error is None, f"{call}: {answer.message}"
            self._heed(call, answer)
            self._compare([call], [])

    @rule(one=what, other=what)
    def at_once(self, one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
        calls = [call for what in (one, other) if (call := self._call(*what))]
        for worker, call in zip(self.workers, calls, strict=False):
            worker.start(call)
        done, refused = [], []
        for worker, call in zip(self.workers, calls, strict=False):
            answer = worker.wait()
            assert answer.error is None or answer.error in REFUSED, f"{call}: {answer.message}"
            self._heed(call, answer)
            (refused if answer.error else done).append(call)
        self._compare(done, [call for call in refused if call.name == "consolidate"])

    @rule(what=what, at=st.integers(1, 60), when=st.sampled_from(("before", "after")))
    def killed(self, what: tuple[str, str, int], at: int, when: Any) -> None:
        call = self._call(*what)
        if call is None or call.name == "recall":  # the other two may own the index
            return
        with Worker(self.home, self.model, Plan(at, when=when)) as worker:
            answer: Answer | None = None
            try:
                worker.answer(Call("open"))
                answer = worker.answer(call)
            except Died:
                self.report.counts["kills"] += 1
            worker.close()
        if answer is None:
            self._compare([], [call])
        elif answer.error is None:
            self._heed(call, answer)
            self._compare([call], [])
        else:  # the index belongs to the other processes
            assert (answer.error, call.name) == ("BusyError", "forget"), answer.message

    @rule(who=who)
    def restart(self, who: int) -> None:
        self.workers.pop(who).kill()
        self._open()

    @rule()
    def visited(self) -> None:
        """Somebody looks in and goes, as the command line does."""
        self.report.counts["operations"] += 1
        with Worker(self.home, self.model) as worker:
            for name in ("open", "observe", "close"):
                worker.do(name)
            worker.close()
        self._compare([], [])

    def teardown(self) -> None:
        for worker in reversed(self.workers):
            if self.to_scrub and worker is self.workers[0]:
                worker.do("scrub")
            worker.do("close")
            worker.close()
        wrong = aftermath(self.home, self.ledger, self.model) if self.workers else []
        if self.workers:
            shutil.rmtree(self.home.parent)
        assert wrong == [], wrong

    # -- inside ----------------------------------------------------------------------------------

    def _open(self) -> None:
        self.workers.append(Worker(self.home, self.model))
        self.workers[-1].do("open")

    def _heed(self, call: Call, answer: Answer) -> None:
        """A receipt may say that traces are left, and to scrub when nobody else has it open."""
        if call.name == "forget" and answer.error is None:
            self.to_scrub |= answer.value[1] is not None

    def _call(self, kind: str, user: str, index: int) -> Call | None:
        """The call, where there is something that it can be about."""
        self.report.counts["operations"] += 1
        thread = f"chat {index % 2}"
        said = [next(self.texts) for _ in range(index % 3 + 1)]
        if kind in ("append", "merge"):
            return Call(kind, (user, thread, *said))
        if kind == "add":
            return Call(kind, (user, f"import {said[0][-4:]}", *said))
        if kind == "consolidate" and index == 0:
            return Call(kind)
        there = self.ledger.alive(user)
        if not there:
            return None
        name = there[index % len(there)]
        if kind == "forget all":
            return Call("forget", (user,))
        if kind in ("forget", "finish"):
            return Call(kind, (user, name))
        last = {"consolidate": (), "rollback": (index % 4,), "recall": ("canary",)}[kind]
        return Call(kind, (user, *last))

    def _compare(self, done: Sequence[Call], unsure: Sequence[Call]) -> None:
        """The home is as these calls leave it, in some order; what is unsure was done or not."""
        seen = self.workers[0].do("observe")
        possible = []
        for some in ([], unsure):
            for order in itertools.permutations([*done, *some]):
                ledger = self.ledger.copy()
                for call in order:
                    ledger.apply(call)
                possible.append(ledger)
        fitting = [ledger for ledger in possible if not ledger.wrong_turns(seen)]
        self.ledger = (fitting or possible)[0]
        wrong = self.ledger.wrong(seen, *done, *unsure)
        assert wrong == [], wrong
        self.ledger.note(seen)


def torture(ground: Ground) -> Report:
    """Lives of some 20 calls."""

    def one(number: int, scratch: Path, report: Report) -> None:
        Machine.model, Machine.directory, Machine.report = ground.model, scratch, report
        try:
            run_state_machine_as_test(
                seed(number)(Machine),
                settings=settings(
                    max_examples=5 if ground.few is None else 3,
                    stateful_step_count=30 if ground.few is None else 10,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],  # to shrink what takes seconds takes hours
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except Exception as error:
            told = [repr(error)[:2000], *getattr(error, "__notes__", [])]
            report.found(f"lives of seed {number}", ["\n".join(told)])

    seeds = range(ground.seed, ground.seed + (40 if ground.few is None else 1))
    return ground.spread(seeds, one, "machine")
