"""Where workers come from: a warm process without threads, and what a run of the torture counts."""

import gc
import multiprocessing
import os
import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_MEMORY = Path("/dev/shm")


def warm_up(directory: Path) -> Path:
    """Do once what would be slow once in every worker; returns the directory of a tiny model.

    Chroma has threads as soon as it is used: of that, only the imports.
    """
    import chromadb  # noqa: F401
    import langchain_chroma  # noqa: F401

    from tests.tiny import save_tiny_model
    from tests.torture.life import Life

    in_a_child(save_tiny_model, directory / "model")  # tokenizers are trained by threads
    life = Life(directory / "first", directory / "model")
    life.open()
    life.add("ana", "s1", "Hello", "Hi")
    life.settle()
    life.observe()
    life.close()
    require_one_thread()
    gc.collect()
    gc.freeze()  # or each worker copies, object by object, what its collector looks at
    return directory / "model"


def require_one_thread() -> None:
    """A fork takes only its own thread along, and locks that others hold stay locked in it."""
    threads = Path("/proc/self/task")
    assert not threads.is_dir() or len(list(threads.iterdir())) == 1, "the parent has threads"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """In memory, where it can be: what a killed process leaves is the same, a sync is at once."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="plum-torture-", dir=place))
    os.environ["PLUM_CACHE"] = str(directory / "cache")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def in_a_child(function: Callable[..., _T], *args: Any) -> _T:
    """Run something that starts threads, and be none the wiser; returns what it returned."""
    return _Child(function, *args).result()


class _Child:
    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                theirs.send(function(*args))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        theirs.close()

    def result(self) -> Any:
        try:
            return self._ours.recv()
        finally:
            os.waitpid(self._pid, 0)


@dataclass
class Report:
    """What a part of the torture did, and what went wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def found(self, where: object, wrong: Iterable[str]) -> None:
        """Note what is wrong with one try."""
        self.wrong += [f"{where}: {one}" for one in wrong]

    def add(self, other: "Report") -> None:
        self.counts += other.counts
        self.wrong += other.wrong


@dataclass(frozen=True)
class Ground:
    """Where a part of the torture takes place, and how much of it.

    `few` is how many tries there are of each kind; None for all there can be. They are spread over
    `jobs` processes.
    """

    directory: Path
    model: Path
    few: int | None
    seed: int
    jobs: int

    def sample(self, every: Iterable[_T]) -> list[_T]:
        """All, or a few of them, in any order."""
        tries = list(every)
        number = len(tries) if self.few is None else min(self.few, len(tries))
        return random.Random(self.seed).sample(tries, number)

    def spread(
        self, tries: Sequence[_T], one: Callable[[_T, Path, Report], None], what: str
    ) -> Report:
        """Do each of the tries, in a directory that is there for it alone."""
        children = []
        for job in range(self.jobs):
            (place := self.directory / f"{what}-{job}").mkdir()
            children.append(_Child(_each, tries[job :: self.jobs], one, place))
        report = Report()
        for child in children:
            report.add(child.result())
        return report


def _each(tries: Sequence[Any], one: Callable[..., None], place: Path) -> Report:
    report = Report()
    for number, chosen in enumerate(tries):
        (scratch := place / str(number)).mkdir()
        try:
            one(chosen, scratch, report)
        except AssertionError as error:  # a call that must succeed did not
            report.found(
                ", ".join(map(str, chosen)) if isinstance(chosen, tuple) else chosen, [str(error)]
            )
        shutil.rmtree(scratch)
    return report
