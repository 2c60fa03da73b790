"""Questions for learning from LoCoMo's observations: what a strong LLM noted of each session.

An observation is one sentence about one speaker, who is named in it. The benchmark's questions
name them too, so it is asked about and told back as it stands, in the third person. Its questions
themselves (`qa`) are never trained on. What is told back ends with the date of its session, which
retrieval reads above every exchange: without it, nobody who learned "Ana moved last week" could say
when that was.
"""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, Field, TypeAdapter

from plum_langchain.errors import QuestionError
from plum_langchain.questions.facts import Text
from plum_langchain.questions.recorded import read_material
from plum_langchain.questions.sentences import as_statement
from plum_langchain.questions.statements import MAX_STATEMENTS, Chat, StatementQuestions
from plum_langchain.session import Question, Role, Session
from plum_langchain.settings import QuestionSettings


class Observation(BaseModel):
    """A sentence about a speaker, that speaker's name, and the turn in which they told it."""

    statement: Text
    said_by: Role
    name: Text
    turn: int = Field(ge=0)


_OBSERVATIONS = TypeAdapter(list[Observation])


class ObservationQuestions:
    """Asks about a session's observations as `StatementQuestions` asks about its sentences.

    Reads `observations` of the session's material, where `read_dialogues` puts them.

    Args:
        settings: What to ask about.
        phrasings: Closed questions answered Yes for each observation, and as many answered No.
    """

    name = "observations"

    def __init__(self, settings: QuestionSettings | None = None, *, phrasings: int = 3) -> None:
        self._maker = StatementQuestions(settings, phrasings=phrasings)
        self.settings = self._maker.settings

    def make(self, session: Session) -> list[Question]:
        """Questions about what was noted of the user and, as told by the other, of the other.

        Raises:
            QuestionError: nothing was noted of this session, or it is malformed; the message
                names the session.
        """
        noted = [
            one
            for one in read_material(session, "observations", _OBSERVATIONS)
            if one.said_by == "user" or self.settings.learn_assistant
        ]
        if not noted:
            raise QuestionError(
                f"session {session.session_id!r} came without observations to ask about; use the "
                "question maker 'statements'"
            )
        statements = [as_statement(one.turn, one.said_by, one.statement) for one in noted]
        # What an observation says in words of its own was said as well: nothing of it may be asked
        # about as never raised, or be put in for another value.
        said = [turn.content for turn in session.turns] + [one.statement for one in noted]
        chat = Chat(said, {one.said_by: one.name for one in noted})
        made = self._maker.about(statements[:MAX_STATEMENTS], chat, session.session_id)
        return _dated(made, session)


def _dated(made: Sequence[Question], session: Session) -> list[Question]:
    """With the date in what is told back and not in what is asked, as nobody asks by it."""
    date = f"{session.started:%d %B %Y}"  # written as retrieval writes it

    def dated(told: str) -> str:
        return f"{told.removesuffix('.')} (said on {date})."

    return [
        replace(
            one,
            answer=dated(one.answer) if one.kind == "open" else one.answer,
            statement=None if one.statement is None else dated(one.statement),
        )
        for one in made
    ]
