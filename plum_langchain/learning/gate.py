"""The gate: whether what a session made of an adapter may be published.

Training can end with a session that was not learned, with earlier ones wiped out, with weights that
no longer speak, or with one answer to everything. So the finished weights are measured while they
are still on the model, and what falls short of `GateSettings` is not saved. It is a net for what
went wrong, not a measure of how good a memory is; that is `evaluation`'s, and other texts and
questions are used there.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import DivergedError, GateError, StoppedError
from plum_langchain.learning.encode import Sample
from plum_langchain.learning.parts import in_parts
from plum_langchain.session import NEVER_RAISED_KINDS, Question
from plum_langchain.settings import LearningSettings

if TYPE_CHECKING:
    from plum_langchain.learning.forward import Forward

_EARLIER = 32
"""Questions of earlier sessions that are asked before and after. A share of so many is known to
some nine points, far less than what separates ordinary sessions from what the gate is to stop."""


@dataclass(frozen=True)
class Measured:
    """What the gate found; a share is None where there is nothing that it could be of.

    Attributes:
        own: The share of the session's own questions that are recalled.
        told: The same of those that are about something told.
        refused: The same of those about something never raised, whose answer says so.
        kept: Of a sample of earlier sessions' questions, the share of those recalled before the
            session that still are.
        wear: How much likelier the base model finds ordinary texts, in nats per token.
        seconds: What measuring took.
    """

    own: float
    told: float | None
    refused: float | None
    kept: float | None
    wear: float
    seconds: float


class Gate:
    """Measures an adapter before and after a session is learned.

    Args:
        adapted: PEFT's model, as the generation before left it.
        tokenizer: Its tokenizer.
        forward: How batches go through it. It is not used itself, for it keeps what it has seen.
        earlier: Questions of earlier sessions.
        settings: How it is trained, and what is asked of it.
    """

    def __init__(
        self,
        adapted: Any,
        tokenizer: Any,
        forward: "Forward",
        earlier: Sequence[Sample],
        settings: LearningSettings,
    ) -> None:
        self._adapted = adapted
        self._tokenizer = tokenizer
        self._forward = forward
        self._settings = settings
        self._seconds = 0.0
        self._known: list[Sample] = []
        with self._timed():
            rng = random.Random(settings.seed)
            asked = rng.sample(earlier, min(_EARLIER, len(earlier)))
            if asked:
                self._ask = forward.anew(asked)
                found = recalled(self._ask, asked, settings)
                self._known = [sample for sample, known in zip(asked, found, strict=True) if known]

    def check(self, questions: Sequence[Question], known: Sequence[bool]) -> Measured:
        """Measure the weights as they are now.

        Args:
            questions: The session's own.
            known: Which of them are recalled.

        Raises:
            GateError: they are not to be published.
            DivergedError: they give no probabilities.
        """
        with self._timed():
            kept = None
            if self._known:
                kept = _share(recalled(self._ask, self._known, self._settings))
            wear = self._wear()
        each = list(zip(questions, known, strict=True))
        own = _share(known)
        assert own is not None
        measured = Measured(
            own=own,
            told=_share([k for q, k in each if q.positive]),
            refused=_share([k for q, k in each if q.kind in NEVER_RAISED_KINDS]),
            kept=kept,
            wear=wear,
            seconds=self._seconds,
        )
        wanting = shortcomings(measured, self._settings)
        if wanting:
            raise GateError(
                f"what was learned is not published: {'; '.join(wanting)}. Nothing was saved, and "
                "the generation before stays. Change that and retry the session (`plum retry`), or "
                "publish whatever is learned with LearningSettings(gate=None) (`--no-gate`)"
            )
        return measured

    def _wear(self) -> float:
        texts = ordinary_samples(self._tokenizer)
        forward = self._forward.anew(texts)
        now = _loss(forward, texts, self._settings)
        with self._adapted.disable_adapter():
            return now - _loss(forward, texts, self._settings)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - started


def shortcomings(measured: Measured, settings: LearningSettings) -> list[str]:
    """What is wrong with an adapter: what was found, what is expected, and what may help."""
    gate, rate = settings.gate, f"learning_rate (now {settings.learning_rate})"
    if gate is None:
        return []
    found: list[str] = []

    def expect(share: float | None, least: float, what: str, remedy: str) -> None:
        if share is not None and share < least:
            found.append(f"{share:.0%} {what}, at least {least:.0%} are expected ({remedy})")

    expect(
        measured.own,
        gate.own,
        "of the session's own questions are recalled",
        f"raise epochs, or raise or lower {rate}",
    )
    expect(
        measured.told,
        gate.told,
        "of its questions about something told are recalled",
        "raise epochs, or have as many of them as of others",
    )
    expect(
        measured.refused,
        gate.refused,
        "of its questions about what was never raised are answered so",
        "raise epochs, or have more of them",
    )
    expect(
        measured.kept,
        gate.kept,
        "of what was recalled of earlier sessions still are",
        f"raise replay_per_batch, or lower {rate}",
    )
    if not measured.wear <= gate.wear:  # it may be no number
        found.append(
            f"a token of ordinary text costs {measured.wear:.2f} nats more than the base model's, "
            f"at most {gate.wear:.2f} are expected (lower {rate} or epochs, or raise "
            "everyday_per_batch)"
        )
    return found


def ordinary_texts() -> list[str]:
    """A few short ones that are nobody's. They are neither rehearsed nor reported with."""
    text = files("plum_langchain.learning").joinpath("ordinary.txt").read_text("utf-8")
    return text.splitlines()


def ordinary_samples(tokenizer: Any) -> list[Sample]:
    """The ordinary texts as they are, without a chat around them; each token but the first counts.

    In a chat an adapter has a mere habit of telling facts, which rehearsal and `ServingSettings.
    scope` deal with; here it shows whether it still has the language.
    """
    found = [tuple(tokenizer(text)["input_ids"]) for text in ordinary_texts()]
    return [Sample(ids, (1.0,) * len(ids), 1, len(ids)) for ids in found]


def recalled(
    forward: "Forward",
    samples: Sequence[Sample],
    settings: LearningSettings,
    should_stop: Callable[[], bool] | None = None,
) -> list[bool]:
    """Of each sample, whether every token of its answer has p > 0.5.

    Raises:
        StoppedError: `should_stop`, which is asked before every part of them, returned True.
        DivergedError: a token has none.
    """
    import torch

    known: list[bool] = []
    with torch.no_grad():
        for part in in_parts(samples, settings.tokens_at_once):
            if should_stop is not None and should_stop():
                raise StoppedError(
                    "learning was asked to stop after its last step; nothing was saved and it "
                    "begins anew next time"
                )
            losses = forward(part)
            if not bool(losses.nll.isfinite().all()):  # the last step's doing: no loss came after
                raise diverged("ended in weights that give no probabilities", settings)
            known += losses.recalled().tolist()
    return known


def diverged(what: str, settings: LearningSettings) -> DivergedError:
    """The error of a training that came to numbers that aren't any."""
    return DivergedError(
        f"the training {what}; nothing was saved. Lower learning_rate (now "
        f"{settings.learning_rate}), or train with LearningSettings(dtype='float32')"
    )


def _loss(forward: "Forward", texts: Sequence[Sample], settings: LearningSettings) -> float:
    """Of a token, in nats."""
    import torch

    tokens = sum(len(text.ids) - 1 for text in texts)
    with torch.no_grad():
        parts = in_parts(texts, settings.tokens_at_once)
        return sum(float(forward(part).mean(tokens)) for part in parts)


def _share(known: Sequence[bool]) -> float | None:
    return sum(known) / len(known) if known else None
