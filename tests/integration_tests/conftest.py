"""How the slow tests share the cores: what has learned once stays together, all else goes anywhere.

`make integration` starts a worker of pytest-xdist for each core, with `--dist loadgroup`.
"""

import os

import pytest

# Before torch is imported: the other cores have workers of their own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_SHARED = {"here", "learned", "plum"}
"""Fixtures of a module, of which one home is enough."""


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Tests that use what another one left, or one home, run in one worker, in their order."""
    for item in items:
        if _SHARED.intersection(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
