"""Questions from a language model: any LangChain chat model reads a session and lists its facts.

Nothing but text in and text out is asked of the model, since many have no structured output. What
it replies is trusted no further than it can be checked against the chat.
"""

import json
import logging
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from plum_langchain.errors import InvalidInputError, QuestionError
from plum_langchain.questions import prompts
from plum_langchain.questions.balance import balance
from plum_langchain.questions.facts import (
    Fact,
    FactSheet,
    PlainQuestion,
    answer_in_chat,
    questions_from_facts,
    questions_from_list,
)
from plum_langchain.questions.raised import was_raised
from plum_langchain.questions.text import alike, content_words, words_of
from plum_langchain.session import Question, Session
from plum_langchain.settings import QuestionSettings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

logger = logging.getLogger(__name__)

Style = Literal["facts", "paper"]
_PLAIN_LIST = TypeAdapter(list[PlainQuestion])


class LLMQuestions:
    """Asks a chat model for the facts of a session, checks them, and sends back what is wrong.

    Args:
        model: Any LangChain chat model.
        style: "facts" (atomic facts with several phrasings each) or "paper" (PLUM's plain list).
        settings: What to ask about.
        max_repairs: How often a malformed or unbalanced reply is sent back before giving up.

    Raises:
        InvalidInputError: an unknown style, or a negative `max_repairs`.
    """

    def __init__(
        self,
        model: "BaseChatModel",
        *,
        style: Style = "facts",
        settings: QuestionSettings | None = None,
        max_repairs: int = 2,
    ) -> None:
        if style not in ("facts", "paper"):
            raise InvalidInputError(f"style {style!r} is unknown; use 'facts' or 'paper'")
        if max_repairs < 0:
            raise InvalidInputError(f"max_repairs must be 0 or more, not {max_repairs}")
        self.model = model
        self.style = style
        self.settings = settings or QuestionSettings()
        self.max_repairs = max_repairs
        self.name = f"llm:{_name_of(model)}"

    def make(self, session: Session) -> list[Question]:
        """The model's questions, checked against the chat and balanced.

        What the model itself raises (no network, no credit) is passed on as it is: it says nothing
        about the session, and asking again later may well work.

        Raises:
            QuestionError: the session is empty, or after `max_repairs` the reply is still
                malformed, unbalanced or made up; the message says what was wrong with the last one.
        """
        from langchain_core.messages import AIMessage, HumanMessage

        if not any(turn.content.strip() for turn in session.turns):
            raise QuestionError(f"session {session.session_id!r} holds no text to ask about")
        template = prompts.FACTS if self.style == "facts" else prompts.PAPER
        asked = HumanMessage(template.format(transcript=_transcript(session)))
        messages: list[BaseMessage] = [asked]
        problem = ""
        for attempt in range(self.max_repairs + 1):
            reply = str(self.model.invoke(messages).text)
            try:
                return self._questions(reply, session)
            except (ValidationError, QuestionError, ValueError) as error:
                problem = _problem(error)
            logger.info(
                "session %r: reply %d of %s can't be used",
                session.session_id, attempt + 1, self.name,
            )  # fmt: skip
            # Only the last reply goes back: a row of failures would crowd out the chat.
            repair = HumanMessage(prompts.REPAIR.format(problem=problem))
            messages = [asked, AIMessage(reply or "(empty)"), repair]
        raise QuestionError(
            f"{self.name} gave no usable questions for session {session.session_id!r} in "
            f"{self.max_repairs + 1} attempts; the last reply can't be used: {problem}. Use a "
            "stronger model, raise max_repairs, or use the question maker 'statements', which "
            "needs no LLM"
        )

    def _questions(self, reply: str, session: Session) -> list[Question]:
        """The questions of one reply.

        Raises:
            ValueError: no JSON, or not of the schema (pydantic's error is a ValueError).
            QuestionError: nothing is left after the checks, or it can't be balanced.
        """
        data = _json_in(reply, self.style)
        learn_assistant = self.settings.learn_assistant
        if self.style == "facts":
            sheet = FactSheet.model_validate(data)
            facts = [kept for fact in sheet.facts if (kept := _checked(fact, session))]
            if not facts:
                raise QuestionError("none of its facts is said in the turn it names")
            absent = [q for q in sheet.not_discussed if not _raised_after_all(q, session)]
            questions = questions_from_facts(facts, absent, learn_assistant=learn_assistant)
        else:
            lines = [q for q in _PLAIN_LIST.validate_python(data) if _plain_is_good(q, session)]
            questions = questions_from_list(lines, (), session, learn_assistant=learn_assistant)
        _check_balance(questions)
        return balance(
            questions, seed=self.settings.seed, max_questions=self.settings.max_questions
        )


def _name_of(model: "BaseChatModel") -> str:
    named = (getattr(model, field, None) for field in ("model_name", "model", "model_id"))
    return next((name for name in named if isinstance(name, str) and name), type(model).__name__)


def _transcript(session: Session) -> str:
    """One JSON object a line, with "<" escaped: no turn can close the conversation's tag."""
    lines = (
        json.dumps({"turn": i, "role": t.role, "content": t.content}, ensure_ascii=False)
        for i, t in enumerate(session.turns)
        if t.content  # else it was erased
    )
    return "\n".join(lines).replace("<", "\\u003c")


def _json_in(reply: str, style: Style) -> Any:
    """The JSON of a reply that is of the form asked for, whatever stands around it.

    Raises:
        ValueError: there is none; the message says where reading it failed.
    """
    fenced = re.findall(r"```(?:\w+)?\s*(.*?)```", reply, re.DOTALL)
    decoder = json.JSONDecoder()
    problem = "it holds no JSON"
    for text in (*fenced, reply):
        for match in re.finditer(r"[{\[]", text):
            try:
                value, _ = decoder.raw_decode(text, match.start())
            except json.JSONDecodeError as error:
                if problem == "it holds no JSON":
                    problem = f"it is not valid JSON: {error.msg} at character {error.pos}"
                    if "Unterminated" in error.msg or error.pos >= len(text.rstrip()) - 1:
                        problem += " (it seems cut off; give fewer facts)"
                continue
            if _is_meant(value, style):
                return value
            if problem == "it holds no JSON":
                problem = "its JSON is not of the form asked for"
    raise ValueError(problem)


def _is_meant(value: Any, style: Style) -> bool:
    """Whether this is the answer, and not "[1]" in the text around or a part of a broken one."""
    if style == "facts":
        return isinstance(value, dict) and bool({"facts", "not_discussed"} & value.keys())
    rows = isinstance(value, list) and value != []
    return rows and all(isinstance(row, dict) and "question" in row for row in value)


def _why_not_said(fact: Fact, session: Session) -> str | None:
    if fact.turn >= len(session.turns):
        return f"there is no turn {fact.turn}"
    turn = session.turns[fact.turn]
    if turn.role != fact.said_by:
        return f"turn {fact.turn} is not the {fact.said_by}'s"
    stated, said = content_words(fact.statement), set(words_of(turn.content))
    if stated and not any(alike(word, other) for word in stated for other in said):
        return f"nothing in turn {fact.turn} says so"
    return None


def _checked(fact: Fact, session: Session) -> Fact | None:
    """The fact without what the chat doesn't answer or tell; None if it isn't said."""
    if why := _why_not_said(fact, session):
        _dropped(session, fact.statement, why)
        return None
    answered = []
    for question in fact.open:
        if answer_in_chat(question.answer, session):
            answered.append(question)
        else:
            _dropped(session, question.question, f"{question.answer!r} is not in the chat")
    before = fact.before
    if before is not None and not answer_in_chat(before, session):
        _dropped(session, before, "the chat doesn't say that it was so before")
        before = None
    return fact.model_copy(update={"open": answered, "before": before})


def _raised_after_all(question: str, session: Session) -> bool:
    raised = was_raised(question, session)
    if raised:
        _dropped(session, question, "it was raised in the chat")
    return raised


def _plain_is_good(line: PlainQuestion, session: Session) -> bool:
    if any(index >= len(session.turns) for index in line.evidence):
        _dropped(session, line.question, f"its evidence {line.evidence} is not in the chat")
    elif line.kind == "open" and not answer_in_chat(line.answer, session):
        _dropped(session, line.question, f"{line.answer!r} is not in the chat")
    elif line.kind != "open" and line.answer.strip(" .!").casefold() != line.kind[:3].strip("_"):
        _dropped(session, line.question, f"{line.answer!r} is no answer of the kind {line.kind}")
    elif line.kind == "no_adjacent" and was_raised(line.question, session):
        _dropped(session, line.question, "it was raised in the chat")
    else:
        return True
    return False


def _dropped(session: Session, what: str, why: str) -> None:
    # Logs at INFO may be kept, and must hold no chat; whoever looks for a cause asks for DEBUG.
    logger.info("session %r: dropped a question or fact", session.session_id)
    logger.debug("session %r: dropped %r: %s", session.session_id, what, why)


def _check_balance(questions: list[Question]) -> None:
    """Refuse a reply so lopsided that most of it would be thrown away.

    Raises:
        QuestionError: one answer of closed questions is more than twice as frequent as the other.
    """
    counts = Counter(question.answer for question in questions if question.closed)
    yes, no = counts["Yes"], counts["No"]
    if max(yes, no) > 2 * min(yes, no):
        raise QuestionError(
            f"it is unbalanced: {yes} questions answered Yes and {no} answered No are left after "
            "checking them against the conversation; as many of each are needed"
        )


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False)
        lines = [f"{'.'.join(map(str, e['loc'])) or 'the reply'}: {e['msg']}" for e in found[:5]]
        more = [f"and {len(found) - 5} more"] if len(found) > 5 else []
        return "; ".join(lines + more)
    return str(error)
