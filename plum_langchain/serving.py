"""What ChatPlum and PlumLLM share: from a face's fields and a call to a request for the engine."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import InvalidInputError, MissingUserError
from plum_langchain.memories.base import MemoryName, Snippet, with_snippets
from plum_langchain.models import Sampling

Message = dict[str, str]

_PER_CALL = ("user_id", "memory", "k", "temperature", "top_p", "max_tokens", "seed")


@dataclass(frozen=True)
class Request:
    """All that one generation needs, decided at one moment."""

    user_id: str | None
    messages: list[Message]
    adapter: AdapterRef | None
    sampling: Sampling
    model_name: str


class Serving(BaseModel):
    """The fields of both faces; see `ChatPlum` for what they mean."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    plum: Any = Field(exclude=True, repr=False)
    user_id: str | None = None
    memory: MemoryName = "parametric"
    k: int = 3
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None

    def identity(self, **call: Any) -> dict[str, Any]:
        """What an answer depends on besides the prompt.

        The base model, the user, the memory, the adapter generation. Caches key on it, so none
        ever serves an older generation.
        """
        options = self._options(call)
        found = {"model": self.plum.model_name, **options}
        user_id, memory = options["user_id"], options["memory"]
        if user_id is not None and memory in ("parametric", "hybrid"):
            head = self.plum.journal.generations.head(user_id)
            found["generation"] = head.number if head else None
        if user_id is not None and memory in ("retrieval", "hybrid"):
            found["chats"] = self.plum.journal.sessions.version(user_id)
        return found

    def request(self, messages: list[Message], stop: list[str] | None, **call: Any) -> Request:
        """The request for these messages: recalls, and picks the adapter to answer with.

        Raises:
            MissingUserError: the memory needs a user and none is named.
        """
        options = self._options(call)
        user_id, memory = options["user_id"], options["memory"]
        plum = self.plum
        if user_id is None and memory != "none":
            raise MissingUserError(
                f"no user is named, and {memory} memory is always somebody's; give user_id= at "
                "construction or with the call, or use memory='none' for the base model"
            )
        if not messages:
            raise InvalidInputError("there are no messages to answer")
        asked = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
        recalled = plum.memory_named(memory, k=options["k"]).recall(user_id, asked)
        if recalled.adapter or recalled.snippets:
            messages = _with_memory(messages, plum.learning.system_prompt, recalled.snippets)
        adapter = recalled.adapter
        suffix = f"+{user_id}@{adapter.generation}" if adapter else ""
        return Request(
            user_id=user_id,
            messages=messages,
            adapter=adapter,
            model_name=plum.model_name + suffix,
            sampling=Sampling(
                max_new_tokens=options["max_tokens"] or plum.serving.max_new_tokens,
                temperature=options["temperature"],
                top_p=options["top_p"],
                seed=options["seed"],
                stop=tuple(stop or self.stop or ()),
            ),
        )

    def _options(self, call: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value if (value := call.get(name)) is not None else getattr(self, name)
            for name in _PER_CALL
        }


def _with_memory(
    messages: list[Message], system_prompt: str | None, snippets: tuple[Snippet, ...]
) -> list[Message]:
    """The system prompt that adapters were trained with, then the caller's own, then snippets."""
    own = [m["content"] for m in messages if m["role"] == "system"]
    rest = [m for m in messages if m["role"] != "system"]
    joined = "\n\n".join(text for text in (system_prompt, *own) if text)
    system = with_snippets(joined or None, snippets)
    return [{"role": "system", "content": system}, *rest] if system else rest
