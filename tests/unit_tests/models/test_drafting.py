"""Many short replies at once: each is what the model would say alone, drawn with a seed."""

import threading

import pytest
import torch

from plum_langchain.errors import InvalidInputError, StoppedError
from plum_langchain.learning.template import Message
from plum_langchain.models import Engine, Sampling
from tests.unit_tests.models.conftest import ASKED, Shelf

CHATS: list[list[Message]] = [
    [{"role": "user", "content": text}]
    for text in ("Hello", ASKED, "Is it a bakery, and if so, which day is it closed?", "Is it?")
]
COLD = Sampling(max_new_tokens=12, temperature=1e-4)
WARM = Sampling(max_new_tokens=12, temperature=1.0)


def test_cold_drafts_are_the_greedy_reply(shelf: Shelf, engine: Engine) -> None:
    """Prompts of different lengths in one batch, read once for both replies, with an adapter."""
    lora = engine.reader(shelf.refs["ana"].path)
    drafts = engine.drafts(CHATS, lora, number=2, sampling=COLD, seed=0)
    greedy = [engine.chat(c, shelf.refs["ana"], Sampling(max_new_tokens=12)).text for c in CHATS]
    assert drafts == [[text.strip(), text.strip()] for text in greedy]
    assert engine.drafts(CHATS, None, number=2, sampling=COLD, seed=0) != drafts


def test_a_model_whose_reading_cannot_be_shared_drafts_the_same(
    shelf: Shelf, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = engine.reader(shelf.refs["ana"].path)
    shared = engine.drafts(CHATS, lora, number=2, sampling=COLD, seed=0)
    monkeypatch.delattr("transformers.cache_utils.DynamicLayer.batch_repeat_interleave")
    assert engine.drafts(CHATS, lora, number=2, sampling=COLD, seed=0) == shared


def test_a_seed_draws_the_same_and_another_seed_something_else(engine: Engine) -> None:
    first = engine.drafts(CHATS, None, number=4, sampling=WARM, seed=1)
    assert [len(replies) for replies in first] == [4, 4, 4, 4]
    assert len({text for replies in first for text in replies}) > 8
    assert engine.drafts(CHATS, None, number=4, sampling=WARM, seed=1) == first
    assert engine.drafts(CHATS, None, number=4, sampling=WARM, seed=2) != first


def test_what_others_draw_is_not_changed(engine: Engine) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    engine.drafts(CHATS, None, number=2, sampling=WARM, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_many_chats_come_back_in_their_order(shelf: Shelf, engine: Engine) -> None:
    lora = engine.reader(shelf.refs["ana"].path)
    chats = CHATS * 20  # several batches, dealt by length
    drafts = engine.drafts(chats, lora, number=1, sampling=COLD, seed=0)
    assert drafts == drafts[:4] * 20


def test_one_that_is_too_long_is_refused(engine: Engine) -> None:
    long: list[Message] = [{"role": "user", "content": "bakery " * 5000}]
    with pytest.raises(InvalidInputError, match="tokens"):
        engine.drafts([long], None, number=1, sampling=COLD, seed=0)
    assert engine.drafts([], None, number=1, sampling=COLD, seed=0) == []


@pytest.mark.parametrize(("what", "batches"), [("drafts", 12), ("states", 3)])
def test_between_two_batches_the_engine_is_for_whoever_waits(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, what: str, batches: int
) -> None:
    answers: list[str] = []

    def ask() -> None:
        answers.append(engine.chat(CHATS[1], None, Sampling(max_new_tokens=4)).text)

    def pause(seconds: float) -> None:
        assert 0 < seconds < 0.1
        other = threading.Thread(target=ask)
        other.start()
        other.join(timeout=30)

    monkeypatch.setattr("plum_langchain.models.reading.time.sleep", pause)
    chats = CHATS * 12
    if what == "drafts":
        engine.drafts(chats, None, number=1, sampling=COLD, seed=0)
    else:
        engine.states(chats, 1)
    assert len(answers) == batches - 1
    assert len(set(answers)) == 1


def test_it_stops_before_the_next_batch(engine: Engine) -> None:
    asked: list[bool] = []

    def should_stop() -> bool:
        asked.append(len(asked) == 1)
        return asked[-1]

    with pytest.raises(StoppedError, match="44 of 48 texts"):
        engine.drafts(CHATS * 12, None, number=1, sampling=COLD, seed=0, should_stop=should_stop)
    asked.clear()
    with pytest.raises(StoppedError, match="32 of 48 texts"):
        engine.states(CHATS * 12, 1, should_stop=should_stop)
