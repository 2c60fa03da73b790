"""The read-out: fitted, chosen and kept."""

from pathlib import Path

import pytest
import torch

from plum_langchain.verdicts.head import Head, best_layer, fit


def examples(n: int, *, seed: int, telling: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of which one tells, if only by tendency, and four are noise."""
    generator = torch.Generator().manual_seed(seed)
    yes = torch.randint(2, (n,), generator=generator).float()
    features = 5 + 3 * torch.randn(n, 5, generator=generator)
    if telling:
        features[:, 2] += 6 * yes
    return features, yes


def right(head: Head, features: torch.Tensor, yes: torch.Tensor) -> float:
    return float(((head.logits(features) > 0) == (yes > 0)).float().mean())


def test_it_judges_what_it_was_not_fitted_on() -> None:
    head = fit(3, *examples(400, seed=0))
    assert head.layer == 3
    assert right(head, *examples(400, seed=1)) > 0.8
    assert right(fit(3, *examples(400, seed=0, telling=False)), *examples(400, seed=1)) < 0.65


def test_the_same_examples_give_the_same_head_anywhere() -> None:
    with torch.inference_mode():
        one = fit(3, *examples(50, seed=0))
    other = fit(3, *examples(50, seed=0))
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    features, yes = examples(50, seed=0)
    features[:, 0] = 7.0
    assert bool(fit(1, features, yes).logits(features).isfinite().all())


def test_the_layer_is_the_one_that_judges_strangers_best() -> None:
    """Not the one that judges best what it was fitted on: here each person is told by a mark."""
    telling, yes = examples(200, seed=0)
    groups = ["ana"] * 100 + ["bo"] * 100
    sign = torch.tensor([1.0] * 100 + [-1.0] * 100)
    marked, _ = examples(200, seed=1, telling=False)
    marked[:, 0] = 20 * sign * (2 * yes - 1)
    marked[:, 1] = 20 * sign
    found, loss = best_layer({1: marked, 2: telling}, yes, groups)
    assert found == 2
    assert loss < 0.5


def test_it_is_the_same_after_it_was_kept(tmp_path: Path) -> None:
    features, yes = examples(50, seed=0)
    head = fit(17, features, yes)
    head.save(tmp_path / "head.safetensors")
    kept = Head.load(tmp_path / "head.safetensors")
    assert kept.layer == 17
    assert torch.equal(kept.logits(features), head.logits(features))


def test_a_probability_is_one() -> None:
    features, yes = examples(400, seed=0)
    head = fit(1, features, yes)
    assert head.logits(features).sigmoid().mean().item() == pytest.approx(
        yes.mean().item(), abs=0.05
    )
