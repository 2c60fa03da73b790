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
    many = [f"Your bakery is closed on Mondays of week {number}." for number in range(100)]
    reader = Reader()
    noticed_changes(reader, ASKED[:1], many)
    assert len(reader.read) == 4 and reader.read[0][0] == many[-1]


def read_beside(new: str, question: str, old: str) -> bool:
    """Whether the two are read together, which may take the old one for changed."""
    reader = Reader()
    noticed_changes(reader, [Question(question, "Yes", "yes", (0,), new)], [old])
    return reader.read == [(old, question)]


@pytest.mark.parametrize(
    ("new", "question", "old"),
    [
        (NOW, "Is my bakery closed on Wednesdays?", CLOSED),
        (NOW, "Are we closed on Wednesday?", "You're closed Mondays."),
        ("The rent went up from 620 to 680.", "Is my rent 680?", "Your rent is 620 euros."),
        ("The launch is on 14 June instead.", "Is the launch on 14 June?", "The launch is 17 May."),
        ("Ms Lind is your landlord now.", "Is Ms Lind my landlord?", "Mr Okafor is your landlord."),
        ("You paint it green after all.", "Do I paint it green?", "You paint it yellow."),
    ],
)
def test_one_value_in_place_of_another_may_be_a_change(new: str, question: str, old: str) -> None:
    assert read_beside(new, question, old)


@pytest.mark.parametrize(
    ("new", "question", "old"),
    [
        # Nothing in the new sentence says that anything has changed.
        ("You visited Porto.", "Did I visit Porto?", "You visited Lisbon."),
        ("You know Nuno.", "Do I know Nuno?", "You know Leonor."),
        # Of somebody or something else.
        ("You have a dog called Rex now.", "Is my dog called Rex?", "You have a cat called Moll."),
        ("Ida lives in Oslo now.", "Does my sister live in Oslo?", "Your brother lives in Rome."),
        ("The van is from 2009 now.", "Is the van from 2009?", "Your oven is from 2012."),
        # Two kinds of values are others, so it is another thing of its kind.
        ("The bus to Rome is at 9 now.", "Is the bus to Rome at 9?", "The bus to Oslo is at 7."),
        ("Nuno comes on Monday now.", "Does Nuno come on Monday?", "Leonor comes on Sunday."),
        # The same value, or none.
        (NOW, "Are we closed on Wednesdays?", "You are closed on Wednesdays and Sundays."),
        ("The oven is mended now.", "Is the oven mended?", "The oven is twelve years old."),
    ],
)  # fmt: skip
def test_another_thing_of_its_kind_is_no_change(new: str, question: str, old: str) -> None:
    assert not read_beside(new, question, old)


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
