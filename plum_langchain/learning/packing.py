"""Several samples as one sequence: the prefix they share once, then what is each one's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from plum_langchain.learning.encode import Sample


@dataclass(frozen=True)
class Packed:
    """A batch as one sequence of T tokens that has N tokens to predict.

    Every token has the position it would have in its sample alone, and sees what it would see
    there: the prefix and its own sample's tokens up to itself. The last token of a sample predicts
    nothing, so it is left out; so is the prediction of whatever has no weight and is no answer's.
    T and N are filled up to a multiple of `ROUND` with tokens that nobody sees and predictions
    without weight.

    Attributes:
        ids: (1, T) int64.
        positions: (1, T) int64.
        visible: (1, 1, T, T) bool: whether a token (row) sees another (column).
        pieces: Where each sample's own tokens stand in the sequence.
        rows: (N,) int64, the token that predicts; the last of the prefix does for every sample.
        targets: (N,) int64, what it is to predict; (N, K) if the model expects several tokens
            there.
        shares: (N, K), how likely it expects each of them; None if it expects one everywhere.
        weights: (N,) float32; the prefix's are summed over the samples.
        owner: (N,) int64, the sample whose answer the target belongs to; -1 if it is no answer's.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    pieces: tuple[slice, ...]
    rows: torch.Tensor
    targets: torch.Tensor
    shares: torch.Tensor | None
    weights: torch.Tensor
    owner: torch.Tensor


ROUND = 32
"""Matrix libraries prepare (and keep) a kernel for every size they meet. With a few sizes instead
of hundreds that is done in the first steps, and takes megabytes instead of hundreds of them."""


def shared_prefix(samples: Sequence[Sample]) -> int:
    """How many tokens all samples begin with, at most up to the first answer."""
    longest = min(sample.answer_start for sample in samples)
    first = samples[0].ids[:longest]
    for sample in samples:
        same = 0
        while same < len(first) and sample.ids[same] == first[same]:
            same += 1
        first = first[:same]
    return len(first)


def pack(samples: Sequence[Sample], prefix: int) -> Packed:
    """Pack samples that share their first `prefix` tokens."""
    ids = list(samples[0].ids[:prefix])
    positions = list(range(prefix))
    owners_of_tokens = [-1] * prefix
    pieces = []
    # Of each: its row, target and weight, whose answer it belongs to, whose it is, and its place.
    predictions: list[tuple[int, int, float, int, int, int]] = []
    # Within the prefix each token predicts the next, for all samples at once: for those that expect
    # that token, and for those that expect several (all of them the same ones).
    several = [number for number, sample in enumerate(samples) if sample.expected is not None]
    one = [number for number in range(len(samples)) if number not in several]
    for place in range(1, prefix):
        for alike in (one, several):
            weight = sum(samples[number].weights[place] for number in alike)
            whose = alike[0] if alike is several and several else -1
            predictions.append((place - 1, ids[place], weight, -1, whose, place))
    for number, sample in enumerate(samples):
        start, own = len(ids), sample.ids[prefix:-1]
        pieces.append(slice(start, start + len(own)))
        ids += own
        positions += range(prefix, prefix + len(own))
        owners_of_tokens += [number] * len(own)
        for place in range(max(prefix, 1), len(sample.ids)):
            row = place - 1 if place == prefix else start + place - 1 - prefix
            owner = number if sample.answer_start <= place < sample.answer_end else -1
            weight = sample.weights[place]
            predictions.append((row, sample.ids[place], weight, owner, number, place))
    fill = -len(ids) % ROUND
    ids += [0] * fill
    positions += [0] * fill
    owners_of_tokens += range(len(samples), len(samples) + fill)  # seen by none but itself
    wanted = [one for one in predictions if one[2] or one[3] >= 0]
    wanted += [(0, 0, 0.0, -1, -1, 0)] * (-len(wanted) % ROUND)
    rows, ids_wanted, weights, owners, numbers, places = zip(*wanted, strict=True)
    targets, shares = expected_at(samples, ids_wanted, numbers, places)
    at, of = torch.tensor(positions), torch.tensor(owners_of_tokens)
    visible = ((of[None] == -1) | (of[None] == of[:, None])) & (at[None] <= at[:, None])
    return Packed(
        ids=torch.tensor([ids]),
        positions=at[None],
        visible=visible[None, None],
        pieces=tuple(pieces),
        rows=torch.tensor(rows),
        targets=targets,
        shares=shares,
        weights=torch.tensor(weights),
        owner=torch.tensor(owners),
    )


def expected_at(
    samples: Sequence[Sample], ids: Sequence[int], numbers: Sequence[int], places: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What is to be predicted: single tokens, or whatever a sample says is expected.

    Args:
        samples: Of the batch.
        ids: (N,) the tokens that stand there.
        numbers: (N,) whose samples' they are; -1 for nobody's.
        places: (N,) where in them.

    Returns:
        Targets and shares, as `token_nll` takes them.
    """
    targets = torch.tensor(ids)
    soft = {n: s.expected for n, s in enumerate(samples) if s.expected is not None}
    if not soft:
        return targets, None
    widest = max(expected.tokens.shape[1] for expected in soft.values())
    several = torch.nn.functional.pad(targets[:, None], (0, widest - 1))
    shares = torch.zeros(several.shape)
    shares[:, 0] = 1.0
    of, at = torch.tensor(numbers), torch.tensor(places)
    for number, expected in soft.items():
        rows, width = of == number, expected.tokens.shape[1]
        several[rows], shares[rows] = 0, 0.0
        several[rows, :width] = expected.tokens[at[rows]]
        shares[rows, :width] = expected.shares[at[rows]]
    return several, shares


def padded(
    texts: Sequence[Sequence[int]], pad_id: int, multiple_of: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids side by side instead, padded on the right, and the mask of what isn't padding.

    Args:
        texts: B of them.
        pad_id: What to pad with; it is masked, so any id will do.
        multiple_of: Of tokens; up to the next from the longest on.

    Returns:
        (B, T) int64 both.
    """
    longest = max(map(len, texts))
    shape = (len(texts), longest + -longest % multiple_of)
    ids, mask = torch.full(shape, pad_id), torch.zeros(shape, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return ids, mask
