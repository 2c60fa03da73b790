"""Asked of both at once: what is looked up beside what is recalled, and what is still read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import UnknownGenerationError
from plum_langchain.memories import answer, recollection
from plum_langchain.memories.recital import brought_back
from plum_langchain.memories.told import Told
from plum_langchain.questions.text import content_words
from plum_langchain.session import Question, Session, Turn
from plum_langchain.settings import HomeSettings, LearningSettings
from plum_langchain.verdicts import candidates
from tests.tiny import session
from tests.unit_tests.faces.helpers import Facts

THINGS = {
    "bakery": "Monday",
    "boat": "Tampere",
    "oven": "twelve",
    "violin": "Vienna",
    "goose": "grey",
    "sister": "Porto",
    "garden": "roses",
    "bicycle": "stolen",
    "kettle": "whistles",
    "letter": "Latin",
}
FACTS = [f"My {thing} has to do with {word}." for thing, word in THINGS.items()]
TOLD = [fact.replace("My", "Your") for fact in FACTS]

HARDLY = LearningSettings(
    gate=None,
    everyday_per_batch=0,
    rewordings=0,
    rank=4,
    alpha=8,
    epochs=1,
    dtype="float32",
)
"""So little is learned of these that what comes back is as good as drawn."""


class NothingElse(Facts):
    """Nothing is asked that was never told: so weak an adapter would bring back nothing else."""

    def make(self, session: Session) -> list[Question]:
        return super().make(session)[2:]


class Exact:
    """In place of a judge: a fact fits if it has all words of the question, and then says so."""

    def read(self, asked: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        return [(float(one), one or 1e-9) for one in map(self._fits, asked)]

    def probability(self, statement: str, question: str) -> float:
        return self._fits((statement, question))

    @staticmethod
    def _fits(asked: tuple[str, str]) -> float:
        told, question = (set(content_words(text)) for text in asked)
        return float(question - {"about"} <= told)


@pytest.fixture
def plum(open_plum: Callable[..., Any]) -> Any:
    """Ana has told ten facts in a session."""
    plum = open_plum(questions=NothingElse(), learning=HARDLY)
    plum.add_session(replace(session(), turns=tuple(Turn("user", fact) for fact in FACTS)))
    plum.consolidate("ana")
    plum._judge = Exact()
    return plum


def asked(thing: str) -> str:
    return f"What about my {thing}?"


def test_what_is_not_recalled_is_found(plum: Any) -> None:
    parametric = [plum.ask("ana", asked(thing)).text for thing in THINGS]
    hybrid = [plum.ask("ana", asked(thing), memory="hybrid") for thing in THINGS]
    assert parametric != TOLD
    assert [one.text for one in hybrid] == TOLD
    assert {(one.source.session_id, one.source.said_by) for one in hybrid} == {("s1", "user")}
    assert {one.generation for one in hybrid} == {1}


def test_a_closed_question_is_judged_from_it(plum: Any) -> None:
    found = plum.ask("ana", "Is it about my oven: twelve?", memory="hybrid", closed=True)
    assert (found.text, found.recited) == ("Yes", TOLD[2])
    found = plum.ask("ana", "Is it about my oven: thirteen?", memory="hybrid", closed=True)
    assert found.text == "No" and found.recited in TOLD


@pytest.mark.parametrize(("memory", "trust"), [("parametric", 1.0), ("hybrid", 0.5)])
def test_beside_what_is_looked_up_the_adapter_counts_less(
    plum: Any, monkeypatch: pytest.MonkeyPatch, memory: str, trust: float
) -> None:
    trusted = []

    def judged(*args: Any, **how: Any) -> Any:
        trusted.append(how["trust"])
        return candidates(*args, **how)

    for module in (answer, recollection):
        monkeypatch.setattr(module, "candidates", judged)
    plum.ask("ana", asked("boat"), memory=memory)
    plum.recall("ana", asked("boat"), memory=memory)
    assert trusted == [trust, trust]


def test_what_is_looked_up_is_as_likely_as_what_is_recalled(plum: Any) -> None:
    """Both have the token that ends a fact among their tokens."""
    adapter = plum.memory_named("parametric").recall("ana", "").adapter
    how: dict[str, Any] = {
        "system_prompt": None,
        "told": Told(plum.journal, "ana", 1),
        "max_new_tokens": 9,
    }
    looked_up, _ = brought_back(
        plum.engine, adapter, asked("boat"), looked_up=TOLD, number=2, **how
    )
    recalled, _ = brought_back(plum.engine, adapter, asked("boat"), number=len(TOLD), **how)
    found = {one.text: one.log_probability for one in looked_up}
    expected = {one.text: one.log_probability for one in recalled}
    assert found.keys() == expected.keys() == set(TOLD)
    assert found == pytest.approx(expected, abs=1e-3)


def test_text_comes_back_of_what_is_looked_up_too(plum: Any) -> None:
    for thing, told in zip(THINGS, TOLD, strict=True):
        found = plum.recall("ana", asked(thing), memory="hybrid", k=1)
        assert (found[0].text, found[0].memory) == (told, "parametric")
        assert found[1].memory == "retrieval"


def test_exchanges_are_read_of_sessions_alone_that_are_not_learned(plum: Any) -> None:
    alone = plum.ask("ana", asked("boat"))
    learned = plum.ask("ana", asked("boat"), memory="hybrid")
    assert learned.sources == () and learned.prompt_tokens == alone.prompt_tokens
    plum.add_session(session("ana", "s2", "My parrot swears.", "Oh dear."))
    both = plum.ask("ana", asked("boat"), memory="hybrid", k=1)  # the nearest one is learned
    (source,) = both.sources
    assert "My parrot swears." in source and both.prompt_tokens > alone.prompt_tokens
    assert both.text == TOLD[1]  # and it doesn't push out what was learned


def test_who_was_taught_bare_answers_reads_what_is_learned(open_plum: Callable[..., Any]) -> None:
    plum = open_plum(questions=NothingElse(), learning=replace(HARDLY, recite=False))
    plum.add_session(session("ana", "s1", *FACTS[:2]))
    plum.consolidate("ana")
    found = plum.ask("ana", asked("bakery"), memory="hybrid")
    assert len(found.sources) == 1 and "bakery" in found.sources[0]


@pytest.mark.parametrize("retention", ["questions", "nothing"])
def test_of_what_is_not_kept_no_more_is_found_than_is_recalled(
    open_plum: Callable[..., Any], retention: Any
) -> None:
    settings = HomeSettings(retention=retention)
    plum = open_plum(questions=NothingElse(), learning=HARDLY, settings=settings)
    plum.add_session(replace(session(), turns=tuple(Turn("user", fact) for fact in FACTS)))
    plum.consolidate("ana")
    plum._judge = Exact()
    found = plum.ask("ana", asked("kettle"), memory="hybrid")
    assert found.sources == ()
    assert (found.text == TOLD[8]) == (retention == "questions")


def test_in_an_encrypted_home_it_is_found_too(
    open_plum: Callable[..., Any], tmp_path: Path
) -> None:
    plum = open_plum(questions=NothingElse(), learning=HARDLY, keys=tmp_path / "keys")
    plum.add_session(replace(session(), turns=tuple(Turn("user", fact) for fact in FACTS)))
    plum.consolidate("ana")
    plum._judge = Exact()
    plum.add_session(session("ana", "s2", "My parrot swears.", "Oh dear."))
    found = plum.ask("ana", asked("kettle"), memory="hybrid", k=1)
    assert found.text == TOLD[8] and "My parrot swears." in found.sources[0]
    plum.close()
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or b"kettle" not in file.read_bytes()


def test_a_generation_that_is_given_up_meanwhile(
    plum: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Told, "recitals", [])
    with pytest.raises(UnknownGenerationError, match="generation 1 was given up"):
        plum.ask("ana", asked("boat"), memory="hybrid")
    found = plum.recall("ana", asked("boat"), memory="hybrid")
    assert {one.memory for one in found} == {"retrieval"}


class Nothing:
    """Finds nothing to ask about in a session."""

    name = "nothing"

    def make(self, session: Session) -> list[Question]:
        return [Question("Did I talk about whales?", "No", "no_adjacent")]


def test_a_session_that_told_no_fact_is_read(open_plum: Callable[..., Any]) -> None:
    plum = open_plum(questions=Nothing(), learning=HARDLY)
    plum.add_session(session("ana", "s1", "Ja, meine Bäckerei.", "Gut."))
    plum.consolidate("ana")
    plum._judge = Exact()
    found = plum.ask("ana", "Was ist mit meiner Bäckerei?", memory="hybrid")
    assert len(found.sources) == 1 and "Bäckerei" in found.sources[0]


def test_a_forgotten_fact_is_not_looked_up(plum: Any) -> None:
    plum.add_session(session("ana", "s2", "My parrot swears.", "Oh dear."))
    plum.consolidate("ana")
    assert plum.ask("ana", "parrot", memory="hybrid").text == "Your parrot swears."
    nearest = plum._retrieval._nearest
    assert nearest._vectors
    plum.forget("ana", "s2")
    assert not nearest._vectors
    found = plum.ask("ana", "parrot", memory="hybrid", k=9)
    assert "parrot" not in found.text and not any("parrot" in text for text in found.sources)


def test_what_another_plum_forgot_leaves_nothing_here(
    plum: Any, open_plum: Callable[..., Any]
) -> None:
    nearest = plum._retrieval._nearest
    assert plum.recall("ana", asked("boat"), memory="hybrid") and nearest._vectors
    other = open_plum()
    other.forget("ana", all=True)
    other.close()
    assert plum.recall("ana", asked("boat"), memory="hybrid") == []
    assert not nearest._vectors


def test_nobody_elses_facts_are_looked_up(plum: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plum.add_session(session("bob", "s1", "My parrot swears.", "Oh dear."))
    plum.consolidate("bob")
    searched: dict[str, list[str]] = {}
    find = plum._retrieval._nearest.find

    def watched(owner: str, texts_of: Callable[[], list[str]], *args: Any) -> Any:
        searched[owner] = texts_of()
        return find(owner, texts_of, *args)

    monkeypatch.setattr(plum._retrieval._nearest, "find", watched)
    for user in ("ana", "bob"):
        plum.ask(user, asked("boat"), memory="hybrid")
    bobs = ["Your parrot swears.", "Oh dear."]
    assert searched == {plum.home.owner("ana"): TOLD, plum.home.owner("bob"): bobs}
