"""Where base weights come from, and the engine that answers with them."""

from plum_langchain.models.beams import Likely
from plum_langchain.models.calls import BrokenCall, Call, Toolbox
from plum_langchain.models.engine import Engine
from plum_langchain.models.load import LoadedModel, load_model, release_memory
from plum_langchain.models.resolve import ResolvedModel, resolve_model
from plum_langchain.models.sampling import Reply, Sampling, TokenLogprob

__all__ = [
    "BrokenCall",
    "Call",
    "Engine",
    "Likely",
    "LoadedModel",
    "Reply",
    "ResolvedModel",
    "Sampling",
    "TokenLogprob",
    "Toolbox",
    "load_model",
    "release_memory",
    "resolve_model",
]
