"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest
from langchain_core.language_models import GenericFakeChatModel

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(
    r"^## ([^\n]+)$[^#]*?```python\n(.*?)```", README.read_text("utf-8"), re.M | re.S
)


def test_every_python_block_is_found() -> None:
    assert len(BLOCKS) == README.read_text("utf-8").count("```python") >= 4


@pytest.mark.parametrize(("title", "code"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_block_runs(
    title: str,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And prints what its comments say: sentences, behind a `print`."""
    monkeypatch.chdir(tmp_path)
    # In place of a provider whose package and key nobody needs for the tests.
    anybody = GenericFakeChatModel(messages=iter(["so"]))
    monkeypatch.setattr("langchain.agents.factory.init_chat_model", lambda _: anybody)
    exec(compile(code, f"README.md: {title}", "exec"), {"__name__": "readme"})
    assert (tmp_path / "my-home" / "journal.db").is_file()
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^print\(.+\)  # (.+\.)$", code, re.M)
    assert set(promised) <= set(printed)
    assert promised or title != "An agent that remembers"
