"""Whatever goes wrong: one sentence, the right exit code, and nothing lost."""

import json
import re
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from plum_langchain import HomeSettings, Plum
from plum_langchain.cli import app
from tests.unit_tests.cli.conftest import LEARN, Run, contents, states


def sentence(result: Result, code: int) -> str:
    """The one line the command complained with, after whatever it said it was doing."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    *_, line = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert result.stderr.count("Error: ") == 1 and "Traceback" not in result.stderr
    return line


def test_a_broken_line_in_any_file_changes_nothing(run: Run, chats: Path, home: Path) -> None:
    run("import", str(chats), "--user", "bo")
    before = contents(home)
    broken = chats.with_name("broken.jsonl")
    broken.write_text('{"user": "ana", "session": "s1", "turns": [}\n', "utf-8")
    message = sentence(run("import", str(chats), str(broken), "--json"), 65)
    assert f"{broken}, line 1: not JSON" in message
    assert contents(home) == before


def test_a_missing_file_and_a_directory(run: Run, chats: Path, home: Path) -> None:
    missing = str(chats.with_name("missing.jsonl"))
    assert missing in sentence(run("import", str(chats), missing), 66)
    assert "Is a directory" in sentence(run("import", str(chats.parent)), 66)
    assert not home.exists()


def test_a_session_with_other_turns_says_what_was_added(run: Run, chats: Path) -> None:
    run("import", str(chats))
    records = [json.loads(line) for line in chats.read_text("utf-8").splitlines()]
    records[0]["session"], records[1]["turns"] = "new", records[1]["turns"][:2]
    other = chats.with_name("other.jsonl")
    other.write_text("\n".join(map(json.dumps, records)), "utf-8")
    message = sentence(run("import", str(other)), 65)
    assert str(other) in message and "'ana-s02'" in message and "1 session before it" in message
    assert states(run) == {"ana-s01": "finished", "ana-s02": "finished", "new": "finished"}


@pytest.mark.parametrize(
    "command",
    [
        ("ask", "Who?"),
        ("sessions",),
        ("consolidate",),
        ("retry",),
        ("rollback", "--generation", "1"),
        ("forget", "--all", "--yes"),
    ],
)
def test_an_unknown_user(run: Run, chats: Path, home: Path, command: tuple[str, ...]) -> None:
    run("import", str(chats))
    before = contents(home)
    message = sentence(run(*command, "--user", "anna", "--json"), 67)
    assert "'anna' has no chats" in message and "known users: ana" in message
    assert contents(home) == before


def test_an_unknown_session_or_generation(run: Run, learned: Path) -> None:
    before = contents(learned)
    assert "'s9'" in sentence(run("forget", "--user", "ana", "--session", "s9", "--yes"), 67)
    assert "'s9'" in sentence(run("retry", "--user", "ana", "--session", "s9"), 67)
    message = sentence(run("rollback", "--user", "ana", "--generation", "7"), 67)
    assert "no generation 7 (kept: 1, 2)" in message
    assert contents(learned) == before


@pytest.mark.parametrize("name", ["no-such-model", "nobody/no-such-model"])
def test_an_unknown_model(run: Run, chats: Path, home: Path, name: str) -> None:
    run("import", str(chats))
    before = contents(home)
    assert name in sentence(run("ask", "--user", "ana", "Who?", model=name), 69)
    assert name in sentence(run(*LEARN, model=name), 69)
    assert contents(home) == before


def test_the_model_of_another_home(run: Run, learned: Path, tmp_path: Path) -> None:
    from tests.tiny import save_tiny_model

    other = str(save_tiny_model(tmp_path / "other", seed=1))
    message = sentence(run("ask", "--user", "ana", "Who?", model=other), 65)
    assert "was trained on" in message


def test_a_home_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "home")
    result = CliRunner().invoke(app, ["--home", place, "status"])
    assert place in sentence(result, 1)


def test_an_unset_shell_variable_is_not_the_default_home(run: Run) -> None:
    result = CliRunner().invoke(app, ["--home", "", "forget", "--user", "ana", "--all", "--yes"])
    assert "--home is empty" in sentence(result, 2)
    assert "--model is empty" in sentence(run("status", model=" "), 2)


def test_a_journal_that_is_no_journal(run: Run, chats: Path, home: Path) -> None:
    run("import", str(chats))
    (home / "journal.db").write_bytes(b"not a database" * 1000)
    for left in home.glob("journal.db-*"):
        left.unlink()
    assert "restore it from a backup" in sentence(run("status"), 1)


def test_a_journal_locked_by_another_process(
    run: Run, chats: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import", str(chats))
    before = contents(home)
    short = HomeSettings(busy_seconds=0.1)
    monkeypatch.setattr("plum_langchain.plum.HomeSettings", lambda: short)
    holder = sqlite3.connect(home / "journal.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    message = sentence(run("import", str(chats), "--user", "bo"), 75)
    assert "locked by another process" in message and "nothing was changed" in message
    assert json.loads(run("status", "--json").stdout)["users"]  # reading goes on
    holder.close()
    assert contents(home) == before
    assert run("import", str(chats), "--user", "bo").exit_code == 0


def test_a_user_held_by_a_worker(run: Run, chats: Path, home: Path) -> None:
    run("import", str(chats))
    plum = Plum(home)
    with plum.journal.jobs.claim("ana", "consolidate"):
        assert "is held by process" in sentence(run(*LEARN, "--user", "ana"), 75)
        assert "consolidate of user 'ana'" in run("status").stdout
        everyone = run(*LEARN)  # passes over users who are held
        assert everyone.exit_code == 0
        assert "2 sessions of users whom another process is working on" in everyone.stderr
    plum.close()
    assert states(run) == {"ana-s01": "finished", "ana-s02": "finished"}


def test_forgetting_without_a_terminal_wants_yes(run: Run, learned: Path) -> None:
    before = contents(learned)
    result = run("forget", "--user", "ana", "--all", input="y\n")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ") and "--yes" in result.stderr
    for wrong in ((), ("--all", "--session", "ana-s01")):
        assert "--session" in sentence(run("forget", "--user", "ana", "--yes", *wrong), 2)
    assert contents(learned) == before


def test_any_id_will_do(run: Run, chats: Path, home: Path) -> None:
    names = ["../../x", "a/b", "x" * 300, "--all"]
    for name in names:
        assert run("import", str(chats), f"--user={name}").exit_code == 0
    assert run(*LEARN, "--max-sessions", "1").exit_code == 0
    for name in names:
        answer = json.loads(run("ask", f"--user={name}", "Who?", "--yes-no", "--json").stdout)
        assert answer["generation"] == 1
        receipt = json.loads(run("forget", f"--user={name}", "--all", "--yes", "--json").stdout)
        assert (receipt["user"], receipt["generations_destroyed"]) == (name, [1])
    assert {path.name for path in home.parent.iterdir()} == {"home"}


@pytest.mark.parametrize("name", ["", " ", "x" * 513, "a\nb"])
def test_ids_that_will_not_do(run: Run, chats: Path, home: Path, name: str) -> None:
    run("import", str(chats))
    before = contents(home)
    for command in (("import", str(chats)), ("ask", "Who?"), ("chat",), ("sessions",)):
        assert "user id" in sentence(run(*command, "--user", name, input="hi\n"), 2)
    assert contents(home) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("ask", "--user", "ana", "Who?", "--memory", "foo"), "parametric"),
        (("ask", "--user", "ana", "Who?", "--k", "0"), "k"),
        (("ask", "--user", "ana", " "), "the question is empty"),
        (("ask", "--user", "ana", "caf\udce9?"), "the question is not UTF-8"),
        (("ask", "Who?"), "--user"),
        (("consolidate", "--epochs", "0"), "epochs must be positive"),
        (("consolidate", "--max-questions", "1"), "max_questions must be at least 2"),
        (("consolidate", "--max-sessions", "0"), "--max-sessions"),
        (("consolidate", "--questions", "recordd"), "use 'statements', 'written' or 'recorded'"),
        (("remember",), "No such command"),
    ],
)
def test_wrong_usage(run: Run, chats: Path, arguments: tuple[str, ...], expected: str) -> None:
    run("import", str(chats))
    result = run(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert states(run) == {"ana-s01": "finished", "ana-s02": "finished"}


def test_a_traceback_on_request(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUM_DEBUG", "1")
    result = run("ask", "--user", "ana", "Who?")
    assert result.exit_code == 67
    assert "Traceback" in result.stderr and "UnknownUserError" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_full_disk_is_one_sentence(
    run: Run, chats: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import", str(chats))
    before = contents(home)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "adapter_model.safetensors")

    monkeypatch.setattr("plum_langchain.adapters.store.AdapterStore.write", full)
    result = run(*LEARN)
    assert result.exit_code == 74
    assert "adapter_model.safetensors: No space left on device" in result.stderr
    assert contents(home) == before


def test_a_chat_model_that_fails_is_one_sentence_and_is_tried_again_a_few_times(
    run: Run, chats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        model_name = "far-away"

        def invoke(self, _: object) -> None:
            raise ConnectionError("no route\nto host")

    monkeypatch.setattr("plum_langchain.questions._chat_model", lambda _: Refusing())
    assert run("import", str(chats)).exit_code == 0
    result = run("consolidate", "--questions", "far:away")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'far:away' that makes the questions failed (ConnectionError: no route to host)" in (
        result.stderr
    )
    assert set(states(run).values()) == {"finished"}

    again = run("consolidate", "--questions", "far:away")
    assert "ana · ana-s01: not learned this time, back in line" in again.stderr
    told = "of 3 tries failed; the last: ConnectionError: no route to host"
    assert re.search(rf"ana-s01\s+finished\s.*2 {told}", run("sessions").stdout)
    first, second = json.loads(run("sessions", "--json").stdout)["sessions"]
    assert (first["tries"], second["tries"], second["reason"]) == (2, 0, None)

    last = run("consolidate", "--questions", "far:away", "--max-sessions", "1")
    assert last.exit_code == 1
    assert f"ana: session 'ana-s01' failed: 3 {told}" in last.stdout.replace("\n", " ")
    assert "`plum retry --user 'ana'` puts it back in line" in last.stderr
    assert states(run) == {"ana-s01": "failed", "ana-s02": "finished"}
    assert run("retry", "--user", "ana").stdout == "1 session back in line.\n"
    first, _ = json.loads(run("sessions", "--json").stdout)["sessions"]
    assert (first["state"], first["tries"], first["reason"]) == ("finished", 0, None)


@pytest.mark.parametrize(
    ("option", "before"), [("--home", "plum --home DIR"), ("--version", "plum --version")]
)
def test_what_stands_before_a_command_is_named_when_it_stands_behind(
    option: str, before: str, home: Path
) -> None:
    result = CliRunner().invoke(app, ["sessions", option, str(home)])
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", " ").split())
    assert f"{option} goes before the command: {before} sessions ..." in said
    assert "Possible options" not in said and not home.exists()
    other = CliRunner().invoke(app, ["sessions", "--hoem"])
    assert other.exit_code == 2 and "No such option: --hoem" in other.stderr
