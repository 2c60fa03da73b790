"""All of our memories pass the conformance suite that the package ships."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import LearningSettings, Plum, ServingSettings
from plum_langchain.session import UNKNOWN_ANSWER, Question, Session, SessionState, Turn
from plum_langchain.testing import HOSTILE_IDS, Exchange, MemoryStandardTests, MemoryUnderTest
from tests.tiny import WordEmbeddings
from tests.unit_tests.faces.helpers import Fits
from tests.unit_tests.learning.learnable import make_learnable

QUICK = LearningSettings(
    everyday_per_batch=0,
    rewordings=0,
    rank=4,
    alpha=8,
    upper_layers=1.0,
    epochs=20,
    learning_rate=1e-2,
    dtype="float32",
    gate=None,
)


class Called:
    """Asks what everything is called."""

    name = "called"

    def make(self, session: Session) -> list[Question]:
        made = [
            Question("Did I talk about whales?", "No", "no_adjacent"),
            Question("What did I say about whales?", UNKNOWN_ANSWER, "open_unknown"),
        ]
        for index, turn in enumerate(session.turns):
            if turn.role == "user":
                told = turn.content.replace("My", "Your")
                thing = turn.content.removeprefix("My ").split(" is called ")[0]
                where = (index,)
                made += [
                    Question(f"What is my {thing} called?", told, "open", where, told),
                    Question(f"Is it so: {turn.content}", "Yes", "yes", where, told),
                    Question(f"Is my {thing} called Rex?", "No", "no_same_slot", where, told),
                ]
        return made


class Ours:
    """A home, asked through the retriever over one of its memories."""

    def __init__(self, directory: Path, memory: str, model: Path, *, learns: bool = True) -> None:
        self.plum = Plum(
            directory,
            model=str(model),
            questions=Called(),
            embeddings=WordEmbeddings(),
            learning=QUICK,
            serving=ServingSettings(device="cpu", dtype="float32", scope=None),
        )
        self.plum._judge = Fits()  # type: ignore[assignment]
        self._learns = learns
        self._retriever = self.plum.retriever(memory=memory)

    def remember(self, user_id: str, session_id: str, exchanges: Sequence[Exchange]) -> None:
        turns = [Turn(r, t) for pair in exchanges for r, t in zip(_ROLES, pair, strict=True)]
        self.plum.add_session(
            Session(user_id, session_id, tuple(turns), state=SessionState.FINISHED)
        )
        self._learn(user_id)

    def recall(self, user_id: str, query: str) -> str:
        return _text(self._retriever.invoke(query, user_id=user_id))

    async def arecall(self, user_id: str, query: str) -> str:
        return _text(await self._retriever.ainvoke(query, user_id=user_id))

    def said(self, user_id: str) -> list[str]:
        sessions = self.plum.journal.sessions.all(user_id)
        return [t.content for session in sessions for t in session.turns if t.role == "user"]

    def forget(self, user_id: str, session_id: str) -> None:
        self.plum.forget(user_id, session_id)
        self._learn(user_id)

    def forget_user(self, user_id: str) -> None:
        self.plum.forget(user_id, all=True)

    def close(self) -> None:
        self.plum.close()

    def _learn(self, user_id: str) -> None:
        if self._learns:
            self.plum.consolidate(user_id)


_ROLES: Any = ("user", "assistant")


def _text(documents: Any) -> str:
    return "\n".join(document.page_content for document in documents)


@pytest.fixture(scope="module")
def learnable(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_learnable(tiny_model, tmp_path_factory.mktemp("conformance") / "model")


class Standard(MemoryStandardTests):
    kind: str
    learns = True

    @pytest.fixture(autouse=True)
    def _model(self, learnable: Path) -> None:
        self.model = learnable

    def open(self, directory: Path) -> MemoryUnderTest:
        return Ours(directory, self.kind, self.model, learns=self.learns)

    def others(self, directory: Path) -> list[MemoryUnderTest]:
        kinds = {"parametric", "retrieval", "hybrid"} - {self.kind}
        return [Ours(directory, kind, self.model) for kind in sorted(kinds)]


class TestParametric(Standard):
    kind = "parametric"


class TestRetrieval(Standard):
    kind = "retrieval"

    @pytest.fixture(autouse=True)
    def _learns(self, request: pytest.FixtureRequest) -> None:
        """It looks into the journal alone; whoever else is asked over the same data does not."""
        self.learns = "another_memory" in request.node.name


class TestHybrid(Standard):
    kind = "hybrid"
    hostile_ids = HOSTILE_IDS[:4]  # all of them are tried in the two that it is made of
