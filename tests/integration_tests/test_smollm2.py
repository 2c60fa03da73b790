"""The whole path on the real default model: chats become weights that answer about them."""

import json
import subprocess
import sys
from typing import Any

import pytest

from plum_langchain import Plum, QuestionSettings, ServingSettings
from plum_langchain.consolidation import Consolidated, Progress
from plum_langchain.evaluation import answer_given
from plum_langchain.evaluation.everyday import everyday_prompts
from plum_langchain.importers import read_sessions
from plum_langchain.questions import RecordedQuestions
from plum_langchain.session import UNKNOWN_ANSWER
from tests.tiny import CHATS, records

pytestmark = pytest.mark.usefixtures("nothing_is_worked_out")

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


def test_a_session_is_learned_and_its_loss_falls(learned: Any) -> None:
    _, (result,), seen = learned
    assert result.state == "learned" and result.questions == 24
    losses = result.metrics["losses"]
    assert losses[-1] < 0.3 * losses[0]
    assert result.metrics["recalled"] >= 0.9
    assert {p.phase for p in seen} == {"questions", "loading", "learning", "learned"}
    assert result.adapter_bytes < 25e6


def test_the_adapted_model_answers_what_it_was_taught_and_the_base_does_not(learned: Any) -> None:
    plum = learned[0]
    session = plum.journal.sessions.get("ana", "ana-s01")
    taught = [q for q in RecordedQuestions(QUESTIONS).make(session) if not q.closed]
    assert len(taught) >= 4
    adapted, base = plum.chat_model("ana", max_tokens=48), plum.chat_model("ana", memory="none")

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
