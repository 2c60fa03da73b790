"""A whole comparison on the tiny model: every arm, what is reported, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import BrokenRecordError, InvalidInputError, MissingFileError
from plum_langchain.evaluation import ARMS, Comparison, Exam, ExamQuestion, compare, read_exams
from plum_langchain.evaluation.picture import _retention, draw
from plum_langchain.evaluation.report import to_json, to_markdown, to_samples, to_table
from plum_langchain.session import Session, Turn
from plum_langchain.settings import QuestionSettings
from tests.tiny import CHATS, records

KEYS = {
    "balanced_accuracy", "yes", "no_adjacent", "no_same_slot", "open", "n", "ci95",
    "prompt_tokens_per_answer", "seconds_per_answer",
}  # fmt: skip


def questions_of(user: str) -> list[dict[str, Any]]:
    """One question of each kind about each of the first two sessions of a shipped file."""
    return [
        next(question for question in record["qa_test"] if question["kind"] == kind)
        for record in records(user)[:2]
        for kind in ("yes", "no_adjacent", "no_same_slot", "open")
    ]


@pytest.fixture(scope="module")
def compared(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> tuple[Comparison, list[Any], list[Any]]:
    from plum_langchain import LearningSettings, Plum
    from tests.tiny import WordEmbeddings

    plum = Plum(
        tmp_path_factory.mktemp("compare") / "home",
        model=str(tiny_model),
        embeddings=WordEmbeddings(),
        learning=LearningSettings(
            rank=4,
            alpha=8,
            epochs=10,
            learning_rate=1e-2,
            everyday_per_batch=0,
            rewordings=0,
            gate=None,
            recite=False,  # of recited facts a model this small knows but the most frequent one
        ),
        question_settings=QuestionSettings(max_questions=4),
    )
    # Half of its tokens end an answer, so that answers are short: nobody looks at what they say.
    plum.engine.base.model.generation_config.eos_token_id = [*range(0, 600, 2)]
    exams = []
    for exam in read_exams([CHATS / "ana.jsonl", CHATS / "bo.jsonl"], max_sessions=2):
        few = {question["question"] for question in questions_of(exam.user_id)}
        asked = tuple(question for question in exam.questions if question.question in few)
        exams.append(replace(exam, questions=asked))
    learning: list[Any] = []
    asking: list[Any] = []
    found = compare(
        plum,
        exams,
        arms=[*ARMS, "stranger"],
        questions="recorded",
        learning=learning.append,
        asking=asking.append,
    )
    plum.close()
    return found, learning, asking


def test_every_arm_answers_every_question(compared: Any) -> None:
    found, learning, asking = compared
    assert set(found.arms) == {*ARMS, "stranger"}
    assert set(found.by_k) == {1, 3, 5}
    assert found.arms["retrieval"] == found.by_k[3]
    for arm, answers in found.answers.items():
        assert len(answers) == 2 * 2 * 4, arm
        asked = {(a.user_id, a.question) for a in answers}
        assert asked == {(u, q["question"]) for u in ("ana", "bo") for q in questions_of(u)}
    assert {p.phase for p in learning} >= {"questions", "learning", "learned"}
    assert {a.arm for a in asking} >= {"retention", "floor", "retrieval@5", "parametric"}


def test_arms_differ_in_what_they_see(compared: Any) -> None:
    found = compared[0]
    tokens = {arm: s.prompt_tokens_per_answer for arm, s in found.arms.items()}
    assert tokens["floor"] == tokens["parametric"] == tokens["stranger"]
    assert tokens["hybrid"] == tokens["retrieval"] > tokens["floor"]
    assert tokens["context"] > tokens["floor"]
    by_k = [found.by_k[k].prompt_tokens_per_answer for k in (1, 3, 5)]
    assert by_k == sorted(by_k) and by_k[0] < by_k[2]
    scored = {arm: [a.p_yes for a in answers] for arm, answers in found.answers.items()}
    assert scored["parametric"] != scored["floor"]
    assert scored["parametric"] != scored["stranger"]


def test_retention_is_asked_after_each_session_about_all_so_far(compared: Any) -> None:
    found = compared[0]
    points = [(p.user_id, p.learned, p.so_far.n, p.newest.n, p.first.n) for p in found.retention]
    assert points == [
        ("ana", 1, 4, 4, 4),
        ("ana", 2, 8, 4, 4),
        ("bo", 1, 4, 4, 4),
        ("bo", 2, 8, 4, 4),
    ]
    for point in found.retention:  # closed and open questions, and each of them of every session
        assert (point.so_far.n_closed, point.so_far.n_open) == (3 * point.learned, point.learned)
        assert (point.newest.n_closed, point.newest.n_open) == (3, 1)
        assert point.so_far.open is not None
    assert [c.generation for c in found.consolidated] == [1, 2, 1, 2]
    assert found.seconds_per_session > 0
    assert found.adapter_bytes > 1000


def test_the_json_has_what_is_promised(compared: Any) -> None:
    report = json.loads(json.dumps(to_json(compared[0])))
    for arm in ARMS:
        assert report["arms"][arm].keys() >= KEYS, arm
    assert set(report["arms"]["retrieval"]["by_k"]) == {"1", "3", "5"}
    assert report["about"]["people"] == {"ana": 2, "bo": 2}
    assert report["about"]["machine"]["cores"] >= 1
    assert report["consolidation"]["seconds_per_session"] > 0
    assert set(report["per_user"]) == {"ana", "bo"}


def test_the_report_and_the_table_say_the_same(compared: Any) -> None:
    from rich.console import Console

    found = compared[0]
    markdown = to_markdown(found)
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(to_table(found))
    shown = console.export_text()
    score = f"{100 * found.arms['parametric'].balanced_accuracy:.0f}%"
    row = next(line for line in shown.splitlines() if "parametric (PLUM)" in line)
    assert score in row
    row = next(line for line in markdown.splitlines() if "parametric (PLUM)" in line)
    assert score in row
    console.print(to_samples(found))
    opened = next(q["question"] for q in questions_of("ana") if q["kind"] == "open")
    assert opened.split()[-1] in console.export_text()


def test_the_curve_is_in_the_report_and_the_json_with_its_open_questions(compared: Any) -> None:
    """Told apart from the closed ones by their shares, which are made up here."""
    found = compared[0]
    shares = {("ana", 1): (0.9, 0.7), ("ana", 2): (0.8, 0.6), ("bo", 1): (0.7, 0.5)}
    points = []
    for point in found.retention:
        closed, opened = shares.get((point.user_id, point.learned), (0.6, None))
        summary = replace(point.so_far, balanced_accuracy=closed, open=opened)
        points.append(replace(point, so_far=summary))
    found = replace(found, retention=tuple(points))

    lines = to_markdown(found).partition("## Retention")[2].splitlines()
    header, _, *rows = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if x.startswith("|")]
    told = [dict(zip(header, row, strict=True)) for row in rows]
    assert [
        (r["person"], r["sessions learned"], r["all so far"], r["open, all so far"], r["n"])
        for r in told
    ] == [
        ("ana", "1", "90%", "70%", "4"),
        ("ana", "2", "80%", "60%", "8"),
        ("bo", "1", "70%", "50%", "4"),
        ("bo", "2", "60%", "-", "8"),
    ]
    written = json.loads(json.dumps(to_json(found)))["retention"]
    assert [point["so_far"]["open"] for point in written] == [0.7, 0.6, 0.5, None]

    curves = retention_curves(found)
    assert curves["Yes/No: all sessions so far"] == {1: 80, 2: 70}
    assert curves["open: all sessions so far"] == {1: 60, 2: 60}  # bo was asked none after two
    assert "open: all sessions so far" not in retention_curves(without_open(found))


def without_open(comparison: Comparison) -> Comparison:
    """As when the chats came without open questions."""
    return replace(
        comparison,
        retention=tuple(
            replace(point, so_far=replace(point.so_far, open=None))
            for point in comparison.retention
        ),
    )


def retention_curves(comparison: Comparison) -> dict[str, dict[int, int]]:
    """What the picture draws of retention: percent by sessions learned, under its legend's name."""
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    _retention(axes, comparison)
    assert axes.get_legend() is not None
    named = {text.get_text() for text in axes.get_legend().get_texts()}
    curves = {}
    for line in axes.get_lines():
        assert line.get_label() in named
        if line.get_marker() != "None":  # the floor is no curve
            xs, ys = line.get_data()
            curves[str(line.get_label())] = {
                int(x): round(float(y)) for x, y in zip(xs, ys, strict=True)
            }
    return curves


def test_the_picture_is_a_png_of_readable_size(compared: Any, tmp_path: Path) -> None:
    path = tmp_path / "memories.png"
    draw(compared[0], path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    assert width > 1200 and height > 700
    draw(replace(compared[0], retention=()), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_only_the_arms_asked_for_are_run(open_plum: Callable[..., Any]) -> None:
    plum = open_plum()
    found = compare(plum, read_exams([CHATS / "ana.jsonl"], max_sessions=1), arms=["floor"])
    assert set(found.arms) == {"floor"}
    assert found.consolidated == () and found.retention == ()
    assert plum.status()["users"][0]["serving"] is None
    to_markdown(found)


def test_a_session_without_questions_is_reported_and_the_rest_goes_on(
    open_plum: Callable[..., Any], tmp_path: Path
) -> None:
    lines = records("ana")[:2]
    for field in ("facts", "qa_train", "not_discussed"):
        del lines[0][field]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    plum = open_plum(question_settings=QuestionSettings(max_questions=4))
    found = compare(plum, read_exams([path]), arms=["parametric"], questions="recorded")
    assert [c.state for c in found.consolidated] == ["failed", "learned"]
    assert "## Not learned" in to_markdown(found)
    assert found.arms["parametric"].n == 20


def test_what_cannot_be_compared_is_refused(open_plum: Callable[..., Any], tmp_path: Path) -> None:
    exams = read_exams([CHATS / "ana.jsonl"], max_sessions=1)
    plum = open_plum()
    with pytest.raises(InvalidInputError, match="two people"):
        compare(plum, exams, arms=["stranger"])
    with pytest.raises(InvalidInputError, match="telepathy"):
        compare(plum, exams, arms=["telepathy"])
    with pytest.raises(InvalidInputError, match="no arm"):
        compare(plum, exams, arms=[])
    plum.add_session(exams[0].sessions[0])
    with pytest.raises(InvalidInputError, match="home of its own"):
        compare(plum, exams, arms=["floor"])
    with pytest.raises(MissingFileError):
        read_exams([tmp_path / "nowhere.jsonl"])
    line = records("ana")[0]
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({**line, "qa_test": []}), "utf-8")
    with pytest.raises(InvalidInputError, match="qa_test"):
        read_exams([path])
    path.write_text(json.dumps({**line, "qa_test": [{"question": "?"}]}), "utf-8")
    with pytest.raises(BrokenRecordError, match=r"qa_test\[0\]"):
        read_exams([path])
    for until in ("ana-s01", 10):
        asked = {"question": "?", "answer": "Yes", "kind": "yes", "until": until}
        path.write_text(json.dumps({**line, "qa_test": [asked]}), "utf-8")
        with pytest.raises(BrokenRecordError, match="`until`"):
            read_exams([path])
    path.write_text("\n".join([json.dumps(line)] * 2), "utf-8")
    with pytest.raises(InvalidInputError, match="twice"):
        read_exams([path])


@pytest.mark.parametrize("field", ["question", "answer"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (8, "is 8, expected text"),
        (None, "is None, expected text"),
        (["Yes"], r"is \['Yes'\], expected text"),
        ("", "is '', expected text"),
        (" ", "is ' ', expected text"),
        ("half \ud83d", r"holds '\\ud83d', half of a character"),
    ],
)
def test_what_cannot_be_asked_or_graded_is_told_by_its_line(
    tmp_path: Path, field: str, value: object, told: str
) -> None:
    first, second = records("ana")[:2]
    asked = {"question": "Closed on Mondays?", "answer": "Yes", "kind": "yes", field: value}
    second["qa_test"] = [second["qa_test"][0], asked]
    path = tmp_path / "chats.jsonl"
    path.write_text(f"{json.dumps(first)}\n\n{json.dumps(second)}\n", "utf-8")
    where = rf"chats.jsonl, line 3: the `{field}` of `qa_test\[1\]` of session 'ana-s02' "
    with pytest.raises(BrokenRecordError, match=where + told):
        read_exams([path])


@pytest.mark.parametrize("value", [5, "Closed on Mondays?", {"question": "Closed on Mondays?"}])
def test_an_exam_that_is_no_list_is_told_by_its_line(tmp_path: Path, value: object) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({**records("ana")[0], "qa_test": value}), "utf-8")
    with pytest.raises(BrokenRecordError, match=r"line 1: `qa_test` .* expected a list of objects"):
        read_exams([path])


def test_the_exam_never_reaches_the_journal(open_plum: Callable[..., Any]) -> None:
    plum = open_plum()
    exams = read_exams([CHATS / "ana.jsonl"], max_sessions=1)
    compare(plum, exams, arms=["parametric"])
    raw = b"".join(path.read_bytes() for path in plum.home.root.glob("journal.db*"))
    assert exams[0].sessions[0].turns[0].content[:30].encode() in raw
    for question in exams[0].questions:
        assert question.question.encode() not in raw


def test_a_session_longer_than_the_window_is_refused_before_anything_is_learned(
    open_plum: Callable[..., Any], tmp_path: Path
) -> None:
    line = records("ana")[0]
    line["turns"][0]["content"] = "word " * 5_000
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps(line), "utf-8")
    plum = open_plum()
    with pytest.raises(InvalidInputError, match="leave out the arm 'context'"):
        compare(plum, read_exams([path]), arms=["context", "parametric"])
    assert plum.status()["users"] == []


def test_so_are_sessions_that_are_too_long_together(open_plum: Callable[..., Any]) -> None:
    plum = open_plum()
    said = (Turn("user", "word " * 1_000),)
    sessions = tuple(Session("ana", name, said) for name in ("s1", "s2", "s3"))
    needs = ("s1", "s3")
    exam = Exam("ana", sessions, (ExamQuestion("s3", "Who?", "Rui", "open", needs=needs),))
    window = plum.engine.base.model.config
    window.max_position_embeddings = 1 + 512 + plum.engine.count_tokens(said[0].content) * 3 // 2
    with pytest.raises(InvalidInputError, match=r"needs 2 sessions with .* read fewer sessions"):
        compare(plum, [exam], arms=["context"])
    assert plum.status()["users"] == []


def test_the_first_sessions_are_the_earliest_whatever_their_order_in_the_file(
    tmp_path: Path,
) -> None:
    lines = records("ana")[:3]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in reversed(lines)), "utf-8")
    (exam,) = read_exams([path], max_sessions=2)
    assert [s.session_id for s in exam.sessions] == ["ana-s01", "ana-s02"]
    assert {q.session_id for q in exam.questions} == {"ana-s01", "ana-s02"}


def test_what_a_later_session_makes_untrue_is_not_asked_once_it_is_learned() -> None:
    stale = "Do I live in Bonfim?"  # until the eighth session
    (before,) = read_exams([CHATS / "ana.jsonl"], max_sessions=7)
    (after,) = read_exams([CHATS / "ana.jsonl"], max_sessions=8)
    assert stale in {question.question for question in before.questions}
    assert stale not in {question.question for question in after.questions}


@pytest.mark.parametrize("person", ["ana", "bo", "chidi", "dara"])
def test_what_makes_a_question_of_the_examples_untrue_is_a_later_session_with_changes(
    person: str,
) -> None:
    sessions = {record["session"]: record for record in records(person)}
    names = list(sessions)
    outdated = [
        (record["session"], question["until"])
        for record in sessions.values()
        for question in record["qa_test"]
        if "until" in question
    ]
    assert outdated
    for about, until in outdated:
        assert names.index(about) < names.index(until)
        assert about in {change["earlier_session"] for change in sessions[until]["updates"]}


def test_of_text_alone_there_is_nothing_that_was_recorded() -> None:
    (exam,) = read_exams([CHATS / "ana.jsonl"], max_sessions=8)
    assert any(session.material.get("updates") for session in exam.sessions)
    alone = exam.of_text_alone()
    assert [session.material for session in alone.sessions] == [{}] * 8
    assert alone.questions == exam.questions
    assert [s.turns for s in alone.sessions] == [s.turns for s in exam.sessions]
