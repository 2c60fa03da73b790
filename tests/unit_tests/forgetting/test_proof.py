"""What a receipt proves: weights that never saw it, and files without it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from plum_langchain import HomeSettings
from plum_langchain.errors import WrongBaseModelError
from tests.tiny import save_tiny_model, session
from tests.unit_tests.forgetting.helpers import BOAT, GEESE, ZEBRA, Facts, tell, weights
from tests.unit_tests.homes import files_with, on_disk, states

Open = Callable[..., Any]


def test_probes_compare_with_weights_that_never_saw_it(taught: Any) -> None:
    before = weights(taught)
    receipt = taught.forget("ana", "zebra", relearn=True)
    probes = receipt.probes
    assert probes.questions == 4
    assert probes.before.recalled >= 0.75  # one more session was learned since
    assert probes.control.recalled == probes.after.recalled == 0.0
    assert probes.control.nll > probes.before.nll + 1
    assert probes.after.nll > probes.before.nll + 1
    assert receipt.no_probes is None
    assert receipt.to_relearn == receipt.relearned == ("geese",)
    assert receipt.serving == 4 and weights(taught) != before
    assert receipt.serving_manifest == taught.journal.generations.head("ana").manifest_sha256


def test_what_is_relearned_is_what_it_would_be_had_it_never_been_said(
    taught: Any, open_taught: Open
) -> None:
    """Bit for bit: the strongest thing that can be said of weights."""
    taught.forget("ana", "zebra", relearn=True)
    never = open_taught("never")
    for name, facts in (("boat", BOAT), ("geese", GEESE)):
        tell(never, "ana", name, *facts)
    never.consolidate("ana")
    assert weights(taught) == weights(never)


def test_the_receipt_counts_what_went(taught: Any) -> None:
    taught.retriever("ana", memory="retrieval").invoke("zebra")
    head = taught.journal.generations.head("ana")
    receipt = taught.forget("ana", "zebra")
    assert receipt.rows == {"turns": 4, "questions": 6}
    assert receipt.generations_destroyed == (2, 3)
    assert receipt.manifests[3] == head.manifest_sha256
    assert receipt.files_removed > 6  # three of each generation, and the index
    assert receipt.traces is None and receipt.searched >= 4
    assert receipt.seconds > 0
    assert not files_with(taught.home.root, "Quibblewort")


def test_the_receipt_is_kept_and_quotes_nothing(taught: Any, open_taught: Open) -> None:
    receipt = taught.forget("ana", "zebra")
    (kept,) = open_taught().receipts("ana")
    assert kept == json.loads(json.dumps(receipt.to_json()))
    assert "Quibble" not in json.dumps(kept) and "thistles" not in json.dumps(kept)
    assert taught.receipts("bob") == []


def test_what_was_in_no_weights_is_not_asked_for(taught: Any) -> None:
    tell(taught, "ana", "new", "My kite is red and blue.")
    receipt = taught.forget("ana", "new")
    assert (receipt.probes, receipt.no_probes) == (None, "it was in no weights")
    assert receipt.generations_destroyed == () and on_disk(taught) == [1, 2, 3]


def test_who_wants_no_probes_needs_no_model(taught: Any, open_taught: Open) -> None:
    other = open_taught(model="no/such-model")
    receipt = other.forget("ana", "zebra", probe=False)
    assert receipt.probes is None and states(other)["zebra"] == "forgotten"


def test_a_model_that_cannot_be_asked_keeps_nobody_from_forgetting(
    taught: Any, open_taught: Open, tmp_path: Any
) -> None:
    other = open_taught(model=str(save_tiny_model(tmp_path / "other-model", seed=1)))
    with pytest.raises(WrongBaseModelError):
        other.ask("ana", "What is my zebra called?")
    receipt = other.forget("ana", "zebra")
    assert receipt.probes is None and "the weights can't be asked" in receipt.no_probes
    assert states(other)["zebra"] == "forgotten" and on_disk(other) == [1]


def test_what_lies_about_in_the_home_is_told(taught: Any) -> None:
    (taught.home.root / "notes.txt").write_text("She said: My zebra is called Quibblewort.\n")
    receipt = taught.forget("ana", "zebra")
    assert receipt.traces is not None and "still stands in notes.txt" in receipt.traces


def test_what_is_said_elsewhere_too_is_no_trace(taught: Any) -> None:
    tell(taught, "ana", "again", ZEBRA[0])
    tell(taught, "bob", "mine", ZEBRA[1])
    assert taught.forget("ana", "zebra").traces is None
    assert files_with(taught.home.root, "Quibblewort")  # of the other session


def test_text_that_a_database_writes_otherwise_is_found(open_taught: Open) -> None:
    plum = open_taught()
    said = 'I said "my zebra is called\nQuibblewort the Second" and left'
    plum.add_session(session("ana", "s1", said))
    (plum.home.root / "copy").write_text('{"text": "called\\nQuibblewort the Second\\" and"}')
    assert plum.forget("ana", "s1").traces is not None


def test_another_process_lets_go_of_destroyed_weights(taught: Any, open_taught: Open) -> None:
    other = open_taught()
    other.chat_model("ana").invoke("zebra")
    assert len(other.engine.attached) == 1
    taught.forget("ana", all=True)
    other.chat_model("ana").invoke("zebra")
    assert other.engine.attached == []


def test_forgetting_that_was_cut_off_is_ended_at_the_next_opening(
    taught: Any, open_taught: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(taught.adapters, "remove", die)
    with pytest.raises(KeyboardInterrupt):
        taught.forget("ana", "zebra")
    assert on_disk(taught) == [1, 2, 3]
    assert taught.journal.generations.head("ana").number == 1  # nobody is served the others
    assert taught.receipts("ana")[0]["ended"] is False
    again = open_taught(settings=HomeSettings(lease_seconds=60))
    assert on_disk(again) == [1]
    (receipt,) = again.receipts("ana")
    assert receipt["ended"] is True and receipt["generations_destroyed"] == [2, 3]
    assert not files_with(again.home.root, "Quibblewort")


def test_a_session_that_is_relearned_in_vain_is_told(taught: Any) -> None:
    class Broken(Facts):
        def make(self, session: Any) -> list[Any]:
            raise RuntimeError("no LLM")

    with pytest.raises(RuntimeError, match="no LLM"):
        taught.forget("ana", "zebra", relearn=True, questions=Broken())
    assert states(taught) == {"boat": "learned", "zebra": "forgotten", "geese": "finished"}
    assert taught.receipts("ana")[0]["sessions"] == ["zebra"]


def test_what_an_assistant_told_again_goes_with_it(taught: Any) -> None:
    replies = ("Your zebra is called Quibblewort.", "It eats hay.")
    taught.add_session(session("ana", "later", "What's its name?", replies[0], "Food?", replies[1]))
    taught.add_session(session("ana", "own", "My zebra is called Quibblewort.", replies[0]))
    receipt = taught.forget("ana", "zebra")
    assert receipt.turns == {"later": (1,)}
    later = taught.journal.sessions.get("ana", "later").turns
    assert [turn.content for turn in later] == ["What's its name?", "", "Food?", "It eats hay."]
    assert taught.journal.sessions.get("ana", "own").turns[1].content == replies[0]


def test_nothing_said_before_is_an_echo(taught: Any) -> None:
    receipt = taught.forget("ana", "geese")
    assert receipt.turns == {} and receipt.generations_destroyed == (3,)
