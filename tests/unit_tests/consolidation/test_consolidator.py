"""A chat becomes a generation, or goes back in line: never anything between."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import HomeSettings, LearningSettings, Plum
from plum_langchain.adapters import AdapterRef
from plum_langchain.consolidation.consolidator import Progress
from plum_langchain.errors import (
    BusyError,
    ChatTemplateError,
    DamagedAdapterError,
    InvalidInputError,
    LeaseLostError,
    QuestionError,
    StoppedError,
    UnknownGenerationError,
    WrongBaseModelError,
)
from plum_langchain.learning import learn
from plum_langchain.models import load_model, resolve_model
from plum_langchain.session import Question, SessionState
from tests.tiny import CHATML, FixedQuestions, save_tiny_model, session
from tests.unit_tests.consolidation.helpers import OpenPlum, Questions, add
from tests.unit_tests.learning.learnable import FAST, make_learnable

QUICK = LearningSettings(rank=4, alpha=8, epochs=2, learning_rate=5e-3)


def states(plum: Plum, user: str = "ana") -> dict[str, str]:
    return {s.session_id: s.state.value for s in plum.journal.sessions.all(user)}


def served(plum: Plum, user: str = "ana") -> int | None:
    head = plum.journal.generations.head(user)
    return head.number if head else None


def head_ref(plum: Plum, user: str = "ana") -> AdapterRef:
    head = plum.journal.generations.head(user)
    assert head is not None
    return plum.adapters.ref(plum.home.owner(user), head.number, head.manifest_sha256)


def on_disk(plum: Plum, user: str = "ana") -> list[str]:
    """Everything in the user's directory, half-written things included."""
    directory = plum.home.adapters / plum.home.owner(user)
    return sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []


def says(plum: Plum, user: str = "ana") -> float:
    """What the served weights make of a question: tells generations apart to the last bit."""
    found = plum.ask(user, "Did I say it?", closed=True).yes
    assert found is not None
    return found


@pytest.fixture(scope="module")
def learnable(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_learnable(tiny_model, tmp_path_factory.mktemp("models") / "learnable")


# -- one after another -------------------------------------------------------------------------


def test_sessions_become_generations_each_starting_from_the_last(
    open_plum: OpenPlum, learnable: Path, tmp_path: Path
) -> None:
    plum = open_plum(model=str(learnable), learning=FAST)
    add(plum, "ana", "s1", "s2", "s3")
    done = plum.consolidate("ana")

    assert [(c.session_id, c.state, c.generation) for c in done] == [
        ("s1", "learned", 1),
        ("s2", "learned", 2),
        ("s3", "learned", 3),
    ]
    assert all(c.questions == 4 and c.seconds > 0 and c.adapter_bytes > 1000 for c in done)
    assert states(plum) == dict.fromkeys(("s1", "s2", "s3"), "learned")
    first, second, third = plum.journal.generations.all("ana")
    assert [g.parent for g in (first, second, third)] == [None, 1, 2]
    assert third.learned[:2] == second.learned
    assert second.learned[:1] == first.learned

    # The second generation is the first one trained on, and nothing else.
    base = load_model(resolve_model(str(learnable)), device="cpu", dtype="float32")
    by_hand = tmp_path / "by-hand"
    by_hand.mkdir()
    parent = plum.adapters.ref(plum.home.owner("ana"), 1, first.manifest_sha256)
    questions = FixedQuestions().make(plum.journal.sessions.get("ana", "s2"))
    learn(base.model, base.tokenizer, questions, by_hand, settings=FAST, parent=parent.path)
    weights = "adapter_model.safetensors"
    assert (by_hand / weights).read_bytes() == (
        parent.path.with_name("00000002") / weights
    ).read_bytes()


def test_what_was_said_in_every_session_is_remembered(open_plum: OpenPlum, learnable: Path) -> None:
    plum = open_plum(
        model=str(learnable), learning=replace(FAST, batch_size=8, replay_per_batch=4, epochs=30)
    )
    add(plum, "ana", "s1", "s2")
    plum.consolidate("ana")
    for name in ("s1", "s2"):
        asked = f"What did I say in {name}?"
        assert plum.ask("ana", asked).text == f"I told you about {name}."


def test_users_do_not_mix(open_plum: OpenPlum) -> None:
    plum = open_plum()
    add(plum, "ana", "s1")
    add(plum, "bo", "s2")
    assert [(c.user_id, c.generation) for c in plum.consolidate()] == [("ana", 1), ("bo", 1)]
    assert on_disk(plum, "ana") == on_disk(plum, "bo") == ["00000001"]
    assert says(plum, "ana") != says(plum, "bo")


def test_progress_tells_what_is_done_for_which_session(open_plum: OpenPlum) -> None:
    plum = open_plum()
    add(plum, "ana", "s1", "s2")
    seen: list[Progress] = []
    maker = Questions(s2=QuestionError("nothing in it"))
    plum.consolidate("ana", questions=maker, progress=seen.append)

    assert [(p.session_id, p.phase) for p in seen] == [
        ("s1", "questions"),
        ("s1", "loading"),
        ("s1", "learning"),
        ("s1", "learning"),
        ("s1", "learned"),
        ("s2", "questions"),
        ("s2", "failed"),
    ]
    assert {p.user_id for p in seen} == {"ana"}
    steps = [p.step for p in seen if p.phase == "learning"]
    assert [(s.step, s.steps) for s in steps if s] == [(1, 2), (2, 2)]
    assert {p.questions for p in seen if p.phase in ("loading", "learning", "learned")} == {4}


def test_no_more_sessions_than_asked_for(open_plum: OpenPlum) -> None:
    plum = open_plum()
    add(plum, "ana", "s1", "s2", "s3")
    assert [c.session_id for c in plum.consolidate("ana", max_sessions=2)] == ["s1", "s2"]
    assert states(plum)["s3"] == "finished"
    assert [c.session_id for c in plum.consolidate("ana", max_sessions=2)] == ["s3"]
    assert plum.consolidate("ana") == []
    for wrong in (0, -1):
        with pytest.raises(InvalidInputError, match="max_sessions must be at least 1"):
            plum.consolidate("ana", max_sessions=wrong)


# -- sessions that can't be learned ------------------------------------------------------------


def test_a_session_that_can_not_be_learned_fails_with_its_reason_and_the_next_goes_on(
    open_plum: OpenPlum, caplog: pytest.LogCaptureFixture
) -> None:
    plum = open_plum()
    secret = "my PIN is 4711, " * 200
    maker = Questions(
        small=QuestionError("the session is only small talk"),
        none=[],
        long=[Question(secret, "Yes", "yes")],
        blank=[Question("Is it?", " ", "open")],
    )
    add(plum, "ana", "small", "s1", "none", "long", "blank", "s2")
    with caplog.at_level(logging.DEBUG):
        done = plum.consolidate("ana", questions=maker)

    assert [(c.session_id, c.state, c.generation) for c in done] == [
        ("small", "failed", None),
        ("s1", "learned", 1),
        ("none", "failed", None),
        ("long", "failed", None),
        ("blank", "failed", None),
        ("s2", "learned", served(plum)),
    ]
    reasons = {s.session_id: s.reason for s in plum.journal.sessions.all("ana") if s.reason}
    assert reasons == {c.session_id: c.reason for c in done if c.state == "failed"}
    for name, said in [
        ("small", "only small talk"),
        ("none", "no questions to learn"),
        ("long", "max_sample_tokens"),
        ("blank", "needs text and an answer"),
    ]:
        assert said in str(reasons[name])
    assert "failed" in caplog.text
    assert "4711" not in caplog.text  # forgetting can't reach into a log
    assert len(on_disk(plum)) == 2


@pytest.mark.parametrize(
    ("template", "said"),
    [("", "no chat template"), (CHATML.replace("assistant\n' }}", "bot\n' }}"), "opens a reply")],
    ids=["none", "disagrees-with-itself"],
)
def test_a_model_that_can_not_chat_is_not_the_sessions_fault(
    open_plum: OpenPlum, tiny_model: Path, tmp_path: Path, template: str, said: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "chat_template.jinja").write_text(template)

    plum = open_plum(model=str(model))
    add(plum, "ana", "s1")
    with pytest.raises(ChatTemplateError, match=said):
        plum.consolidate("ana")
    assert states(plum) == {"s1": "finished"}
    assert open_plum().consolidate("ana")[0].state == "learned"  # with a model that can


# -- stopped, killed, robbed -------------------------------------------------------------------


def test_stopping_puts_the_session_back_in_line_and_serves_the_earlier_generation(
    open_plum: OpenPlum,
) -> None:
    plum = open_plum()
    add(plum, "ana", "s1", "s2", "s3")
    seen: list[Progress] = []

    def stop() -> bool:
        return bool(seen) and (seen[-1].session_id, seen[-1].phase) == ("s2", "learning")

    with pytest.raises(StoppedError):
        plum.consolidate("ana", progress=seen.append, should_stop=stop)
    assert sum(p.session_id == "s2" and p.phase == "learning" for p in seen) == 1
    assert states(plum) == {"s1": "learned", "s2": "finished", "s3": "finished"}
    assert served(plum) == 1
    assert on_disk(plum) == ["00000001"]
    assert plum.status()["jobs"] == []
    assert says(plum) == says(plum)

    assert [c.session_id for c in plum.consolidate("ana")] == ["s2", "s3"]
    assert set(states(plum).values()) == {"learned"}


def test_a_stop_before_anything_changes_nothing(open_plum: OpenPlum) -> None:
    plum = open_plum()
    add(plum, "ana", "s1")
    maker = Questions()
    with pytest.raises(StoppedError, match="1 finished sessions are still in line"):
        plum.consolidate("ana", questions=maker, should_stop=lambda: True)
    assert (states(plum), maker.asked) == ({"s1": "finished"}, [])


def test_a_worker_asked_to_let_go_of_one_user_goes_on_with_the_others(
    open_plum: OpenPlum,
) -> None:
    plum = open_plum(settings=HomeSettings(lease_seconds=0.3), learning=replace(QUICK, epochs=2000))
    add(plum, "ana", "s1")

    def ask_to_stop(progress: Progress) -> None:
        if progress.phase == "learning" and progress.user_id == "ana":
            plum.journal.jobs.request_stop("ana")

    with pytest.raises(StoppedError):
        plum.consolidate("ana", progress=ask_to_stop)
    assert states(plum) == {"s1": "finished"}

    add(plum, "bo", "s1")
    maker = Questions(s1=None)
    quick = open_plum(settings=HomeSettings(lease_seconds=0.3), learning=QUICK)

    def ask_and_wait(progress: Progress) -> None:
        ask_to_stop(progress)
        if progress.phase == "learning" and progress.user_id == "ana":
            time.sleep(0.5)  # ten heartbeats

    done = quick.consolidate(questions=maker, progress=ask_and_wait)
    assert [(c.user_id, c.state) for c in done] == [("bo", "learned")]
    assert states(plum) == {"s1": "finished"}


CHILD = """
import sys
from plum_langchain import LearningSettings, Plum, ServingSettings
from tests.tiny import FixedQuestions

def main():
    plum = Plum(
        sys.argv[1],
        model=sys.argv[2],
        questions=FixedQuestions(),
        learning=LearningSettings(rank=4, alpha=8, epochs=1_000_000, learning_rate=1e-4),
        serving=ServingSettings(device="cpu", dtype="float32"),
    )
    plum.consolidate("ana", progress=lambda p: print(p.phase, flush=True))

main()
"""


@pytest.fixture
def training_child(tiny_model: Path) -> Iterator[Callable[[Plum], subprocess.Popen[str]]]:
    """Starts a process that consolidates ana's sessions, and is in the midst of training."""
    children: list[subprocess.Popen[str]] = []

    def start(plum: Plum) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(plum.home.root), str(tiny_model)],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == "learning":  # after the first training step
                return child
        raise AssertionError("the child ended before it trained")

    yield start
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def test_a_killed_worker_leaves_the_earlier_generation_serving_and_its_session_in_line(
    plum: Plum, training_child: Callable[[Plum], subprocess.Popen[str]]
) -> None:
    add(plum, "ana", "s1")
    plum.consolidate("ana")
    before = says(plum)
    add(plum, "ana", "s2")
    add(plum, "bo", "s1")

    child = training_child(plum)
    assert states(plum) == {"s1": "learned", "s2": "learning"}
    assert len(on_disk(plum)) == 2  # the other is half-written
    with pytest.raises(BusyError, match=f"process {child.pid}"):
        plum.consolidate("ana")
    assert [c.user_id for c in plum.consolidate()] == ["bo"]  # ana is passed over
    assert (served(plum), says(plum)) == (1, before)

    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert (served(plum), says(plum)) == (1, before)

    (done,) = plum.consolidate()
    assert (done.user_id, done.session_id, done.state) == ("ana", "s2", "learned")
    assert states(plum) == {"s1": "learned", "s2": "learned"}
    assert done.generation == served(plum)
    assert on_disk(plum) == ["00000001", f"{served(plum):08d}"]
    assert says(plum) != before


def test_a_worker_that_lost_its_lease_publishes_nothing(
    open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = open_plum(settings=HomeSettings(lease_seconds=0.2))
    other = open_plum()
    add(slow, "ana", "s1")
    # As if this process had hung: nothing renews its lease.
    monkeypatch.setattr(slow.journal.jobs, "heartbeat", lambda job: True)
    taken_over: list[Any] = []

    def hang(progress: Progress) -> None:
        if progress.phase == "learning" and not taken_over:
            time.sleep(0.3)
            taken_over.extend(other.consolidate("ana"))

    with pytest.raises(LeaseLostError):
        slow.consolidate("ana", progress=hang)
    (done,) = taken_over
    assert done.state == "learned"
    assert served(slow) == done.generation
    assert states(slow) == {"s1": "learned"}
    assert on_disk(slow) == [f"{done.generation:08d}"]
    assert other.adapters.check(head_ref(other)).generation == done.generation


# -- errors that are nobody's session's fault --------------------------------------------------


def test_an_unknown_error_goes_to_the_caller_and_the_session_back_in_line(
    open_plum: OpenPlum,
) -> None:
    plum = open_plum()
    add(plum, "ana", "s1", "s2", "s3")
    maker = Questions(s2=ConnectionError("the LLM's server is down"))
    with pytest.raises(ConnectionError, match="the LLM's server is down"):
        plum.consolidate("ana", questions=maker)
    assert states(plum) == {"s1": "learned", "s2": "finished", "s3": "finished"}
    assert (served(plum), on_disk(plum)) == (1, ["00000001"])
    assert plum.status()["jobs"] == []

    maker.special.clear()
    assert [c.session_id for c in plum.consolidate("ana", questions=maker)] == ["s2", "s3"]


def test_another_base_model_is_refused_before_anything_is_spent_and_nobody_else_waits(
    open_plum: OpenPlum, tmp_path: Path
) -> None:
    first = open_plum()
    add(first, "ana", "s1")
    first.consolidate("ana")
    add(first, "ana", "s2")
    add(first, "bo", "s1")

    other = save_tiny_model(tmp_path / "other", seed=1)
    second, maker = open_plum(model=str(other)), Questions()
    with pytest.raises(WrongBaseModelError) as caught:
        second.consolidate(questions=maker)
    for part in ("'ana'", first.resolved().id, str(other), second.resolved().fingerprint):
        assert part in str(caught.value)
    assert maker.asked == ["s1"]  # bo's; no question of ana's was made
    assert states(second, "bo") == {"s1": "learned"}
    assert (states(second), served(second)) == ({"s1": "learned", "s2": "finished"}, 1)
    with pytest.raises(WrongBaseModelError):
        second.consolidate("ana")

    assert [c.session_id for c in first.consolidate("ana")] == ["s2"]


def test_a_damaged_adapter_is_not_built_upon_and_nobody_else_waits(plum: Plum) -> None:
    add(plum, "ana", "s1")
    plum.consolidate()
    add(plum, "ana", "s2")
    add(plum, "bo", "s1")
    weights = head_ref(plum).path / "adapter_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)

    with pytest.raises(DamagedAdapterError, match="differs from its manifest"):
        plum.consolidate()
    assert states(plum) == {"s1": "learned", "s2": "finished"}
    assert states(plum, "bo") == {"s1": "learned"}


# -- what is kept ------------------------------------------------------------------------------


def test_the_manifest_tells_how_the_weights_came_to_be_and_nothing_of_the_chat(
    open_plum: OpenPlum,
) -> None:
    plum = open_plum(learning=QUICK)
    plum.add_session(session("ana-maria", "private-session", "I keep bees on the roof.", "Nice."))
    (done,) = plum.consolidate("ana-maria")
    ref = head_ref(plum, "ana-maria")
    manifest = json.loads((ref.path / "manifest.json").read_text("utf-8"))

    resolved = plum.resolved()
    assert (manifest["base_model"], manifest["base_fingerprint"]) == (
        resolved.id,
        resolved.fingerprint,
    )
    assert manifest["settings"] == json.loads(json.dumps(asdict(QUICK)))
    assert (manifest["question_maker"], manifest["generation"]) == ("fixed", 1)
    assert len(manifest["session_keys"]) == 1
    metrics = manifest["metrics"]
    assert metrics == json.loads(json.dumps(done.metrics))
    assert (metrics["questions"], metrics["epochs"], metrics["steps"]) == (4, 2, 2)
    assert len(metrics["losses"]) == 2
    assert 0 <= metrics["recalled"] <= 1
    assert metrics["seconds"] > 0

    for file in [*plum.home.adapters.rglob("*")]:
        for word in ("ana-maria", "private-session", "bees", "roof"):
            assert word not in str(file.relative_to(plum.home.adapters))
            if file.is_file():
                assert word.encode() not in file.read_bytes()


def test_pruning_keeps_the_last_generations_on_disk(open_plum: OpenPlum) -> None:
    plum = open_plum(settings=HomeSettings(keep_generations=2))
    add(plum, "ana", "s1", "s2", "s3")
    add(plum, "bo", "s1")
    plum.consolidate()

    assert on_disk(plum, "ana") == ["00000002", "00000003"]
    assert on_disk(plum, "bo") == ["00000001"]
    assert served(plum) == 3
    assert plum.rollback("ana", 2) == (3,)
    with pytest.raises(UnknownGenerationError):
        plum.rollback("ana", 1)
    assert states(plum)["s3"] == SessionState.FINISHED

    (again,) = plum.consolidate("ana")
    assert again.generation == 4  # no number is used twice
    assert on_disk(plum, "ana") == ["00000002", "00000004"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"keep_generations": 0},
        {"idle_seconds": -1.0},
        {"lease_seconds": 0.0},
        {"busy_seconds": -1.0},
        {"max_tries": 0},
    ],
    ids=str,
)
def test_home_settings_that_make_no_sense_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        HomeSettings(**wrong)


@pytest.mark.parametrize("trouble", [ConnectionError("refused"), RuntimeError("a bug")])
def test_one_users_trouble_keeps_nobody_else_waiting(
    open_plum: OpenPlum, trouble: Exception
) -> None:
    plum = open_plum()
    add(plum, "ana", "s1")
    add(plum, "bob", "s2")
    for _ in range(2):  # a scheduled round meets the same trouble again and again
        with pytest.raises(type(trouble)):
            plum.consolidate(questions=Questions(s1=trouble))
        assert states(plum) == {"s1": "finished"}
        assert states(plum, "bob") == {"s2": "learned"}


def test_a_session_whose_training_diverges_fails_and_the_next_one_is_learned(
    open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plum_langchain.consolidation import consolidator
    from plum_langchain.errors import DivergedError

    plum, learn, calls = open_plum(), consolidator.learn, []

    def diverging_once(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise DivergedError("the loss became nan")
        return learn(*arguments, **options)

    monkeypatch.setattr(consolidator, "learn", diverging_once)
    add(plum, "ana", "s1", "s2")
    assert [c.state for c in plum.consolidate("ana")] == ["failed", "learned"]
    assert "nan" in (plum.journal.sessions.get("ana", "s1").reason or "")
