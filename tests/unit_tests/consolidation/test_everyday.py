"""What the base model says in everyday life is asked once, and kept as it is."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.consolidation import everyday as module
from plum_langchain.consolidation.everyday import (
    everyday_exchanges,
    everyday_samples,
    prompts,
)
from plum_langchain.errors import CacheError, DivergedError, StoppedError
from plum_langchain.evaluation.everyday import everyday_prompts
from plum_langchain.learning import Encoder, Exchange, encoder_for, learn
from plum_langchain.learning.rehearsal import rehearsed
from plum_langchain.models import Engine, LoadedModel, Sampling, load_model, resolve_model
from tests.unit_tests.learning.learnable import FAST, QUESTIONS, make_learnable


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "everyday"


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> LoadedModel:
    directory = make_learnable(tiny_model, tmp_path / "model")
    return load_model(resolve_model(str(directory)), device="cpu", dtype="float32")


@pytest.fixture
def encoder(base: LoadedModel) -> Encoder:
    return encoder_for(base.tokenizer, FAST)


def never() -> bool:
    return False


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked = ["Hello", "What is the opposite of 'hot'?", "Tell me a joke."]
    monkeypatch.setattr(module, "prompts", lambda: asked)
    return asked


def test_nothing_that_is_learned_is_asked_when_it_is_measured() -> None:
    assert len(prompts()) == len(set(prompts())) == 130
    assert set(prompts()).isdisjoint(prompt.prompt for prompt in everyday_prompts())


@pytest.mark.usefixtures("cache", "few")
def test_the_replies_are_the_base_model_s_own(base: LoadedModel, tmp_path: Path) -> None:
    """One by one, without padding, through the engine that serves."""
    engine = Engine(
        lambda: base.resolved,
        AdapterStore(tmp_path),
        ServingSettings(device="cpu", dtype="float32"),
    )
    found = everyday_exchanges(base, never)
    assert found
    for exchange in found:
        alone = engine.chat(
            [{"role": "user", "content": exchange.prompt}], None, Sampling(max_new_tokens=32)
        )
        assert alone.text.strip() == exchange.reply
        assert exchange.whole == (alone.finish_reason == "stop")


@pytest.mark.usefixtures("few")
def test_they_are_made_once_for_a_model(
    base: LoadedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = everyday_exchanges(base, never)
    (kept,) = cache.glob("*.jsonl")
    assert kept.name.startswith(base.resolved.fingerprint)
    monkeypatch.setattr(module, "_made", None)  # a second time would be an error
    assert everyday_exchanges(base, never) == first


@pytest.mark.usefixtures("few")
def test_they_are_read_once_for_a_model_and_expected_to_the_bit(
    base: LoadedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_for(base.tokenizer, FAST)
    first = everyday_samples(base, encoder, weight=0.5)
    (kept,) = cache.with_name("expected").glob("*.safetensors")
    assert kept.name.startswith(base.resolved.fingerprint)
    read = rehearsed(base.model, first, never)
    monkeypatch.setattr(module, "write_expected", None)  # a second time would be an error
    again = everyday_samples(base, encoder, weight=0.25)
    for one, two, now in zip(first, again, read, strict=True):
        assert one.expected is not None and two.expected is not None and now.expected is not None
        for name in ("tokens", "shares"):
            assert getattr(one.expected, name).equal(getattr(now.expected, name))
            assert getattr(two.expected, name).equal(getattr(now.expected, name))
        assert set(two.weights) == {0.0, 0.25}


def test_whoever_reads_otherwise_reads_anew(base: LoadedModel, cache: Path, few: list[str]) -> None:
    """Under another system prompt, other exchanges, or of fewer of them."""
    kept = cache.with_name("expected")
    encoder = encoder_for(base.tokenizer, FAST)
    prompted = encoder_for(base.tokenizer, replace(FAST, system_prompt="You bake."))
    lengths = [len(one.ids) for one in everyday_samples(base, encoder, weight=1.0)]
    shorter = encoder_for(base.tokenizer, replace(FAST, max_sample_tokens=max(lengths) - 1))
    for number, reader in enumerate([encoder, prompted, shorter], start=1):
        everyday_samples(base, reader, weight=1.0)
        assert len(list(kept.glob("*.safetensors"))) == number
    few.append("Good evening")
    everyday_samples(base, encoder, weight=1.0)
    assert len(list(kept.glob("*.safetensors"))) == 4


@pytest.mark.usefixtures("few")
def test_the_newest_few_are_kept(
    base: LoadedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 2)
    seen: list[set[str]] = []
    for prompt in ("One.", "Two.", "Three."):
        encoder = encoder_for(base.tokenizer, replace(FAST, system_prompt=prompt))
        everyday_samples(base, encoder, weight=1.0)
        seen.append({one.name for one in cache.with_name("expected").glob("*.safetensors")})
    assert [len(names) for names in seen] == [1, 2, 2]
    assert seen[2] & seen[0] == set() and len(seen[2] & seen[1]) == 1


@pytest.mark.usefixtures("few")
def test_reading_can_be_stopped_and_what_is_no_number_is_not_kept(
    base: LoadedModel, cache: Path
) -> None:
    encoder = encoder_for(base.tokenizer, FAST)
    everyday_exchanges(base, never)
    with pytest.raises(StoppedError, match="were read"):
        everyday_samples(base, encoder, weight=1.0, should_stop=lambda: True)
    with torch.no_grad():
        base.model.lm_head.weight.fill_(math.nan)
    with pytest.raises(DivergedError, match=r"in float32 expects .*dtype='float32'"):
        everyday_samples(base, encoder, weight=1.0)
    assert not list(cache.with_name("expected").glob("*.safetensors*[!k]"))


@pytest.mark.usefixtures("few")
def test_nothing_to_read_is_nothing_to_keep(
    base: LoadedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_made", lambda *_: [])
    assert everyday_samples(base, encoder_for(base.tokenizer, FAST), weight=1.0) == []


@pytest.mark.usefixtures("few")
def test_a_cut_file_is_told(base: LoadedModel, cache: Path) -> None:
    encoder = encoder_for(base.tokenizer, FAST)
    everyday_samples(base, encoder, weight=1.0)
    (kept,) = cache.with_name("expected").glob("*.safetensors")
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CacheError, match="delete it, and it is worked out anew"):
        everyday_samples(base, encoder, weight=1.0)


def test_other_prompts_are_asked_anew(base: LoadedModel, cache: Path, few: list[str]) -> None:
    everyday_exchanges(base, never)
    few.append("Good evening")
    everyday_exchanges(base, never)
    assert len(list(cache.glob("*.jsonl"))) == 2


def test_one_that_is_too_long_is_left_out_and_said(
    base: LoadedModel, cache: Path, few: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    few.append("word " * 600)
    encoder = encoder_for(base.tokenizer, FAST)
    found = everyday_samples(base, encoder, weight=0.5)
    assert len(found) == len(everyday_exchanges(base, never)) - 1
    assert "1 of 4" in caplog.text
    assert "max_sample_tokens" in caplog.text
    for sample in found:
        assert sample.expected is not None
        assert set(sample.weights) == {0.0, 0.5}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("replies", [["Hi!\u2028 \x85 \u2029Ho!", "Wie schön!"], []])
def test_whatever_the_replies_hold_they_are_read_as_they_were(
    base: LoadedModel, cache: Path, monkeypatch: pytest.MonkeyPatch, replies: list[str]
) -> None:
    made = [Exchange("Hello", reply, True) for reply in replies]
    monkeypatch.setattr(module, "_made", lambda *_: made)
    assert everyday_exchanges(base, never) == made


@pytest.mark.usefixtures("few")
def test_asking_can_be_stopped(base: LoadedModel, cache: Path) -> None:
    with pytest.raises(StoppedError, match="everyday"):
        everyday_exchanges(base, lambda: True)
    assert not list(cache.glob("*.jsonl"))  # nothing half made


def test_a_reply_that_goes_on_is_not_ended(base: LoadedModel, encoder: Encoder) -> None:
    whole = encoder.encode_exchange(Exchange("Hello", "Hi there", True))
    cut = encoder.encode_exchange(Exchange("Hello", "Hi there", False))
    assert whole.ids[:-1] == cut.ids
    assert cut.answer_end == len(cut.ids)
    assert "Hi there" in base.tokenizer.decode(cut.ids)
    assert base.tokenizer.decode(whole.ids[-1:]) == "<|im_end|>"


def test_they_make_the_batch_larger_not_the_epoch_longer(base: LoadedModel, tmp_path: Path) -> None:
    encoder = encoder_for(base.tokenizer, FAST)
    exchanges = [Exchange("Hello", "Good day!", True), Exchange("Bye", "Take care!", True)]
    kept = rehearsed(base.model, [encoder.encode_exchange(one) for one in exchanges], never)
    steps = []
    for beside in (0, 2):
        place = tmp_path / str(beside)
        place.mkdir()
        done = learn(
            base.model, base.tokenizer, QUESTIONS, place,
            settings=replace(FAST, everyday_per_batch=beside), everyday=kept,
        )  # fmt: skip
        steps.append(done.steps)
        assert done.recalled == 1.0  # of the questions; they count for none
    assert steps[0] == steps[1]
