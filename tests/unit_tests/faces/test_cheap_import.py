"""Nobody pays for what they don't use: heavy libraries are imported when first needed."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import plum_langchain

HEAVY = ("torch", "transformers", "peft", "chromadb", "langchain.agents", "langchain_community")


USES = """
import json, sys
import plum_langchain
steps = {"import": [*sys.modules]}
plum = plum_langchain.Plum(sys.argv[1])
steps["open"] = [*sys.modules]
plum.status()
plum.memory("ana", "today")
plum.finish("ana", plum.journal.sessions.append("ana", "t", [], idle_seconds=60))
steps["keep chats"] = [*sys.modules]
plum.retrieval().chat_model("ana")
plum.memory_named("hybrid", k=2).recall("bob", "Has bob, who has no chats, any?")
steps["hand out faces"] = [*sys.modules]
plum.schedule(interval=600).stop()
steps["schedule"] = [*sys.modules]
print(json.dumps(steps))
"""


def test_opening_a_home_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USES, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
    )
    steps = json.loads(done.stdout)
    assert "plum_langchain.plum" not in steps["import"]
    assert "plum_langchain.plum" in steps["open"]
    for step, loaded in steps.items():
        assert not set(HEAVY) & set(loaded), step


@pytest.mark.parametrize("name", plum_langchain.__all__)
def test_every_public_name_resolves(name: str) -> None:
    found: Any = getattr(plum_langchain, name)
    if name != "__version__":
        assert found.__name__ == name
        assert found is getattr(importlib.import_module(found.__module__), name)
    assert name in dir(plum_langchain)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Plumb'"):
        _ = plum_langchain.Plumb
