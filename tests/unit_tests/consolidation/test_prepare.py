"""What a session is learned from: questions that fit, its own and replayed ones."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from plum_langchain import LearningSettings, Plum, QuestionSettings
from plum_langchain.consolidation import prepare
from plum_langchain.consolidation.prepare import choose_replay, correct, make_questions
from plum_langchain.learning import Learned, encoder_for, learn
from plum_langchain.session import EARLIER, UNKNOWN_ANSWER, Kind, Question, Update
from plum_langchain.settings import ScreeningSettings
from tests.tiny import make_tokenizer, session
from tests.unit_tests.consolidation.helpers import OpenPlum, Questions, add


def test_a_question_that_is_too_long_costs_itself_and_its_counterpart(
    plum: Plum, caplog: pytest.LogCaptureFixture
) -> None:
    fine = [
        *(Question(f"Did I say {word}?", "Yes", "yes") for word in ("alpha", "beta")),
        *(Question(f"Did I say {word}?", "No", "no_adjacent") for word in ("gamma", "delta")),
    ]
    secret = "The code is 4711. " * 400
    maker = Questions(
        s1=[*fine, Question(secret, "Yes", "yes")], s2=[*fine[1:], Question(secret, "Yes", "yes")]
    )
    add(plum, "ana", "s1", "s2")
    done = plum.consolidate("ana", questions=maker)
    assert [(c.state, c.questions) for c in done] == [("learned", 4), ("learned", 2)]
    kept = plum.journal.generations.replay_questions("ana")
    assert [{q.answer for q in questions} for questions in kept.values()] == [{"Yes", "No"}] * 2
    assert all(len(q.question) < 100 for questions in kept.values() for q in questions)
    assert "1 of 5 questions take more than 512 tokens" in caplog.text
    assert "4711" not in caplog.text


def test_replayed_questions_that_no_longer_fit_are_left_out(open_plum: OpenPlum) -> None:
    plum = open_plum()
    add(plum, "ana", "s1")
    plum.consolidate("ana")
    shorter = open_plum(learning=replace(plum.learning, max_sample_tokens=40, recite=False))
    add(shorter, "ana", "s2")
    short = [Question("Am I?", "Yes", "yes"), Question("Is it?", "No", "no_adjacent")]
    assert shorter.consolidate("ana", questions=Questions(s2=short))[0].state == "learned"


def earlier(facts: dict[str, int], never: int) -> dict[int, list[Question]]:
    """A session learned before: of each fact so many questions, and so many of nothing said."""
    told = [
        Question(f"{fact} {number}?", "Yes", "yes", (0,), fact)
        for fact, number_of in facts.items()
        for number in range(number_of)
    ]
    return {1: told, 2: [Question(f"never {n}?", "No", "no_adjacent") for n in range(never)]}


def test_replay_is_spread_evenly_over_the_facts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "_MAX_REPLAY", 40)
    encoder = encoder_for(make_tokenizer(), LearningSettings())
    facts = {"I sing.": 300, "I cook.": 9, "I paint.": 2, "I fish.": 300}
    chosen = choose_replay(earlier(facts, 500), [], encoder, seed=0)
    counted = Counter(question.statement for question in chosen)
    assert counted == {"I sing.": 12, "I cook.": 9, "I paint.": 2, "I fish.": 11, None: 6} or (
        counted == {"I sing.": 11, "I cook.": 9, "I paint.": 2, "I fish.": 12, None: 6}
    )
    assert len(set(chosen)) == 40
    assert choose_replay(earlier(facts, 500), [], encoder, seed=0) == chosen
    assert choose_replay(earlier(facts, 500), [], encoder, seed=1) != chosen


@pytest.mark.parametrize(
    ("facts", "never", "expected"),
    [
        ({}, 500, {None: 40}),  # nothing but bare answers
        ({"I sing.": 500}, 0, {"I sing.": 40}),
        ({f"I have {n} cats.": 3 for n in range(500)}, 500, 34),  # more facts than room
        ({"I sing.": 1}, 0, {"I sing.": 1}),
        ({}, 0, {}),
    ],
)
def test_replay_has_a_bound_and_takes_what_there_is(
    monkeypatch: pytest.MonkeyPatch, facts: Any, never: int, expected: Any
) -> None:
    monkeypatch.setattr(prepare, "_MAX_REPLAY", 40)
    encoder = encoder_for(make_tokenizer(), LearningSettings())
    counted = Counter(
        q.statement for q in choose_replay(earlier(facts, never), [], encoder, seed=0)
    )
    if isinstance(expected, int):
        assert counted.pop(None) == 6
        assert set(counted.values()) == {1} and len(counted) == expected
    else:
        assert counted == expected


def test_whose_fact_is_not_known_is_replayed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was never raised is bounded; a correction may be all that has a fact."""
    monkeypatch.setattr(prepare, "_MAX_REPLAY", 40)
    encoder = encoder_for(make_tokenizer(), LearningSettings())
    bare = [Question(f"Do I own boat {n}?", "Yes", "yes") for n in range(100)]
    before = {0: bare, **earlier({"I sing.": 3}, 500)}
    counted = Counter(q.kind for q in choose_replay(before, [], encoder, seed=0))
    assert counted == {"yes": 34, "no_adjacent": 6}


def test_bare_answers_are_replayed_in_the_balance_they_were_learned_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "_MAX_REPLAY", 40)
    encoder = encoder_for(make_tokenizer(), LearningSettings(recite=False))
    before = earlier({"I sing.": 60, "I cook.": 20}, 80)
    counted = Counter(q.answer for q in choose_replay(before, [], encoder, seed=0))
    assert counted == {"Yes": 20, "No": 20}


def test_what_a_session_changes_is_asked_again_and_no_longer_replayed(
    open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(question: str, kind: Kind, statement: str) -> Question:
        return Question(question, "Yes" if kind == "yes" else "No", kind, (0,), statement)

    replayed: list[list[Question]] = []

    def noting(*arguments: Any, replay: list[Question], **rest: Any) -> Learned:
        replayed.append(replay)
        return learn(*arguments, replay=replay, **rest)

    monkeypatch.setattr("plum_langchain.consolidation.consolidator.learn", noting)
    old, new = "Your shop is closed on Mondays.", "Your shop is closed on Tuesdays now."
    first = [
        asked("Is my shop closed on Mondays?", "yes", old),
        asked("Is my shop closed on Fridays?", "no_same_slot", old),
        asked("Do I sing?", "yes", "You sing bass."),
        asked("Do I sing tenor?", "no_same_slot", "You sing bass."),
    ]
    second = [
        asked("Is my shop closed on Tuesdays?", "yes", new),
        asked("Is my shop closed on Sundays?", "no_same_slot", new),
    ]
    change = {"old": "Shop closed on Mondays", "new": "Shop closed on Tuesdays"}
    plum = open_plum()
    add(plum, "ana", "s1")
    plum.add_session(
        replace(session("ana", "s2", "We close on Tuesdays now.", "Ok."),
                material={"updates": [change]})
    )  # fmt: skip
    add(plum, "ana", "s3")
    plum.consolidate("ana", questions=Questions(s1=first, s2=second))

    learned = list(plum.journal.generations.replay_questions("ana").values())
    again = {q.question: (q.answer, q.statement) for q in learned[1]}
    both = f"{new}{EARLIER}{old}"
    assert again["Is my shop closed on Mondays?"] == ("No", both)
    assert again["Is my shop closed on Fridays?"] == ("No", both)
    assert "Do I sing?" not in again
    assert [q.question for q in learned[0]] == [q.question for q in first]  # as it was made
    assert not replayed[0]
    assert {q.question for q in replayed[1]} == {"Do I sing?", "Do I sing tenor?"}
    assert ("Is my shop closed on Mondays?", "No") in {(q.question, q.answer) for q in replayed[2]}
    assert ("Is my shop closed on Mondays?", "Yes") not in {
        (q.question, q.answer) for q in replayed[2]
    }


def test_forgetting_a_chat_leaves_nothing_of_it_in_what_a_later_one_corrected(
    open_plum: OpenPlum,
) -> None:
    old, new = "Your shop in Vila Quibble is closed on Mondays.", "Your shop is closed on Tuesdays."
    first = [
        Question("Is my shop closed on Mondays?", "Yes", "yes", (0,), old),
        Question("Is my shop closed on Fridays?", "No", "no_same_slot", (0,), old),
    ]
    second = [
        Question("Is my shop closed on Tuesdays?", "Yes", "yes", (0,), new),
        Question("Is my shop closed on Sundays?", "No", "no_same_slot", (0,), new),
    ]
    change = {"old": "Shop closed on Mondays", "new": "Shop closed on Tuesdays"}
    plum = open_plum()
    add(plum, "ana", "s1")
    plum.add_session(
        replace(session("ana", "s2", "We moved it.", "Ok."), material={"updates": [change]})
    )
    maker = Questions(s1=first, s2=second)
    plum.consolidate("ana", questions=maker)
    learned = list(plum.journal.generations.replay_questions("ana").values())
    assert any("Quibble" in (q.statement or "") for q in learned[1])

    plum.forget("ana", session="s1")
    held = [f for f in plum.home.root.rglob("*") if f.is_file() and b"Quibble" in f.read_bytes()]
    assert held == []
    plum.consolidate("ana", questions=maker)
    (again,) = plum.journal.generations.replay_questions("ana").values()
    assert [q.statement for q in again] == [new] * len(again)


def test_where_both_are_too_long_what_is_true_now_stands_alone(open_plum: OpenPlum) -> None:
    """Else the old answer would be replayed."""
    old, new = f"You run {'very ' * 20}fast on Mondays.", "You run on Tuesdays now."
    first = [
        Question("Do I run on Mondays?", "Yes", "yes", (0,), old),
        Question("Do I run on Fridays?", "No", "no_same_slot", (0,), old),
    ]
    plum = open_plum()
    encoder = encoder_for(
        make_tokenizer(), replace(plum.learning, max_sample_tokens=120, recite=True)
    )
    found = correct(
        [Update("Runs on Mondays", "Runs on Tuesdays")],
        [Question("Do I run on Tuesdays?", "Yes", "yes", (0,), new)],
        {1: first},
        encoder,
    )
    told = {q.question: q.statement for q in found}
    assert told["Do I run on Mondays?"] == new


def test_what_the_maker_finds_changed_is_corrected_as_well(open_plum: OpenPlum) -> None:
    old, new = "Your shop is closed on Mondays.", "Your shop is closed on Tuesdays now."
    first = [
        Question("Is my shop closed on Mondays?", "Yes", "yes", (0,), old),
        Question("Is my shop closed on Fridays?", "No", "no_same_slot", (0,), old),
    ]
    second = [
        Question("Is my shop closed on Tuesdays?", "Yes", "yes", (0,), new, replaces=old),
        Question("Is my shop closed on Sundays?", "No", "no_same_slot", (0,), new, replaces=old),
    ]
    plum = open_plum()
    add(plum, "ana", "s1", "s2")
    plum.consolidate("ana", questions=Questions(s1=first, s2=second))
    learned = list(plum.journal.generations.replay_questions("ana").values())
    again = {q.question: (q.answer, q.statement) for q in learned[1]}
    assert again["Is my shop closed on Mondays?"] == ("No", f"{new}{EARLIER}{old}")
    assert again["Is my shop closed on Tuesdays?"] == ("Yes", f"{new}{EARLIER}{old}")


def test_updates_that_are_malformed_fail_their_session_before_it_costs_anything(
    plum: Plum,
) -> None:
    plum.add_session(
        replace(session("ana", "s1", "We close on Tuesdays.", "Ok."), material={"updates": ["now"]})
    )
    maker = Questions()
    (done,) = plum.consolidate("ana", questions=maker)
    assert done.state == "failed"
    assert maker.asked == []
    assert "`updates[0]` of session 's1' can't be used" in (done.reason or "")


GOLDFISH = [
    Question("Do I keep goldfish?", "No", "no_adjacent"),
    Question("What did I tell you about keeping goldfish?", UNKNOWN_ANSWER, "open_unknown"),
]
"""Of a chat that never spoke of them."""


CAT = "Your cat is called Moll."
ASKED = [
    *(Question(question, "Yes", "yes", (0,), CAT) for question in ("Is it Moll?", "Is she mine?")),
    Question("What is my cat called?", "Moll", "open", (0,), CAT),
    Question("Is my cat called Rex?", "No", "no_same_slot", (0,), CAT),
    Question("Do I breed horses?", "No", "no_adjacent"),
    Question("What did I tell you about horses?", UNKNOWN_ANSWER, "open_unknown"),
]
MORE = [
    Question("Do I have a cat?", "Yes", "yes", (0,), CAT),
    Question("Who is my cat?", "Moll", "open", (0,), CAT),
]
OF_THEM, OF_OTHERS = (
    [Question(f"So {n}?", "Yes", "yes", (0,), fact) for n in range(40)]
    for fact in ("You keep goldfish.", "You sing bass.")
)


@pytest.mark.parametrize("screening", [ScreeningSettings(), None])
def test_what_an_earlier_chat_told_is_not_asked_as_never_raised(
    screening: ScreeningSettings | None,
) -> None:
    maker = Questions(s2=[*ASKED, *MORE, *GOLDFISH])
    maker.settings = QuestionSettings(screening=screening)  # type: ignore[attr-defined]
    chat = session("ana", "s2", "My cat is called Moll.", "Nice.")
    made = make_questions(maker, chat, {1: OF_THEM}).questions
    assert not set(GOLDFISH) & set(made)
    assert Counter(q.positive for q in made) == {True: 3, False: 3}  # in balance again
    assert make_questions(maker, chat, {1: OF_OTHERS}).questions == [*ASKED, *MORE, *GOLDFISH]


def test_a_chat_is_learned_all_the_same_where_nothing_else_was_never_raised() -> None:
    """Its questions couldn't be balanced without."""
    asked = [q for q in ASKED if "horses" not in q.question] + GOLDFISH
    chat = session("ana", "s2", "My cat is called Moll.", "Nice.")
    assert make_questions(Questions(s2=asked), chat, {1: OF_THEM}).questions == asked


def test_what_a_later_chat_tells_is_not_replayed_as_never_raised() -> None:
    encoder = encoder_for(make_tokenizer(), LearningSettings())
    first = [*OF_OTHERS, *GOLDFISH]
    for now, before, replayed in (
        (OF_OTHERS, {1: first}, True),
        (OF_THEM, {1: first}, False),
        (OF_OTHERS, {1: first, 2: OF_THEM}, False),
        (OF_OTHERS, {1: OF_THEM, 2: first}, True),  # told before: whoever asked so knew it
    ):
        again = choose_replay(before, [replace(q, question=f"Now {q.question}") for q in now],
                              encoder, seed=0)  # fmt: skip
        assert again and (set(GOLDFISH) <= set(again)) is replayed
        assert replayed or not set(GOLDFISH) & set(again)
