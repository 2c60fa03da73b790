"""Two people with few questions, and homes on the tiny model, for the paper's experiments."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from plum_langchain.evaluation import Exam, read_exams
from plum_langchain.evaluation.paper import BASE
from plum_langchain.settings import LearningSettings, QuestionSettings
from tests.tiny import CHATS, WordEmbeddings

TINY = replace(BASE, rank=4, alpha=8, epochs=1)
ASKED = QuestionSettings(max_questions=4)


def people(sessions: int) -> list[Exam]:
    """Two of the shipped people, one closed question of each answer and an open one a session."""
    found = []
    for exam in read_exams([CHATS / "ana.jsonl", CHATS / "bo.jsonl"], max_sessions=sessions):
        asked = []
        for session in exam.sessions:
            about = exam.about([session.session_id])
            for kind in ("yes", "no_same_slot", "open"):
                asked.append(next(question for question in about if question.kind == kind))
        found.append(replace(exam, questions=tuple(asked)))
    return found


class Homes:
    """Opens homes on the tiny model, and remembers with which settings."""

    def __init__(self, model: Path) -> None:
        self.model = str(model)
        self.opened: list[tuple[Path, LearningSettings]] = []

    def __call__(self, home: Path, learning: LearningSettings) -> Any:
        from plum_langchain import Plum

        self.opened.append((home, learning))
        plum = Plum(
            home,
            model=self.model,
            embeddings=WordEmbeddings(),
            learning=learning,
            question_settings=ASKED,
        )
        # Half of its tokens end an answer, so that answers are short.
        plum.engine.base.model.generation_config.eos_token_id = [*range(0, 600, 2)]
        return plum
