"""What is tested of plain homes holds of encrypted ones: the same tests, with keys."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import Plum, ServingSettings
from plum_langchain.encryption.keys import open_keys
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.settings import HomeSettings
from tests import tiny
from tests.unit_tests.consolidation.test_tries import *  # noqa: F403
from tests.unit_tests.forgetting.conftest import learnable, open_taught  # noqa: F401
from tests.unit_tests.forgetting.test_forgetting import *  # noqa: F403
from tests.unit_tests.forgetting.test_proof import (  # noqa: F401
    test_an_echo_beside_what_is_forgotten_goes_as_well,
    test_what_later_sessions_are_recorded_to_change_is_no_hiding_place,
)
from tests.unit_tests.forgetting.test_retention import *  # noqa: F403
from tests.unit_tests.journal.conftest import home, journal  # noqa: F401
from tests.unit_tests.journal.test_journal_sessions import *  # noqa: F403

# One looks for an index on the disk, the other opens the home in a process of its own.
del test_forgetting_one_session  # noqa: F821
del test_a_process_killed_while_questions_are_made_is_no_try  # noqa: F821


@pytest.fixture
def open_plum(open_plum: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def open_one(at: str = "home", **options: Any) -> Any:
        return open_plum(at, **{"keys": tmp_path / "keys", **options})

    return open_one


@pytest.fixture
def open_journal(home: Home) -> Iterator[Callable[..., Journal]]:  # noqa: F811
    opened = []

    def open_one(**settings: Any) -> Journal:
        keys = open_keys(home.root.parent / "keys", home.root, home.owner)
        opened.append(Journal(home.journal_url, HomeSettings(**settings), keys=keys))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def sealed_home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The directory of a closed home and its keys; see `learned_home`."""
    directory = tmp_path_factory.mktemp("sealed")
    plum = Plum(
        directory / "home",
        keys=directory / "keys",
        model=str(tiny_model),
        questions=tiny.FixedQuestions(),
        learning=tiny.IN_A_SECOND,
        serving=ServingSettings(device="cpu", dtype="float32", scope=None),
    )
    plum.add_session(tiny.session("ana", "s1", "My bakery is closed on Mondays.", "Enjoy."))
    plum.add_session(tiny.session("ana", "s2", "My zebra is called Quibblewort.", "Nice."))
    plum.add_session(tiny.session("ana", "s3", "I keep seven grey geese.", "Seven!"))
    plum.add_session(tiny.session("bob", "s1", "My boat is moored in Porto.", "A harbour."))
    plum.consolidate()
    plum.close()
    return directory


@pytest.fixture
def learned(tmp_path: Path, sealed_home: Path, open_plum: Callable[..., Any]) -> Any:
    shutil.copytree(sealed_home, tmp_path, dirs_exist_ok=True)
    plum = open_plum()
    assert plum.journal.encrypted
    return plum


def test_these_homes_are_encrypted(plum: Any, journal: Journal) -> None:  # noqa: F811
    assert plum.journal.encrypted and journal.encrypted
