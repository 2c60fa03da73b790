"""How the slow tests share the cores, and what all of them can ask for.

`make integration` starts a worker of pytest-xdist for each core, three at most since each trains a
model, and each takes a file at a time: what has been learned in one home is asked about by one.
"""

import os
from collections.abc import Iterator

import pytest

# Before torch is imported: the workers share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    threads = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))


@pytest.fixture(scope="module")
def nothing_is_worked_out() -> Iterator[None]:
    """What comes with the package is for the default model's very weights."""
    with pytest.MonkeyPatch.context() as patched:
        # What isn't shipped would be made, or taken from the user's cache.
        patched.setattr("plum_langchain.models.derived.make_once", None)
        yield
