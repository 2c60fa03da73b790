"""Questions into tokens and weights, through the model's own chat template.

A template is a program: it may trim, add roles, dates or a default system prompt. So nothing is
assumed about it. It is rendered once with two marker strings in place of question and answer;
what stands before, between and after the markers is the frame, and any question is spliced in.
The splice is then checked against a real rendering, so a template that does something else with
its messages is refused instead of mistrained.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from plum_langchain.errors import ChatTemplateError
from plum_langchain.session import Question

# Private-use characters: no chat holds them, and no template treats them specially.
_QUESTION, _ANSWER = "\ue0f0question\ue0f1", "\ue0f0answer\ue0f1"

Message = dict[str, str]


@dataclass(frozen=True)
class Sample:
    """One question with its answer as the model sees it.

    `ids` and `weights` have the same length T; `weights[t]` weighs the loss of *predicting*
    `ids[t]`, so `weights[0]` is never used. The answer and the token that ends its turn are
    `ids[answer_start:answer_end]`; `ids[:answer_start]` is exactly the prompt that generation
    starts from.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    answer_start: int
    answer_end: int


@dataclass(frozen=True)
class Frame:
    """What a chat template puts around a question and its answer."""

    before: str
    between: str
    after: str


def accepts_system(tokenizer: Any) -> bool:
    """Whether the chat template has a place for a system message (Gemma's has none)."""
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "system", "content": _QUESTION}, {"role": "user", "content": "?"}],
            tokenize=False,
        )
    except Exception:  # templates refuse with jinja2's TemplateError or whatever they please
        return False
    return _QUESTION in text


def fit_messages(tokenizer: Any, messages: Iterable[Message]) -> list[Message]:
    """Messages as the template can take them.

    A system text it refuses goes into the first user turn, and neighbouring messages of one role
    are merged (many templates demand alternation).
    """
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1]["content"] += "\n\n" + message["content"]
        else:
            merged.append({"role": message["role"], "content": message["content"]})
    if merged and merged[0]["role"] == "system" and not accepts_system(tokenizer):
        system = merged.pop(0)["content"]
        if merged and merged[0]["role"] == "user":
            merged[0]["content"] = f"{system}\n\n{merged[0]['content']}"
        else:
            merged.insert(0, {"role": "user", "content": system})
    return merged


def prompt_text(tokenizer: Any, messages: Iterable[Message]) -> str:
    """The text that generation starts from: all messages and the opening of the reply.

    Raises:
        ChatTemplateError: the tokenizer has no chat template, or it refuses these messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ChatTemplateError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; choose an "
            "instruction-tuned model, or set tokenizer.chat_template"
        )
    fitted = fit_messages(tokenizer, messages)
    try:
        return str(
            tokenizer.apply_chat_template(fitted, tokenize=False, add_generation_prompt=True)
        )
    except Exception as error:
        roles = ", ".join(m["role"] for m in fitted)
        raise ChatTemplateError(
            f"the chat template of {tokenizer.name_or_path!r} refuses the messages ({roles}): "
            f"{error}"
        ) from error


def find_frame(tokenizer: Any, system_prompt: str | None) -> Frame:
    """What the tokenizer's chat template puts around a question and its answer.

    Raises:
        ChatTemplateError: there is no template, it doesn't show both texts exactly once, or what
            it opens a reply with differs between a full chat and a generation prompt.
    """
    prompt = prompt_text(tokenizer, _conversation(system_prompt, _QUESTION))
    full = _render_full(tokenizer, _conversation(system_prompt, _QUESTION), _ANSWER)
    if full.count(_QUESTION) != 1 or full.count(_ANSWER) != 1:
        raise ChatTemplateError(
            f"the chat template of {tokenizer.name_or_path!r} shows the question "
            f"{full.count(_QUESTION)} times and the answer {full.count(_ANSWER)} times; both must "
            "appear exactly once"
        )
    before, rest = full.split(_QUESTION)
    between, after = rest.split(_ANSWER)
    if prompt != before + _QUESTION + between:
        raise ChatTemplateError(
            f"the chat template of {tokenizer.name_or_path!r} opens a reply with "
            f"{prompt[len(before) + len(_QUESTION) :]!r} when generating, but writes {between!r} "
            "before a finished one; training on it would not match what is asked later. Choose "
            "another model, or set a template that agrees with itself"
        )
    return Frame(before, between, after)


def _conversation(system_prompt: str | None, question: str) -> list[Message]:
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": question}]


def _render_full(tokenizer: Any, messages: list[Message], answer: str) -> str:
    fitted = fit_messages(tokenizer, messages)
    fitted.append({"role": "assistant", "content": answer})
    return str(tokenizer.apply_chat_template(fitted, tokenize=False))


class Encoder:
    """Encodes questions for one tokenizer and one system prompt.

    Args:
        tokenizer: A fast Hugging Face tokenizer with a chat template.
        system_prompt: Put before every question; None leaves it to the template.
        answer_weight: PLUM's lambda, on question and answer tokens; 1.0 gives plain
            cross-entropy over the whole sample (arXiv 2411.13405, section 3).
        max_tokens: Longer samples are refused.

    Raises:
        ChatTemplateError: see `find_frame`.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        system_prompt: str | None,
        answer_weight: float,
        max_tokens: int = 512,
    ) -> None:
        self.tokenizer = tokenizer
        self.system_prompt = system_prompt
        self.answer_weight = answer_weight
        self.max_tokens = max_tokens
        self.frame = find_frame(tokenizer, system_prompt)

    def encode(self, question: str, answer: str) -> Sample:
        """One training sample.

        The answer's weighted tokens include the one that ends the turn: a model that isn't
        taught to stop goes on talking.

        Raises:
            ChatTemplateError: the template changes this question or answer (beyond trimming), or
                the sample is longer than `max_tokens`.
        """
        question, answer = question.strip(), answer.strip()
        frame = self.frame
        prompt = frame.before + question + frame.between
        text = prompt + answer + frame.after
        if text != _render_full(
            self.tokenizer, _conversation(self.system_prompt, question), answer
        ):
            raise ChatTemplateError(
                f"the chat template of {self.tokenizer.name_or_path!r} doesn't render this "
                f"question as it stands: {question!r}"
            )
        prompt_ids, prompt_spans = self._tokenize(prompt)
        ids, spans = self._tokenize(text)
        if ids[: len(prompt_ids)] != prompt_ids:
            # The tokenizer merges across the seam between prompt and answer. Generation starts
            # from the prompt's own tokens, so train on those and on the rest by itself.
            rest_ids, rest_spans = self._tokenize(text[len(prompt) :])
            ids = prompt_ids + rest_ids
            spans = prompt_spans + [(a + len(prompt), b + len(prompt)) for a, b in rest_spans]
        if len(ids) > self.max_tokens:
            raise ChatTemplateError(
                f"a question with its answer takes {len(ids)} tokens, at most {self.max_tokens} "
                f"are allowed (max_sample_tokens): {question[:80]!r}..."
            )
        q_start, q_end = len(frame.before), len(frame.before) + len(question)
        a_start, a_end = len(prompt), len(prompt) + len(answer)
        heavy = [(q_start < b and a < q_end) or (a_start < b and a < a_end) for a, b in spans]
        last = max(i for i, (a, b) in enumerate(spans) if a_start < b and a < a_end)
        answer_end = min(last + 2, len(ids))
        heavy[answer_end - 1] = True
        weights = tuple(self.answer_weight if h else 1.0 for h in heavy)
        return Sample(tuple(ids), weights, len(prompt_ids), answer_end)

    def encode_all(self, questions: Sequence[Question]) -> list[Sample]:
        """`encode` for each question."""
        return [self.encode(question.question, question.answer) for question in questions]

    def _tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        # The template has written all special tokens there are to be.
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(encoded["input_ids"]), [tuple(span) for span in encoded["offset_mapping"]]
