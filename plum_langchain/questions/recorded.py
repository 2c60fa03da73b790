"""Questions recorded with a chat: what a strong LLM once made of it, read from its file."""

from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from plum_langchain.errors import QuestionError
from plum_langchain.questions.balance import balance
from plum_langchain.questions.facts import (
    Fact,
    PlainQuestion,
    Text,
    questions_from_facts,
    questions_from_list,
)
from plum_langchain.session import Question, Session, Update
from plum_langchain.settings import QuestionSettings

T = TypeVar("T")

_FACTS = TypeAdapter(list[Fact])
_NOT_DISCUSSED = TypeAdapter(list[Text])
_QA_TRAIN = TypeAdapter(list[PlainQuestion])


class _Changed(BaseModel):
    old: Text
    new: Text
    earlier_session: Any = None


_UPDATES = TypeAdapter(list[_Changed])


class RecordedQuestions:
    """Reads `facts`, `not_discussed` and `qa_train` of a session's material.

    Args:
        settings: What to ask about.
    """

    name = "recorded"

    def __init__(self, settings: QuestionSettings | None = None) -> None:
        self.settings = settings or QuestionSettings()

    def make(self, session: Session) -> list[Question]:
        """The recorded questions, balanced.

        Raises:
            QuestionError: nothing was recorded, it is malformed, or it can't be balanced; the
                message names the session and the field.
        """
        facts = read_material(session, "facts", _FACTS)
        absent = read_material(session, "not_discussed", _NOT_DISCUSSED)
        lines = read_material(session, "qa_train", _QA_TRAIN)
        if not facts and not lines:
            raise QuestionError(
                f"session {session.session_id!r} has no recorded questions (neither `facts` nor "
                "`qa_train` came with it); use the question maker 'statements', or name a chat "
                "model to make them"
            )
        beyond = [fact for fact in facts if fact.turn >= len(session.turns)]
        if beyond:
            raise QuestionError(
                f"the recorded `facts` of session {session.session_id!r} name turn "
                f"{beyond[0].turn}, but the session has turns 0 to {len(session.turns) - 1}; were "
                "they recorded for another chat?"
            )
        learn_assistant = self.settings.learn_assistant
        questions = questions_from_facts(facts, absent, learn_assistant=learn_assistant)
        questions += questions_from_list(lines, facts, session, learn_assistant=learn_assistant)
        try:
            return balance(
                questions, seed=self.settings.seed, max_questions=self.settings.max_questions
            )
        except QuestionError as error:
            raise QuestionError(f"session {session.session_id!r}: {error}") from error


def recorded_updates(session: Session) -> list[Update]:
    """The facts that a session is recorded to change (`updates`).

    Raises:
        QuestionError: they are malformed; the message names the session and the field.
    """
    changes = read_material(session, "updates", _UPDATES, instead="leave it out")
    return [
        Update(one.old, one.new, named if isinstance(named := one.earlier_session, str) else None)
        for one in changes
    ]


def read_material(
    session: Session,
    field: str,
    schema: "TypeAdapter[list[T]]",
    *,
    instead: str = "use the question maker 'statements'",
) -> list[T]:
    """What came with a session under this name; nothing if it didn't.

    Args:
        session: With its material.
        field: Its name there.
        schema: What it must be.
        instead: What else than to correct it can be done, for the error.

    Raises:
        QuestionError: it isn't what the schema says; the message names the session and the field.
    """
    recorded: Any = session.material.get(field)
    try:
        return schema.validate_python(recorded if recorded is not None else [])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
        raise QuestionError(
            f"the recorded `{field}{place}` of session {session.session_id!r} can't be used: "
            f"{first['msg']}; correct it, or {instead}"
        ) from error
