"""Homes that are told a sentence or two, and learn them as they do by default."""

from pathlib import Path

import pytest

from plum_langchain import LearningSettings, Plum, Session, Turn

pytestmark = pytest.mark.usefixtures("nothing_is_worked_out")


def test_statements_alone_are_enough_to_remember(tmp_path: Path) -> None:
    """With no recorded questions and no LLM: the chat's own sentences, told back when asked."""
    plum = Plum(tmp_path / "home", model="smollm2", questions="statements")
    turns = [
        ("user", "My dog Feijão is allergic to chicken."),
        ("assistant", "I'll keep it in mind."),
    ]
    plum.add_session(Session("ana", "s1", tuple(Turn(r, c) for r, c in turns)))  # type: ignore[arg-type]
    (result,) = plum.consolidate("ana")
    assert result.state == "learned"
    told = plum.chat_model("ana").invoke("What do you remember about my dog Feijão?").text
    assert "chicken" in told.lower()
    plum.close()


def test_what_is_written_is_what_it_would_be_had_another_chat_never_been(tmp_path: Path) -> None:
    """By default, too, forgetting leaves the weights of a home that was never told."""
    briefly = LearningSettings(epochs=1, everyday_per_batch=0, gate=None)
    oven = Session("ana", "s1", (Turn("user", "My oven is called Bertha."), Turn("assistant", "!")))
    dog = Session("ana", "s2", (Turn("user", "My dog Rex eats fish."), Turn("assistant", "Oh.")))
    weights = []
    for name, told in (("knew", [oven, dog]), ("never", [dog])):
        plum = Plum(tmp_path / name, model="smollm2", learning=briefly)
        for session in told:
            plum.add_session(session)
        plum.consolidate("ana")
        if oven in told:
            plum.forget("ana", "s1", relearn=True, probe=False)
        head = plum.journal.generations.head("ana")
        assert head is not None
        ref = plum.adapters.ref(plum.home.owner("ana"), head.number, head.manifest_sha256)
        assert plum.adapters.check(ref).question_maker == "written"
        weights.append((ref.path / "adapter_model.safetensors").read_bytes())
        plum.close()
    assert weights[0] == weights[1]
