"""A process that lives a life call by call, forked from a warm parent, to be killed or paused.

The parent must have no threads: it imports and forks, and everything that starts threads (training,
Chroma) happens in children.
"""

import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from plum_langchain.errors import PlumError
from tests.torture.life import Life
from tests.torture.steps import Plan, Steps


class Call(NamedTuple):
    """One call of a `Life` by its name."""

    name: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.args))})"


@dataclass(frozen=True)
class Answer:
    """What became of a call; `clear` tells an error that is meant for users.

    `weights` is, by user, what their adapter has learned after it.
    """

    value: Any = None
    error: str | None = None
    clear: bool = True
    message: str = ""
    steps: tuple[str, ...] = ()
    weights: Mapping[str, list[str]] = field(default_factory=dict)


class Died(Exception):
    """The worker ended before it answered."""


_PATIENCE = 120.0
_open: set[Connection] = set()
"""The parent's ends of all pipes."""


class Worker:
    """Lives a life in a process of its own."""

    def __init__(self, root: Path, model: Path, plan: Plan | None = None, **options: Any) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        _open.add(self._ours)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for inherited in _open:  # or no worker would ever see its pipe closed
                    inherited.close()
                _serve(theirs, Life(root, model, **options), Steps(root, plan))
            finally:
                os._exit(0)
        theirs.close()
        self._status: int | None = None

    def do(self, name: str, *args: Any) -> Any:
        """The result of a call that must succeed."""
        answer = self.answer(Call(name, args))
        if answer.error is not None:
            raise AssertionError(f"{Call(name, args)} raised {answer.message}")
        return answer.value

    def answer(self, call: Call) -> Answer:
        """What becomes of a call.

        Raises:
            Died: it was killed before it answered.
        """
        self.start(call)
        return self.wait()

    def start(self, call: Call) -> None:
        """Begin a call; `wait` brings its answer."""
        try:
            self._ours.send(call)
        except OSError as error:
            raise Died(call) from error

    def wait(self, seconds: float = _PATIENCE) -> Answer:
        """The answer to the call that was started."""
        if not self._ours.poll(seconds):
            raise AssertionError(f"no answer within {seconds:g} s")
        try:
            found: Answer = self._ours.recv()
        except (EOFError, OSError) as error:
            raise Died from error
        return found

    def paused_itself(self) -> bool:
        """Wait until it has, or has answered; whether it has."""
        while not self._ours.poll(0.01):
            pid, status = os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)
            if pid and os.WIFSTOPPED(status):
                return True
            assert not pid, "it ended"
        return False

    def kill(self) -> None:
        """End it as a power cut of its own would."""
        self._signal(signal.SIGKILL)
        self.close()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> int:
        """Let it end; returns the signal that ended it, or 0."""
        if self._status is None:
            self._ours.close()
            _open.discard(self._ours)
            _, status = os.waitpid(self.pid, 0)
            self._status = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return self._status

    def _signal(self, number: int) -> None:
        if self._status is None:
            os.kill(self.pid, number)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is None:
            self.resume()
            self.kill()


def _serve(connection: Connection, life: Life, steps: Steps) -> None:
    steps.watch()
    logging.disable()
    while True:
        try:
            call: Call = connection.recv()
        except EOFError:
            return
        steps.on = True
        try:
            value = getattr(life, call.name)(*call.args)
            steps.on = False
            answer = Answer(value, steps=tuple(steps.seen), weights=life.weights())
        except Exception as error:
            clear = isinstance(error, PlumError)
            where = [
                f"{frame.name} in {Path(frame.filename).name}:{frame.lineno}"
                for frame in traceback.extract_tb(error.__traceback__)
                if "plum_langchain" in frame.filename
            ]
            answer = Answer(
                error=type(error).__name__,
                clear=clear,
                message=f"{type(error).__name__}: {error}{'' if clear else f' ({where})'}",
                steps=tuple(steps.seen),
            )
        steps.on = False
        connection.send(answer)


def wait_until(happened: Any, seconds: float = 30.0) -> None:
    """Poll until it is true."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
