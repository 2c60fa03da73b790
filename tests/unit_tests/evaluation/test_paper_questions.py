"""What the paper's experiments change of a session's questions, and that they leave the rest."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from plum_langchain.errors import QuestionError
from plum_langchain.evaluation import Exam, read_exams
from plum_langchain.evaluation.paper import EXPERIMENTS
from plum_langchain.evaluation.paper.experiments import QuestionChange
from plum_langchain.evaluation.paper.questions import Once, changed
from plum_langchain.questions import RecordedQuestions
from plum_langchain.questions.negatives import open_unknown
from plum_langchain.questions.statements import topic_forms
from plum_langchain.questions.text import Said, content_words, words_of
from plum_langchain.questions.topics import THEMES
from plum_langchain.session import Question, Session, Turn
from plum_langchain.settings import QuestionSettings
from tests.tiny import CHATS, FixedQuestions, session

MAKER = Once(RecordedQuestions(QuestionSettings(max_questions=40)))
NEGATIVES = ("unrelated negatives", "swapped negatives", "random negatives")


@pytest.fixture(scope="module")
def exams() -> list[Exam]:
    return read_exams([CHATS / "ana.jsonl", CHATS / "bo.jsonl"], max_sessions=2)


def questions(what: str, exams: list[Exam], seed: int = 0) -> tuple[list[Question], list[Question]]:
    """Those of ana's second session as they are, and changed."""
    ana = exams[0].sessions[1]
    maker = changed(MAKER, what, exams, seed=seed)  # type: ignore[arg-type]
    return MAKER.make(ana), maker.make(ana)


def all_texts(exam: Exam) -> list[str]:
    """Whatever was said in any of a person's sessions."""
    return [turn.content for session in exam.sessions for turn in session.turns]


def test_every_change_is_an_experiments() -> None:
    of_experiments = [e.questions for e in EXPERIMENTS if e.questions != "none"]
    assert sorted(["none", *of_experiments]) == sorted(get_args(QuestionChange))


def test_without_a_change_the_maker_is_the_maker(exams: list[Exam]) -> None:
    assert changed(MAKER, "none", exams, seed=0) is MAKER


def test_positives_only(exams: list[Exam]) -> None:
    before, after = questions("positives only", exams)
    assert after == [question for question in before if question.positive]
    assert {question.kind for question in after} == {"yes", "open"}


@pytest.mark.parametrize(("what", "more"), [("more positives", True), ("more negatives", False)])
def test_a_quarter_more_of_one_kind_than_of_the_other(
    exams: list[Exam], what: str, more: bool
) -> None:
    before, after = questions(what, exams)
    assert [q for q in after if q.positive is more] == [q for q in before if q.positive is more]
    left = [q for q in after if q.positive is not more]
    in_order = iter(before)
    assert all(question in in_order for question in left)  # some of them, as they came
    for closed in (True, False):
        all_of_it = sum(q.closed is closed and q.positive is more for q in after)
        fewer = sum(q.closed is closed for q in left)
        assert fewer == round(all_of_it / 1.25) < all_of_it


@pytest.mark.parametrize("what", NEGATIVES)
def test_other_negatives_stand_in_the_places_of_the_old_ones(exams: list[Exam], what: str) -> None:
    before, after = questions(what, exams)
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert (new.positive, new.closed) == (old.positive, old.closed)
        if old.positive:
            assert new == old
        else:
            assert new.answer == ("No" if new.closed else "We never talked about that.")
    texts = [question.question for question in after]
    assert len(set(texts)) == len(texts)
    assert after == questions(what, exams)[1]
    assert after != questions(what, exams, seed=1)[1]


def test_unrelated_negatives_are_what_somebody_else_told(exams: list[Exam]) -> None:
    _, after = questions("unrelated negatives", exams)
    bos = [q for s in exams[1].sessions for q in MAKER.make(s) if q.positive]
    closed = {q.question for q in bos if q.closed}
    opened = {q.question for q in bos if not q.closed}
    for question in after:
        if not question.positive:
            assert question.question in (closed if question.closed else opened)
            assert question.kind == ("no_adjacent" if question.closed else "open_unknown")
            assert question.evidence == () and question.statement is None


def test_swapped_negatives_are_positives_with_one_value_that_was_never_said(
    exams: list[Exam],
) -> None:
    before, after = questions("swapped negatives", exams)
    said = Said(all_texts(exams[0]))
    positives = {q.question: q for q in before if q.kind == "yes"}
    swapped = 0
    for old, new in zip(before, after, strict=True):
        if old.kind in ("no_same_slot", "open_unknown"):
            assert new == old  # the recorded ones are slightly changed positives as they are
        elif old.kind == "no_adjacent":
            swapped += 1
            assert new.kind == "no_same_slot"
            of = min(positives, key=lambda text: len({*words_of(text)} ^ {*words_of(new.question)}))
            foreign = [word for word in words_of(new.question) if word not in words_of(of)]
            assert 1 <= len(foreign) <= 2
            assert not all(said.has(word) for word in foreign)
            assert positives[of].statement == new.statement
    assert swapped >= 3


def test_random_negatives_are_of_any_theme_and_share_nothing_with_the_chats(
    exams: list[Exam],
) -> None:
    before, after = questions("random negatives", exams)
    said = Said(all_texts(exams[0]))
    common = {*words_of("bought own take took started new broken went lost built old")}
    topics = {
        text: (number, topic)
        for number, theme in enumerate(THEMES)
        for topic in theme.topics
        for text in (
            *topic_forms(topic, "user"),
            *(q.question for q in open_unknown(f"Did I tell you about {topic.about}?")),
        )
    }
    themes: set[int] = set()
    for question in after:
        if question.positive:
            continue
        about = topics.get(question.question)
        assert about, question.question
        number, topic = about
        themes.add(number)
        words = {*content_words(f"{topic.about} {topic.claim}")} - common
        assert words and not [word for word in words if said.has_word(word)], question.question
    assert len(themes) > len(THEMES) / 3  # the nearest would be of one or two
    assert not {q.question for q in before if not q.positive} & {q.question for q in after}


@pytest.mark.parametrize("what", NEGATIVES)
def test_no_negative_denies_what_the_person_told_elsewhere(exams: list[Exam], what: str) -> None:
    """All that was asked of the first session is told in another one of the same person."""
    ana, *others = exams
    maker = changed(MAKER, what, exams, seed=0)  # type: ignore[arg-type]
    first = ana.sessions[0]
    kept = {q.question for q in MAKER.make(first)}
    denied = [q for q in maker.make(first) if not q.positive and q.question not in kept]
    told = tuple(Turn("user", question.question) for question in denied)
    later = replace(ana.sessions[1], turns=(*ana.sessions[1].turns, *told))
    ana = replace(ana, sessions=(first, later))
    maker = changed(MAKER, what, [ana, *others], seed=0)  # type: ignore[arg-type]
    again = {q.question for q in maker.make(first) if not q.positive}
    assert denied and not again & {q.question for q in denied}


def test_too_few_to_shift_are_an_error_of_the_session() -> None:
    maker = changed(FixedQuestions(), "more positives", [], seed=0)
    with pytest.raises(QuestionError, match="'s1' has 4 questions, too few for a quarter more"):
        maker.make(session("ana", "s1"))


def test_too_few_others_are_an_error_of_the_session() -> None:
    """FixedQuestions asks about turns, which hold no value to swap."""
    chat = session("ana", "s1", "It was nice.", "Good.")
    maker = changed(FixedQuestions(), "swapped negatives", [], seed=0)
    with pytest.raises(QuestionError, match=r"'s1' has 2 negative questions.*fewer questions"):
        maker.make(chat)


def test_a_stranger_who_told_nothing_stops_nobody(exams: list[Exam]) -> None:
    class Choosy:
        name = "choosy"

        def make(self, session: Session) -> list[Any]:
            if session.session_id == "bo-s01":
                raise QuestionError("nothing to ask about")
            return MAKER.make(session)

    maker = changed(Choosy(), "unrelated negatives", exams, seed=0)
    assert len(maker.make(exams[0].sessions[0])) == 40
    with pytest.raises(QuestionError, match="nothing to ask about"):
        maker.make(exams[1].sessions[0])
