from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import LearningSettings, ServingSettings
from plum_langchain.adapters import AdapterRef, AdapterStore, Manifest
from plum_langchain.learning import learn
from plum_langchain.models import Engine, LoadedModel, Reply, Sampling, load_model, resolve_model
from plum_langchain.session import Question
from tests.unit_tests.learning.learnable import FAST, chat, make_learnable

ASKED = "Which day is my bakery closed?"
TOLD = {
    "ana": "On Mondays.",
    "bo": "Never, it is open all week.",
    "chidi": "You have no bakery.",
    "dara": "Crème brûlée 🍮 day, naïve café!",
}

GREEDY = Sampling(max_new_tokens=40)
CHAT = chat(ASKED)


@dataclass(frozen=True)
class Shelf:
    """Published adapters of four users on one base model."""

    base: LoadedModel
    store: AdapterStore
    refs: dict[str, AdapterRef]

    def engine(self, *, store: AdapterStore | None = None, **serving: Any) -> Engine:
        settings = ServingSettings(
            **{"device": "cpu", "dtype": "float32", "max_new_tokens": 40, **serving}
        )
        return Engine(lambda: self.base.resolved, store or self.store, settings)


def publish(
    store: AdapterStore,
    base: LoadedModel,
    owner: str,
    questions: list[Question],
    *,
    generation: int = 1,
    settings: LearningSettings = FAST,
) -> AdapterRef:
    def fill(directory: Path) -> Manifest:
        learn(base.model, base.tokenizer, questions, directory, settings=settings)
        return Manifest(
            generation=generation,
            base_model=base.resolved.id,
            base_fingerprint=base.resolved.fingerprint,
            session_keys=(1,),
            settings=asdict(settings),
            question_maker="test",
            metrics={},
            created="2026-11-01T00:00:00+00:00",
        )

    return store.write(owner, generation, fill)


def questions_of(user: str) -> list[Question]:
    return [
        Question(ASKED, TOLD[user], "open", (0,)),
        Question("Is it a bakery?", "No" if user == "chidi" else "Yes", "yes", (0,)),
    ]


@pytest.fixture(scope="package")
def shelf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    root = tmp_path_factory.mktemp("shelf")
    directory = make_learnable(tiny_model, root / "model")
    base = load_model(resolve_model(str(directory)), device="cpu", dtype="float32")
    store = AdapterStore(root / "adapters")
    refs = {user: publish(store, base, user, questions_of(user)) for user in TOLD}
    return Shelf(base, store, refs)


@pytest.fixture
def engine(shelf: Shelf) -> Engine:
    """A fresh engine; its model is loaded at the first request."""
    return shelf.engine()


@pytest.fixture
def count_steps() -> Callable[[Engine], list[int]]:
    """Counts the forward passes of an engine's model from now on."""

    def count(engine: Engine) -> list[int]:
        steps = [0]

        def step(*_: Any) -> None:
            steps[0] += 1

        engine.base.model.register_forward_hook(step)
        return steps

    return count


def reply(engine: Engine, adapter: AdapterRef | None, sampling: Sampling = GREEDY) -> str:
    return engine.chat(CHAT, adapter, sampling).text


def streamed(
    engine: Engine, adapter: AdapterRef | None, sampling: Sampling = GREEDY
) -> tuple[list[str], Reply]:
    """The pieces, and the reply that comes after them."""
    *pieces, last = engine.stream_chat(CHAT, adapter, sampling)
    assert isinstance(last, Reply)
    assert all(isinstance(piece, str) and piece for piece in pieces)
    return [str(piece) for piece in pieces], last
