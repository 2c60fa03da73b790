"""The paper's experiments on the tiny model: what is learned, and that none is run twice."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import __version__
from plum_langchain.errors import QuestionError
from plum_langchain.evaluation import Exam
from plum_langchain.evaluation.paper import EXPERIMENTS, Results, Setup, choose, run_experiment
from plum_langchain.evaluation.paper.questions import Once
from plum_langchain.evaluation.paper.report import curves, to_markdown
from plum_langchain.evaluation.picture import draw_forgetting
from plum_langchain.models import resolve_model
from plum_langchain.questions import RecordedQuestions
from plum_langchain.session import Session, Turn
from plum_langchain.settings import GateSettings
from tests.unit_tests.evaluation.paper import ASKED, TINY, Homes, people


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[Any]]]:
    """The questions of every training, as the learner gets them."""
    from plum_langchain.consolidation import consolidator

    found: list[list[Any]] = []
    learn = consolidator.learn

    def noted(model: Any, tokenizer: Any, questions: Any, *rest: Any, **options: Any) -> Any:
        found.append(list(questions))
        return learn(model, tokenizer, questions, *rest, **options)

    monkeypatch.setattr(consolidator, "learn", noted)
    yield found


def made(exams: list[Exam]) -> list[list[Any]]:
    """The recorded questions of every session."""
    maker = RecordedQuestions(ASKED)
    return [maker.make(session) for exam in exams for session in exam.sessions]


def test_a_result_says_what_it_is_of_and_is_not_found_twice(
    set_up: Callable[..., Setup], homes: Homes, tmp_path: Path, learned: list[list[Any]]
) -> None:
    setup = set_up()
    (ce,) = choose(["ce"])
    record = run_experiment(ce, setup, Results(tmp_path / "out.jsonl"))
    assert [settings for _, settings in homes.opened] == [ce.settings(TINY)]
    assert learned == made(setup.exams)
    assert record["people"] == {"ana": 1, "bo": 1} and record["trainings"] == 2
    assert [(s["user"], s["state"], s["questions"]) for s in record["sessions"]] == [
        ("ana", "learned", 4),
        ("bo", "learned", 4),
    ]
    assert record["summary"]["n"] == 6 and record["paper"] == 41.0
    assert record["said_right"] == 0  # after one step: babble that begins with neither word
    assert record["neutral_loss"] > 0
    assert [s["steps"] for s in record["sessions"]] == [1, 1]  # of four questions in an epoch
    assert record["version"] == __version__
    assert record["seconds"] > sum(s["seconds"] for s in record["sessions"]) > 0
    assert record["model"] == homes.model and record["machine"]["cores"] >= 1
    assert record["learning"]["answer_weight"] == 1 and record["learning"]["seed"] == 0

    again = run_experiment(ce, setup, Results(tmp_path / "out.jsonl"))  # as another process
    assert len(homes.opened) == 1 and again == json.loads(json.dumps(record))
    # Neither other settings, other chats nor another experiment are that.
    results = Results(tmp_path / "out.jsonl")
    assert results.result(set_up(seed=1).run(ce)) is None
    assert results.result(set_up(2).run(ce)) is None
    assert results.result(set_up(packed=True).run(ce)) is None
    assert results.result(set_up(gate=GateSettings()).run(ce)) is None
    assert results.result(setup.run(choose(["lambda-2"])[0])) is None
    for changed in ({"questions": "positives only"}, {"order": "mixed"}, {"arm": "floor"}):
        assert setup.run(replace(ce, **changed)) != setup.run(ce)
    assert setup.run(replace(ce, title="other", paper=0.0, says="other")) == setup.run(ce)
    assert results.result(set_up().run(ce)) is not None
    assert not (tmp_path / "homes").exists()


def test_the_baselines_learn_nothing(
    set_up: Callable[..., Setup], tmp_path: Path, learned: list[list[Any]]
) -> None:
    results, setup = Results(tmp_path / "out.jsonl"), set_up()
    found = {e.name: run_experiment(e, setup, results) for e in choose(["baselines"])}
    assert not learned
    tokens = {name: r["summary"]["prompt_tokens_per_answer"] for name, r in found.items()}
    assert tokens["context"] > tokens["zero-shot"] < tokens["rag"]
    assert found["zero-shot"]["neutral_loss"] > 0 and found["rag"]["neutral_loss"] is None


def test_a_reply_counts_by_its_first_word(
    set_up: Callable[..., Setup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plum_langchain.plum import Plum

    replies = {"yes": "Yes.", "no_same_slot": "No, that was a Monday.", "open": "On Mondays"}
    setup = set_up()
    kinds = {q.question: q.kind for exam in setup.exams for q in exam.questions}
    ask = Plum.ask

    def scripted(self: Plum, user_id: str, question: str, **options: Any) -> Any:
        given = ask(self, user_id, question, **options)
        if options["closed"] or kinds[question] == "open":
            assert options["max_new_tokens"] == 96
            return given
        assert options["max_new_tokens"] == 4  # a word is enough
        text = "Yesterday you said so." if user_id == "bo" else replies[kinds[question]]
        return replace(given, text=text)

    monkeypatch.setattr(Plum, "ask", scripted)
    record = run_experiment(choose(["zero-shot"])[0], setup, Results(tmp_path / "out.jsonl"))
    assert record["said_right"] == 0.5  # ana's two, and of bo's none


def test_mixed_is_one_training_of_all_questions_of_a_person(
    set_up: Callable[..., Setup], tmp_path: Path, learned: list[list[Any]]
) -> None:
    setup = set_up(2)
    (mixed,) = choose(["mixed"])
    record = run_experiment(mixed, setup, Results(tmp_path / "out.jsonl"))
    assert len(learned) == 2
    first, second, *_ = made(setup.exams)
    turns = len(setup.exams[0].sessions[0].turns)
    shifted = [replace(q, evidence=tuple(turns + t for t in q.evidence)) for q in second]
    assert learned[0] == first + shifted
    assert record["summary"]["n"] == 12
    row = to_markdown([mixed], setup, {"mixed": record}).splitlines()[6]
    assert "| 4 | 12 |" in row  # sessions learned, questions asked


def test_no_session_asks_again_what_it_changes(set_up: Callable[..., Setup]) -> None:
    """Which this package does, and the paper does not."""
    changing = [s for e in people(10) for s in e.sessions if s.material.get("updates")]
    assert changing
    for exam in set_up(10).exams:
        for session in exam.sessions:
            assert "updates" not in session.material and session.material["facts"]


# -- the stream ---------------------------------------------------------------------------------


def test_a_stream_learns_everybodys_sessions_and_asks_about_the_first_half(
    set_up: Callable[..., Setup], tmp_path: Path, learned: list[list[Any]]
) -> None:
    setup = set_up(2)
    (stream,) = [e for e in EXPERIMENTS if e.name == "stream"]
    asked: list[Any] = []
    record = run_experiment(stream, setup, Results(tmp_path / "out.jsonl"), asking=asked.append)
    assert learned == made(setup.exams)  # ana's two, then bo's two
    assert [s["session"] for s in record["sessions"]] == [
        "ana/ana-s01",
        "ana/ana-s02",
        "bo/bo-s01",
        "bo/bo-s02",
    ]
    curve = record["curve"]
    assert [(p["further"], p["first_half"]["n"], p["newest"]["n"]) for p in curve] == [
        (0, 6, 3),
        (1, 6, 3),
        (2, 6, 3),
    ]
    assert record["summary"] == curve[-1]["first_half"]
    assert {a.user_id for a in asked} == {"stream"}
    assert not (tmp_path / "homes").exists()

    text = to_markdown([stream], setup, {"stream": record})
    rows = text.partition("## Forgetting: stream")[2].splitlines()
    assert [row.split("|")[1].strip() for row in rows if row.startswith("| ")][2:] == [
        "0",
        "1",
        "2",
    ]
    drawn = curves([stream], {"stream": record})
    assert [x for x, _ in drawn["stream, Yes/No"]] == [0, 1, 2]
    draw_forgetting(drawn, tmp_path / "curve.png", title="Kept")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("when", ["learning the last", "asking after it", "writing of it"])
def test_an_interrupted_stream_goes_on_where_it_was(
    set_up: Callable[..., Setup],
    tmp_path: Path,
    learned: list[list[Any]],
    when: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup = set_up(1)
    (stream,) = [e for e in EXPERIMENTS if e.name == "stream"]
    whole = run_experiment(stream, setup, Results(tmp_path / "whole.jsonl"))
    assert len(learned) == 2
    learned.clear()

    out = tmp_path / "out.jsonl"
    heard: list[Any] = []
    add = Results.add

    def learning(progress: Any) -> None:
        at_the_last = progress.session_id == "bo/bo-s01" and progress.step is not None
        interrupt(when == "learning the last" and at_the_last)

    def asking(asked: Any) -> None:
        heard.append(asked)
        interrupt(when == "asking after it" and len(heard) > 6)  # six after the first session

    def write(self: Results, record: Any) -> None:
        interrupt(when == "writing of it" and record.get("number") == 2)
        add(self, record)

    with monkeypatch.context() as patched:
        patched.setattr(Results, "add", write)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(stream, setup, Results(out), learning=learning, asking=asking)
    assert [p["session"] for p in Results(out).sessions(setup.run(stream))] == ["ana/ana-s01"]
    trained = len(learned)

    record = run_experiment(stream, setup, Results(out))
    again = 1 if when == "learning the last" else 0  # else it had been learned
    assert len(learned) == trained + again
    assert [s["session"] for s in record["sessions"]] == ["ana/ana-s01", "bo/bo-s01"]
    assert [p["further"] for p in record["curve"]] == [0, 1]
    if not again:  # else a generation of another number: what it replays is drawn anew
        for what in ("curve", "sessions", "summary", "said_right", "neutral_loss"):
            assert timeless(record[what]) == timeless(whole[what]), what


def interrupt(now: bool) -> None:
    if now:
        raise KeyboardInterrupt


def timeless(value: Any) -> Any:
    """Without what took how long."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.startswith("seconds")}
    return [timeless(v) for v in value] if isinstance(value, list | tuple) else value


def test_a_stream_whose_home_is_gone_begins_again(
    set_up: Callable[..., Setup], tmp_path: Path, learned: list[list[Any]]
) -> None:
    setup, out = set_up(1), tmp_path / "out.jsonl"
    (stream,) = [e for e in EXPERIMENTS if e.name == "stream"]
    with pytest.raises(KeyboardInterrupt):
        run_experiment(
            stream, setup, Results(out), learning=lambda p: interrupt("bo" in p.session_id)
        )
    shutil.rmtree(tmp_path / "homes")
    record = run_experiment(stream, setup, Results(out))
    assert [questions[0] for questions in learned] == [
        made(setup.exams)[0][0],
        made(setup.exams)[0][0],
        made(setup.exams)[1][0],
    ]
    assert [p["further"] for p in record["curve"]] == [0, 1]


def test_the_home_of_a_stream_that_is_through_does_not_stay(
    set_up: Callable[..., Setup], tmp_path: Path
) -> None:
    """It was interrupted after its result was written, and before its home was gone."""
    setup, results = set_up(1), Results(tmp_path / "out.jsonl")
    (stream,) = [e for e in EXPERIMENTS if e.name == "stream"]
    results.add({"kind": "result", "run": setup.run(stream), "experiment": "stream"})
    home = tmp_path / "homes" / f"stream-{setup.run(stream)}"
    (home / "adapters").mkdir(parents=True)
    assert run_experiment(stream, setup, results)["experiment"] == "stream"
    assert not (tmp_path / "homes").exists()


# -- the questions, made once -------------------------------------------------------------------


class Costly:
    """Counts what it is asked, as an LLM would; `refused` give no questions."""

    name = "an LLM"

    def __init__(self, *refused: str) -> None:
        self.asked: list[str] = []
        self.refused = refused

    def make(self, session: Session) -> list[Any]:
        self.asked.append(session.session_id)
        if session.session_id in self.refused:
            raise QuestionError("nothing to ask about")
        return RecordedQuestions(ASKED).make(session)


def test_the_questions_of_a_session_are_made_once() -> None:
    costly = Costly("bo-s01")
    maker = Once(costly)
    (ana, bo) = (exam.sessions[0] for exam in people(1))
    first = maker.make(ana)
    first.clear()  # what a caller does with it is the caller's affair
    assert maker.make(ana) == RecordedQuestions(ASKED).make(ana)
    for _ in range(2):
        with pytest.raises(QuestionError, match="nothing to ask about"):
            maker.make(bo)
    assert costly.asked == ["ana-s01", "bo-s01"]


def test_the_next_process_learns_from_the_same_questions(tmp_path: Path) -> None:
    (ana, bo) = (exam.sessions[0] for exam in people(1))
    maker = Once(Costly("bo-s01"))
    first = maker.make(ana)  # before there was a file: written there as well
    maker.keep_in(Results(tmp_path / "out.jsonl"))
    assert maker.make(ana) == first
    with pytest.raises(QuestionError):
        maker.make(bo)

    costly = Costly()
    again = Once(costly)
    again.keep_in(Results(tmp_path / "out.jsonl"))
    assert again.make(ana) == first
    with pytest.raises(QuestionError, match="nothing to ask about"):
        again.make(bo)
    assert not costly.asked
    again.make(replace(ana, turns=(*ana.turns, Turn("user", "Bye."))))  # which is another chat
    made_otherwise = Once(costly, {"max_questions": 2})
    made_otherwise.keep_in(Results(tmp_path / "out.jsonl"))
    made_otherwise.make(ana)
    assert costly.asked == ["ana-s01", "ana-s01"]


@pytest.mark.parametrize(("name", "asked"), [("an LLM", 1), ("written", 2)])
def test_what_one_base_model_writes_is_not_what_another_does(
    homes: Homes, tmp_path: Path, name: str, asked: int
) -> None:
    (ana,) = people(1)[0].sessions
    model, costly = resolve_model(homes.model), Costly()
    costly.name = name
    for one in (model, replace(model, fingerprint="another's"), model):
        setup = Setup(
            people(1),
            model=one,
            maker=costly,
            question_settings=ASKED,
            open_plum=homes,
            homes=tmp_path / "homes",
        )
        setup.maker.keep_in(Results(tmp_path / "out.jsonl"))
        setup.maker.make(ana)
    assert len(costly.asked) == asked


def test_all_experiments_find_the_questions_of_one(
    set_up: Callable[..., Setup], tmp_path: Path, learned: list[list[Any]]
) -> None:
    """As the journal gives a session back, in a stream, and mixed, it is the same session."""
    setup, out = set_up(1), tmp_path / "out.jsonl"
    for experiment in choose(["ce", "mixed", "stream-no-replay"]):
        run_experiment(experiment, setup, Results(out))
    records = [json.loads(line) for line in out.read_text().splitlines()]
    made_of = [(r["user"], r["session"]) for r in records if r["kind"] == "questions"]
    assert made_of == [("ana", "ana-s01"), ("bo", "bo-s01")]
    assert len(learned) == 6
