"""What is told while sessions are learned, and what became of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from plum_langchain.learning import StepProgress


@dataclass(frozen=True)
class Consolidated:
    """What became of one session. `seconds` is wall time from questions to publication.

    `questions` is how many were learned, and `question_maker` who made them: "kept" are those that
    were kept in place of their chat, and are learned again.
    """

    user_id: str
    session_id: str
    state: Literal["learned", "failed"]
    reason: str | None = None
    generation: int | None = None
    seconds: float = 0.0
    questions: int = 0
    question_maker: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    adapter_bytes: int = 0


@dataclass(frozen=True)
class Progress:
    """Sent to the progress callback: what is being done for which session.

    `step` is there while learning; `questions` once they are made. "put back": a try failed, and
    the session is in line again.
    """

    user_id: str
    session_id: str
    phase: Literal["loading", "questions", "learning", "learned", "failed", "put back"]
    step: StepProgress | None = None
    questions: int = 0


ProgressCallback = Callable[[Progress], None]
