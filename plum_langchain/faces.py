"""The LangChain faces of `Plum` over another memory, so that swapping memories is one word."""

from typing import TYPE_CHECKING, Any

from plum_langchain.memories import MemoryName

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from plum_langchain.chat_models import ChatPlum
    from plum_langchain.classic import PlumMemory
    from plum_langchain.llms import PlumLLM
    from plum_langchain.middleware import PlumMiddleware
    from plum_langchain.plum import Plum
    from plum_langchain.retrievers import PlumRetriever
    from plum_langchain.users import UserId


class Faces:
    """The faces of `Plum`, over another memory."""

    def __init__(self, plum: "Plum", memory: MemoryName, k: int) -> None:
        self._plum = plum
        self._name = memory
        self._k = k

    def chat_model(self, user_id: str | None = None, **fields: Any) -> "ChatPlum":
        """A chat model with this memory."""
        return self._plum.chat_model(user_id, memory=self._name, k=self._k, **fields)

    def llm(self, user_id: str | None = None, **fields: Any) -> "PlumLLM":
        """An LLM with this memory."""
        return self._plum.llm(user_id, memory=self._name, k=self._k, **fields)

    def middleware(self, **options: Any) -> "PlumMiddleware":
        """Agent middleware with this memory."""
        return self._plum.middleware(self._name, k=self._k, **options)

    def memory(self, user_id: str, session_id: str, **fields: Any) -> "PlumMemory":
        """A classic memory over this one."""
        return self._plum.memory(user_id, session_id, memory=self._name, k=self._k, **fields)

    def retriever(self, user_id: str | None = None, **fields: Any) -> "PlumRetriever":
        """A retriever over this memory."""
        return self._plum.retriever(user_id, **{"memory": self._name, "k": self._k, **fields})

    def tools(self, user_id: "UserId | None" = None) -> "list[BaseTool]":
        """Tools over this memory."""
        return self._plum.tools(user_id, memory=self._name, k=self._k)
