"""The examples run as they stand, one after another in one directory, on the real model."""

import ast
import asyncio
import contextlib
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import HumanMessage, messages_to_dict

import plum_langchain
from plum_langchain import importers
from plum_langchain.testing import MemoryStandardTests
from tests.unit_tests.importers.test_import_exports import chatgpt, claude, message

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(autouse=True)
def _there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", ["example"])


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_agent_with_tools_remembers(capsys: pytest.CaptureFixture[str]) -> None:
    example("agent_with_tools").main()
    assert "Bertha" in capsys.readouterr().out.splitlines()[-1]


PUBLIC: dict[str, Any] = {
    name: getattr(plum_langchain, name)
    for name in plum_langchain.__all__
    if name not in ("__version__", "PlumError", "SessionState")
}
FACES = [
    name
    for name, found in PUBLIC.items()
    if inspect.isfunction(found)
    or any(base.__module__.startswith("langchain") for base in found.__mro__)
]
IMPORTERS: dict[str, Any] = {name: getattr(importers, name) for name in importers.__all__}


def docstring(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__ or "")


def blocks(documented: Any) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", docstring(documented), re.S)
    return [textwrap.dedent(block) for block in found]


@contextlib.contextmanager
def ran(documented: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What is there after a docstring's examples; homes that they opened are closed then."""
    anybody = GenericFakeChatModel(messages=iter(["so"] * 9))
    monkeypatch.setattr(GenericFakeChatModel, "bind_tools", lambda self, *_, **__: self)
    monkeypatch.setattr("langchain.agents.factory.init_chat_model", lambda _: anybody)
    name = documented.__name__
    space: dict[str, Any] = {"__name__": name}
    try:
        for code in blocks(documented):
            compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            awaited = eval(compiled, space)
            if awaited is not None:
                asyncio.run(awaited)
        yield space
    finally:
        for value in space.values():
            if isinstance(value, plum_langchain.Plum):
                value.close()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstrings_examples_run(
    name: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a home as the first example left it."""
    shutil.copytree(here / "my-home", tmp_path / "my-home")
    monkeypatch.chdir(tmp_path)
    with ran(PUBLIC[name], monkeypatch):
        pass


SAID = "My oven is called Bertha."
LINE = {"user": "ana", "session": "friday", "turns": [{"role": "user", "content": SAID}]}
# The file that an importer's example reads, what is in it, and a session that comes of it.
READ = {
    "read_chatgpt": ("conversations.json", [chatgpt(message("user", SAID))], "chatgpt-c1"),
    "read_claude": ("conversations.json", [claude(("human", SAID))], "claude-c1"),
    "read_history": ("friday.json", messages_to_dict([HumanMessage(SAID)]), "friday"),
    "read_loader": ("chat.txt", f"[1/18/24, 8:11:00 PM] Ana Silva: {SAID}", "whatsapp-"),
    "read_records": ("chats.jsonl", LINE, "friday"),
    "read_sessions": ("chats.jsonl", LINE, "friday"),
    "read_threads": ("", "", "rye"),
}


@pytest.mark.parametrize("name", IMPORTERS)
def test_an_importers_examples_run(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file, content, session = READ[name]
    if file:
        text = content if isinstance(content, str) else json.dumps(content)
        Path(file).write_text(text, "utf-8")
    with ran(IMPORTERS[name], monkeypatch) as space:
        if "plum" in space:
            (found,) = space["plum"].journal.sessions.all("ana")
            assert found.session_id.startswith(session) and found.turns[0].role == "user"
        else:
            assert session in capsys.readouterr().out


def test_the_memory_of_the_standard_tests_example_passes_them(tmp_path: Path) -> None:
    (code,) = blocks(MemoryStandardTests)
    (tmp_path / "test_notes.py").write_text(code, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_notes.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_a_classic_chain(capsys: pytest.CaptureFixture[str]) -> None:
    example("classic_chain").main()
    assert "Bertha" in capsys.readouterr().out


def test_memories_are_swapped(capsys: pytest.CaptureFixture[str]) -> None:
    example("swap_memories").main()
    lines = capsys.readouterr().out.splitlines()
    told = {line.split()[0]: line for line in lines if " tokens of prompt): " in line}
    assert list(told) == ["parametric", "retrieval", "hybrid", "none"]
    assert "Bertha" in told["parametric"] and "Bertha" not in told["none"]


def test_a_graph_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    example("own_graph").main()
    remembered = capsys.readouterr().out.split("Replied:")[0]
    assert "- Your oven is called Bertha." in remembered


def test_another_model_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    class Anybody(GenericFakeChatModel):
        """In place of a provider whose package and key nobody needs for the tests."""

        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(messages)
            return super()._generate(messages, *args, **kwargs)

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    anybody = Anybody(messages=iter(["told", "looked up"]))
    monkeypatch.setattr("langchain.agents.factory.init_chat_model", lambda _: anybody)
    example("another_model").main()
    assert capsys.readouterr().out.split() == ["told", "looked", "up"]
    assert "Your oven is called Bertha." in str(sent[0][0].content)


def test_history_is_imported_once(capsys: pytest.CaptureFixture[str]) -> None:
    for state in ("added", "unchanged"):
        example("import_history").main()
        out = capsys.readouterr().out
        assert out == f"chatgpt-1f2e: {state}\nold-thread: {state}\n"


def test_a_service(here: Path) -> None:
    with TestClient(example("service").app) as client:
        reply = client.post("/ana/served", content="What is my oven called?")
    assert reply.status_code == 200 and "Bertha" in reply.text


def test_every_face_has_examples() -> None:
    documented = {**PUBLIC, **IMPORTERS, "MemoryStandardTests": MemoryStandardTests}
    assert [name for name, found in documented.items() if not blocks(found)] == []
    assert set(READ) == set(IMPORTERS)


@pytest.mark.parametrize("name", FACES)
def test_every_face_has_the_sections_that_partner_packages_have(name: str) -> None:
    there = re.findall(r"^([A-Z].*):$", docstring(PUBLIC[name]), re.M)
    arguments = "Args" if inspect.isfunction(PUBLIC[name]) else "Key init args"
    assert {"Setup", arguments, "Instantiate"} <= set(there)
    assert any(re.fullmatch("Invoke|Usage|Use .*", section) for section in there)


def test_every_face_is_known_as_one() -> None:
    assert len(FACES) == 11 and "Plum" not in FACES


def test_every_example_is_run_and_listed() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    tests = Path(__file__).read_text("utf-8")
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert len(names) == 7
    assert {n for n in names if f'example("{n}")' in tests and f"`{n}.py`" in listed} == names
