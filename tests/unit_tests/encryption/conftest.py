"""Encrypted homes, with their keys in a directory beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def open_sealed(open_plum: Open, keys: Path) -> Open:
    """Opens encrypted homes, all with the same directory of keys."""

    def open_one(home: str | Path = "home", **options: Any) -> Any:
        return open_plum(home, **{"keys": keys, **options})

    return open_one


@pytest.fixture
def sealed(open_sealed: Open) -> Any:
    """A fresh one."""
    return open_sealed()
