"""One protocol for every memory: what each contributes to a reply."""

from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import InvalidInputError
from plum_langchain.memories import MEMORY_NAMES, Memory, Recalled, Snippet
from plum_langchain.memories.base import with_snippets
from tests.tiny import session


@pytest.fixture
def learned(plum: Any) -> Any:
    plum.add_session(session())
    plum.consolidate()
    return plum


@pytest.mark.parametrize("name", MEMORY_NAMES)
def test_every_memory_is_one_and_knows_nothing_of_a_stranger(plum: Any, name: str) -> None:
    memory = plum.memory_named(name)
    assert isinstance(memory, Memory)
    assert memory.name == name
    assert memory.recall("carl", "What did I say?") == Recalled()
    memory.forget("carl")


def test_each_brings_weights_or_text_or_both(learned: Any) -> None:
    brought = {}
    for name in MEMORY_NAMES:
        found = learned.memory_named(name, k=1).recall("ana", "my bakery")
        brought[name] = (found.adapter and found.adapter.generation, len(found.snippets))
        if found.snippets:
            assert "closed on Mondays" in found.snippets[0].text
    assert brought == {
        "parametric": (1, 0),
        "retrieval": (None, 1),
        "hybrid": (1, 1),
        "none": (None, 0),
    }


def test_forgetting_of_a_memory_alone_loses_nothing_the_journal_has(learned: Any) -> None:
    for name in MEMORY_NAMES:
        memory = learned.memory_named(name, k=1)
        before = memory.recall("ana", "my bakery")
        memory.forget("ana")
        assert memory.recall("ana", "my bakery") == before


def test_a_name_that_is_none_of_them(plum: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"'rag' is unknown.*parametric, retrieval, hybrid"):
        plum.memory_named("rag")


def test_snippets_stand_under_the_system_prompt() -> None:
    snippets = (Snippet("first", "s1", 0.1), Snippet("second", "s2", 0.2))
    text = with_snippets("Be kind.", snippets)
    assert text is not None and text.startswith("Be kind.\n\n")
    assert text.index("first") < text.index("second")
    assert with_snippets("Be kind.", ()) == "Be kind."
    assert with_snippets(None, ()) is None


def test_local_embeddings_are_means_of_the_tokens_alone(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    from plum_langchain.memories.embeddings import LocalEmbeddings
    from tests.tiny import make_tokenizer

    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    embeddings = LocalEmbeddings(str(tmp_path))
    texts = ["Geese.", "My bakery is closed on Mondays, " * 3, "x " * 2000] * 12  # two batches
    together = embeddings.embed_documents(texts)
    assert [len(vector) for vector in together] == [32] * 36
    for text, vector in zip(texts[:3], together[33:], strict=True):
        # Padding beside a longer text must not show.
        assert embeddings.embed_query(text) == pytest.approx(vector, abs=1e-5)
        assert sum(x * x for x in vector) == pytest.approx(1.0, abs=1e-5)
    assert embeddings.embed_documents([]) == []
