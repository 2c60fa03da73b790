"""What a receipt proves: weights that never saw it, and files without it."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import HomeSettings
from plum_langchain.errors import (
    BusyError,
    PlumError,
    UnknownSessionError,
    WrongBaseModelError,
)
from plum_langchain.forgetting.traces import find_traces, pieces_of
from tests.tiny import save_tiny_model, session
from tests.unit_tests.forgetting.helpers import (
    BOAT,
    GEESE,
    TO_THE_LETTER,
    ZEBRA,
    Facts,
    tell,
    weights,
)
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
    assert kept == {**json.loads(json.dumps(receipt.to_json())), "ended": True}
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


def test_a_search_that_cannot_be_made_is_told(taught: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bytes:
        raise PlumError("it is too big")

    monkeypatch.setattr(taught.journal, "content", fail)
    receipt = taught.forget("ana", "zebra", probe=False)
    assert receipt.traces == "whether text still stands in the journal can't be told: it is too big"
    assert receipt.searched == 0 and not files_with(taught.home.root, "Quibblewort")
    assert taught.receipts("ana")[-1]["ended"]


def test_a_file_that_cannot_be_read_is_told_and_forgetting_ends(
    taught: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("locked.txt", "notes.txt"):
        (taught.home.root / name).write_text("She said: My zebra is called Quibblewort.\n")
    opened = Path.open

    def refuse(path: Path, *how: Any, **more: Any) -> Any:  # root may read whatever there is
        if path.name == "locked.txt":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", refuse)
    receipt = taught.forget("ana", "zebra", probe=False)
    assert receipt.traces is not None and receipt.searched >= 4
    assert "whether text still stands in locked.txt (Permission denied) of" in receipt.traces
    assert "text that was erased still stands in notes.txt of" in receipt.traces
    (kept,) = taught.receipts("ana")
    assert kept["ended"] and kept["traces"] == receipt.traces


def test_what_is_said_after_a_search_is_not_lost_to_whoever_looks_in(taught: Any) -> None:
    """SQLite's locks are the process's: one that opens its files itself gives them up."""

    def others_see() -> int:
        """Of another process, which then closes the home."""
        looking = (
            "import sys; from plum_langchain import Plum; plum = Plum(sys.argv[1]); "
            "print(sum(len(s.turns) for s in plum.journal.sessions.all('bob'))); plum.close()"
        )
        line = [sys.executable, "-c", looking, str(taught.home.root)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    (taught.home.root / "link").hardlink_to(taught.home.root / "journal.db")
    before = others_see()
    assert taught.forget("ana", "zebra", probe=False).traces is None
    assert others_see() == before
    tell(taught, "bob", "later", "My boat is red.")
    assert others_see() == before + 2


def test_what_is_said_elsewhere_too_is_no_trace(taught: Any) -> None:
    tell(taught, "ana", "again", ZEBRA[0])
    tell(taught, "bob", "mine", ZEBRA[1])
    assert taught.forget("ana", "zebra").traces is None
    assert files_with(taught.home.root, "Quibblewort")  # of the other session


def test_a_long_turn_is_found_wherever_a_file_cuts_it(open_plum: Open) -> None:
    """A database splits it over pages, an index over parts."""
    plum = open_plum()
    long = " ".join(f"Thing number {n} of my long story is blue." for n in range(250))
    plum.add_session(session("ana", "s1", long))
    plum.retriever("ana", memory="retrieval").invoke("story")
    files = [path for path in plum.home.root.rglob("*") if path.is_file()]
    found = {path.name for _, path in find_traces(files, pieces_of([long]))}
    assert {"journal.db-wal", "chroma.sqlite3"} <= found
    copy = plum.home.root / "copy"
    copy.write_text(long[3000:9000])
    assert "still stands in copy" in plum.forget("ana", "s1").traces


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
    assert receipt["sessions"] == ["zebra"] and set(receipt["manifests"]) == {"2", "3"}
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


def test_an_echo_beside_what_is_forgotten_goes_as_well(open_taught: Open) -> None:
    plum = open_taught()
    reply = "So your heron is called Quibblewort, lovely."
    plum.add_session(session("ana", "s1", "My heron is called Quibblewort.", reply, "Bye now!"))
    (found,) = (m for m in plum.mentions("ana", "heron") if m.role == "user")
    assert plum.forget("ana", about=[found]).turns == {"s1": (0, 1)}
    assert not files_with(plum.home.root, "Quibblewort")


def test_what_later_sessions_are_recorded_to_change_is_no_hiding_place(open_taught: Open) -> None:
    """Neither by the name of the session, nor by its words."""
    plum = open_taught()
    tell(plum, "ana", "first", "My zebra is called Quibblewort.", "My boat is 7 metres long.")
    changes = [
        {"old": "named Quibblewort", "new": "named Rex", "earlier_session": "first"},
        {"old": "zebra is called Quibblewort", "new": "zebra is called Rex"},
        {"old": "geese live in Aveiro", "new": "geese live in Porto", "earlier_session": "other"},
    ]
    told = session("ana", "later", "My zebra is called Rex. My geese live in Porto.", "Ok.")
    plum.add_session(replace(told, material={"updates": changes}))
    plum.consolidate("ana")
    receipt = plum.forget("ana", "first", relearn=True)
    assert receipt.relearned == ("later",) and receipt.traces is None
    assert plum.journal.sessions.get("ana", "later").material == {"updates": changes[2:]}
    assert not files_with(plum.home.root, "Quibblewort")


def test_bare_answers_are_compared_with_bare_answers(open_taught: Open) -> None:
    plum = open_taught(learning=replace(TO_THE_LETTER, recite=False))
    tell(plum, "ana", "zebra", *ZEBRA)
    plum.consolidate("ana")
    probes = plum.forget("ana", "zebra").probes
    assert probes.before.nll < 1 < probes.control.nll


def test_a_slow_probe_loses_no_lease(
    taught_home: Path, tmp_path: Path, open_taught: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(taught_home, tmp_path / "home")
    plum = open_taught(settings=HomeSettings(lease_seconds=0.6))
    ask, waited = plum.engine.reply_nll, []

    def slowly(*arguments: Any) -> Any:
        if not waited:
            waited.append(time.sleep(1.5))
        return ask(*arguments)

    monkeypatch.setattr(plum.engine, "reply_nll", slowly)
    with ThreadPoolExecutor() as pool:
        forgetting = pool.submit(plum.forget, "ana", "zebra")
        time.sleep(1.0)
        with pytest.raises(BusyError):
            open_taught().consolidate("ana")
        assert forgetting.result().sessions == ("zebra",)


def test_whatever_goes_wrong_with_probes_it_is_forgotten(
    taught: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(taught.engine, "reply_nll", out_of_memory)
    receipt = taught.forget("ana", "zebra")
    assert receipt.probes is None and "out of memory" in receipt.no_probes
    assert states(taught)["zebra"] == "forgotten" and receipt.traces is None


def test_what_could_not_be_wiped_is_wiped_by_the_next(
    taught: Any, open_taught: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy() -> None:
        raise BusyError("somebody reads")

    monkeypatch.setattr(taught.journal, "scrub", busy)
    assert "somebody reads" in taught.forget("ana", "zebra").traces
    assert taught.receipts("ana")[0]["ended"] is False
    again = open_taught()
    assert again.receipts("ana")[0]["ended"] is True
    assert not files_with(again.home.root, "Quibblewort")


def test_a_session_forgotten_before_stops_nobodys_work(taught: Any) -> None:
    taught.forget("ana", "zebra")
    with taught.journal.jobs.claim("ana", "consolidate") as job:
        with pytest.raises(UnknownSessionError):
            taught.forget("ana", "zebra")
        assert taught.journal.jobs.heartbeat(job)
