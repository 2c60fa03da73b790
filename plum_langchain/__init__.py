"""plum-langchain: long-term memory for LangChain chatbots, in the model's weights.

The public names are imported when they are first used: torch, peft and chromadb take seconds, and
nobody pays for what they don't use.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Plum": "plum_langchain.plum",
    "ChatPlum": "plum_langchain.chat_models",
    "PlumLLM": "plum_langchain.llms",
    "PlumMiddleware": "plum_langchain.middleware",
    "RetrievalMiddleware": "plum_langchain.middleware",
    "HybridMiddleware": "plum_langchain.middleware",
    "PlumRecallMiddleware": "plum_langchain.recall_middleware",
    "PlumRetriever": "plum_langchain.retrievers",
    "memory_tools": "plum_langchain.tools",
    "PlumMemory": "plum_langchain.classic",
    "RetrievalMemory": "plum_langchain.classic",
    "HybridMemory": "plum_langchain.classic",
    "PlumError": "plum_langchain.errors",
    "Question": "plum_langchain.session",
    "Session": "plum_langchain.session",
    "SessionState": "plum_langchain.session",
    "Turn": "plum_langchain.session",
    "GateSettings": "plum_langchain.settings",
    "HomeSettings": "plum_langchain.settings",
    "LearningSettings": "plum_langchain.settings",
    "QuestionSettings": "plum_langchain.settings",
    "ScreeningSettings": "plum_langchain.settings",
    "ServingSettings": "plum_langchain.settings",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from plum_langchain.chat_models import ChatPlum as ChatPlum
    from plum_langchain.classic import HybridMemory as HybridMemory
    from plum_langchain.classic import PlumMemory as PlumMemory
    from plum_langchain.classic import RetrievalMemory as RetrievalMemory
    from plum_langchain.errors import PlumError as PlumError
    from plum_langchain.llms import PlumLLM as PlumLLM
    from plum_langchain.middleware import HybridMiddleware as HybridMiddleware
    from plum_langchain.middleware import PlumMiddleware as PlumMiddleware
    from plum_langchain.middleware import RetrievalMiddleware as RetrievalMiddleware
    from plum_langchain.plum import Plum as Plum
    from plum_langchain.recall_middleware import PlumRecallMiddleware as PlumRecallMiddleware
    from plum_langchain.retrievers import PlumRetriever as PlumRetriever
    from plum_langchain.session import Question as Question
    from plum_langchain.session import Session as Session
    from plum_langchain.session import SessionState as SessionState
    from plum_langchain.session import Turn as Turn
    from plum_langchain.settings import GateSettings as GateSettings
    from plum_langchain.settings import HomeSettings as HomeSettings
    from plum_langchain.settings import LearningSettings as LearningSettings
    from plum_langchain.settings import QuestionSettings as QuestionSettings
    from plum_langchain.settings import ScreeningSettings as ScreeningSettings
    from plum_langchain.settings import ServingSettings as ServingSettings
    from plum_langchain.tools import memory_tools as memory_tools


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
