"""Torch's global generators, set aside and put back."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def set_aside(devices: Sequence[Any] = ()) -> Iterator[None]:
    """Whatever is drawn in the block, afterwards the generators are as they were.

    They are the whole process's, so one block runs at a time: two that overlap would put back each
    other's state. A reply sampled with a seed is such a block, and so is the making of layers.

    Args:
        devices: CUDA devices whose generators are set aside too; the CPU's always is.
    """
    import torch

    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=list(devices)):
        yield
