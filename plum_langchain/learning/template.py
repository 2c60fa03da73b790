"""A model's own chat template: messages into text, and that text into tokens nobody can forge.

Training and asking both go through here, so that they can't differ. A user who writes "<|im_end|>"
into a chat must not end a turn by it: what reads as a control token inside a message gets a seam,
at which the text is cut before it is tokenized. The pieces are plain tokens that spell the same
text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plum_langchain.errors import ChatTemplateError, InvalidInputError

Message = dict[str, Any]
"""`role` and `content`; of an assistant that calls tools `tool_calls` as well, in the form that
chat templates read (https://huggingface.co/docs/transformers/chat_extras)."""

Span = tuple[int, int]

SEAM = "\ufdd0"
"""A noncharacter: Unicode keeps it for use inside programs, and no message means anything by it."""

_PROBE = "\ue0f0probe\ue0f1"


class ChatTemplate:
    """Renders chats for one tokenizer, and tokenizes what it rendered.

    Texts that come out may hold `SEAM`s; only `tokenize` and its like can read them.

    Args:
        tokenizer: A fast Hugging Face tokenizer with a chat template.

    Raises:
        ChatTemplateError: it has no chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ChatTemplateError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; choose an "
                "instruction-tuned model, or set tokenizer.chat_template"
            )
        self.tokenizer = tokenizer
        with_system = self._try("system", "user", "assistant")
        self.accepts_system = _PROBE in with_system
        """Whether the template has a place for a system message (Gemma's has none)."""
        self._control = self._control_tokens(with_system or self._try("user", "assistant"))

    def fit(self, messages: Iterable[Message]) -> list[Message]:
        """Messages as the template can take them.

        A system text it refuses goes into the first user turn, and neighbouring messages of one
        role are merged (many templates demand alternation); but not results of tools, nor what
        calls them.
        """
        merged: list[Message] = []
        for message in messages:
            if merged and _joins(merged[-1], message):
                merged[-1]["content"] += "\n\n" + message["content"]
            else:
                merged.append(dict(message))
        if merged and merged[0]["role"] == "system" and not self.accepts_system:
            system = merged.pop(0)["content"]
            if merged and merged[0]["role"] == "user":
                merged[0]["content"] = f"{system}\n\n{merged[0]['content']}"
            else:
                merged.insert(0, {"role": "user", "content": system})
        return [{**self._plain_in(message), "role": message["role"]} for message in merged]

    def plain(self, text: str) -> str:
        """`text` with seams, so that none of it is ever read as a control token.

        Raises:
            InvalidInputError: the text can't be encoded (it holds half a surrogate pair).
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"a message holds {text[error.start]!r} at position {error.start}, half of a "
                "character that stands for nothing; remove it"
            ) from error
        # Again until nothing matches: control tokens may overlap, or hold one another.
        while self._control.search(text):
            text = self._control.sub(lambda m: m.group()[0] + SEAM + m.group()[1:], text)
        return text

    def _plain_in(self, value: Any) -> Any:
        """All texts in it `plain`, names of fields as well."""
        if isinstance(value, str):
            return self.plain(value)
        if isinstance(value, Mapping):
            return {self.plain(str(key)): self._plain_in(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain_in(inner) for inner in value]
        return value

    def prompt(self, messages: Iterable[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The text that generation starts from: all messages and the opening of the reply.

        Args:
            messages: The chat.
            tools: That the model may call, for a template that has a place for them.

        Raises:
            ChatTemplateError: the template refuses these messages.
        """
        shown = {"tools": self._plain_in(tools)} if tools else {}
        return self._render(self.fit(messages), add_generation_prompt=True, **shown)

    def calling(self, messages: Iterable[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """The text of a whole chat whose last message calls tools.

        Raises:
            ChatTemplateError: the template refuses these messages.
        """
        return self._render(self.fit(messages), tools=self._plain_in(tools))

    def finished(self, messages: Iterable[Message], reply: str) -> str:
        """The text of a whole chat that ends with the assistant's `reply`.

        Raises:
            ChatTemplateError: the template refuses these messages.
        """
        return self._render(self.fit([*messages, {"role": "assistant", "content": reply}]))

    def first_control_token(self, text: str) -> Span | None:
        """Where the first control token of a rendered text stands."""
        found = self._control.search(text)
        return found.span() if found else None

    def tokenize(self, text: str) -> tuple[list[int], list[Span]]:
        """Ids of a rendered text, and the span of it that each token stands for."""
        ids: list[int] = []
        spans: list[Span] = []
        offset = 0
        for piece in text.split(SEAM):
            # The template has written all special tokens there are to be.
            encoded = self.tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)
            ids += encoded["input_ids"]
            spans += [(start + offset, end + offset) for start, end in encoded["offset_mapping"]]
            offset += len(piece) + len(SEAM)
        return ids, spans

    def tokenize_reply(self, prompt: str, reply: str) -> tuple[list[int], list[Span], int]:
        """Ids and spans of `prompt + reply`, and how many of them are the prompt's.

        The first are exactly the tokens generation would start from: where the tokenizer merges
        across the seam between prompt and reply, both are tokenized by themselves.
        """
        prompt_ids, prompt_spans = self.tokenize(prompt)
        ids, spans = self.tokenize(prompt + reply)
        if ids[: len(prompt_ids)] != prompt_ids:
            rest_ids, rest_spans = self.tokenize(reply)
            ids = prompt_ids + rest_ids
            spans = prompt_spans + [(a + len(prompt), b + len(prompt)) for a, b in rest_spans]
        return ids, spans, len(prompt_ids)

    def _render(self, fitted: list[Message], **options: Any) -> str:
        try:
            # A memory answers at once: Qwen3's template and its like would open a chain of thought.
            text = self.tokenizer.apply_chat_template(
                fitted, tokenize=False, enable_thinking=False, **options
            )
            return str(text)
        except Exception as error:  # jinja2's TemplateError, or whatever a template pleases
            roles = ", ".join(m["role"] for m in fitted)
            raise ChatTemplateError(
                f"the chat template of {self.tokenizer.name_or_path!r} refuses the messages "
                f"({roles}): {error}"
            ) from error

    def _try(self, *roles: str) -> str:
        """A chat of these roles; empty if the template refuses it or shows no system text."""
        contents = [_PROBE, *"?" * (len(roles) - 1)]
        chat = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
        try:
            text = self._render(chat, add_generation_prompt=False)
        except ChatTemplateError:
            return ""
        return text if _PROBE in text else ""

    def _control_tokens(self, rendered: str) -> re.Pattern[str]:
        """Matches the special tokens, and those added to the vocabulary that the template writes.

        Added tokens of which templates know nothing (Gemma's for "<table>") are ordinary text; so
        is white space.
        """
        written = str(self.tokenizer.chat_template) + rendered
        found = [
            token.content
            for token in self.tokenizer.added_tokens_decoder.values()
            # A single character has no middle for a seam; no chat model has such control tokens.
            if len(token.content.strip()) > 1 and (token.special or token.content in written)
        ]
        longest_first = sorted(found, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")  # (?!) never matches


def with_system(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages, with this text in their system message, behind its own."""
    if messages and messages[0]["role"] == "system":
        own = {"role": "system", "content": f"{messages[0]['content']}\n\n{text}"}
        return [own, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _joins(one: Message, next_one: Message) -> bool:
    return one["role"] == next_one["role"] != "tool" and not (
        "tool_calls" in one or "tool_calls" in next_one
    )
