"""One engine answers for everyone: each with their own weights, never with another's."""

import json
import random
import shutil
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from plum_langchain.adapters import AdapterStore, Manifest
from plum_langchain.errors import (
    DamagedAdapterError,
    WrongBaseModelError,
)
from plum_langchain.models import Engine, Sampling, resolve_model
from plum_langchain.models.lora import LoraSwitch
from plum_langchain.models.products import Layer, Merged, Product
from tests.tiny import save_tiny_model
from tests.unit_tests.learning.learnable import peft_answer
from tests.unit_tests.models.conftest import (
    ASKED,
    CHAT,
    GREEDY,
    TOLD,
    Shelf,
    publish,
    questions_of,
    reply,
    streamed,
)

# -- whose answer it is ------------------------------------------------------------------------


@pytest.mark.parametrize("merge", [False, True])
def test_each_user_gets_the_answer_of_their_own_weights(shelf: Shelf, merge: bool) -> None:
    engine = shelf.engine(merge=merge)
    found = {user: reply(engine, ref) for user, ref in shelf.refs.items()}
    assert found == TOLD
    assert found == {
        user: peft_answer(shelf.base, ref.path, ASKED) for user, ref in shelf.refs.items()
    }


def test_nothing_is_loaded_before_the_first_request(shelf: Shelf) -> None:
    loads = []
    engine = Engine(lambda: loads.append(1) or shelf.base.resolved, shelf.store)  # type: ignore[func-returns-value]
    assert (loads, engine.attached) == ([], [])
    reply(engine, None)
    reply(engine, shelf.refs["ana"])
    assert (loads, engine.attached) == ([1], [shelf.refs["ana"].name])


def test_the_base_model_answers_the_same_whatever_was_attached(
    shelf: Shelf, engine: Engine
) -> None:
    greedy = Sampling(max_new_tokens=20)
    sampled = Sampling(max_new_tokens=20, temperature=1.0, seed=3)

    def base() -> tuple[Any, ...]:
        yes = engine.yes_probability(CHAT, None)
        return engine.chat(CHAT, None, greedy), engine.chat(CHAT, None, sampled), yes

    before = base()
    assert before[0].text not in TOLD.values()
    for ref in shelf.refs.values():
        reply(engine, ref)
        assert base() == before
    for owner in ("ana", "bo"):
        engine.drop(owner)
        assert base() == before
    for owner in ("chidi", "dara"):
        engine.drop(owner)
    assert engine.attached == []
    assert base() == before
    assert reply(engine, shelf.refs["ana"]) == TOLD["ana"]


def products_of(engine: Engine) -> list[Product]:
    """Of all linear layers, in the model's order."""
    modules = engine.base.model.modules()
    return list(dict.fromkeys(m.product for m in modules if isinstance(m, Layer)))


def weights_in_use(engine: Engine) -> torch.Tensor:
    """Some of the adapter an engine last answered with."""
    adapters = (product._adapter for product in products_of(engine))
    used = next(adapter for adapter in adapters if adapter is not None)
    return used.weight if isinstance(used, Merged) else used.a


@pytest.mark.parametrize("merge", [False, True])
def test_the_least_recently_used_adapter_goes_first(shelf: Shelf, merge: bool) -> None:
    engine = shelf.engine(max_adapters=2, merge=merge)
    names = {user: ref.name for user, ref in shelf.refs.items()}

    weights: dict[str, weakref.ref[torch.Tensor]] = {}

    def held() -> set[str]:
        """Whose weights are in memory."""
        return {user for user, tensor in weights.items() if tensor() is not None}

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for asked, expected in [
            ("ana", ["ana"]),
            ("bo", ["ana", "bo"]),
            ("ana", ["bo", "ana"]),
            ("chidi", ["ana", "chidi"]),
            ("dara", ["chidi", "dara"]),
            ("ana", ["dara", "ana"]),
            ("bo", ["ana", "bo"]),
        ]:
            assert reply(engine, shelf.refs[asked]) == TOLD[asked]
            weights[asked] = weakref.ref(weights_in_use(engine))
            assert engine.attached == [names[user] for user in expected]
            assert held() == {*expected}


@pytest.mark.parametrize("merge", [False, True])
def test_one_adapter_at_a_time_is_enough(shelf: Shelf, merge: bool) -> None:
    engine = shelf.engine(max_adapters=1, merge=merge)
    base = reply(engine, None)
    for user in ("ana", "bo", "ana", "dara"):
        assert reply(engine, shelf.refs[user]) == TOLD[user]
        assert engine.attached == [shelf.refs[user].name]
        assert reply(engine, None) == base


@pytest.mark.parametrize("merge", [False, True])
def test_room_is_made_before_an_adapter_is_loaded(
    shelf: Shelf, merge: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are never more in memory than may be, not for a moment."""
    engine = shelf.engine(max_adapters=1, merge=merge)
    reply(engine, shelf.refs["ana"])
    anas = weakref.ref(weights_in_use(engine))
    load, held = LoraSwitch.load, []

    def watched(switch: LoraSwitch, directory: Path, **options: Any) -> Any:
        held.append(anas() is not None)
        return load(switch, directory, **options)

    monkeypatch.setattr(LoraSwitch, "load", watched)
    assert reply(engine, shelf.refs["bo"]) == TOLD["bo"]
    assert held == [False]


def test_dropping_a_user_detaches_all_their_generations_and_nobody_else_s(
    shelf: Shelf, tmp_path: Path
) -> None:
    shutil.copytree(shelf.store.root, tmp_path / "adapters")
    store = AdapterStore(tmp_path / "adapters")
    refs = {u: store.ref(u, 1, r.manifest_sha256) for u, r in shelf.refs.items()}
    second = publish(store, shelf.base, "ana", questions_of("bo"), generation=2)
    engine = shelf.engine(store=store)

    assert reply(engine, refs["ana"]) == TOLD["ana"]
    assert reply(engine, refs["dara"]) == TOLD["dara"]
    assert reply(engine, second) == TOLD["bo"]  # ana's second generation; active now
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        engine.drop("ana")
        engine.drop("nobody")
    assert engine.attached == [refs["dara"].name]
    assert not any("plum_ana" in name for name, _ in engine.base.model.named_parameters())
    assert reply(engine, refs["dara"]) == TOLD["dara"]


# -- adapters that can't be used ---------------------------------------------------------------


def test_an_adapter_of_another_base_model_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    other = resolve_model(str(save_tiny_model(tmp_path / "other", seed=1)))
    engine = Engine(lambda: other, shelf.store)
    base = reply(engine, None)

    for ask in (reply, streamed):
        with pytest.raises(WrongBaseModelError) as caught:
            ask(engine, shelf.refs["ana"])
        for part in (shelf.base.resolved.id, shelf.base.resolved.fingerprint, other.id):
            assert part in str(caught.value)
    assert reply(engine, None) == base
    assert engine.attached == []


def test_a_changed_byte_is_noticed_and_hurts_nobody_else(shelf: Shelf, tmp_path: Path) -> None:
    shutil.copytree(shelf.store.root, tmp_path / "adapters")
    store = AdapterStore(tmp_path / "adapters")
    refs = {u: store.ref(u, 1, r.manifest_sha256) for u, r in shelf.refs.items()}
    weights = refs["bo"].path / "adapter_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[len(raw) // 2] ^= 1
    weights.write_bytes(raw)
    engine = shelf.engine(store=store)
    base = reply(engine, None)

    with pytest.raises(DamagedAdapterError, match="differs from its manifest"):
        reply(engine, refs["bo"])
    with pytest.raises(DamagedAdapterError):
        engine.yes_probability(CHAT, refs["bo"])
    assert (reply(engine, None), reply(engine, refs["ana"])) == (base, TOLD["ana"])
    with pytest.raises(DamagedAdapterError):
        reply(engine, refs["bo"])
    assert reply(engine, None) == base


def test_an_adapter_that_fails_while_it_is_put_on_leaves_the_base_model_clean(
    shelf: Shelf, tmp_path: Path
) -> None:
    """As when memory runs out half-way: here its layers are of another size than it says."""
    from safetensors.torch import load_file, save_file

    store = AdapterStore(tmp_path / "adapters")
    good = publish(store, shelf.base, "ana", questions_of("ana"))
    manifest = store.check(good)

    def fill(directory: Path) -> Manifest:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(good.path / name, directory / name)
        state = load_file(directory / "adapter_model.safetensors")
        last = sorted(state)[-1]
        state[last] = torch.ones(3, 3)
        save_file(state, directory / "adapter_model.safetensors")
        return manifest

    bad = store.write("bo", 1, fill)
    engine = shelf.engine(store=store)
    base = reply(engine, None)
    with pytest.raises(DamagedAdapterError, match="no layer in LlamaForCausalLM that it fits"):
        reply(engine, bad)
    assert reply(engine, None) == base
    assert reply(engine, good) == TOLD["ana"]
    with pytest.raises(DamagedAdapterError, match="no layer in LlamaForCausalLM that it fits"):
        reply(engine, bad)
    assert (reply(engine, None), reply(engine, good)) == (base, TOLD["ana"])


@pytest.mark.parametrize(("rank", "says"), [(8, 4), (500, 500)])
def test_an_adapter_of_a_rank_that_cannot_be_is_refused(
    shelf: Shelf, tmp_path: Path, rank: int, says: int
) -> None:
    """More than it says of itself, or than its layers have weights for."""
    from safetensors.torch import load_file, save_file

    store = AdapterStore(tmp_path / "adapters")
    good = publish(store, shelf.base, "ana", questions_of("ana"))
    manifest = store.check(good)

    def fill(directory: Path) -> Manifest:
        config = json.loads((good.path / "adapter_config.json").read_text("utf-8"))
        (directory / "adapter_config.json").write_text(json.dumps({**config, "r": says}))
        state = load_file(good.path / "adapter_model.safetensors")
        for name, tensor in state.items():
            inner = 0 if "lora_A" in name else 1
            shape = [rank if place == inner else size for place, size in enumerate(tensor.shape)]
            state[name] = torch.ones(shape)
        save_file(state, directory / "adapter_model.safetensors")
        return manifest

    with pytest.raises(DamagedAdapterError, match=f"is of rank {rank}, where"):
        reply(shelf.engine(store=store), store.write("bo", 1, fill))


# -- many at once ------------------------------------------------------------------------------


def test_threads_get_the_answers_they_get_alone(shelf: Shelf) -> None:
    engine = shelf.engine(max_adapters=2)  # fewer than the users: adapters come and go meanwhile
    sampled = Sampling(max_new_tokens=12, temperature=1.0, seed=5)

    def ask(job: tuple[str | None, str]) -> Any:
        user, kind = job
        ref = shelf.refs[user] if user else None
        if kind == "chat":
            return engine.chat(CHAT, ref, GREEDY)
        if kind == "sampled":
            return engine.chat(CHAT, ref, sampled)
        if kind == "stream":
            return streamed(engine, ref)
        return engine.yes_probability(CHAT, ref)

    jobs = [
        (user, kind)
        for user in ("ana", "bo", "dara", None)
        for kind in ("chat", "stream", "sampled", "yes")
    ]
    alone = {job: ask(job) for job in jobs}
    assert len({str(alone[user, "chat"]) for user in ("ana", "bo", "dara", None)}) == 4

    many = jobs * 2
    random.Random(0).shuffle(many)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, many))
    for job, found in zip(many, together, strict=True):
        assert found == alone[job], job
    assert len(engine.attached) == 2
