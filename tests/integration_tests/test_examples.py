"""The examples run as they stand, one after another in one directory, on the real model."""

import ast
import asyncio
import importlib.util
import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from langchain_core.language_models import GenericFakeChatModel

import plum_langchain

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


PUBLIC = [
    name
    for name in plum_langchain.__all__
    if "```python" in (getattr(plum_langchain, name).__doc__ or "")
]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstrings_examples_run(
    name: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a home as the first example left it."""
    shutil.copytree(here / "my-home", tmp_path / "my-home")
    monkeypatch.chdir(tmp_path)
    anybody = GenericFakeChatModel(messages=iter(["so"] * 9))
    monkeypatch.setattr(GenericFakeChatModel, "bind_tools", lambda self, *_, **__: self)
    monkeypatch.setattr("langchain.agents.factory.init_chat_model", lambda _: anybody)
    text = textwrap.dedent(getattr(plum_langchain, name).__doc__ or "")
    space: dict[str, Any] = {"__name__": name}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        code = textwrap.dedent(block)
        compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        ran = eval(compiled, space)
        if ran is not None:  # there was an await in it
            asyncio.run(ran)
    for value in space.values():
        if isinstance(value, plum_langchain.Plum):
            value.close()


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
    faces = {"ChatPlum", "PlumLLM", "PlumMemory", "PlumMiddleware", "PlumRecallMiddleware"}
    assert {*faces, "Plum", "PlumRetriever", "memory_tools"} <= set(PUBLIC)


def test_every_example_is_run_and_listed() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    tests = Path(__file__).read_text("utf-8")
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert len(names) == 7
    assert {n for n in names if f'example("{n}")' in tests and f"`{n}.py`" in listed} == names
