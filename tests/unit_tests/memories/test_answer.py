"""What is recited, of several facts; Yes or No is judged from it, or scored where nothing is."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.adapters import AdapterRef, AdapterStore
from plum_langchain.errors import UnknownGenerationError
from plum_langchain.memories.answer import Answer, answer
from plum_langchain.memories.base import Recalled, Snippet
from plum_langchain.memories.recital import RECITALS
from plum_langchain.models import Engine
from plum_langchain.session import UNKNOWN_ANSWER, Question
from tests.unit_tests.learning.learnable import FAST
from tests.unit_tests.models.conftest import Shelf, chat, publish

TOLD = "Your bakery is closed on Mondays."
TAUGHT = [
    Question("Is my bakery closed on Mondays?", "Yes", "yes", (0,), TOLD),
    Question("Is my bakery closed on Fridays?", "No", "no_same_slot", (0,), TOLD),
    Question("Did I talk about whales?", "No", "no_adjacent"),
    Question("Am I tall?", "Yes", "yes", (0,)),  # whose fact isn't known
    Question("Am I a giant?", "No", "no_same_slot", (0,)),
]


class Verdicts:
    """Remembers what it was asked to judge; either all facts fit alike, or one alone does."""

    def __init__(self, probability: float = 0.9, fitting: str | None = None) -> None:
        self.judged: list[tuple[str, str]] = []
        self._probability = probability
        self._fitting = fitting

    def read(self, asked: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        alone = {True: 1.0, False: 1e-9}
        return [(0.5, alone[told == self._fitting] if self._fitting else 0.5) for told, _ in asked]

    def probability(self, statement: str, question: str) -> float:
        self.judged.append((statement, question))
        return self._probability


@pytest.fixture(scope="module")
def taught(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, AdapterRef]:
    store = AdapterStore(tmp_path_factory.mktemp("reciting"))
    settings = replace(FAST, recite=True, epochs=40)
    ref = publish(store, shelf.base, "ana", TAUGHT, settings=settings)
    return shelf.engine(store=store), ref


def ask(engine: Engine, judge: Any, ref: AdapterRef | None, question: str, **how: Any) -> Answer:
    return answer(
        engine,
        judge,
        Recalled(adapter=ref),
        question,
        memory="parametric",
        system_prompt=FAST.system_prompt,
        started=time.perf_counter(),
        **{"closed": True, **how},
    )


@pytest.mark.parametrize(("probability", "text"), [(0.9, "Yes"), (0.1, "No")])
def test_a_fact_that_comes_back_is_judged(taught: Any, probability: float, text: str) -> None:
    engine, ref = taught
    for question in TAUGHT[:2]:
        judge = Verdicts(probability)
        found = ask(engine, judge, ref, question.question)
        assert judge.judged == [(TOLD, question.question)]
        assert (found.text, found.yes, found.recited) == (text, probability, TOLD)
        assert found.generation == 1
        assert found.prompt_tokens > len(question.question.split())


def test_what_was_never_told_is_denied_without_a_verdict(taught: Any) -> None:
    judge = Verdicts()
    found = ask(taught[0], judge, taught[1], "Did I talk about whales?")
    assert not judge.judged
    assert (found.text, found.yes, found.recited) == ("No", 0.0, UNKNOWN_ANSWER)


def test_a_bare_answer_is_its_own_verdict(taught: Any) -> None:
    found = [ask(taught[0], Verdicts(), taught[1], q.question).text for q in TAUGHT[3:]]
    assert found == ["Yes", "No"]


def test_an_open_question_is_answered_by_the_fact_alone(taught: Any) -> None:
    judge = Verdicts(fitting=TOLD)
    found = ask(taught[0], judge, taught[1], "Is my bakery closed on Mondays?", closed=False)
    assert (found.text, found.yes, found.recited) == (TOLD, None, None)


def test_the_one_that_fits_comes_back_though_another_is_likelier(taught: Any) -> None:
    asked = TAUGHT[0].question
    likely, _ = taught[0].likely(chat(asked), taught[1], RECITALS, 96)
    assert likely[0].text == TOLD
    judge = Verdicts(fitting=likely[1].text)
    assert ask(taught[0], judge, taught[1], asked, closed=False).text == likely[1].text != TOLD


class Learned:
    """What a generation was taught, in place of a journal's."""

    recitals = (TAUGHT[3].recital, UNKNOWN_ANSWER)

    def source(self, recital: str) -> str:
        return f"source of {recital}"


def test_nothing_comes_back_that_it_was_not_taught(taught: Any) -> None:
    """Though the adapter would recite TOLD; with snippets beside it, it may say what they say."""
    asked = TAUGHT[0].question
    found = ask(taught[0], Verdicts(), taught[1], asked, told=Learned())
    assert found.recited in Learned.recitals
    assert found.source == f"source of {found.recited}"
    snippet = Snippet("User: We sell rye.", "ana-s01", 0.2)
    both = answer(
        taught[0],
        Verdicts(fitting=TOLD),  # type: ignore[arg-type]
        Recalled(adapter=taught[1], snippets=(snippet,)),
        asked,
        memory="hybrid",
        system_prompt=FAST.system_prompt,
        closed=True,
        started=time.perf_counter(),
        told=Learned(),  # type: ignore[arg-type]
    )
    assert (both.recited, both.source) == (TOLD, f"source of {TOLD}")


def test_a_fact_comes_back_whole_however_long_it_is(taught: Any) -> None:
    found = ask(taught[0], Verdicts(), taught[1], TAUGHT[0].question, told=Long(), max_new_tokens=2)
    assert found.recited == Long.recitals[0]
    assert len(taught[0].base.tokenizer.encode(Long.recitals[0])) > RECITALS * 20


class Long(Learned):
    recitals = ("Your bakery is closed on Mondays, and " + "so is the other one, and " * 20,)


def test_of_a_generation_that_was_given_up_nothing_comes_back(taught: Any) -> None:
    """Its adapter is still at hand; what it was taught is in no journal any more."""
    gone = Learned()
    gone.recitals = ()  # type: ignore[assignment]
    for closed in (True, False):
        with pytest.raises(UnknownGenerationError, match="generation 1 was given up"):
            ask(taught[0], Verdicts(), taught[1], TAUGHT[0].question, closed=closed, told=gone)


def test_who_was_not_taught_to_recite_is_scored(shelf: Shelf, engine: Engine) -> None:
    """The base model, and generations taught bare answers, those from before reciting too."""
    messages = chat("Is it a bakery?")
    for ref in (None, shelf.refs["ana"]):
        found = ask(engine, None, ref, "Is it a bakery?")
        assert found.yes == engine.yes_probability(messages, ref)[0]
        assert found.recited is None


def test_what_it_was_taught_is_read_from_its_manifest(shelf: Shelf, tmp_path: Path) -> None:
    store = AdapterStore(tmp_path)
    ref = publish(store, shelf.base, "ana", TAUGHT, settings=replace(FAST, recite=True, epochs=1))
    assert shelf.engine(store=store).manifest(ref).settings["recite"] is True
