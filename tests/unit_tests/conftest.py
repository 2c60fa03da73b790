"""What makes thousands of tests quick: one thread, homes in memory, less garbage collection.

It holds for a worker of pytest-xdist (`make unit` starts one a core) as for a run without.
"""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported: several threads only slow a tiny model down, and the other cores have
# workers of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Every turn and adapter is synced to disk, which is most of what a test waits for. What survives a
# killed process is the same in memory; what survives a power cut is not ours to test.
_MEMORY = Path("/dev/shm")
_ROOM = 2**30  # bytes; a whole run needs some 30 MB
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# What is worked out once for a model is worked out once for the tests, and not for the user.
os.environ["PLUM_CACHE"] = tempfile.mkdtemp(prefix="plum-cache-")

# Torch and transformers are a million objects that live until the end: as Python is set, they are
# looked through again and again while they are imported and at every model loaded.
gc.set_threshold(100_000, 20, 100)

# How long an example takes is the machine's affair.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")


def pytest_sessionfinish() -> None:
    """Leave nothing behind."""
    shutil.rmtree(os.environ["PLUM_CACHE"], ignore_errors=True)


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every later collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def few_pairs() -> Iterator[None]:
    """Tiny models are taught with a few of the shipped examples; they learn little anyway."""
    from plum_langchain.verdicts import judge, pairs
    from plum_langchain.writer import examples, writer

    few = pairs.shipped_pairs()[::60]
    written = examples.shipped_examples()[::120]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judge, "shipped_pairs", lambda: few)
        patched.setattr(writer, "shipped_examples", lambda: written)
        yield


@pytest.fixture(autouse=True)
def the_same_random_numbers() -> None:
    """Whatever ran before in the same worker, a test draws the same from torch."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def default_dtype_is_left_alone() -> Iterator[None]:
    """Torch's default dtype is the whole process's: whoever leaves another hurts everybody else.

    The one who does so fails here, and not those who come after.
    """
    yield
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_default_dtype"):
        left = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        assert left == torch.float32, f"the test left {left} as torch's default dtype"


@pytest.fixture(scope="session")
def learned_home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A closed home: ana has learned three sessions, bob one; each a generation."""
    from plum_langchain import Plum, ServingSettings
    from tests.tiny import IN_A_SECOND, FixedQuestions, session

    plum = Plum(
        tmp_path_factory.mktemp("learned") / "home",
        model=str(tiny_model),
        questions=FixedQuestions(),
        learning=IN_A_SECOND,
        serving=ServingSettings(device="cpu", dtype="float32", scope=None),
    )
    plum.add_session(session("ana", "s1", "My bakery is closed on Mondays.", "Enjoy."))
    plum.add_session(session("ana", "s2", "My zebra is called Quibblewort.", "Nice."))
    plum.add_session(session("ana", "s3", "I keep seven grey geese.", "Seven!"))
    plum.add_session(session("bob", "s1", "My boat is moored in Porto.", "A harbour."))
    done = plum.consolidate()
    assert [(d.user_id, d.generation) for d in done].count(("ana", 3)) == 1
    plum.close()
    return plum.home.root


@pytest.fixture
def learned(tmp_path: Path, learned_home: Path, open_plum: Callable[..., Any]) -> Any:
    """A copy of that home, open."""
    shutil.copytree(learned_home, tmp_path / "home")
    return open_plum()
