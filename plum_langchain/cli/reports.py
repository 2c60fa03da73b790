"""What each command reports, and the progress of learning."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from plum_langchain.cli.terminal import count, make_console, plain, say, show, show_table
from plum_langchain.session import Session, SessionState

if TYPE_CHECKING:
    from rich.progress import Progress as ProgressBars
    from rich.progress import TaskID

    from plum_langchain.consolidation import Consolidated
    from plum_langchain.consolidation.progress import Progress
    from plum_langchain.evaluation.compare import Asking
    from plum_langchain.forgetting import Forgotten
    from plum_langchain.memories.answer import Answer
    from plum_langchain.memories.told import Source


def size(octets: int) -> str:
    """Bytes in kB or MB."""
    return f"{octets / 1e6:.1f} MB" if octets >= 1e6 else f"{octets / 1e3:.1f} kB"


def show_imported(files: Sequence[Mapping[str, Any]]) -> None:
    """How many sessions of each file were added, went on, were there, or stay forgotten."""
    grown = ["grown"] if any(file["grown"] for file in files) else []
    names = ["file", "added", *grown, "unchanged", "forgotten"]
    show_table(names, ([file[name] for name in names] for file in files))
    if any(file["forgotten"] for file in files):
        say("Sessions that were forgotten on demand are not brought back by importing them.")


def session_record(session: Session) -> dict[str, Any]:
    """What `plum sessions --json` tells of a session."""
    return {
        "user": session.user_id,
        "session": session.session_id,
        "state": str(session.state),
        "turns": len(session.turns),
        "started": session.started.isoformat(timespec="seconds"),
        "tries": session.tries,
        "reason": session.reason,
    }


def show_sessions(records: Sequence[Mapping[str, Any]]) -> None:
    """Sessions, one a row; the column of reasons is there only if one failed, or a try of it."""
    if not records:
        show("No chats yet; `plum import FILE.jsonl` or `plum chat --user NAME` brings some.")
        return
    names = ["user", "session", "state", "turns", "started"]
    if any(record["reason"] for record in records):
        names.append("reason")
    show_table(names, ([record[name] for name in names] for record in records))


def show_status(status: Mapping[str, Any]) -> None:
    """Home, model, users with their sessions by state and what is served, running jobs."""
    show(f"home   {status['home']}")
    show(f"model  {status['model']}")
    if not status["users"]:
        show("No chats yet; `plum import FILE.jsonl` or `plum chat --user NAME` brings some.")
    else:
        show_table(
            ("user", "sessions", "generation served", "adapter"),
            (
                (
                    user["user"],
                    _states(user["sessions"]),
                    user["serving"] or "none",
                    size(user["adapter_bytes"]) if user["serving"] else None,
                )
                for user in status["users"]
            ),
        )
    for job in status["jobs"]:
        show(f"{job['kind']} of user {job['user_id']!r} by {job['owner']} since {job['since']}")


def _states(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in SessionState if counts.get(state))


def answer_record(answer: "Answer") -> dict[str, Any]:
    """What `plum ask --json` tells of an answer."""
    record = asdict(answer)
    if answer.source is not None:
        record["source"]["started"] = answer.source.started.isoformat()
    p_yes = record.pop("yes")
    return {**record, "p_yes": p_yes}


def show_answer(answer: "Answer") -> None:
    """The answer on standard output; what it took, for a person watching, on standard error."""
    likely = f" (p = {answer.yes:.2f})" if answer.yes is not None else ""
    because = f": {answer.recited}" if answer.recited is not None else ""
    show(answer.text + likely + because)
    if sys.stderr.isatty():
        weights = f"generation {answer.generation}" if answer.generation else "base model"
        say(
            f"[{answer.memory}, {weights}, {count(answer.prompt_tokens, 'prompt token')}, "
            f"{answer.seconds:.1f} s]"
        )
        if answer.source is not None:
            say(_told_by(answer.source))


def _told_by(source: "Source") -> str:
    who = {"user": "you said it", "assistant": "the assistant said it"}.get(
        source.said_by or "", "it was told"
    )
    return f"[{who} on {source.started:%d %B %Y}, in session {source.session_id!r}]"


def say_not_learned(user: str, memory: str) -> None:
    """Say that weights will answer which know nothing of the user; nothing for other memories."""
    if memory in ("parametric", "hybrid"):
        say(
            f"Nothing has been learned of user {user!r} yet, so the weights that answer are the "
            f"base model's; `plum consolidate --user {user!r}` learns finished sessions."
        )


def consolidated_record(result: "Consolidated") -> dict[str, Any]:
    """What `plum consolidate --json` tells of a session."""
    record = asdict(result)
    return {"user": record.pop("user_id"), "session": record.pop("session_id"), **record}


def show_consolidated(results: Sequence["Consolidated"]) -> None:
    """What was learned of each user, and what failed and why."""
    for user in dict.fromkeys(result.user_id for result in results):
        learned = [r for r in results if r.user_id == user and r.state == "learned"]
        if learned:
            makers = dict.fromkeys(r.question_maker for r in learned)
            show(
                f"{user}: {count(len(learned), 'session')} learned in "
                f"{sum(r.seconds for r in learned):.0f} s (questions: "
                f"{', '.join(map(str, makers))}); generation {learned[-1].generation} "
                f"is served ({size(learned[-1].adapter_bytes)})"
            )
            left_out = Counter[str]()
            for result in learned:
                left_out.update(result.metrics.get("left_out") or {})
            if left_out:
                from plum_langchain.screening import told

                show(f"{user}: {told(left_out)}")
    show_failed(results)
    for user in dict.fromkeys(result.user_id for result in results if result.state == "failed"):
        say(f"When the cause is mended, `plum retry --user {user!r}` puts it back in line.")


def show_failed(results: Sequence["Consolidated"]) -> None:
    """The sessions that could not be learned, with the reason."""
    for result in results:
        if result.state == "failed":
            show(f"{result.user_id}: session {result.session_id!r} failed: {result.reason}")


def show_receipt(receipt: "Forgotten") -> None:
    """What was erased and destroyed, what proves it, and what is to be learned again.

    A receipt with `traces` is not the whole truth without them.
    """
    serving = f"generation {receipt.serving}" if receipt.serving else "the base model"
    turns = [f"{name}: turns {', '.join(map(str, at))}" for name, at in receipt.turns.items()]
    erased = ", ".join(f"{n} {table}" for table, n in receipt.rows.items()) or "none"
    left = [name for name in receipt.to_relearn if name not in receipt.relearned]
    rows = [
        ("forgotten", ", ".join([*receipt.sessions, *turns]) or "nothing was left"),
        *([("lost with it", ", ".join(receipt.lost))] if receipt.lost else []),
        ("generations destroyed", ", ".join(map(str, receipt.generations_destroyed)) or "none"),
        ("rows and files", f"{erased}; {count(receipt.files_removed, 'file')}"),
        *([("key", "destroyed: earlier copies of the home can't be read")] * receipt.key_destroyed),
        ("serving now", serving),
        ("known of it", _known(receipt)),
        ("to be learned", ", ".join(left) or "nothing"),
    ]
    if not receipt.traces:
        rows.append(("traces in the files", f"none ({receipt.searched} pieces looked for)"))
    for name, value in rows:
        show(f"{name + ':':<23}{value}")
    if receipt.traces:
        say(receipt.traces)
    if left:
        say(f"`plum consolidate --user {receipt.user_id!r}` learns what is in line.")


def _known(receipt: "Forgotten") -> str:
    probes = receipt.probes
    if probes is None:
        return f"not asked ({receipt.no_probes})"
    steps = [("before", probes.before), ("since", probes.control), ("relearned", probes.after)]
    told = [f"{one.recalled:.0%} {name}" for name, one in steps if one is not None]
    return f"{', '.join(told)} (of {count(probes.questions, 'question')})"


def show_receipts(receipts: Sequence[Mapping[str, Any]]) -> None:
    """What was forgotten of a user, a line each."""
    with_keys = any(one.get("key_destroyed") for one in receipts)
    show_table(
        (
            "at",
            "sessions",
            "turns",
            "generations destroyed",
            "ended",
            "known before",
            "known since",
            *(("key destroyed",) if with_keys else ()),
        ),
        [
            (
                one["at"],
                ", ".join(one.get("sessions", ())) or "-",
                sum(map(len, one.get("turns", {}).values())) or "-",
                ", ".join(map(str, one["generations_destroyed"])) or "-",
                "yes" if one["ended"] else "no",
                *_before_and_since(one.get("probes")),
                *(("yes" if one.get("key_destroyed") else "no",) if with_keys else ()),
            )
            for one in receipts
        ],
    )


def _before_and_since(probes: Mapping[str, Any] | None) -> tuple[str, str]:
    if not probes:
        return "-", "-"
    since = probes["after"] or probes["control"]
    return f"{probes['before']['recalled']:.0%}", f"{since['recalled']:.0%}"


# -- learning, as it goes ----------------------------------------------------------------------

_ENDS = ("learned", "failed", "put back")
"""The phases in which nothing more will be done for a session."""


class LearningDisplay:
    """A progress bar per session on a terminal; elsewhere a line per session. A callback.

    Args:
        stopping: Whether Ctrl-C was pressed, so that the bar can say so.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self.learned: list[tuple[str, str]] = []
        """User and session of what has been learned so far."""
        self._stopping = stopping
        self._bars: ProgressBars | None = None
        self._task: TaskID | None = None
        self._started = 0.0
        self._loss = ""
        self._asking: dict[str, TaskID] = {}

    def __enter__(self) -> "LearningDisplay":
        """Start drawing, if there is a terminal to draw on."""
        console = make_console(stderr=True)
        if console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[doing]}", markup=False),
                TimeRemainingColumn(),
                console=console,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bars as they stand."""
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: "Progress") -> None:
        """Show what is being done."""
        if progress.phase == "questions":
            self._begin(progress)
        if progress.step is not None:
            self._loss = f", loss {progress.step.loss:.3f}"
        if progress.phase == "learned":
            self.learned.append((progress.user_id, progress.session_id))
        if self._bars is not None and self._task is not None:
            self._draw(self._bars, self._task, progress)
        elif progress.phase in _ENDS:
            seconds = time.monotonic() - self._started
            say(f"{_name(progress)}: {self._doing(progress)}, {seconds:.0f} s")

    def show_asking(self, what: str, asked: int, of: int) -> None:
        """A bar for questions being asked; nothing without a terminal to draw on."""
        if self._bars is None:
            return
        if what not in self._asking:
            self._asking[what] = self._bars.add_task(plain(what), total=of, doing="")
        self._bars.update(
            self._asking[what], completed=asked, total=of, doing=f"{asked}/{of} questions"
        )

    def _begin(self, progress: "Progress") -> None:
        self._started, self._loss = time.monotonic(), ""
        if self._bars is not None:
            name = _name(progress)
            name = name if len(name) <= 40 else name[:39] + "…"
            self._task = self._bars.add_task(plain(name), total=None, doing="")

    def _draw(self, bars: "ProgressBars", task: "TaskID", progress: "Progress") -> None:
        doing = self._doing(progress)
        if progress.step is not None:
            step = progress.step
            bars.update(task, total=step.steps, completed=step.step, doing=doing)
        elif progress.phase in _ENDS:
            bars.update(task, total=1, completed=int(progress.phase == "learned"), doing=doing)
            bars.stop_task(task)
        else:
            bars.update(task, doing=doing)

    def _doing(self, progress: "Progress") -> str:
        if progress.phase == "put back":
            return "not learned this time, back in line"
        if progress.phase in _ENDS:
            made = f", {count(progress.questions, 'question')}" if progress.questions else ""
            return f"{progress.phase}{made}{self._loss}"
        if self._stopping():
            return "stopping at the next step"
        if progress.step is not None:
            return f"epoch {progress.step.epoch}/{progress.step.epochs}{self._loss}"
        return {"questions": "making questions", "loading": "loading the model"}.get(
            progress.phase, progress.phase
        )


class ComparingDisplay:
    """The progress of `plum compare`: learning as `LearningDisplay` shows it, and the questions."""

    def __init__(self) -> None:
        self.learning = LearningDisplay(lambda: False)

    def __enter__(self) -> "ComparingDisplay":
        """Start drawing."""
        self.learning.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bars as they stand."""
        self.learning.__exit__()

    def asking(self, asking: "Asking") -> None:
        """Show which arm is asked."""
        self.learning.show_asking(
            f"{asking.user_id} · asking, {asking.arm}", asking.asked, asking.of
        )


def _name(progress: "Progress") -> str:
    return f"{progress.user_id} · {progress.session_id}"
