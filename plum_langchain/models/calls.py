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
from plum_langchain.models.schemas import inlined, json_of

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
        begin, between, end: What that is; `between` is None where there can't be two.
        sign: How a call shows in a reply whose special tokens are left out; a single character
            does so only at its very beginning.
        arguments: The field of the arguments; that of the name is "name".
        shown: Whether the chat template shows tools itself.
        special: The special tokens, which replies are read without.
    """

    begin: str
    between: str | None
    end: str
    sign: str
    arguments: str
    shown: bool
    special: tuple[str, ...] = ()

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

    def call(self, box: Toolbox, tokenizer: Any) -> str:
        """A call of tools in a grammar: of any of them, or of the one that is chosen.

        Args:
            box: The tools.
            tokenizer: Knows the special tokens among what stands around a call.
        """
        return f"{_literal(self.begin, tokenizer)} {self._rest(box, tokenizer)}"

    def free(self, box: Toolbox, tokenizer: Any) -> str | None:
        """A grammar of replies that may call tools: whatever they call, they call rightly.

        Returns:
            None where that can't be said, since a call begins as other text may.
        """
        if len(self.sign) < 2 or any(token in self.begin for token in _special(tokenizer)):
            return None
        begin = _literal(self.begin, tokenizer)
        return (
            f"start: (head {self._rest(box, tokenizer)})* TEXT\n"
            f"head[lazy]: TEXT {begin}\n"
            "TEXT: /(.|\\n)*/"
        )

    def _rest(self, box: Toolbox, tokenizer: Any) -> str:
        """What follows the beginning of a call."""
        wanted = [t for t in box.tools if box.choice in ("auto", "any", t["function"]["name"])]
        one_of = " | ".join(json_of(self._schema(tool["function"])) for tool in wanted)
        more = ""
        if box.choice == "auto" and self.between is not None:
            more = f"({_literal(self.between, tokenizer)} ({one_of}))*"
        return f"({one_of}) {more} {_literal(self.end, tokenizer)}"

    def parsed(self, text: str, box: Toolbox) -> Calls:
        """What a reply says and which tools it calls.

        Args:
            text: The reply, its special tokens left out.
            box: A call of a tool that isn't in it is broken. Of one that must be called, all that
                is said is a call, if only the beginning of one.
        """
        must = box.choice != "auto"
        begins = self._mark(self.sign)
        first = begins.match(text) if len(self.sign) == 1 else begins.search(text)
        if first is None and must:
            return Calls("", broken=(BrokenCall(None, text, "it ends before a call begins"),))
        if first is None:
            return Calls(text)
        calls: list[Call] = []
        broken: list[BrokenCall] = []
        place = text.index("{") if self.sign == "{" else first.end()
        while True:
            if not text.startswith("{", place):
                broken.append(BrokenCall(None, text[place:].strip(), "no JSON object follows"))
                place = len(text)
                break
            try:
                found, end = json.JSONDecoder(strict=False).raw_decode(text, place)
            except json.JSONDecodeError as error:
                broken.append(BrokenCall(None, text[place:].strip(), f"no JSON: {error}"))
                place = len(text)
                break
            read = self._call(found, text[place:end], box)
            calls += [read] if isinstance(read, Call) else []
            broken += [read] if isinstance(read, BrokenCall) else []
            next_one = self._next(text, end)
            if isinstance(next_one, str):
                place = len(text) - len(next_one)
                break
            place = next_one
        if not calls and len(self.sign) == 1 and not must:
            return Calls(text)  # JSON that somebody asked for
        around = () if must else (text[: first.start()].rstrip(), text[place:].strip())
        return Calls("\n".join(filter(None, around)), tuple(calls), tuple(broken))

    def _next(self, text: str, place: int) -> int | str:
        """Where the next call's object begins, after one that ends here; or the text after all."""
        found = None if self.between is None else self._mark(self.between).match(text, place)
        if found and text.startswith("{", found.end()):
            return found.end()
        ended = self._mark(self.end).match(text, place)
        after = ended.end() if ended else place
        again = self._mark(self.begin).match(text, after) if len(self.sign) > 1 else None
        if again and text.startswith("{", again.end()):
            return again.end()
        return text[after:]

    def _mark(self, text: str) -> "re.Pattern[str]":
        """What stands around calls as a reply shows it: without special tokens, space at will."""
        seen = text
        for token in self.special:
            seen = seen.replace(token, "")
        words = [re.escape(word) for word in seen.split()]
        return re.compile(r"\s*" + r"\s*".join(words) + r"\s*")

    def _call(self, found: Mapping[str, Any], text: str, box: Toolbox) -> Call | BrokenCall:
        name, arguments = found.get("name"), found.get(self.arguments, {})
        if name not in box.names:
            return BrokenCall(None, text, f"no tool is called {name!r}")
        if not isinstance(arguments, dict):
            return BrokenCall(name, text, f"its {self.arguments} are no JSON object")
        return Call(name, arguments)

    def _schema(self, function: Mapping[str, Any]) -> dict[str, Any]:
        given = inlined(function.get("parameters") or {})
        takes = {"type": "object", "properties": {}, **given}
        held = {"$defs": takes.pop("$defs")} if "$defs" in takes else {}
        return {
            **held,
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                self.arguments: {"additionalProperties": False, **takes},
            },
            "required": ["name", self.arguments],
            "additionalProperties": False,
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
        written = f"{self.begin}{(self.between or '').join(calls)}{self.end}" if calls else ""
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
    # Ids are of nine characters, as Mistral's templates demand.
    calls = [
        {
            "type": "function",
            "id": f"plumcall{number}",
            "function": {"name": _PROBE, "arguments": {"x": "1"}},
        }
        for number in (1, 2)
    ]
    user = {"role": "user", "content": "?"}
    tools = [{"type": "function", "function": function}]
    try:
        asked = template.prompt([user], tools)
    except ChatTemplateError:
        return None
    if _PROBE not in asked:
        return None
    for number in (2, 1):  # some templates refuse more than one
        calling = {"role": "assistant", "content": "", "tool_calls": calls[:number]}
        try:
            answered = template.calling([user, calling], tools)
        except ChatTemplateError:
            continue
        if answered.startswith(asked):
            return _around(answered[len(asked) :], number, template)
    return None


def _around(reply: str, number: int, template: ChatTemplate) -> CallSyntax | None:
    """What stands around so many calls of the made-up tool in a reply; None if they aren't JSON."""
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
    arguments = (
        next((k for k, v in found[0][2].items() if v == {"x": "1"}), None) if found else None
    )
    if len(found) != number or arguments is None:
        return None
    begin = reply[: found[0][0]]
    special = tuple(_special(template.tokenizer))
    seen = begin
    for token in special:
        seen = seen.replace(token, "")
    return CallSyntax(
        begin=begin,
        between=reply[found[0][1] : found[1][0]] if number == 2 else None,
        end=reply[found[-1][1] :],
        sign=seen.strip() or "{",
        arguments=arguments,
        shown=True,
        special=special,
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
