"""What the commands do and print, on their way from a chat to an answer and back."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from plum_langchain import __version__
from plum_langchain.cli import app, reports
from plum_langchain.cli.app import MemoryChoice, RetentionChoice
from plum_langchain.cli.terminal import plain
from plum_langchain.memories.answer import Answer
from plum_langchain.memories.base import MEMORY_NAMES
from plum_langchain.memories.told import Source
from plum_langchain.session import Retention, Turn
from tests.unit_tests.cli.conftest import LEARN, Run, contents, states


def test_an_export_is_imported_and_what_is_broken_is_told(run: Run, tmp_path: Path) -> None:
    good = {
        "uuid": "c1",
        "created_at": "2024-01-18T20:11:00Z",
        "chat_messages": [{"sender": "human", "text": "My bakery is closed on Mondays."}],
    }
    export = tmp_path / "conversations.json"
    export.write_text(json.dumps([good, {"uuid": "c2"}]), "utf-8")
    unnamed = run("import", str(export), "--from", "claude")
    assert "name the user with --user" in unnamed.stderr
    refused = run("import", str(export), "--from", "claude", "--user", "ana")
    assert "conversation 2: it has no list of `chat_messages`" in refused.stderr
    options = ("--from", "claude", "--user", "ana", "--skip-broken", "--json")
    wrong = run("import", str(export), "--from", "chatgpt", *options[2:])
    assert wrong.exit_code != 0 and "can be read as chatgpt" in wrong.stderr
    first = json.loads(run("import", str(export), *options).stdout)
    assert first["files"][0]["added"] == 1 and "conversation 2" in first["skipped"][0]
    assert json.loads(run("import", str(export), *options).stdout)["files"][0]["unchanged"] == 1


def test_a_model_that_is_taught_to_write_says_so_first(
    run: Run, chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path / "cache"))
    learn = ("consolidate", "--questions", "written", *LEARN[3:], "--max-sessions", "1")
    run("import", str(chats))
    first = run(*learn)
    assert first.exit_code == 0
    said = first.stderr.splitlines()
    taught = [line for line in said if line.startswith("teaching ")]
    assert re.match(r"teaching \S+ to judge Yes and No with \d+ examples \(some min", taught[0])
    assert re.match(r"teaching \S+ to write questions with \d+ examples \(a quarter", taught[4])
    assert said[:8] == taught and "ana-s01: learned" in said[-1]
    assert "teaching" not in run(*learn).stderr
    assert set(states(run).values()) == {"learned"}


def test_a_chat_is_imported_learned_and_asked_about(run: Run, chats: Path) -> None:
    imported = run("import", str(chats), "--json")
    assert json.loads(imported.stdout) == {
        "files": [{"file": str(chats), "added": 2, "grown": 0, "unchanged": 0, "forgotten": 0}],
        "skipped": [],
    }
    before = run("ask", "--user", "ana", "When am I closed?", "--json")
    assert json.loads(before.stdout)["generation"] is None
    assert "Nothing has been learned of user 'ana' yet" in before.stderr

    learned = run(*LEARN, "--user", "ana", "--json")
    assert learned.exit_code == 0
    sessions = json.loads(learned.stdout)["sessions"]
    assert [(s["session"], s["state"], s["generation"]) for s in sessions] == [
        ("ana-s01", "learned", 1),
        ("ana-s02", "learned", 2),
    ]
    assert all(s["questions"] == 4 and s["question_maker"] == "recorded" for s in sessions)
    assert all(s["metrics"]["epochs"] == 1 for s in sessions)
    lines = learned.stderr.splitlines()
    assert len(lines) == 2
    assert re.match(r"ana · ana-s01: learned, 4 questions, loss \d+\.\d+, \d+ s$", lines[0])

    after = run("ask", "--user", "ana", "When am I closed?", "--json")
    answer = json.loads(after.stdout)
    assert set(answer) == {
        *(
            "text",
            "memory",
            "generation",
            "prompt_tokens",
            "seconds",
            "sources",
            "recited",
            "p_yes",
        ),
        "source",
    }
    assert (answer["memory"], answer["generation"]) == ("parametric", 2)
    assert (answer["sources"], answer["p_yes"]) == ([], None)
    assert answer["prompt_tokens"] > 0 and answer["seconds"] > 0
    assert run("ask", "--user", "ana", "When am I closed?").stderr == ""


@pytest.mark.parametrize(
    ("said_by", "line"),
    [
        ("user", "[you said it on 02 March 2026, in session 'rye\\n1']"),
        ("assistant", "[the assistant said it on 02 March 2026, in session 'rye\\n1']"),
        (None, "[it was told on 02 March 2026, in session 'rye\\n1']"),
    ],
)
def test_who_said_it_and_when_is_told_to_a_person_and_to_programs(
    said_by: Any, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source("rye\n1", datetime(2026, 3, 2, 9, tzinfo=UTC), said_by)
    answer = Answer("You feed it twice.", None, 30, 0.5, "parametric", 1, source=source)
    told = {"session_id": "rye\n1", "started": "2026-03-02T09:00:00+00:00", "said_by": said_by}
    assert json.loads(json.dumps(reports.answer_record(answer)))["source"] == told
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    reports.show_answer(answer)
    shown = capsys.readouterr()
    assert shown.out == "You feed it twice.\n"
    assert shown.err.splitlines()[-1] == line


def test_yes_no_scores_instead_of_generating(run: Run, learned: Path) -> None:
    asked = ("ask", "--user", "ana", "Is my bakery closed on Mondays?", "--yes-no")
    answer = json.loads(run(*asked, "--json").stdout)
    assert answer["text"] == ("Yes" if answer["p_yes"] > 0.5 else "No")
    shown = f"{answer['text']} (p = {answer['p_yes']:.2f}): {answer['recited']}"
    assert run(*asked).stdout == plain(shown) + "\n"  # a model this small recites anything
    base = run(*asked, "--memory", "none", "--json")
    assert json.loads(base.stdout)["generation"] is None
    assert base.stderr == ""  # nothing learned was asked for


def test_retrieval_recalls_the_chats_words_unless_another_process_holds_them(
    run: Run, learned: Path
) -> None:
    ask = ("ask", "--user", "ana", "bakery", "--memory", "retrieval", "--k", "1", "--json")
    result = run(*ask)
    answer = json.loads(result.stdout)
    assert answer["generation"] is None and len(answer["sources"]) == 1
    assert "bakery" in answer["sources"][0]
    assert result.stderr == ""

    before = contents(learned)
    with FileLock(learned / "retrieval" / "owner.lock"):
        for command in (ask, ("forget", "--user", "ana", "--all", "--yes")):
            busy = run(*command)
            assert (busy.exit_code, busy.stdout) == (75, "")
            assert busy.stderr.startswith("Error: the retrieval ind")
            assert "in use by another process" in busy.stderr
    assert contents(learned) == before


def test_a_home_remembers_its_model(learned: Path, tiny_model: Path) -> None:
    result = CliRunner().invoke(app, ["--home", str(learned), "status", "--json"])
    status = json.loads(result.stdout)
    assert (status["home"], status["model"]) == (str(learned), str(tiny_model))
    (user,) = status["users"]
    assert (user["user"], user["sessions"], user["serving"]) == ("ana", {"learned": 2}, 2)
    assert user["adapter_bytes"] > 0 and status["jobs"] == []


def test_status_and_sessions_are_tables_for_people(run: Run, learned: Path) -> None:
    status = run("status").stdout
    assert re.search(r"ana\s+2 learned\s+2\s+\d+\.\d kB", status)
    assert re.search(r"ana\s+ana-s01\s+learned\s+10\s+2024-01-18T20:11:00", run("sessions").stdout)
    assert "reason" not in run("sessions").stdout


def test_an_empty_home_says_how_to_begin(run: Run) -> None:
    assert "plum import" in run("sessions").stdout
    assert "plum import" in run("status").stdout
    nothing = run("consolidate")
    assert (nothing.exit_code, nothing.stderr) == (0, "Nothing to learn.\n")


def test_importing_again_changes_nothing(run: Run, chats: Path) -> None:
    run("import", str(chats))
    assert re.search(r"ana\.jsonl\s+0\s+2\s+0", run("import", str(chats)).stdout)


def test_import_for_another_user(run: Run, chats: Path) -> None:
    run("import", str(chats), "--user", "bo")
    sessions = json.loads(run("sessions", "--json").stdout)["sessions"]
    assert {s["user"] for s in sessions} == {"bo"}


def test_sessions_that_cannot_be_learned_are_named_and_may_be_retried(
    run: Run, tmp_path: Path
) -> None:
    bare = {"user": "ana", "session": "s1", "turns": [{"role": "user", "content": "hello"}]}
    (tmp_path / "bare.jsonl").write_text(json.dumps(bare), "utf-8")
    run("import", str(tmp_path / "bare.jsonl"))
    failed = run("consolidate", "--questions", "recorded")
    assert failed.exit_code == 1
    assert "session 's1' failed: session 's1' has no recorded questions" in failed.stdout
    assert "no recorded questions" in run("sessions").stdout
    again = run("consolidate")
    assert again.exit_code == 0
    assert "1 session failed earlier" in again.stderr
    assert json.loads(run("retry", "--user", "ana", "--json").stdout)["retried"] == 1
    assert states(run) == {"s1": "finished"}


def test_what_is_hardly_recalled_is_not_published_unless_it_is_asked_for(
    run: Run, chats: Path
) -> None:
    run("import", str(chats))
    assert LEARN[-1] == "--no-gate"
    failed = run(*LEARN[:-1], "--max-sessions", "1")
    assert failed.exit_code == 1
    assert "session 'ana-s01' failed: what was learned is not published: 0% of" in failed.stdout
    assert "plum retry --user 'ana'" in failed.stderr
    run("retry", "--user", "ana")
    assert run(*LEARN, "--max-sessions", "1").exit_code == 0
    assert states(run) == {"ana-s01": "learned", "ana-s02": "finished"}


def test_open_sessions_are_mentioned_when_there_is_nothing_to_learn(run: Run, home: Path) -> None:
    from plum_langchain import Plum

    plum = Plum(home)
    plum.journal.sessions.append("ana", "t", [Turn("user", "hello")], idle_seconds=60)
    plum.close()
    result = run("consolidate", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"sessions": []})
    assert "Nothing to learn.\n1 session still open" in result.stderr


def test_max_sessions_leaves_the_rest_in_line(run: Run, chats: Path) -> None:
    run("import", str(chats))
    result = run(*LEARN, "--max-sessions", "1")
    assert re.match(
        r"ana: 1 session learned in \d+ s \(questions: recorded\); generation 1", result.stdout
    )
    assert states(run) == {"ana-s01": "learned", "ana-s02": "finished"}


def test_on_a_terminal_learning_shows_a_bar(run: Run, chats: Path) -> None:
    run("import", str(chats))
    terminal = {"FORCE_COLOR": "1", "COLUMNS": "120", "TERM": "xterm-256color"}
    result = run(*LEARN, "--max-sessions", "1", "--json", env=terminal)
    assert len(json.loads(result.stdout)["sessions"]) == 1
    assert "ana · ana-s01" in result.stderr and "━" in result.stderr
    assert "learned, 4 questions, loss" in result.stderr


def test_forgetting_gives_a_receipt(run: Run, learned: Path, chats: Path) -> None:
    result = run("forget", "--user", "ana", "--session", "ana-s01", "--yes", "--json")
    receipt = json.loads(result.stdout)
    assert receipt["at"].endswith("+00:00")
    assert (receipt["user"], receipt["sessions"]) == ("ana", ["ana-s01"])
    assert (receipt["generations_destroyed"], receipt["serving"]) == ([1, 2], None)
    assert (receipt["to_relearn"], receipt["relearned"]) == (["ana-s02"], [])
    assert (receipt["traces"], receipt["files_removed"]) == (None, 6)
    assert receipt["searched"] > 5 and receipt["probes"]["questions"] == 2
    assert json.loads(run("receipts", "--user", "ana", "--json").stdout) == [
        {**receipt, "ended": True}
    ]
    assert re.search(
        r"ana-s01\s+-\s+1, 2\s+yes\s+\d+%\s+\d+%", run("receipts", "--user", "ana").stdout
    )
    assert states(run) == {"ana-s01": "forgotten", "ana-s02": "finished"}
    again = run("import", str(chats))
    assert re.search(r"ana\.jsonl\s+0\s+1\s+1", again.stdout)
    assert "not brought back" in again.stderr


def test_forgetting_all_tells_what_serves_now(run: Run, learned: Path) -> None:
    result = run("forget", "--user", "ana", "--all", "--yes")
    told = dict(re.split(r":\s+", line, maxsplit=1) for line in result.stdout.splitlines())
    assert told["forgotten"] == "ana-s01, ana-s02"
    assert told["generations destroyed"] == "1, 2"
    assert told["rows and files"] == "20 turns, 8 questions; 6 files"
    assert told["serving now"] == "the base model"
    assert re.fullmatch(r"\d+% before, \d+% since \(of 4 questions\)", told["known of it"])
    assert told["to be learned"] == "nothing"
    assert re.fullmatch(r"none \(\d+ pieces looked for\)", told["traces in the files"])
    assert run("forget", "--user", "ana", "--all").exit_code == 0  # nothing left to confirm


@pytest.mark.parametrize(("reply", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_forgetting_is_confirmed_at_the_terminal(
    run: Run, learned: Path, monkeypatch: pytest.MonkeyPatch, reply: str, code: int
) -> None:
    monkeypatch.setattr("plum_langchain.cli.terminal.interactive", lambda: True)
    result = run("forget", "--user", "ana", "--session", "ana-s02", "--json", input=reply)
    assert "ana-s02 (learned, 10 turns)" in result.stderr
    assert result.exit_code == code
    assert states(run)["ana-s02"] == ("learned" if code else "forgotten")
    assert result.stdout == "" if code else json.loads(result.stdout)["serving"] == 1


def test_what_goes_with_it_is_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "My heron Ida eats 12 thistles in Aveiro."
    first = [{"role": "user", "content": told}]
    then = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": f"So: {told}"}]
    chats = [{"user": "ana", "session": f"s{n}", "turns": t} for n, t in enumerate((first, then))]
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, chats)))
    assert run("import", str(tmp_path / "two.jsonl")).exit_code == 0
    monkeypatch.setattr("plum_langchain.cli.terminal.interactive", lambda: True)
    shown = run("forget", "--user", "ana", "--session", "s0", input="n\n").stderr
    also = f"s1, turn 1 (assistant): So: {told} (tells it again, and goes with it)"
    assert "s0 (finished, 1 turn)" in shown and also in " ".join(shown.split())


def test_a_subject_is_shown_and_forgotten(
    run: Run, learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plum_langchain.cli.terminal.interactive", lambda: True)
    about = ("forget", "--user", "ana", "--about", "green notebook", "--no-probe")
    refused = run(*about, input="\n")
    assert refused.exit_code == 1 and "Nothing was forgotten." in refused.stderr
    assert re.search(r" 1\. ana-s01, turn \d+ \(user\): .*green notebook", refused.stderr)
    wrong = run(*about, input="7\n")
    assert wrong.exit_code == 2 and "7 is none of the numbers 1 to 1" in wrong.stderr
    receipt = json.loads(run(*about, "--json", input="1\n").stdout)
    assert receipt["sessions"] == [] and list(receipt["turns"]) == ["ana-s01"]
    assert receipt["no_probes"] == "none were asked for"
    assert states(run)["ana-s01"] == "finished"
    gone = run(*about, "--yes")
    assert gone.exit_code == 1 and "Nothing was found about 'green notebook'." in gone.stderr
    assert run("forget", "--user", "ana").exit_code == 2


def test_what_came_later_is_learned_again_at_once(run: Run, learned: Path) -> None:
    wanted = ("forget", "--user", "ana", "--session", "ana-s01", "--yes", "--relearn", "--json")
    receipt = json.loads(run(*wanted, "--questions", "recorded", "--no-gate").stdout)
    assert receipt["relearned"] == ["ana-s02"] and receipt["serving"] == 3
    assert receipt["probes"]["after"] is not None
    assert states(run) == {"ana-s01": "forgotten", "ana-s02": "learned"}


def test_rollback_serves_the_earlier_generation(run: Run, learned: Path) -> None:
    result = run("rollback", "--user", "ana", "--generation", "1", "--json")
    assert json.loads(result.stdout) == {
        "user": "ana",
        "serving": 1,
        "generations_destroyed": [2],
        "waiting": 1,
    }
    assert json.loads(run("ask", "--user", "ana", "Who?", "--json").stdout)["generation"] == 1
    assert (
        "Generation 1 of ana is served (given up: none)"
        in run("rollback", "--user", "ana", "--generation", "1").stdout
    )


def test_version_and_help() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"plum-langchain {__version__}\n"
    listing = CliRunner().invoke(app, ["--help"]).stdout
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        assert re.search(rf"\b{name}\b", listing)
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0 and f"Example: plum {name}" in shown.stdout


def test_what_is_kept_of_a_learned_session_can_be_chosen(run: Run, chats: Path, home: Path) -> None:
    assert {one.value for one in RetentionChoice} == {*get_args(Retention)}
    run("import", str(chats))
    for kept in ("nothing", "questions"):
        line = (*LEARN, "--user", "ana", "--max-sessions", "1", "--retention", kept)
        assert run(*line).exit_code == 0
    said = [json.loads(line)["turns"][0]["content"] for line in chats.read_text().splitlines()]
    held = contents(home)
    assert not any(text in str(held["turns"]) for text in said)
    assert len({row[1] for row in held["questions"]}) == 1  # of the second session alone


def test_every_memory_can_be_chosen() -> None:
    assert tuple(MemoryChoice) == MEMORY_NAMES


def test_text_of_chats_cannot_drive_the_terminal(run: Run, tmp_path: Path) -> None:
    nasty = {
        "user": "[red]ana",
        "session": "\x9b2J[bold]s1",
        "topic": "\x1b[2J",
        "turns": [{"role": "user", "content": "hi"}],
    }
    (tmp_path / "nasty.jsonl").write_text(json.dumps(nasty), "utf-8")
    run("import", str(tmp_path / "nasty.jsonl"))
    shown = run("sessions").stdout
    assert "[red]ana" in shown and "[bold]s1" in shown  # no markup is taken from it
    assert "\x9b" not in shown
    listed = run("forget", "--user", "[red]ana", "--all")
    assert "\ufffd[2J" in listed.stderr and "\x1b" not in listed.stderr
