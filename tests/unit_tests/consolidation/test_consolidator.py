"""A chat becomes a generation, or goes back in line: never anything between."""

import json
import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import HomeSettings
from plum_langchain.consolidation.progress import Progress
from plum_langchain.errors import (
    CacheError,
    ChatTemplateError,
    DivergedError,
    InvalidInputError,
    PlumError,
    QuestionError,
    UnknownGenerationError,
)
from plum_langchain.learning import Encoder, Exchange, learn
from plum_langchain.models import LoadedModel, load_model, resolve_model
from plum_langchain.session import Question, Session, SessionState
from tests.tiny import CHATML, FixedQuestions, session
from tests.unit_tests.consolidation.helpers import (
    QUICK,
    OpenPlum,
    Questions,
    add,
    head_ref,
    on_disk,
    says,
    served,
    states,
)
from tests.unit_tests.learning.learnable import FAST, make_learnable


@pytest.fixture(scope="module")
def learnable(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_learnable(tiny_model, tmp_path_factory.mktemp("models") / "learnable")


def test_everyday_exchanges_are_rehearsed_with_the_weight_of_the_settings(
    open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[float] = []

    def samples(base: LoadedModel, encoder: Encoder, *, weight: float, should_stop: Any) -> Any:
        read.append(weight)
        return [encoder.encode_exchange(Exchange("Hello", "Hi", whole=True), weight=weight)]

    monkeypatch.setattr("plum_langchain.consolidation.base.everyday_samples", samples)
    plum = open_plum(learning=replace(QUICK, everyday_per_batch=1, everyday_weight=0.25))
    add(plum, "ana", "s1", "s2")
    assert [c.state for c in plum.consolidate("ana")] == ["learned", "learned"]
    assert read == [0.25]  # once for all sessions of a run


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
    secret = "the code is 4711, " * 200
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


@pytest.mark.parametrize("trouble", [CacheError("no room"), DivergedError("no number")])
def test_what_the_base_model_can_not_rehearse_is_found_out_once(
    open_plum: OpenPlum, monkeypatch: pytest.MonkeyPatch, trouble: PlumError
) -> None:
    """It is nobody's session's fault, and another user's questions would be made for nothing."""
    asked: list[str] = []

    class Dear(FixedQuestions):
        def make(self, session: Session) -> list[Question]:
            asked.append(session.user_id)
            return super().make(session)

    def refused(*_: Any, **__: Any) -> Any:
        raise trouble

    with monkeypatch.context() as patched:
        patched.setattr("plum_langchain.consolidation.base.everyday_samples", refused)
        plum = open_plum(questions=Dear(), learning=replace(QUICK, everyday_per_batch=1))
        add(plum, "ana", "s1")
        add(plum, "bob", "s1")
        with pytest.raises(type(trouble), match=str(trouble)):
            plum.consolidate()
    assert len(asked) == 1
    assert states(plum, "ana") == states(plum, "bob") == {"s1": "finished"}


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
