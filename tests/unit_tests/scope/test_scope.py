"""Which messages ask for what the user told: what is read of a chat, and what is fitted to it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plum_langchain.errors import CacheError, DivergedError, InvalidInputError
from plum_langchain.evaluation.everyday import everyday_prompts, neutral_texts
from plum_langchain.learning.layers import DecoderLayers
from plum_langchain.models import Engine
from plum_langchain.scope import Scope
from plum_langchain.scope.examples import examples, shipped_messages
from plum_langchain.scope.readout import Readout
from plum_langchain.scope.scope import end_of, fitted
from plum_langchain.verdicts.pairs import shipped_pairs
from tests.tiny import CHATS
from tests.unit_tests.models.conftest import Shelf, chat

ASKED = ["Where do I live?", "What's my dog called?"]
OTHERS = ["Hello", "Write a poem.", "What is gold?"]

Chats = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}
    ),
    max_size=9,
)


# -- what is read ------------------------------------------------------------------------------


@given(Chats)
def test_the_end_of_a_chat_is_the_users_last_message_and_what_it_needs(
    messages: list[dict[str, str]],
) -> None:
    read = end_of(messages)
    said = [m["content"] for m in messages if m["role"] == "user"]
    if not said:
        assert read == []
        return
    assert read[-1] == {"role": "user", "content": said[-1][-1000:]}
    assert [message["role"] for message in read] in (["user"], ["user", "assistant", "user"])
    if len(said[-1].split()) >= 4:
        assert len(read) == 1


def test_a_short_message_is_read_with_the_exchange_before_it() -> None:
    before = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where do I live?"},
        {"role": "assistant", "content": "You live in Porto."},
    ]
    for said, alone in (("Since when?", False), ("And since when is that?", True)):
        chat = [*before, {"role": "user", "content": said}]
        assert end_of(chat) == (chat[-1:] if alone else chat[1:])


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("It is a chat.\n\nHuman: Hi\nAI: Hello\nHuman: Where do I live?\nAI:", "Where do I live?"),
        ("Human: Dear Human: me\nwhere do I live?\nAI: ", "Dear Human: me\nwhere do I live?"),
        ("Question: Where do I live?\nAnswer:", "Where do I live?"),
        ("Write a dialogue.\nHuman: Hello\nAI: Hi", "Write a dialogue.\nHuman: Hello\nAI: Hi"),
        ("Where do I live?", "Where do I live?"),
    ],
)
def test_of_a_chains_prompt_the_last_message_is_read(prompt: str, said: str) -> None:
    assert end_of([{"role": "user", "content": prompt}]) == [{"role": "user", "content": said}]


def test_of_a_long_message_the_end_is_read(engine: Engine) -> None:
    scope = Scope(engine)
    asked = "Where do I live?"
    (read,) = end_of(chat("x" * 5000 + asked))
    assert len(read["content"]) == 1000 and read["content"].endswith(asked)
    long = chat("words " * 5000 + asked)  # the model reads 2,048 tokens
    assert scope.probability(long) == scope.probability(end_of(long))


# -- what it is fitted with --------------------------------------------------------------------


def test_each_kind_of_example_counts_the_same() -> None:
    shown = examples(shipped_pairs()[:90], ASKED, OTHERS)
    for asks in (True, False):
        shares = [one.share for one in shown if one.asks == asks]
        assert sum(shares) == pytest.approx(3)
    assert shown == examples(shipped_pairs()[:90], ASKED, OTHERS)
    assert shown != examples(shipped_pairs()[:90], ASKED, OTHERS, seed=1)
    assert all(end_of(one.chat) for one in shown)


def test_nothing_it_is_fitted_with_is_asked_where_it_is_measured() -> None:
    asked, others = shipped_messages()
    assert len({*asked, *others}) == len(asked) + len(others)
    measured = {prompt.prompt.casefold() for prompt in everyday_prompts()}
    measured |= {text.casefold() for text in neutral_texts()}
    for person in ("ana", "bo", "chidi", "dara"):
        for line in (CHATS / f"{person}.jsonl").read_text("utf-8").splitlines():
            session = json.loads(line)
            measured |= {q["question"].casefold() for q in session["qa_test"]}
            measured |= {turn["content"].casefold() for turn in session["turns"]}
    assert not measured & {one.casefold() for one in (*asked, *others)}


# -- what comes of it --------------------------------------------------------------------------


def test_a_readout_finds_the_direction_that_tells_two_sides_apart(tmp_path: Path) -> None:
    states = torch.randn(400, 12) * torch.linspace(0.1, 30, 12) + 7
    right = (states[:, 3] > 7).float()
    readout = Readout.fitted(2, states[:300], right[:300], torch.ones(300))
    told = readout.logits(states[300:]) > 0
    assert (told == right[300:].bool()).float().mean() > 0.9
    readout.save(tmp_path / "readout")
    again = Readout.load(tmp_path / "readout")
    assert again.layer == 2
    assert torch.equal(again.logits(states), readout.logits(states))


def test_what_counts_nothing_changes_nothing() -> None:
    states = torch.randn(200, 5)
    right = (states[:, 0] > 0).float()
    wrong = torch.cat([right, 1 - right])
    weights = torch.cat([torch.ones(200), torch.zeros(200)])
    readout = Readout.fitted(1, torch.cat([states, states]), wrong, weights)
    alone = Readout.fitted(1, states, right, torch.ones(200))
    assert torch.allclose(readout.weight, alone.weight, rtol=0.05, atol=0.02)


def test_a_model_is_fitted_once_and_tells_its_examples_apart(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path))
    scope = Scope(shelf.engine())
    asked, other = (scope.probability(chat(text)) for text in ("Where is my dog?", "Hello there"))
    (kept,) = (path for path in (tmp_path / "readouts").iterdir() if path.suffix != ".lock")
    assert kept.name == scope.name
    assert 0 < other < 0.5 < asked < 1

    changed = kept.stat().st_mtime_ns
    assert Scope(shelf.engine()).probability(chat("Where is my dog?")) == asked
    assert kept.stat().st_mtime_ns == changed
    kept.write_bytes(b"cut")
    with pytest.raises(CacheError, match=r"can't be read .* delete it"):
        Scope(shelf.engine()).probability(chat("Hello there"))


def test_without_a_message_of_the_user_nothing_is_asked(engine: Engine) -> None:
    for messages in ([], [{"role": "system", "content": "Where is my dog?"}]):
        assert Scope(engine).probability(messages) == 0.0


def test_what_is_no_number_is_an_error_and_not_a_no(engine: Engine, tmp_path: Path) -> None:
    broken = Readout(1, torch.full((48,), torch.nan), torch.tensor(0.0))
    with pytest.raises(DivergedError, match=r"no numbers.*ServingSettings\(scope=None\)"):
        Scope(engine, broken).probability(chat("Hello"))


def test_many_read_at_once_what_each_reads_alone(engine: Engine) -> None:
    """The layers above are taken out of the model meanwhile, which others must not see."""
    scope = Scope(engine)
    texts = [f"Where is my dog number {n}?" for n in range(24)]
    alone = [scope.probability(chat(text)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: scope.probability(chat(text)), texts))
        replies = list(pool.map(lambda text: engine.likely(chat(text), None, 2, 3)[0][0], texts))
    assert together == alone
    assert len(replies) == 24
    assert engine.depth == 2


def test_a_model_whose_layers_cannot_be_told_is_refused_with_a_remedy(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: DecoderLayers, model: object) -> None:
        raise InvalidInputError("no stack")

    monkeypatch.setattr(DecoderLayers, "__init__", refuse)
    with pytest.raises(InvalidInputError, match=r"ServingSettings\(scope=None\)"):
        fitted(engine, examples(shipped_pairs()[:9], ASKED, OTHERS))
