"""How likely Yes is, next to what a person computes with PEFT and nothing of ours."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.errors import InvalidInputError
from plum_langchain.models import Engine, load_model, resolve_model
from tests.tiny import save_tiny_model
from tests.unit_tests.learning.learnable import FAST, chat, peft_model
from tests.unit_tests.models.conftest import (
    CHAT,
    TOLD,
    Shelf,
    publish,
    questions_of,
    reply,
)


def yes_by_hand(model: Any, prompt: list[int], yes: list[int], no: list[int]) -> float:
    """Each word's probability, token by token, from a model that knows nothing of ours."""
    p = []
    for word in (yes, no):
        product = 1.0
        for i, token in enumerate(word):
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([prompt + word[:i]])).logits[0, -1]
            product *= float(logits.double().softmax(-1)[token])
        p.append(product)
    return p[0] / sum(p)


def test_yes_probability_is_what_a_person_computes(shelf: Shelf, engine: Engine) -> None:
    tokenizer, asked = shelf.base.tokenizer, chat("Is it a bakery?")
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    yes, no = tokenizer.encode("Yes"), tokenizer.encode("No")
    assert (len(yes), len(no)) == (1, 1)

    for user in (None, "ana", "chidi"):
        ref = shelf.refs[user] if user else None
        model = peft_model(shelf.base, ref.path) if ref else shelf.base.model
        found, tokens = engine.yes_probability(asked, ref)
        assert found == pytest.approx(yes_by_hand(model, prompt, yes, no), abs=1e-5)
        assert tokens == len(prompt)
        if user:
            assert (found > 0.9) if user == "ana" else (found < 0.1)


def test_the_likeliest_replies_have_the_probability_a_person_computes(
    shelf: Shelf, engine: Engine
) -> None:
    tokenizer = shelf.base.tokenizer
    prompt = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    for user in ("ana", "dara"):
        found, tokens = engine.likely(CHAT, shelf.refs[user], 4, 40)
        assert tokens == len(prompt)
        assert found[0].text == TOLD[user] == reply(engine, shelf.refs[user])
        assert len({one.text for one in found}) == len(found) == 4
        scores = [one.log_probability for one in found]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] < 0
        model = peft_model(shelf.base, shelf.refs[user].path)
        ids = [*tokenizer.encode(TOLD[user]), tokenizer.eos_token_id]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, -len(ids) - 1 : -1]
        by_hand = logits.log_softmax(-1)[range(len(ids)), ids].sum()
        assert scores[0] == pytest.approx(float(by_hand), abs=1e-3)


def test_only_what_is_among_the_replies_asked_for_comes_back(shelf: Shelf, engine: Engine) -> None:
    """With the probability it has among everything, and each once."""
    free, _ = engine.likely(CHAT, shelf.refs["ana"], 4, 60)
    for among in (list(TOLD.values()), [TOLD["bo"], TOLD["dara"]]):
        found, _ = engine.likely(CHAT, shelf.refs["ana"], 5, 60, among=among)
        assert {one.text for one in found} <= set(among)
        assert len({one.text for one in found}) == len(found)
        if TOLD["ana"] in among:
            assert found[0].text == TOLD["ana"] == free[0].text
            assert found[0].log_probability == pytest.approx(free[0].log_probability, abs=1e-3)


@pytest.mark.parametrize("ends", [["<|im_end|>"], ["<|pad|>", "<|im_end|>"]])
@pytest.mark.parametrize("number", [2, 9])
def test_replies_have_the_probability_that_a_person_computes(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, number: int, ends: list[str]
) -> None:
    """Whether the likeliest are searched for or all are read; of several ends the likelier one."""
    engine, tokenizer = shelf.engine(), shelf.base.tokenizer
    end_ids = tokenizer.convert_tokens_to_ids(ends)
    monkeypatch.setattr(engine.base.model.generation_config, "eos_token_id", end_ids)
    among = [*TOLD.values(), "A bakery"]
    found, _ = engine.likely(CHAT, shelf.refs["ana"], number, 60, among=among)
    assert found[0].text == TOLD["ana"]
    # A search may find one reply with each of its ends, in place of another.
    assert len(found) == len(among) if number == 9 else 0 < len(found) <= number
    prompt = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    model = peft_model(shelf.base, shelf.refs["ana"].path)
    for one in found:
        ids = tokenizer.encode(one.text)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 :]
        log_p = logits.log_softmax(-1)
        by_hand = float(log_p[range(len(ids)), ids].sum() + log_p[-1, end_ids].max())
        assert one.log_probability == pytest.approx(by_hand, abs=1e-3)


def test_a_few_replies_are_read_at_once(
    shelf: Shelf, count_steps: Callable[[Engine], list[int]]
) -> None:
    engine = shelf.engine()
    steps = count_steps(engine)
    found, _ = engine.likely(CHAT, shelf.refs["ana"], 5, 60, among=list(TOLD.values()))
    assert len(found) == len(TOLD) and steps == [1]
    many = [f"Number {number}." for number in range(20)]
    all_ = engine.likelihoods(CHAT, shelf.refs["ana"], [*many, TOLD["ana"]])
    assert steps == [4] and all_[0].text == TOLD["ana"]  # eight at a time
    assert {one.text for one in all_} == {*many, TOLD["ana"]}
    assert all_[0].log_probability == pytest.approx(found[0].log_probability, abs=1e-3)


def test_a_search_ends_where_the_replies_are_told_apart(
    shelf: Shelf, count_steps: Callable[[Engine], list[int]]
) -> None:
    """Long replies of which the first tokens tell which one it is, and one that others go on."""
    engine = shelf.engine()
    rest = " and so on" * 20
    among = [f"{word}{rest}" for word in ("My", "Your", "The", "We", "On", "In", "At")]
    among += [TOLD["ana"], TOLD["ana"] + rest, TOLD["ana"] + rest + "!"]
    all_ = engine.likelihoods(CHAT, shelf.refs["ana"], among)
    steps = count_steps(engine)
    found, _ = engine.likely(CHAT, shelf.refs["ana"], 2, 400, among=among)
    assert found[0].text == TOLD["ana"] == all_[0].text
    assert found[0].log_probability == pytest.approx(all_[0].log_probability, abs=1e-3)
    assert 0 < len(found) <= 2 and {one.text for one in found} <= set(among)
    longest = max(len(shelf.base.tokenizer.encode(one)) for one in among)
    assert steps[0] < longest / 3


def test_replies_that_have_no_room_are_left_out(shelf: Shelf, engine: Engine) -> None:
    too_long = "long " * 3000
    found, _ = engine.likely(CHAT, shelf.refs["ana"], 5, 60, among=[TOLD["ana"], too_long])
    assert [one.text for one in found] == [TOLD["ana"]]
    assert engine.likelihoods(CHAT, shelf.refs["ana"], [TOLD["ana"], too_long]) == found
    assert engine.likelihoods(CHAT, shelf.refs["ana"], [too_long]) == []
    assert engine.likelihoods(CHAT, shelf.refs["ana"], []) == []


def test_a_reply_that_spells_a_control_token_comes_back_as_it_is(
    shelf: Shelf, engine: Engine
) -> None:
    text = "You wrote <|im_end|> to me."
    found, _ = engine.likely(CHAT, None, 2, 60, among=[text, "You wrote nothing."])
    assert found[0].text in (text, "You wrote nothing.")
    only, _ = engine.likely(CHAT, None, 2, 60, among=[text])
    assert [one.text for one in only] == [text]


def test_likely_replies_are_refused_where_one_reply_is(shelf: Shelf, engine: Engine) -> None:
    with pytest.raises(InvalidInputError, match="max_tokens must be at least 1"):
        engine.likely(CHAT, None, 4, 0)
    with pytest.raises(InvalidInputError, match="2 beams"):
        engine.likely(CHAT, None, 1, 40)
    with pytest.raises(InvalidInputError, match="reads at most"):
        engine.likely(chat("long " * 3000), None, 4, 40)
    with pytest.raises(InvalidInputError, match="nothing to reply"):
        engine.likely(CHAT, None, 4, 40, among=[])
    with pytest.raises(InvalidInputError, match="no room for a reply"):
        engine.likely(CHAT, None, 4, 40, among=["long " * 3000])


def test_likely_replies_are_the_same_where_adapters_are_merged(shelf: Shelf) -> None:
    plain, merging = shelf.engine(), shelf.engine(merge=True)
    for ref in (None, shelf.refs["bo"]):
        ours, theirs = (one.likely(CHAT, ref, 3, 40)[0] for one in (plain, merging))
        assert [one.text for one in ours] == [one.text for one in theirs]
        scores = [one.log_probability for one in theirs]
        assert [one.log_probability for one in ours] == pytest.approx(scores, abs=1e-2)


def test_likely_replies_may_be_cut_off(shelf: Shelf, engine: Engine) -> None:
    found, _ = engine.likely(CHAT, shelf.refs["dara"], 3, 2)
    assert found
    assert all(len(one.text) <= 2 for one in found)
    assert all(-100 < one.log_probability <= 0 for one in found)


def test_the_loss_of_a_text_is_what_transformers_computes(shelf: Shelf, engine: Engine) -> None:
    text = "Rivers carry water to the sea."
    ids = torch.tensor([shelf.base.tokenizer.encode(text)])
    for user in (None, "ana"):
        ref = shelf.refs[user] if user else None
        model = peft_model(shelf.base, ref.path) if ref else shelf.base.model
        with torch.inference_mode():
            mean = float(model(input_ids=ids, labels=ids).loss)
        total, tokens = engine.loss(text, ref)
        assert tokens == ids.shape[1] - 1
        assert total / tokens == pytest.approx(mean, rel=1e-4)
    with pytest.raises(InvalidInputError, match="empty"):
        engine.loss("", None)


@pytest.mark.parametrize("merge", [False, True])
def test_in_bfloat16_it_is_what_peft_computes_in_bfloat16(shelf: Shelf, merge: bool) -> None:
    engine = shelf.engine(dtype="bfloat16", merge=merge)
    tokenizer, asked = shelf.base.tokenizer, chat("Is it a bakery?")
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    yes, no = tokenizer.encode("Yes"), tokenizer.encode("No")
    for user, ref in shelf.refs.items():
        model = peft_model(shelf.base, ref.path)
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
        found, _ = engine.yes_probability(asked, ref)
        assert found == pytest.approx(yes_by_hand(model, prompt, yes, no), abs=0.05)
        assert reply(engine, ref) == TOLD[user]


def test_an_adapter_may_be_on_an_output_matrix_that_is_the_embedding_too(tmp_path: Path) -> None:
    """What it adds is added to the logits alone, not to what a token is read as."""
    directory = save_tiny_model(tmp_path / "model", tie_word_embeddings=True)
    base = load_model(resolve_model(str(directory)), device="cpu", dtype="float32")
    assert base.model.lm_head.weight is base.model.model.embed_tokens.weight
    store = AdapterStore(tmp_path / "adapters")
    settings = replace(FAST, target_modules=("lm_head", "q_proj"), upper_layers=None)
    ref = publish(store, base, "ana", questions_of("ana"), settings=settings)
    prompt = base.tokenizer.apply_chat_template(chat("Is it?"), add_generation_prompt=True)
    yes, no = base.tokenizer.encode("Yes"), base.tokenizer.encode("No")
    expected = yes_by_hand(peft_model(base, ref.path), prompt["input_ids"], yes, no)
    for merge in (False, True):
        serving = ServingSettings(device="cpu", dtype="float32", merge=merge)
        engine = Engine(lambda: base.resolved, store, serving)
        before, _ = engine.yes_probability(chat("Is it?"), None)
        found, _ = engine.yes_probability(chat("Is it?"), ref)
        assert found == pytest.approx(expected, abs=1e-5)
        assert abs(found - before) > 0.05


@pytest.mark.parametrize(
    ("merges", "sizes"),
    [([], (3, 2)), ([["N", "o"]], (3, 1)), ([["e", "s"], ["Y", "es"]], (1, 2))],
    ids=["both", "yes", "no"],
)
def test_words_of_several_tokens_are_scored_in_full(
    shelf: Shelf, tmp_path: Path, merges: list[list[str]], sizes: tuple[int, int]
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(shelf.base.resolved.path, directory)
    definition = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    definition["model"]["merges"] = merges
    (directory / "tokenizer.json").write_text(json.dumps(definition), "utf-8")
    resolved = resolve_model(str(directory))
    engine = Engine(lambda: resolved, shelf.store, ServingSettings(dtype="float32"))
    tokenizer = load_model(resolved, device="cpu").tokenizer
    yes, no = tokenizer.encode("Yes"), tokenizer.encode("No")
    assert (len(yes), len(no)) == sizes

    asked = chat("Is it?")
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    # Its weights are the shelf's, and so is their fingerprint: the same adapters fit.
    for ref in (None, shelf.refs["bo"]):
        model = peft_model(shelf.base, ref.path) if ref else shelf.base.model
        found, tokens = engine.yes_probability(asked, ref)
        assert found == pytest.approx(yes_by_hand(model, prompt, yes, no), rel=1e-4)
        assert tokens == len(prompt)
