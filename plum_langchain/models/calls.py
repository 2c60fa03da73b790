"""Calls of tools: how a model is shown its tools, how it calls them, and what it called.

A chat template that has a place for tools shows how its model calls them: a call of a made-up tool
is rendered, and what stands around it is how calls are told from text, and how a call is enforced.
A template that has none gets the tools in the system message, in the words Qwen's and Hermes' have
(https://github.com/NousResearch/Hermes-Function-Calling), which other models follow as well.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plum_langchain.errors import ChatTemplateError, InvalidInputError
from plum_langchain.learning.template import ChatTemplate, Message, with_system
from plum_langchain.models.grammar import json_of

Tool = Mapping[str, Any]
"""As OpenAI has it: {"type": "function", "function": {"name", "description", "parameters"}}."""


@dataclass(frozen=True)
class Toolbox:
    """The tools of one request.

    Attributes:
        tools: At least one.
        choice: "auto" leaves it to the model, "any" makes it call one of them, a name that one.
    """

    tools: tuple[Tool, ...]
    choice: str = "auto"

    def __post_init__(self) -> None:
        if self.choice not in ("auto", "any", *self.names):
            raise InvalidInputError(
                f"tool_choice {self.choice!r} is none of the tools ({', '.join(self.names)}); use "
                "one of them, 'auto', 'any' or 'none'"
            )

    @property
    def names(self) -> list[str]:
        """What they are called by."""
        return [tool["function"]["name"] for tool in self.tools]


@dataclass(frozen=True)
class Call:
    """A tool that the model calls."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class BrokenCall:
    """What was to be a call and can't be read as one."""

    name: str | None
    text: str
    error: str


@dataclass(frozen=True)
class Calls:
    """A reply's text without its calls, and those."""

    text: str
    calls: tuple[Call, ...] = ()
    broken: tuple[BrokenCall, ...] = ()


@dataclass(frozen=True)
class CallSyntax:
    """How a model writes its calls: JSON objects with something around and between them.

    Attributes:
        begin, between, end: What that is.
        sign: How a call shows in a reply whose special tokens are left out; a single character
            does so only at its very beginning.
        arguments: The field of the arguments; that of the name is "name".
        shown: Whether the chat template shows tools itself.
    """

    begin: str
    between: str
    end: str
    sign: str
    arguments: str
    shown: bool

    @classmethod
    def of(cls, template: ChatTemplate) -> "CallSyntax":
        """The template's own; else the one of Hermes."""
        return _of_template(template) or _HERMES

    def prompt(
        self, template: ChatTemplate, messages: Sequence[Message], box: Toolbox | None
    ) -> str:
        """The text that generation starts from.

        Raises:
            ChatTemplateError: the template refuses these messages.
        """
        if self.shown:
            return template.prompt(messages, box.tools if box else ())
        told = [self._as_text(message) for message in messages]
        return template.prompt(with_system(told, _hermes_tools(box)) if box else told)

    def grammar(self, box: Toolbox, tokenizer: Any) -> str | None:
        """What a reply that may or must call tools is: whatever it calls, it calls rightly.

        Args:
            box: The tools.
            tokenizer: Knows the special tokens among what stands around a call.

        Returns:
            A grammar; None where a reply may be anything and only its beginning tells a call.
        """
        wanted = [t for t in box.tools if box.choice in ("auto", "any", t["function"]["name"])]
        one_of = json_of({"anyOf": [self._schema(tool["function"]) for tool in wanted]})
        call = f"{one_of} {_literal(self.end, tokenizer)}"
        begin = _literal(self.begin, tokenizer)
        if box.choice != "auto":
            return f"start: {begin} {call}"
        if len(self.sign) < 2:
            return None
        return f"start: (head {call})* TEXT\nhead[lazy]: TEXT {begin}\nTEXT: /(.|\\n)*/"

    def parsed(self, text: str, box: Toolbox) -> Calls:
        """What a reply says and which tools it calls.

        Args:
            text: The reply, its special tokens left out.
            box: A call of a tool that isn't in it is broken.
        """
        at = text.find(self.sign) if len(self.sign) > 1 else len(text) - len(text.lstrip())
        if at < 0 or not text[at:].startswith(self.sign):
            return Calls(text)
        calls: list[Call] = []
        broken: list[BrokenCall] = []
        place = at
        while (start := text.find("{", place)) >= 0:
            try:
                found, place = json.JSONDecoder(strict=False).raw_decode(text, start)
            except json.JSONDecodeError as error:
                broken.append(BrokenCall(None, text[start:].strip(), f"no JSON: {error}"))
                break
            read = self._call(found, text[start:place], box)
            calls += [read] if isinstance(read, Call) else []
            broken += [read] if isinstance(read, BrokenCall) else []
        if not calls and len(self.sign) == 1:
            return Calls(text)  # JSON that somebody asked for
        if not calls and not broken:
            broken.append(BrokenCall(None, text[at:], "no JSON object follows"))
        return Calls(text[:at].rstrip(), tuple(calls), tuple(broken))

    def _call(self, found: Mapping[str, Any], text: str, box: Toolbox) -> Call | BrokenCall:
        name, arguments = found.get("name"), found.get(self.arguments, {})
        if name not in box.names:
            return BrokenCall(None, text, f"no tool is called {name!r}")
        if not isinstance(arguments, dict):
            return BrokenCall(name, text, f"its {self.arguments} are no JSON object")
        return Call(name, arguments)

    def _schema(self, function: Mapping[str, Any]) -> dict[str, Any]:
        takes = {"type": "object", "properties": {}, **function.get("parameters", {})}
        definitions = {key: takes.pop(key) for key in ("$defs", "definitions") if key in takes}
        return {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                self.arguments: {"additionalProperties": False, **takes},
            },
            "required": ["name", self.arguments],
            "additionalProperties": False,
            **definitions,
        }

    def _as_text(self, message: Message) -> Message:
        """A message of or for tools as one that any template takes."""
        if message["role"] == "tool":
            answer = f"<tool_response>\n{message['content']}\n</tool_response>"
            return {"role": "user", "content": answer}
        calls = [
            json.dumps(
                {
                    "name": call["function"]["name"],
                    self.arguments: call["function"]["arguments"],
                },
                ensure_ascii=False,
            )
            for call in message.get("tool_calls", ())
        ]
        written = f"{self.begin}{self.between.join(calls)}{self.end}" if calls else ""
        content = "\n".join(part for part in (message["content"], written) if part)
        return {"role": message["role"], "content": content}


_HERMES = CallSyntax(
    begin="<tool_call>\n",
    between="\n</tool_call>\n<tool_call>\n",
    end="\n</tool_call>",
    sign="<tool_call>",
    arguments="arguments",
    shown=False,
)


def _hermes_tools(box: Toolbox) -> str:
    shown = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in box.tools)
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>\n{shown}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": '
        "<args-json-object>}\n</tool_call>"
    )


_PROBE = "plum_probe"


def _of_template(template: ChatTemplate) -> CallSyntax | None:
    """What a template writes around two calls of a made-up tool; None if it writes none in JSON."""
    parameters = {"type": "object", "properties": {"x": {"type": "string"}}}
    function = {"name": _PROBE, "description": _PROBE, "parameters": parameters}
    called = {"type": "function", "function": {"name": _PROBE, "arguments": {"x": "1"}}}
    user = {"role": "user", "content": "?"}
    calling = {"role": "assistant", "content": "", "tool_calls": [called, called]}
    tools = [{"type": "function", "function": function}]
    try:
        asked = template.prompt([user], tools)
        if _PROBE not in asked:
            return None
        answered = template.calling([user, calling], tools)
    except ChatTemplateError:
        return None
    if not answered.startswith(asked):
        return None
    reply = answered[len(asked) :]
    ends = reply.find(template.tokenizer.eos_token or "\0")
    reply = reply[:ends] if ends >= 0 else reply.rstrip()
    found = []
    for start in (i for i, c in enumerate(reply) if c == "{"):
        try:
            value, stop = json.JSONDecoder().raw_decode(reply, start)
        except json.JSONDecodeError:
            continue
        if value.get("name") == _PROBE:
            found.append((start, stop, value))
    if len(found) != 2:
        return None
    (first, first_end, value), (second, second_end, _) = found
    arguments = next((k for k, v in value.items() if v == {"x": "1"}), None)
    if arguments is None:
        return None
    begin = reply[:first]
    seen = begin
    for special in _special(template.tokenizer):
        seen = seen.replace(special, "")
    return CallSyntax(
        begin=begin,
        between=reply[first_end:second],
        end=reply[second_end:],
        sign=seen.strip() or "{",
        arguments=arguments,
        shown=True,
    )


def _literal(text: str, tokenizer: Any) -> str:
    """A text in a grammar; its special tokens by their numbers."""
    special = [token for token in _special(tokenizer) if token in text]
    pieces = re.split(f"({'|'.join(map(re.escape, special))})", text) if special else [text]
    return " ".join(
        f"<[{tokenizer.convert_tokens_to_ids(piece)}]>" if piece in special else json.dumps(piece)
        for piece in pieces
        if piece
    )


def _special(tokenizer: Any) -> list[str]:
    """The tokens that are left out of a reply's text."""
    return [one.content for one in tokenizer.added_tokens_decoder.values() if one.special]
