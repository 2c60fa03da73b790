"""One Memory protocol: parametric, retrieval (Chroma), hybrid, none."""

from plum_langchain.memories.base import MEMORY_NAMES, Memory, MemoryName, Recalled, Snippet
from plum_langchain.memories.hybrid import Hybrid
from plum_langchain.memories.parametric import Nothing, Parametric
from plum_langchain.memories.retrieval import Retrieval

__all__ = [
    "MEMORY_NAMES",
    "Hybrid",
    "Memory",
    "MemoryName",
    "Nothing",
    "Parametric",
    "Recalled",
    "Retrieval",
    "Snippet",
]
