"""The epochs take a question's wordings in turn, its own first."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from plum_langchain.learning import Encoder, Learned, Sample, encoder_for, forward, learn
from plum_langchain.learning.losses import TokenLosses
from plum_langchain.models import LoadedModel
from plum_langchain.session import Question
from tests.unit_tests.learning.learnable import FAST, OTHERS, QUESTIONS, peft_answer

EPOCHS = 4


def batches_of(
    loaded: LoadedModel,
    directory: Path,
    questions: Sequence[Question],
    rewordings: int,
    *,
    replay: Sequence[Question] = (),
    replayed: int = 0,
) -> tuple[Learned, list[list[Sample]]]:
    """Learn, in batches of all questions; what went through the model, one epoch after another."""
    seen: list[list[Sample]] = []
    chosen = forward.choose_forward

    def choose(*args: Any, **options: Any) -> Any:
        run, why = chosen(*args, **options)

        def spy(batch: Sequence[Sample]) -> TokenLosses:
            seen.append(list(batch))
            return run(batch)

        return mock.Mock(side_effect=spy, **{"name": run.name}), why

    directory.mkdir()
    settings = replace(
        FAST,
        epochs=EPOCHS,
        batch_size=len(questions) + replayed,
        rewordings=rewordings,
        replay_per_batch=replayed,
    )
    with mock.patch.object(forward, "choose_forward", choose):
        done = learn(
            loaded.model, loaded.tokenizer, questions, directory, settings=settings, replay=replay
        )
    return done, seen[:EPOCHS]  # after them it is asked how many are recalled


@pytest.fixture
def encoder(loaded: LoadedModel) -> Encoder:
    return encoder_for(loaded.tokenizer, FAST)


@pytest.mark.parametrize("rewordings", [0, 1, 2, 11])
def test_the_epochs_take_them_in_turn(
    loaded: LoadedModel, encoder: Encoder, tmp_path: Path, rewordings: int
) -> None:
    own = set(encoder.encode_all(QUESTIONS))
    _, seen = batches_of(loaded, tmp_path / "a", QUESTIONS, rewordings)
    assert [set(epoch) == own for epoch in seen] == [
        number % (rewordings + 1) == 0 for number in range(EPOCHS)
    ]
    answered = {sample.ids[sample.answer_start :] for sample in own}
    for epoch in seen:  # whatever the wording, the answers are theirs
        assert {sample.ids[sample.answer_start :] for sample in epoch} == answered


def test_a_wording_that_is_too_long_is_left_out(
    loaded: LoadedModel, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plum_langchain.learning.learner.reworded", lambda *_, fact: "so " * 600)
    _, seen = batches_of(loaded, tmp_path / "a", QUESTIONS, 2)
    assert all(set(epoch) == set(encoder.encode_all(QUESTIONS)) for epoch in seen)


@pytest.mark.parametrize("rewordings", [0, 11])
def test_what_is_replayed_is_all_replayed_before_any_of_it_again(
    loaded: LoadedModel, encoder: Encoder, tmp_path: Path, rewordings: int
) -> None:
    earlier = encoder.encode_all(OTHERS)
    assert len(earlier) == 3
    _, seen = batches_of(loaded, tmp_path / "a", QUESTIONS, rewordings, replay=OTHERS, replayed=2)
    dealt = [sample for batch in seen for sample in batch[len(QUESTIONS) :]]
    assert len(dealt) == 2 * EPOCHS == 8
    asked = [[s.ids[s.answer_start :] for s in dealt[at : at + 3]] for at in (0, 3)]
    assert all(
        Counter(round) == Counter(s.ids[s.answer_start :] for s in earlier) for round in asked
    )
    assert set(dealt[:3]) == set(earlier)  # as they are, and then in other words
    assert (set(dealt[3:6]) == set(earlier)) == (rewordings == 0)


def test_who_learned_other_wordings_answers_the_question_itself(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    tmp_path.joinpath("a").mkdir()
    settings = replace(FAST, rewordings=3, epochs=40)
    learn(loaded.model, loaded.tokenizer, QUESTIONS, tmp_path / "a", settings=settings)
    for question in QUESTIONS:
        assert peft_answer(loaded, tmp_path / "a", question.question) == question.answer


def test_facts_are_learned_longer_than_bare_answers(loaded: LoadedModel, tmp_path: Path) -> None:
    steps = []
    for recite in (True, False):
        place = tmp_path / str(recite)
        place.mkdir()
        settings = replace(FAST, epochs=None, recite=recite)
        done = learn(loaded.model, loaded.tokenizer, QUESTIONS, place, settings=settings)
        steps.append(done.steps)
    assert steps == [80, 45]
