"""What a strong LLM makes of a session, and the questions that follow from it.

The schema is shared by `LLMQuestions`, which asks a model for it, and `RecordedQuestions`, which
reads what was recorded with the example chats.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from plum_langchain.questions.negatives import never_raised, open_unknown
from plum_langchain.questions.text import alike, content_words, in_common, words_of
from plum_langchain.session import Kind, Question, Session

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]
"""Long enough for any question or answer, and no essay."""


class OpenQuestion(BaseModel):
    """A question whose answer is the value itself, in 1 to 8 words."""

    question: Text
    answer: Text


class Fact(BaseModel):
    """One atomic fact: told to the user, where it was said, and ways to ask about it.

    `before` is what was so until then, where the chat says that it has changed.
    """

    statement: Text
    before: Text | None = None
    said_by: Literal["user", "assistant"]
    turn: int = Field(ge=0)
    true: list[Text] = Field(min_length=1)
    false: list[Text] = Field(min_length=1)
    open: list[OpenQuestion] = Field(default_factory=list)


class FactSheet(BaseModel):
    """All facts of a session, and closed questions about topics that were never raised."""

    facts: list[Fact] = Field(min_length=1)
    not_discussed: list[Text] = Field(min_length=1)


class PlainQuestion(BaseModel):
    """A line of the paper's plain question list."""

    question: Text
    answer: Text
    kind: Literal["yes", "no_same_slot", "no_adjacent", "open"]
    evidence: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)

    def as_question(self) -> Question:
        """As the rest of the package knows it; a closed answer is exactly "Yes" or "No"."""
        kind: Kind = self.kind
        answer = self.answer if kind == "open" else ("Yes" if kind == "yes" else "No")
        return Question(self.question, answer, kind, tuple(self.evidence))


def questions_from_facts(
    facts: Iterable[Fact], not_discussed: Iterable[str], *, learn_assistant: bool
) -> list[Question]:
    """Every phrasing of every fact, and what was never raised; not balanced yet.

    Args:
        facts: Checked against their session.
        not_discussed: Closed questions whose answer is No.
        learn_assistant: Keep what the assistant said, as advice it gave.
    """
    questions: list[Question] = []
    for fact in facts:
        if fact.said_by == "assistant" and not learn_assistant:
            continue
        asked: list[tuple[str, str, Kind]] = [(q, "Yes", "yes") for q in fact.true]
        asked += [(q, "No", "no_same_slot") for q in fact.false]
        asked += [(o.question, o.answer, "open") for o in fact.open]
        questions += [
            Question(*one, evidence=(fact.turn,), statement=fact.statement, replaces=fact.before)
            for one in asked
        ]
    return questions + never_raised(not_discussed)


def questions_from_list(
    lines: Iterable[PlainQuestion],
    facts: Sequence[Fact],
    session: Session,
    *,
    learn_assistant: bool,
) -> list[Question]:
    """The paper's list, with open questions about what was never raised; not balanced yet.

    Without `learn_assistant`, a question is left out if only the assistant's turns answer it. The
    fact behind a question is the one of its turns that has most words with it in common; without
    `facts` it isn't known.
    """
    questions: list[Question] = []
    for line in lines:
        roles = {session.turns[i].role for i in line.evidence if i < len(session.turns)}
        if learn_assistant or roles != {"assistant"}:
            told = _statement_behind(line, facts)
            questions.append(replace(line.as_question(), statement=told))
            if line.kind == "no_adjacent":
                questions += open_unknown(line.question)
    return questions


def _statement_behind(line: PlainQuestion, facts: Sequence[Fact]) -> str | None:
    if line.kind == "no_adjacent":
        return None
    asked = content_words(f"{line.question} {line.answer}")

    def common(fact: Fact) -> int:
        said = content_words(fact.statement)
        return in_common(asked, said)

    of_its_turns = [fact for fact in facts if fact.turn in line.evidence]
    best = max(of_its_turns, key=common, default=None)
    return best.statement if best is not None and common(best) else None


def answer_in_chat(answer: str, session: Session) -> bool:
    """Whether the words of an answer were said in the chat, by anyone.

    Numbers must all have been said ("eight" is 8); of the other words most, in any form, since a
    good answer may be put in words of its own ("He hums" for "hums the whole time").
    """
    said = {word for turn in session.turns for word in words_of(turn.content)}
    wanted = content_words(answer) or words_of(answer)
    if not wanted:
        return False
    found = [word for word in wanted if word in said or any(alike(word, other) for other in said)]
    missing = set(wanted) - set(found)
    return not any(word[0].isdigit() for word in missing) and 2 * len(found) >= len(wanted)
