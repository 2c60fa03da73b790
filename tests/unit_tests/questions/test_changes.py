"""What a chat changes of what earlier ones told is found by what it says itself."""

from collections.abc import Callable, Sequence

import pytest

from plum_langchain.questions import StatementQuestions
from plum_langchain.questions.changes import noticed_changes
from plum_langchain.questions.raised import Heard
from plum_langchain.session import Question, Update
from tests.unit_tests.questions.test_questions_written import Scribe

CLOSED = "Your bakery is closed on Mondays."
OVEN = "Your oven has a loose thermocouple."
BEFORE = ["You own a small bakery in Porto.", CLOSED, OVEN]
NOW = "Your bakery is closed on Wednesdays now."
ASKED = [
    Question("Is my bakery closed on Wednesdays?", "Yes", "yes", (0,), NOW),
    Question("Do I close the bakery on Wednesday?", "Yes", "yes", (0,), NOW),
    Question("Is my bakery closed on Fridays?", "No", "no_same_slot", (0,), NOW),
    Question("When is my bakery closed?", "Wednesdays", "open", (0,), NOW),
    Question("Do I like whales?", "Yes", "yes"),
]


class Reader(Scribe):
    """Denies what is asked beside these statements, and notes what it read."""

    def __init__(self, *denying: str) -> None:
        super().__init__(shipped=True)
        self.denying = denying
        self.read: list[tuple[str, str]] = []

    def denied(
        self,
        asked: Sequence[tuple[str, str]],
        *,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[bool]:
        assert should_stop is None or not should_stop()
        self.read += asked
        return [statement in self.denying for statement, _ in asked]


def test_what_a_new_fact_s_questions_are_denied_by_is_so_no_more() -> None:
    reader = Reader(CLOSED)
    assert noticed_changes(reader, ASKED, BEFORE) == [Update(CLOSED, NOW)]
    assert {question for _, question in reader.read} == {q.question for q in ASKED[:2]}
    assert OVEN not in {statement for statement, _ in reader.read}  # of which nothing is asked


def test_what_is_told_again_is_not_read_and_nothing_changes_then() -> None:
    reader = Reader(NOW)
    assert noticed_changes(reader, ASKED, [NOW]) == [] == reader.read
    assert noticed_changes(reader, ASKED, []) == []


def test_a_question_is_put_beside_few_statements_however_many_there_are() -> None:
    many = [f"Your bakery sells {number} loaves." for number in range(100)]
    reader = Reader()
    noticed_changes(reader, ASKED[:1], [*many, CLOSED])
    assert len(reader.read) == 4 and reader.read[0][0] == CLOSED


def test_the_nearest_come_first_and_of_them_the_latest() -> None:
    told = ["I bake.", "I bake on Mondays.", "I bake on Sundays.", "I sail."]
    assert Heard(told).nearest("Do I bake on Sundays?", 3) == [told[2], told[1], told[0]]
    assert Heard(told).nearest("Do I bake?", 2) == [told[2], told[1]]
    assert Heard(told).nearest("Did I tell you?", 2) == []


def test_only_a_maker_with_a_writer_notices() -> None:
    reader = Reader(CLOSED)
    assert StatementQuestions(writer=reader).changes(ASKED, BEFORE) == [Update(CLOSED, NOW)]
    assert StatementQuestions().changes(ASKED, BEFORE) == []
    untaught = Scribe(shipped=False)
    assert StatementQuestions(writer=untaught, teach=False).changes(ASKED, BEFORE) == []


def test_it_can_be_stopped() -> None:
    class Stopped(Exception):
        pass

    def should_stop() -> bool:
        raise Stopped

    with pytest.raises(Stopped):
        StatementQuestions(writer=Reader()).changes(ASKED, BEFORE, should_stop=should_stop)
