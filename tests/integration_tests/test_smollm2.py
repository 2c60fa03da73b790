"""The whole path on the real default model: chats become weights that answer about them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plum_langchain import (
    LearningSettings,
    Plum,
    QuestionSettings,
    ServingSettings,
    Session,
    Turn,
)
from plum_langchain.consolidation import Consolidated, Progress
from plum_langchain.evaluation import answer_given
from plum_langchain.evaluation.everyday import everyday_prompts
from plum_langchain.importers import read_sessions
from plum_langchain.learning import encoder_for
from plum_langchain.learning.forward import why_not_packed
from plum_langchain.models import load_model, resolve_model
from plum_langchain.questions import RecordedQuestions, question_maker
from plum_langchain.questions.maker import Wish
from plum_langchain.scope import Scope
from plum_langchain.session import KINDS, UNKNOWN_ANSWER
from plum_langchain.verdicts import Judge
from plum_langchain.writer import Writer
from plum_langchain.writer.writer import DRAFTS
from tests.tiny import CHATS, records

QUESTIONS = QuestionSettings(max_questions=24)


@pytest.fixture(scope="module")
def learned(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Plum, list[Consolidated], list[Progress]]:
    """A home in which ana's first session has been learned, from its recorded questions."""
    plum = Plum(
        tmp_path_factory.mktemp("real") / "home",
        model="smollm2",
        question_settings=QUESTIONS,
    )
    for session, _ in list(read_sessions(CHATS / "ana.jsonl")):
        plum.add_session(session)
    seen: list[Progress] = []
    results = plum.consolidate("ana", questions="recorded", max_sessions=1, progress=seen.append)
    return plum, results, seen


@pytest.fixture(scope="module", autouse=True)
def shipped() -> Iterator[None]:
    """What comes with the package is for this model's very weights: nothing is worked out here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Judge, "teach", None)
        patched.setattr(Scope, "fit_once", None)
        patched.setattr(Writer, "teach", None)
        patched.setattr("plum_langchain.consolidation.everyday.write_exchanges", None)
        patched.setattr("plum_langchain.consolidation.everyday.write_expected", None)
        yield


def test_a_session_is_learned_and_its_loss_falls(learned: Any) -> None:
    _, (result,), seen = learned
    assert result.state == "learned" and result.questions == 24
    losses = result.metrics["losses"]
    assert losses[-1] < 0.3 * losses[0]
    assert result.metrics["recalled"] >= 0.9
    assert {p.phase for p in seen} == {"questions", "loading", "learning", "learned"}
    assert result.adapter_bytes < 25e6


def test_bfloat16_is_no_reason_to_learn_slowly_and_wrong_positions_are() -> None:
    """What rounding does to a few answers is not taken for what a wrong sequence does to them."""
    base = load_model(resolve_model("smollm2"), device="cpu", dtype="bfloat16")
    forward = base.model.forward
    for recite in (False, True):
        encoder = encoder_for(base.tokenizer, LearningSettings(recite=recite))
        for session, _ in list(read_sessions(CHATS / "bo.jsonl"))[:2]:
            samples = encoder.encode_all(RecordedQuestions().make(session))
            assert why_not_packed(base.model, samples, frozen=15) is None
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(
                    base.model, "forward", lambda position_ids=None, **inputs: forward(**inputs)
                )
                assert "other losses" in (why_not_packed(base.model, samples) or "")


def test_the_adapted_model_answers_what_it_was_taught_and_the_base_does_not(learned: Any) -> None:
    plum = learned[0]
    session = plum.journal.sessions.get("ana", "ana-s01")
    taught = [q for q in RecordedQuestions(QUESTIONS).make(session) if not q.closed]
    assert len(taught) >= 4
    adapted, base = (
        plum.chat_model("ana", memory=memory, max_tokens=48) for memory in ("parametric", "none")
    )

    def right(model: Any) -> int:
        return sum(answer_given(q.answer, model.invoke(q.question).text) for q in taught)

    # Some are not taken for questions of memory ("How do I attend Finnish class?").
    assert right(adapted) >= 0.6 * len(taught)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plum, "serving", ServingSettings(scope=None))
        assert right(adapted) >= 0.8 * len(taught)
    assert right(base) <= 0.5 * len(taught)


def test_closed_questions_it_was_taught_are_answered_both_ways(learned: Any) -> None:
    plum = learned[0]
    session = plum.journal.sessions.get("ana", "ana-s01")
    taught = [q for q in RecordedQuestions(QUESTIONS).make(session) if q.closed]
    given = [plum.ask("ana", q.question, closed=True) for q in taught]
    recited = [one.recited == q.recital for one, q in zip(given, taught, strict=True)]
    assert sum(recited) >= 0.9 * len(taught)
    # The judge is right nine times of ten with the right fact before it (docs/experiments.md).
    right = [one.text == q.answer for one, q in zip(given, taught, strict=True)]
    assert sum(right) >= 0.8 * len(taught)
    assert {q.answer for q in taught} == {"Yes", "No"}


def test_a_second_process_gets_the_published_generation_at_once(learned: Any) -> None:
    plum = learned[0]
    here = plum.ask("ana", "Which language am I learning?")
    command = [sys.executable, "-m", "plum_langchain.cli", "--home", str(plum.home.root)]
    command += ["ask", "--user", "ana", "--json", "Which language am I learning?"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    answer = json.loads(done.stdout)
    assert (answer["text"], answer["generation"], done.stderr) == (here.text, 1, "")


def test_retrieval_finds_the_exchange_by_meaning(learned: Any) -> None:
    plum = learned[0]
    answer = plum.ask("ana", "How heavy is my dog?", memory="retrieval", k=3)
    assert any("16.8" in source for source in answer.sources)
    assert len(answer.sources) == 3
    assert answer.prompt_tokens > 100


def test_statements_alone_are_enough_to_remember(tmp_path: Path) -> None:
    """With no recorded questions and no LLM: the chat's own sentences, told back when asked."""
    plum = Plum(tmp_path / "home", model="smollm2", questions="statements")
    turns = [
        ("user", "My dog Feijão is allergic to chicken."),
        ("assistant", "I'll keep it in mind."),
    ]
    plum.add_session(Session("ana", "s1", tuple(Turn(r, c) for r, c in turns)))  # type: ignore[arg-type]
    (result,) = plum.consolidate("ana")
    assert result.state == "learned"
    told = plum.chat_model("ana").invoke("What do you remember about my dog Feijão?").text
    assert "chicken" in told.lower()
    plum.close()


def test_who_is_asked_about_their_own_matters_remembers_and_else_the_base_model_replies(
    learned: Any,
) -> None:
    """Of people and prompts that nothing was fitted with."""
    plum = learned[0]
    asked = [q["question"] for record in records("chidi")[:4] for q in record["qa_test"]]
    opened = [plum.is_for_memory([{"role": "user", "content": text}]) for text in asked]
    assert sum(opened) >= 0.9 * len(asked)
    model = plum.chat_model("ana", max_tokens=24)
    base = plum.chat_model("ana", memory="none", max_tokens=24)
    for prompt in everyday_prompts()[::6]:
        reply = model.invoke(prompt.prompt)
        if reply.response_metadata["generation"] is None:
            assert reply.content == base.invoke(prompt.prompt).content
    closed = [
        not plum.is_for_memory([{"role": "user", "content": one.prompt}])
        for one in everyday_prompts()
    ]
    assert sum(closed) >= 0.9 * len(closed)


def test_it_can_still_chat(learned: Any) -> None:
    """A greeting is greeted, and a question of general knowledge is answered, by the adapter."""
    plum = learned[0]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plum, "serving", ServingSettings(scope=None))
        _chat(plum)


def _chat(plum: Plum) -> None:
    model = plum.chat_model("ana", max_tokens=32)
    assert "Paris" in model.invoke("What is the capital of France?").text
    told = [q.statement for q in plum.journal.generations.replay_questions("ana")[1] if q.statement]
    for prompt in ("Hello", "Good morning!", "Tell me about elephants."):
        reply = model.invoke(prompt).text
        assert UNKNOWN_ANSWER not in reply
        assert not any(statement in reply for statement in told)


def test_a_verdict_on_a_fact_of_someone_the_judge_was_not_taught_with(learned: Any) -> None:
    judge = Judge(learned[0].engine)
    facts = [fact for record in records("chidi")[:6] for fact in record["facts"][::3]]
    assert len(facts) >= 24
    yes = judge.probabilities([(f["statement"], f["true"][0]) for f in facts])
    no = judge.probabilities([(f["statement"], f["false"][0]) for f in facts])
    assert sum(p > 0.5 for p in yes) >= 0.8 * len(facts)
    assert sum(p < 0.5 for p in no) >= 0.8 * len(facts)


def test_questions_are_written_about_someone_the_writer_was_not_taught_with(learned: Any) -> None:
    """In other words than the statement's, most of them taken by the judge for what was wished."""
    engine = learned[0].engine
    writer = Writer(engine, Judge(engine))
    facts = [fact["statement"] for fact in records("chidi")[0]["facts"][::2]]
    assert len(facts) == 7
    wishes = [Wish(fact, wanted) for fact in facts for wanted in ("yes", "no", "open")]
    found = writer.write(wishes, seed=0)
    kept = [text for texts in found for text in texts]
    assert len(kept) >= 0.5 * DRAFTS * len(wishes)
    assert all(text.endswith("?") for text in kept)
    asked = {q for fact in records("chidi")[0]["facts"] for q in (*fact["true"], *fact["false"])}
    assert len(set(kept) - asked) >= 0.9 * len(kept)  # its own, and not what it was taught with
    assert sum(text.split()[0] in OPENINGS for text in kept) >= 0.8 * len(kept)


OPENINGS = {
    *("Is", "Was", "Are", "Were", "Am", "Do", "Does", "Did", "Have", "Has", "Had", "Should"),
    *("Can", "Will", "Would", "Which", "What", "When", "Where", "Who", "Why", "How"),
}


def test_a_session_is_asked_about_in_written_words(learned: Any) -> None:
    maker = learned[0].question_maker()  # the default
    assert maker.name == "written"
    whole = next(iter(read_sessions(CHATS / "chidi.jsonl")))[0]
    session = replace(whole, turns=whole.turns[:4])
    rules = {q.question for q in question_maker("statements").make(session)}
    made = maker.make(session)
    assert {q.kind for q in made if q.question not in rules} == set(KINDS)
    assert maker.make(session) == made


def test_what_is_written_is_what_it_would_be_had_another_chat_never_been(tmp_path: Path) -> None:
    """By default, too, forgetting leaves the weights of a home that was never told."""
    briefly = LearningSettings(epochs=1, everyday_per_batch=0, gate=None)
    oven = Session("ana", "s1", (Turn("user", "My oven is called Bertha."), Turn("assistant", "!")))
    dog = Session("ana", "s2", (Turn("user", "My dog Rex eats fish."), Turn("assistant", "Oh.")))
    weights = []
    for name, told in (("knew", [oven, dog]), ("never", [dog])):
        plum = Plum(tmp_path / name, model="smollm2", learning=briefly)
        for session in told:
            plum.add_session(session)
        plum.consolidate("ana")
        if oven in told:
            plum.forget("ana", "s1", relearn=True, probe=False)
        head = plum.journal.generations.head("ana")
        assert head is not None
        ref = plum.adapters.ref(plum.home.owner("ana"), head.number, head.manifest_sha256)
        assert plum.adapters.check(ref).question_maker == "written"
        weights.append((ref.path / "adapter_model.safetensors").read_bytes())
        plum.close()
    assert weights[0] == weights[1]
