"""Asking a memory: what of a `Plum` its faces and its users put questions to."""

import logging
import time
from abc import ABC
from collections.abc import Sequence

from plum_langchain.errors import (
    BusyError,
    DamagedAdapterError,
    InvalidInputError,
    MissingKeyError,
)
from plum_langchain.journal import Journal
from plum_langchain.learning.template import Message
from plum_langchain.memories import (
    Hybrid,
    Memory,
    MemoryName,
    Nothing,
    Parametric,
    Recalled,
    Retrieval,
)
from plum_langchain.memories.answer import (
    ANSWER_TOKENS,
    Answer,
    answer,
    whole_session,
    whole_sessions,
)
from plum_langchain.memories.base import check_memory_name
from plum_langchain.memories.recital import RECITALS, recites
from plum_langchain.memories.recollection import Recollection, recollect
from plum_langchain.memories.told import Source, Told
from plum_langchain.models import Engine
from plum_langchain.scope import Scope
from plum_langchain.session import Session, check_id
from plum_langchain.settings import LearningSettings, ServingSettings
from plum_langchain.verdicts import Judge

logger = logging.getLogger(__name__)


class Asking(ABC):
    """The part of a `Plum` that is asked. `Plum` sets what is declared here."""

    journal: Journal
    engine: Engine
    learning: LearningSettings
    serving: ServingSettings
    _judge: Judge
    _scope: Scope
    _parametric: Parametric
    _retrieval: Retrieval

    def ask(
        self,
        user_id: str,
        question: str,
        *,
        memory: str = "parametric",
        closed: bool = False,
        k: int = 3,
        context: Session | Sequence[Session] | None = None,
        max_new_tokens: int = ANSWER_TOKENS,
    ) -> Answer:
        """Ask one question of one memory, and measure it.

        An adapter that was taught to recite facts brings back several of those it was taught, of
        which the one that is about the question is the answer; its `source` tells who said it and
        when. Hybrid looks up facts that it was taught as well (by the embeddings of retrieval), and
        reads the nearest exchanges of those sessions alone that told it no fact: of one that is
        learned only what it was taught comes back. (A chat model replies at once, in its own words,
        and reads any exchange.)

        Args:
            user_id: Whose memory.
            question: In the user's voice.
            memory: "parametric", "retrieval", "hybrid" or "none"; "context" puts `context` into
                the prompt.
            closed: Answer Yes or No: judged from the fact that comes back, or scored against each
                other by a model that brings none back.
            k: How many exchanges retrieval and hybrid read.
            context: The session for memory="context", or several: those are put in with their
                dates.
            max_new_tokens: Bound of what is generated freely; facts come back whole.

        Raises:
            UnknownUserError: no chats of this user.
            InvalidInputError: the question is longer than the model reads, or the model can't be
                taught to judge what comes back (`Judge`).
            WrongBaseModelError, DamagedAdapterError: the user's adapter can't be used.
            UnknownGenerationError: it was given up while it was asked.
            ModelNotFoundError, BusyError: as `recall`.
        """
        self.journal.sessions.require_user(user_id)
        started = time.perf_counter()
        if memory == "context":
            if context is None:
                raise InvalidInputError("memory='context' needs context=<the session>")
            if isinstance(context, Session):
                recalled = whole_session(context)
            else:
                recalled = whole_sessions(context)
        else:
            chosen = self.memory_named("parametric" if memory == "hybrid" else memory, k=k)
            recalled = self.recalled(chosen, user_id, question)
        adapter = recalled.adapter
        told = Told(self.journal, user_id, adapter.generation) if adapter else None
        looked_up: list[str] = []
        if memory == "hybrid":
            retrieval = self._retrieval.with_k(k)
            taught = told if adapter and recites(self.engine, adapter) else None
            looked_up = retrieval.nearest_of(
                user_id, lambda: taught.facts if taught else [], question, RECITALS
            )
            learned = taught.sessions if taught else set()
            recalled = Recalled(adapter, retrieval.search(user_id, question, without=learned))
        return answer(
            self.engine,
            self._judge,
            recalled,
            question,
            memory=memory,
            system_prompt=self.learning.system_prompt,
            closed=closed,
            started=started,
            max_new_tokens=max_new_tokens,
            told=told,
            looked_up=looked_up,
        )

    def recall(
        self, user_id: str, query: str, *, memory: str = "parametric", k: int = 3
    ) -> list[Recollection]:
        """What is remembered about a message, as text: for a model that can't wear the adapter.

        Args:
            user_id: Whose memory.
            query: In the user's voice; best a question.
            memory: "parametric" brings back facts that the adapter was taught, "retrieval" the
                nearest exchanges, "hybrid" facts that are recalled or looked up, and exchanges
                after them (one of the two alone, with a warning, if the adapter was taught bare
                answers or another process owns the retrieval index), "none" nothing.
            k: How many facts, and how many exchanges, at most.

        Raises:
            InvalidInputError: no memory is called so; k is not a positive number; or the adapter
                was taught bare answers.
            WrongBaseModelError, DamagedAdapterError: the user's adapter can't be used.
            ChatTemplateError, CacheError: as `Judge.read`.
            ModelNotFoundError: the embeddings' weights are nowhere to be found.
            BusyError: another process owns the retrieval index.
        """
        self.memory_named(memory, k=k)
        check_id(user_id, "user id")
        found: list[Recollection] = []
        if not query.strip():
            return found
        if memory in ("parametric", "hybrid"):
            try:
                found += self._recollected(user_id, query, k, look_up=memory == "hybrid")
            except InvalidInputError as error:
                if memory == "parametric":
                    raise
                logger.warning("of user %r only exchanges are recalled: %s", user_id, error)
        if memory in ("retrieval", "hybrid"):
            try:
                snippets = self._retrieval.with_k(k).search(user_id, query)
            except BusyError as error:
                if memory == "retrieval" or not found:
                    raise
                logger.warning("of user %r only facts are recalled: %s", user_id, error)
                return found
            for snippet in snippets:
                session = self.journal.sessions.get(user_id, snippet.session_id)
                source = Source(session.session_id, session.started, None)
                # Distances are 1 - cosine, a little below 0 where rounding makes them so.
                near = min(1.0, max(0.0, 1.0 - snippet.distance))
                found.append(Recollection(snippet.text, near, source, "retrieval"))
        return found

    def _recollected(
        self, user_id: str, query: str, k: int, *, look_up: bool
    ) -> list[Recollection]:
        adapter = self.recalled(self._parametric, user_id, query).adapter
        if adapter is None:
            if look_up:  # another process may have forgotten: then nothing of it stays here either
                self._retrieval.nearest_of(user_id, list, query, k)
            return []
        told = Told(self.journal, user_id, adapter.generation)

        def near(asked: str, number: int) -> list[str]:
            return self._retrieval.nearest_of(user_id, lambda: told.facts, asked, number)

        return recollect(
            self.engine,
            self._judge,
            adapter,
            told,
            query,
            system_prompt=self.learning.system_prompt,
            k=k,
            look_up=near if look_up else None,
        )

    def memory_named(self, name: str, *, k: int | None = None) -> Memory:
        """One of the memories by its name.

        Raises:
            InvalidInputError: no memory is called so, or k is not a positive number.
        """
        kind: MemoryName = check_memory_name(name)
        retrieval = self._retrieval if k is None else self._retrieval.with_k(k)
        if kind == "none":
            return Nothing()
        if kind == "parametric":
            return self._parametric
        return retrieval if kind == "retrieval" else Hybrid(self._parametric, retrieval)

    def recalled(self, memory: Memory, user_id: str, query: str) -> Recalled:
        """What a memory contributes, with an adapter that can be used.

        Asked once more, if the generation was given up (forgotten, pruned) in the meantime.

        Raises:
            WrongBaseModelError, DamagedAdapterError: the user's adapter can't be used.
            MissingKeyError: this is a copy of a home from before something was forgotten.
            BusyError: another process owns the retrieval index.
        """
        found = memory.recall(user_id, query)
        if found.adapter is None:
            return found
        try:
            self.engine.manifest(found.adapter)
        except (DamagedAdapterError, MissingKeyError):
            again = memory.recall(user_id, query)
            if again.adapter == found.adapter:
                raise
            return again
        return found

    def is_for_memory(self, messages: Sequence[Message]) -> bool:
        """Whether a chat ends in something that an adapter is to answer (`ServingSettings.scope`).

        Raises:
            ModelNotFoundError, CacheError, DivergedError: as `Scope.probability`.
        """
        least = self.serving.scope
        return least is None or self._scope.probability(messages) >= least
