"""What comes with the package for the default model does what it is there for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from plum_langchain import LearningSettings, Plum
from plum_langchain.importers import read_sessions
from plum_langchain.learning import encoder_for
from plum_langchain.learning.forward import why_not_packed
from plum_langchain.models import load_model, resolve_model
from plum_langchain.questions import RecordedQuestions, question_maker
from plum_langchain.questions.maker import Wish
from plum_langchain.session import KINDS
from plum_langchain.verdicts import Judge
from plum_langchain.writer import Writer
from plum_langchain.writer.writer import DRAFTS
from tests.tiny import CHATS, records

pytestmark = pytest.mark.usefixtures("nothing_is_worked_out")


@pytest.fixture(scope="module")
def plum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plum]:
    """A home in which nothing was learned."""
    plum = Plum(tmp_path_factory.mktemp("shipped") / "home")
    yield plum
    plum.close()


def test_a_verdict_on_a_fact_of_someone_the_judge_was_not_taught_with(plum: Plum) -> None:
    judge = Judge(plum.engine)
    facts = [fact for record in records("chidi")[:6] for fact in record["facts"][::3]]
    assert len(facts) >= 24
    yes = judge.probabilities([(f["statement"], f["true"][0]) for f in facts])
    no = judge.probabilities([(f["statement"], f["false"][0]) for f in facts])
    assert sum(p > 0.5 for p in yes) >= 0.8 * len(facts)
    assert sum(p < 0.5 for p in no) >= 0.8 * len(facts)


def test_questions_are_written_about_someone_the_writer_was_not_taught_with(plum: Plum) -> None:
    """In other words than the statement's, most of them taken by the judge for what was wished."""
    engine = plum.engine
    writer = Writer(engine, Judge(engine))
    facts = [fact["statement"] for fact in records("chidi")[0]["facts"]]
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


def test_a_session_is_asked_about_in_written_words(plum: Plum) -> None:
    maker = plum.question_maker()  # the default
    assert maker.name == "written"
    whole = next(iter(read_sessions(CHATS / "chidi.jsonl")))[0]
    session = replace(whole, turns=whole.turns[:4])
    rules = {q.question for q in question_maker("statements").make(session)}
    made = maker.make(session)
    assert {q.kind for q in made if q.question not in rules} == set(KINDS)
    assert maker.make(session) == made


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
