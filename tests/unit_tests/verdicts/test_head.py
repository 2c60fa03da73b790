"""The head: what it computes, and that it is the same after it was kept."""

from pathlib import Path

import pytest
import torch

from plum_langchain.verdicts.head import Head


def head(seed: int = 0) -> Head:
    generator = torch.Generator().manual_seed(seed)
    return Head(
        layer=17,
        weight=torch.randn(2, 5, generator=generator),
        words=torch.randn(2, 3, generator=generator),
        mean=torch.randn(3, generator=generator),
        scale=torch.rand(3, generator=generator) + 0.5,
        bias=torch.randn(2, generator=generator),
    )


def test_it_is_linear_in_normalised_states_and_standardised_words() -> None:
    one = head()
    states, words = torch.randn(4, 5), torch.randn(4, 3)
    found = one.logits(states, words)
    for row in range(4):
        centred = states[row] - states[row].mean()
        state = centred / (centred.square().mean() + 1e-5).sqrt()
        standard = (words[row] - one.mean) / one.scale
        for of in range(2):  # Yes, and about the same matter
            by_hand = state @ one.weight[of] + standard @ one.words[of] + one.bias[of]
            assert float(found[row, of]) == pytest.approx(float(by_hand), rel=1e-4, abs=1e-5)


def test_a_blank_head_says_even_odds_and_can_be_trained() -> None:
    words = torch.tensor([[1.0, 7.0], [3.0, 7.0]])  # the second never varies, which does no harm
    blank = Head.blank(2, 5, words)
    logits = blank.logits(torch.randn(2, 5), words)
    assert logits.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    logits.sum().backward()
    assert all(tensor.grad is not None for tensor in blank.trained)


def test_it_is_the_same_after_it_was_kept(tmp_path: Path) -> None:
    one = head()
    one.save(tmp_path / "head.safetensors")
    kept = Head.load(tmp_path / "head.safetensors")
    assert kept.layer == 17
    states, words = torch.randn(4, 5), torch.randn(4, 3)
    assert torch.equal(kept.logits(states, words), one.logits(states, words))
