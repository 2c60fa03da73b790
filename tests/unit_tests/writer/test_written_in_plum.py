"""A home that learns what its base model writes: when it does, two users apart, forgotten whole."""

import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import Plum, ServingSettings
from plum_langchain.errors import DivergedError, StoppedError
from plum_langchain.questions.maker import Wish
from plum_langchain.session import Turn
from plum_langchain.writer import Writer
from tests.tiny import session
from tests.unit_tests.consolidation.helpers import QUICK, head_ref
from tests.unit_tests.homes import files_with

SAID = {"ana": "I own a small bakery in Porto.", "bo": "I sold my wooden boat in Malmö."}


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer who needs no teaching, and whose questions are known from others."""

    def write(self: Any, wishes: Sequence[Wish], **_: object) -> list[list[str]]:
        return [[f"{wish.wanted}, quoth: {wish.statement}?"] for wish in wishes]

    def prepare(self: Any, should_stop: Callable[[], bool] | None = None) -> None:
        pass

    monkeypatch.setattr(Writer, "write", write)
    monkeypatch.setattr(Writer, "prepare", prepare)


@pytest.fixture
def plum(tiny_model: Path, tmp_path: Path, writes: None) -> Plum:
    plum = Plum(
        tmp_path / "home",
        model=str(tiny_model),
        questions="written",
        learning=QUICK,
        serving=ServingSettings(scope=None),
    )
    for user, text in SAID.items():
        plum.add_session(session(user, f"{user}-1", text, "I see."))
    assert [done.state for done in plum.consolidate()] == ["learned", "learned"]
    return plum


def test_each_user_learns_what_is_written_about_their_own_chat(plum: Plum) -> None:
    for user, word in (("ana", "bakery"), ("bo", "boat")):
        learned = plum.journal.generations.replay_questions(user)
        about = [q for own in learned.values() for q in own if q.statement]
        assert any("quoth" in q.question for q in about)
        assert all(word in (q.statement or "") for q in about)
        assert plum.engine.manifest(head_ref(plum, user)).question_maker == "written"


def test_what_was_written_is_forgotten_with_its_chat(plum: Plum, tmp_path: Path) -> None:
    assert files_with(tmp_path, "quoth: You own a small bakery")
    plum.forget("ana", "ana-1", probe=False)
    assert not files_with(tmp_path, "quoth: You own a small bakery")
    assert files_with(tmp_path, "quoth: You sold your wooden boat")


# -- when it writes ----------------------------------------------------------------------------


def maker_of(plum: Plum) -> str:
    """What made the questions that ana's newest generation learned."""
    return plum.engine.manifest(head_ref(plum)).question_maker


@pytest.mark.usefixtures("writes")
@pytest.mark.parametrize("shipped", [True, False])
def test_by_default_it_writes_where_the_writer_ships(
    open_plum: Callable[..., Plum], monkeypatch: pytest.MonkeyPatch, shipped: bool
) -> None:
    monkeypatch.setattr(Writer, "shipped", shipped)
    plum = open_plum(questions=None)
    plum.add_session(session("ana", "ana-1", SAID["ana"], "I see."))
    plum.consolidate("ana")
    assert maker_of(plum) == ("written" if shipped else "statements")
    assert plum.question_maker().name == maker_of(plum)
    asked = [q.question for q in plum.journal.generations.questions_kept("ana", "ana-1")]
    assert any("quoth" in question for question in asked) is shipped


@pytest.mark.parametrize(
    "why", [StoppedError("asked to"), DivergedError("no numbers"), KeyboardInterrupt()]
)
def test_a_model_that_is_not_taught_costs_no_session_a_try(
    open_plum: Callable[..., Plum], monkeypatch: pytest.MonkeyPatch, why: BaseException
) -> None:
    def prepare(self: Any, should_stop: Callable[[], bool] | None = None) -> None:
        assert not plum.journal.jobs.running()  # and nobody is held while it is
        raise why

    monkeypatch.setattr(Writer, "prepare", prepare)
    plum = open_plum(questions="written")
    plum.add_session(session("ana", "ana-1", SAID["ana"], "I see."))
    with pytest.raises(type(why)):
        plum.consolidate()
    (waiting,) = plum.journal.sessions.all("ana")
    assert (waiting.state.value, waiting.tries) == ("finished", 0)


def test_nobody_is_taught_while_nothing_waits(
    open_plum: Callable[..., Plum], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "prepare", None)  # would be an error
    plum = open_plum(questions="written")
    still_open = [Turn("user", SAID["ana"])]
    plum.journal.sessions.append("ana", "ana-1", still_open, idle_seconds=60)
    assert plum.consolidate("ana") == plum.consolidate() == []


def test_nothing_is_looked_for_while_nothing_waits(open_plum: Callable[..., Plum]) -> None:
    plum = open_plum(questions=None, model="a-model/that-is-nowhere")
    assert plum.consolidate() == []


# -- stopped -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["taught", "written", "judged"])
def test_it_stops_while_questions_are(
    open_plum: Callable[..., Plum], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path / "cache"))
    plum = open_plum(questions="written")
    if what != "taught":
        plum._writer.prepare()
    plum.add_session(session("ana", "ana-1", SAID["ana"], "I see."))
    asked: list[str] = []
    where = {
        "taught": "plum_langchain.verdicts.train.overlap",  # of the judge, which comes first
        "written": "plum_langchain.models.drafting.draft",
        "judged": "plum_langchain.learning.layers.DecoderLayers.at_end",
    }[what]
    name = where.rpartition(".")[2]
    there = pkgutil.resolve_name(where)

    def noted(*arguments: Any, **named: Any) -> Any:
        asked.append(name)
        return there(*arguments, **named)

    def draft(_: object, __: object, prompts: Sequence[object], **___: object) -> list[list[str]]:
        return [[f"Is it {n}?" for n in range(4)] for _ in prompts]  # more than one batch to judge

    if what == "judged":
        monkeypatch.setattr("plum_langchain.models.drafting.draft", draft)
    monkeypatch.setattr(where, noted)
    with pytest.raises(StoppedError):
        plum.consolidate("ana", should_stop=lambda: bool(asked))
    (waiting,) = plum.journal.sessions.all("ana")
    assert (waiting.state.value, waiting.tries) == ("finished", 0)
    assert [done.state for done in plum.consolidate("ana")] == ["learned"]
