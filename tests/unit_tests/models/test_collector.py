"""What is sent piece by piece is what is kept in the end, whatever the tokens and stop strings."""

import threading
from functools import cache
from typing import Any

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plum_langchain.models.collector import Collector
from tests.tiny import make_tokenizer

VOCABULARY = 600


@cache
def tokenizer(*, tidy: bool = False) -> Any:
    """With `tidy`, one that would clean up spaces, as Llama 3's is configured to."""
    made = make_tokenizer()
    made.clean_up_tokenization_spaces = tidy
    made.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = tidy
    return made


def run(
    ids: list[int], stop: tuple[str, ...] = (), *, tidy: bool = False, stream: bool = True
) -> tuple[str, list[str], int]:
    """The text, the pieces and how many tokens it took, fed as a generation would."""
    pieces: list[str] = []
    collector = Collector(tokenizer(tidy=tidy), 1, stop, pieces.append if stream else None, None)
    made = len(ids)
    for size in range(1, len(ids) + 1):
        if bool(collector(torch.tensor([[0, *ids[:size]]]), None).item()):
            made = size
            break
    text = collector.text(ids[:made])
    collector.send_rest(text)
    return text, pieces, made


def encoded(text: str) -> list[int]:
    return list(tokenizer().encode(text))


IDS = st.lists(st.integers(3, VOCABULARY - 1), max_size=25)
TEXTS = st.text(st.sampled_from("ab é🥐<|>\n.,"), max_size=15).map(encoded)
STOPS = st.lists(st.text(st.sampled_from("ab é🥐<|>\n.,"), max_size=4), max_size=3).map(tuple)


@settings(max_examples=200)
@example(encoded("a é a🥐b"), ("aé", "a🥐b"))
@example(encoded("aéb"), ("ab", "é"))
@example(encoded("🥐")[:2], ("\ufffd",))
@given(ids=st.one_of(IDS, TEXTS), stop=STOPS)
def test_pieces_make_up_the_text_and_stop_strings_never_show(
    ids: list[int], stop: tuple[str, ...]
) -> None:
    text, pieces, made = run(ids, stop)
    assert "".join(pieces) == text
    assert not any(s in text for s in stop if s)
    assert (text, made) == run(ids, stop, stream=False)[::2]

    whole = tokenizer().decode(ids)
    if made == len(ids):
        assert whole.startswith(text)
    if not any(s in whole for s in stop if s):
        assert (text, made) == (whole, len(ids))


def test_spaces_are_never_cleaned_up() -> None:
    text = "It is 5 . Is n't it ? Yes , do n't ."
    assert run(encoded(text), tidy=True)[0] == text
    assert "".join(run(encoded(text), tidy=True)[1]) == text


def test_text_is_sent_as_soon_as_it_is_clear() -> None:
    pieces: list[str] = []
    collector = Collector(tokenizer(), 0, ("abc",), pieces.append, None)
    ids = [token for word in ("x", "a", "b", "x") for token in encoded(word)]
    sent = []
    for size in range(1, len(ids) + 1):
        collector(torch.tensor([ids[:size]]), None)
        sent.append("".join(pieces))
    assert sent == ["x", "x", "x", "xabx"]


def test_a_reader_who_no_longer_wants_it_ends_it() -> None:
    cancelled = threading.Event()
    collector = Collector(tokenizer(), 0, (), lambda _: None, cancelled)
    ids = torch.tensor([encoded("go on")])
    assert not bool(collector(ids, None).item())
    cancelled.set()
    assert bool(collector(ids, None).item())


def test_a_single_character_is_held_only_at_the_beginning() -> None:
    for text, sent in (("a {x} b", "a {x} b"), ('{"name"', ""), ("  {", "")):
        pieces: list[str] = []
        collector = Collector(tokenizer(), 1, (), pieces.append, None, hold="{")
        ids = encoded(text)
        for size in range(1, len(ids) + 1):
            collector(torch.tensor([[0, *ids[:size]]]), None)
        assert "".join(pieces).strip() == sent.strip()
