"""Questions that a writer is asked for: about what was said, and about what never was."""

from collections.abc import Callable, Mapping, Sequence

from plum_langchain.questions.maker import QuestionWriter, Wish
from plum_langchain.questions.negatives import COLOURLESS
from plum_langchain.questions.text import content_words, in_common
from plum_langchain.session import UNKNOWN_ANSWER, Question


def written(
    writer: QuestionWriter,
    told: Mapping[str, int],
    never_raised: Sequence[str],
    *,
    seed: int,
    should_stop: Callable[[], bool] | None = None,
) -> list[Question]:
    """Questions answered Yes, such answered No and open ones about each statement; not balanced.

    What was never raised is asked about in the same way as what was: else the way of asking would
    give the answer away. Such a question has a word that names what it is about, which nobody said:
    "Do I have a pet?", of goldfish, may well be about a dog that was mentioned, and "What have I
    bought?", of a pizza stone, about an oven.

    Args:
        writer: Of the questions.
        told: Statements as they are told to the user, and the index of the turn that says each.
        never_raised: Such statements that nobody made.
        seed: Of what is written.
        should_stop: Asked while it is.
    """
    wishes = [Wish(text, wanted) for text in told for wanted in ("yes", "no", "open")]
    wishes += [Wish(text, wanted) for text in never_raised for wanted in ("yes", "open")]
    found = []
    texts = writer.write(wishes, seed=seed, should_stop=should_stop)
    for wish, questions in zip(wishes, texts, strict=True):
        turn = told.get(wish.statement)
        found += [
            _question(wish, question, turn)
            for question in questions
            if turn is not None or in_common(_naming(wish.statement), content_words(question))
        ]
    return found


def _naming(statement: str) -> list[str]:
    return [word for word in content_words(statement) if word not in COLOURLESS]


def _question(wish: Wish, question: str, turn: int | None) -> Question:
    if turn is None:
        if wish.wanted == "open":
            return Question(question, UNKNOWN_ANSWER, "open_unknown")
        return Question(question, "No", "no_adjacent")
    where, statement = (turn,), wish.statement
    if wish.wanted == "open":
        return Question(question, statement, "open", where, statement)
    if wish.wanted == "yes":
        return Question(question, "Yes", "yes", where, statement)
    return Question(question, "No", "no_same_slot", where, statement)
