"""What tests look at in a home."""

from pathlib import Path
from typing import Any


def states(plum: Any, user: str = "ana") -> dict[str, str]:
    return {s.session_id: str(s.state) for s in plum.journal.sessions.all(user)}


def on_disk(plum: Any, user: str = "ana") -> list[int]:
    directory = plum.home.adapters / plum.home.owner(user)
    return sorted(int(entry.name) for entry in directory.glob("*")) if directory.exists() else []


def files_with(home: Path, text: str) -> list[str]:
    return [str(f) for f in home.rglob("*") if f.is_file() and text.encode() in f.read_bytes()]
