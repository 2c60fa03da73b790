"""Questions that a writer is asked for: of which kinds they are, and what they are about."""

from collections.abc import Callable, Sequence

import pytest

from plum_langchain.errors import InvalidInputError
from plum_langchain.questions import StatementQuestions, question_maker
from plum_langchain.questions.maker import Wish
from plum_langchain.questions.written import written
from plum_langchain.session import Session
from tests.unit_tests.questions.test_questions_statements import ALL, BAKERY, check, session


class Scribe:
    """Writes two questions for each wish that tell what was wished; nothing about a nap."""

    def __init__(self, *, shipped: bool = False) -> None:
        self.shipped = shipped
        self.prepared = 0
        self.wishes: list[Wish] = []
        self.seeds: list[int] = []

    def prepare(self, should_stop: Callable[[], bool] | None = None) -> None:
        self.prepared += 1

    def write(
        self,
        wishes: Sequence[Wish],
        *,
        seed: int,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[list[str]]:
        self.wishes += wishes
        self.seeds.append(seed)
        return [
            []
            if "nap" in wish.statement
            else [f"{wish.wanted} {n} {wish.statement}?" for n in "ab"]
            for wish in wishes
        ]


def test_what_is_written_is_learned_beside_the_rules(example: Session) -> None:
    scribe = Scribe()
    maker = StatementQuestions(ALL, writer=scribe)
    questions = maker.make(example)
    check(questions)
    rules = {q.statement for q in StatementQuestions(ALL).make(example)}
    assert {q.statement for q in questions} <= rules
    by_hand = {q.question: q for q in questions if q.question[:6] in ("yes a ", "no a Y", "open a")}
    told = {wish.statement for wish in scribe.wishes if wish.wanted == "no"}
    for text, question in by_hand.items():
        about = text.split(" a ", 1)[1].removesuffix("?")
        if about in told:
            wanted = {"yes": "yes", "no": "no_same_slot", "open": "open"}[text.split()[0]]
            assert (question.kind, question.statement) == (wanted, about)
            assert question.evidence and example.turns[question.evidence[0]].content
        else:
            assert question.kind == ("open_unknown" if text.startswith("open") else "no_adjacent")
    assert {q.kind for q in by_hand.values()} == {
        "yes", "no_same_slot", "no_adjacent", "open", "open_unknown",
    }  # fmt: skip


def test_what_was_never_raised_is_asked_about_too() -> None:
    scribe = Scribe()
    StatementQuestions(ALL, writer=scribe).make(BAKERY)
    raised = [wish.statement for wish in scribe.wishes if wish.wanted == "no"]
    assert "You own a small bakery in Porto." in raised
    never = {wish.statement for wish in scribe.wishes} - set(raised)
    assert 2 <= len(never) <= min(12, len(set(raised)))
    assert all(text.startswith("You") and text.endswith(".") for text in never)
    said = " ".join(turn.content for turn in BAKERY.turns)
    assert not any(text.split()[-1].strip(".") in said for text in never)


def test_where_nothing_is_written_the_rules_ask() -> None:
    questions = StatementQuestions(ALL, writer=Scribe()).make(BAKERY)
    about = [q.question for q in questions if q.statement and "nap" in q.statement]
    assert about and not any(question.startswith(("yes a", "open a")) for question in about)


def test_only_english_is_written_about() -> None:
    scribe = Scribe()
    polish = "Mam małą piekarnię w Porto i wstaję o trzeciej czterdzieści, a w poniedziałki śpię."
    StatementQuestions(ALL, writer=scribe).make(session(polish, "Dobrze, to dużo pracy na noc."))
    assert not scribe.wishes


def test_long_statements_are_left_to_the_rules() -> None:
    scribe = Scribe()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("plum_langchain.questions.statements._WRITTEN_OF", 35)
        questions = StatementQuestions(ALL, writer=scribe).make(BAKERY)
    assert any(q.statement and len(q.statement) > 35 for q in questions)
    told = [wish.statement for wish in scribe.wishes if wish.wanted == "no"]
    assert told and all(len(text) <= 35 for text in told)


class Careless(Scribe):
    """Asks the same, whatever is wished."""

    def __init__(self, *questions: str) -> None:
        super().__init__()
        self.questions = questions

    def write(self, wishes: Sequence[Wish], **_: object) -> list[list[str]]:
        return [list(self.questions) for _ in wishes]


def test_a_rule_s_question_is_not_lost_to_one_that_is_written() -> None:
    rule = "Do I own a small bakery in Porto?"
    made = StatementQuestions(ALL, writer=Careless(rule)).make(BAKERY)
    (kept,) = (question for question in made if question.question == rule)
    assert kept.kind == "yes"


def test_what_may_have_been_raised_is_not_asked_about_as_if_it_had_not() -> None:
    """Of goldfish that nobody mentioned "Do I have a pet?" may be asked, in a chat about a dog."""
    made = written(Careless("Do I have a pet?"), {}, ["You keep goldfish."], seed=0)
    assert made == []
    made = written(Careless("Do I keep any goldfish?"), {}, ["You keep goldfish."], seed=0)
    assert {q.kind for q in made} == {"no_adjacent", "open_unknown"}


def test_by_its_name() -> None:
    scribe = Scribe()
    maker = question_maker("written", ALL, writer=scribe)
    assert maker.name == "written"
    assert question_maker("statements", ALL, writer=scribe).name == "statements"
    maker.make(BAKERY)
    assert scribe.seeds == [ALL.seed]
    with pytest.raises(InvalidInputError, match="'written' needs a writer"):
        question_maker("written", ALL)


@pytest.mark.parametrize("shipped", [True, False])
def test_by_default_a_writer_writes_where_it_needs_no_teaching(shipped: bool) -> None:
    scribe = Scribe(shipped=shipped)
    maker = question_maker(None, ALL, writer=scribe)
    assert maker.name == ("written" if shipped else "statements")
    maker.make(BAKERY)
    assert bool(scribe.wishes) is shipped
    assert isinstance(maker, StatementQuestions)
    maker.prepare()
    assert scribe.prepared == shipped
    assert question_maker(None).name == "statements"  # nobody is there to write
    named = question_maker("written", ALL, writer=scribe)
    assert named.name == "written" and isinstance(named, StatementQuestions)
    named.prepare()
    assert scribe.prepared == shipped + 1


def test_a_word_as_common_as_bought_is_not_what_was_never_raised() -> None:
    """It may have been said, of something else."""
    asked = "What have I bought?", "Did I buy a pizza stone?"
    made = written(Careless(*asked), {}, ["You bought a pizza stone."], seed=0)
    assert {q.question for q in made} == {"Did I buy a pizza stone?"}
