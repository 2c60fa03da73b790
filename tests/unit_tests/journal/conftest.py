"""A journal in a fresh home, and what the tests of its parts share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.settings import HomeSettings
from tests.unit_tests.journal.helpers import quick_directory


@pytest.fixture
def home() -> Iterator[Home]:
    with quick_directory() as directory:
        yield Home(directory / "home")


@pytest.fixture
def open_journal(home: Home) -> Iterator[Callable[..., Journal]]:
    """Opens the home's journal, once or several times, with the settings given."""
    opened = []

    def open_one(**settings: Any) -> Journal:
        opened.append(Journal(home.journal_url, HomeSettings(**settings)))
        return opened[-1]

    yield open_one
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal: Callable[..., Journal]) -> Journal:
    return open_journal()
