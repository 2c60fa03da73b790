"""PlumLLM: a user's adapted model as a LangChain LLM, text in and text out."""

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult

from plum_langchain.models import Reply
from plum_langchain.serving import Request, Serving


class PlumLLM(Serving, BaseLLM):
    """An LLM that remembers one user's earlier chats; for chains that want a plain LLM.

    The prompt is put to the model as one user message through its chat template, since that is
    how adapters are trained. The user is a field, not a call argument: LangChain's LLM cache
    ignores call arguments, and one user's answer would come back for another.

    Key init args:
        plum: The open home (`Plum.llm` fills it in).
        user_id: Whose memory.
        memory, k, temperature, top_p, max_tokens, seed, stop: See `ChatPlum`.

    Instantiate:
        ```python
        from plum_langchain import Plum

        llm = Plum("my-home").llm(user_id="ana")
        ```

    Invoke:
        ```python
        llm.invoke("Which day is my bakery closed?")
        ```
    """

    @property
    def _llm_type(self) -> str:
        return "plum"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.identity()

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        generations = []
        prompt_tokens = completion_tokens = 0
        for prompt in prompts:
            request = self._request(prompt, stop)
            reply = self.plum.engine.chat(request.messages, request.adapter, request.sampling)
            prompt_tokens += reply.prompt_tokens
            completion_tokens += reply.completion_tokens
            generations.append([Generation(text=reply.text, generation_info=_info(request, reply))])
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        return LLMResult(generations=generations, llm_output={"token_usage": usage})

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        request = self._request(prompt, stop)
        pieces = self.plum.engine.stream_chat(request.messages, request.adapter, request.sampling)
        for piece in pieces:
            if isinstance(piece, Reply):
                yield GenerationChunk(text="", generation_info=_info(request, piece))
            else:
                chunk = GenerationChunk(text=piece)
                if run_manager:
                    run_manager.on_llm_new_token(piece, chunk=chunk)
                yield chunk

    def _request(self, prompt: str, stop: list[str] | None) -> Request:
        # Call arguments are left out on purpose: see the class.
        return self.request([{"role": "user", "content": prompt}], stop)


def _info(request: Request, reply: Reply) -> dict[str, Any]:
    return {
        "model_name": request.model_name,
        "generation": request.adapter.generation if request.adapter else None,
        "finish_reason": reply.finish_reason,
    }
