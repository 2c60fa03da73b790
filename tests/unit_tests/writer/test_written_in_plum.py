"""A home that learns what its base model writes: two users apart, and forgotten without a trace."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import Plum, ServingSettings
from plum_langchain.questions.maker import Wish
from plum_langchain.writer import Writer
from tests.tiny import session
from tests.unit_tests.consolidation.helpers import QUICK, head_ref
from tests.unit_tests.homes import files_with

SAID = {"ana": "I own a small bakery in Porto.", "bo": "I sold my wooden boat in Malmö."}


@pytest.fixture
def plum(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plum:
    def write(self: Any, wishes: Sequence[Wish], *, seed: int) -> list[list[str]]:
        return [[f"{wish.wanted}, quoth: {wish.statement}?"] for wish in wishes]

    monkeypatch.setattr(Writer, "write", write)
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
