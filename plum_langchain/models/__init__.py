"""Where base weights come from, and the engine that answers with them."""

from plum_langchain.models.beams import Likely
from plum_langchain.models.engine import Engine, Reply, Sampling
from plum_langchain.models.load import LoadedModel, load_model, release_memory
from plum_langchain.models.resolve import ResolvedModel, resolve_model

__all__ = [
    "Engine",
    "Likely",
    "LoadedModel",
    "Reply",
    "ResolvedModel",
    "Sampling",
    "load_model",
    "release_memory",
    "resolve_model",
]
