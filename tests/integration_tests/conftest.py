"""How the slow tests share the cores, and what all of them can ask for.

`make integration` starts a worker of pytest-xdist for each core, and each takes a file at a time:
what has been learned in one home is asked about by the tests of one file.
"""

import os
from collections.abc import Iterator

import pytest

# Before torch is imported: the other cores have workers of their own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def nothing_is_worked_out() -> Iterator[None]:
    """What comes with the package is for the default model's very weights."""
    from plum_langchain.scope import Scope
    from plum_langchain.verdicts import Judge
    from plum_langchain.writer import Writer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Judge, "teach", None)
        patched.setattr(Scope, "fit_once", None)
        patched.setattr(Writer, "teach", None)
        patched.setattr("plum_langchain.consolidation.everyday.write_exchanges", None)
        patched.setattr("plum_langchain.consolidation.everyday.write_expected", None)
        yield
