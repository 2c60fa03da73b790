"""A GGUF becomes a safetensors model once, exactly, and never half of one."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from plum_langchain.models import gguf, load_model, resolve_model
from plum_langchain.models.gguf import converted

CHATTY = "{% for m in messages %}{{ '<|im_start|>' + m.content }}{% endfor %}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def gguf_file(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama as llama.cpp would write it, unquantized."""
    from gguf import GGUFWriter

    config = json.loads((tiny_model / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])

    definition = json.loads((tiny_model / "tokenizer.json").read_text("utf-8"))
    vocabulary = definition["model"]["vocab"]
    special = {token["id"] for token in definition["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_types([3 if i in special else 1 for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in definition["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_bos_token_id(vocabulary["<|im_start|>"])
    writer.add_pad_token_id(vocabulary["<|pad|>"])
    writer.add_chat_template(CHATTY)

    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "post_attention_layernorm": "ffn_norm",
        "input_layernorm": "attn_norm",
    }
    for name, tensor in load_file(tiny_model / "model.safetensors").items():
        for heads_of, count in (("q_proj", heads), ("k_proj", kv_heads)):
            if heads_of in name:  # llama.cpp keeps the two halves of a rotation side by side
                rows = tensor.shape[0] // count // 2
                tensor = tensor.reshape(count, 2, rows, -1).swapaxes(1, 2).reshape(tensor.shape)
        short = name.removesuffix(".weight").replace("model.layers.", "blk.")
        for ours, theirs in names.items():
            short = short.replace(ours, theirs)
        writer.add_tensor(f"{short}.weight", tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_conversion_is_exact_and_done_once(
    gguf_file: Path, tiny_model: Path, cache: Path
) -> None:
    told: list[str] = []
    directory = converted(gguf_file, "org/tiny", told.append)
    assert directory.is_relative_to(cache)
    assert len(told) == 1
    assert "org/tiny" in told[0]

    written = load_file(directory / "model.safetensors")
    original = load_file(tiny_model / "model.safetensors")
    assert written.keys() == original.keys()
    assert {t.dtype for t in written.values()} == {torch.float32}
    assert all(torch.equal(written[name], tensor) for name, tensor in original.items())

    loaded = load_model(resolve_model(str(directory)), device="cpu", dtype="float32")
    tokenizer = loaded.tokenizer
    reference = load_model(resolve_model(str(tiny_model)), device="cpu", dtype="float32")
    text = "<|im_start|>user\nWhich day is my bakery closed?<|im_end|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == reference.tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.chat_template == CHATTY
    assert tokenizer.eos_token == "<|im_end|>"
    inputs = torch.tensor([ids])
    assert torch.equal(
        loaded.model(input_ids=inputs).logits, reference.model(input_ids=inputs).logits
    )

    stamp = (directory / "model.safetensors").stat().st_mtime_ns
    assert converted(gguf_file, "org/tiny", told.append) == directory
    assert len(told) == 1
    assert (directory / "model.safetensors").stat().st_mtime_ns == stamp


def test_another_file_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "_convert", lambda _, target: target.mkdir())
    places = set()
    for content in (b"GGUF one", b"GGUF two", b"GGUF longer"):
        (tmp_path / "a.gguf").write_bytes(content)
        places |= {converted(tmp_path / "a.gguf", "a"), converted(tmp_path / "a.gguf", "b")}
    assert len(places) == 6


@pytest.mark.parametrize("death", [OSError("disk full"), KeyboardInterrupt()])
def test_a_conversion_that_fails_half_way_leaves_nothing_and_is_done_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, death: BaseException
) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")

    def half(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")
        raise death

    def whole(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(gguf, "_convert", half)
    with pytest.raises(type(death)):
        converted(file, "org/a")
    assert not [entry for entry in (cache / "models").iterdir() if entry.is_dir()]

    monkeypatch.setattr(gguf, "_convert", whole)
    directory = converted(file, "org/a")
    assert {f.name for f in directory.iterdir()} == {"config.json", "model.safetensors"}


def test_what_a_killed_conversion_left_is_not_taken_for_a_model(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setattr(gguf, "_convert", lambda _, target: target.mkdir())
    directory = converted(file, "org/a")
    # As a process killed while writing leaves it: no final name, half of the files.
    directory.rename(f"{directory}.writing")
    (Path(f"{directory}.writing") / "half").write_bytes(b"")

    assert converted(file, "org/a") == directory
    assert list(directory.iterdir()) == []


def test_two_at_once_convert_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    conversions: list[Any] = []
    both = threading.Barrier(2, timeout=10)

    def slow(_: Path, target: Path) -> None:
        conversions.append(target)
        target.mkdir()
        threading.Event().wait(0.2)

    def ask(_: int) -> Path:
        both.wait()
        return converted(file, "org/a")

    monkeypatch.setattr(gguf, "_convert", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert len(conversions) == 1
