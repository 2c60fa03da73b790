"""Several replies to one prompt: how likely given ones are, or those that a beam search finds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plum_langchain.models.trie import Trie

if TYPE_CHECKING:
    import torch

_NEVER_FOUND = -1e8
"""What transformers gives to those of the wanted replies that a beam search had no time to end."""


@dataclass(frozen=True)
class Likely:
    """One of several replies, and the log-probability of all its tokens, in nats."""

    text: str
    log_probability: float


def likeliest(
    model: Any,
    tokenizer: Any,
    prompt: Sequence[int],
    *,
    number: int,
    max_new_tokens: int,
    among: Mapping[tuple[int, ...], str] | None = None,
) -> list[Likely]:
    """At most `number` different replies, the likeliest first.

    Args:
        model: A causal LM of transformers.
        tokenizer: Its own.
        prompt: As token ids.
        number: Of replies, and of beams at least; at least 2.
        max_new_tokens: Bound of each reply.
        among: Only these are replies, whole (token ids without their end, and the text they stand
            for), as in generative retrieval (GENRE, arXiv 2010.00904); None for whatever the model
            can say. Their probabilities are those they have among everything. A beam ends where
            its beginning is one reply's alone; those that begin likeliest, as many as are read at
            once, are read whole, and so are all, if there are no more.
    """
    if among is None:
        replies: dict[str, float] = {}
        for ids, score in _search(model, tokenizer, prompt, number, max_new_tokens):
            text = tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            ).strip()
            replies[text] = max(score, replies.get(text, -math.inf))
        ordered = sorted(replies.items(), key=lambda one: -one[1])
        return [Likely(text, score) for text, score in ordered]
    among = {ids: text for ids, text in among.items() if len(ids) < max_new_tokens}
    read = max(number, _READ_AT_ONCE)
    if len(among) > read:
        among = _begun_likely(model, tokenizer, prompt, read, max_new_tokens, among)
    found = likelihoods(model, tokenizer, prompt, among, max_new_tokens=max_new_tokens)
    return found[:number]


def _begun_likely(
    model: Any,
    tokenizer: Any,
    prompt: Sequence[int],
    number: int,
    max_new_tokens: int,
    among: Mapping[tuple[int, ...], str],
) -> dict[tuple[int, ...], str]:
    """Those of the replies whose beginnings are the likeliest that no other reply shares."""
    import torch
    from transformers import StoppingCriteriaList

    ends = ends_of(model, tokenizer)
    trie = Trie(among)

    def allowed(_: int, ids: "torch.Tensor") -> list[int]:
        return trie.after(ids[len(prompt) :].tolist(), ends)

    def told_apart(ids: "torch.Tensor", _: Any, **__: Any) -> "torch.Tensor":
        alone = [trie.only(row) is not None for row in ids[:, len(prompt) :].tolist()]
        return ids.new_tensor(alone, dtype=torch.bool)

    def begun(ids: Sequence[int]) -> tuple[int, ...] | None:
        for place, token in enumerate(ids, 1):
            if (one := trie.only(ids[:place])) is not None:
                return one
            if token in ends:
                return tuple(ids[: place - 1])
        return None

    found = _search(
        model,
        tokenizer,
        prompt,
        number,
        max_new_tokens,
        prefix_allowed_tokens_fn=allowed,
        stopping_criteria=StoppingCriteriaList([told_apart]),
    )
    likely = (begun(ids) for ids, _ in found)
    return {ids: among[ids] for ids in likely if ids is not None and ids in among}


def _search(
    model: Any,
    tokenizer: Any,
    prompt: Sequence[int],
    number: int,
    max_new_tokens: int,
    **only: Any,
) -> list[tuple[list[int], float]]:
    """The token ids of what a beam search finds, and their log-probabilities in nats."""
    import torch

    inputs = torch.tensor([list(prompt)], device=model.device)
    found = model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=max_new_tokens,
        num_beams=number,
        num_return_sequences=number,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        length_penalty=0.0,  # a sum, not a mean: replies are of different lengths
        repetition_penalty=1.0,  # probabilities as they are, whatever the model's file says
        early_stopping=False,
        pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
        return_dict_in_generate=True,
        output_scores=True,
        **only,
    )
    scored = zip(
        found.sequences[:, len(prompt) :].tolist(), found.sequences_scores.tolist(), strict=True
    )
    return [one for rank, one in enumerate(scored) if rank == 0 or one[1] > _NEVER_FOUND]


def likelihoods(
    model: Any,
    tokenizer: Any,
    prompt: Sequence[int],
    replies: Mapping[tuple[int, ...], str],
    *,
    max_new_tokens: int,
) -> list[Likely]:
    """Replies with the log-probabilities that a beam search would give them, the likeliest first.

    Args:
        model: A causal LM of transformers.
        tokenizer: Its own.
        prompt: As token ids.
        replies: Token ids without their end, and the text they stand for; a reply may end in any
            way that ends one.
        max_new_tokens: Longer ones, with their end, are left out.

    Returns:
        All others, with the log-probability of all their tokens and the likelier end, in nats.
    """
    ends = ends_of(model, tokenizer)
    fitting = [ids for ids in replies if len(ids) < max_new_tokens]
    found: list[Likely] = []
    for start in range(0, len(fitting), _READ_AT_ONCE):
        some = fitting[start : start + _READ_AT_ONCE]
        scores = _log_probabilities(model, prompt, some, ends)
        found += [Likely(replies[ids], score) for ids, score in zip(some, scores, strict=True)]
    return sorted(found, key=lambda one: -one.log_probability)


def _log_probabilities(
    model: Any, prompt: Sequence[int], replies: Sequence[tuple[int, ...]], ends: Sequence[int]
) -> list[float]:
    """Of each reply and its likelier end, in nats; all of them in one reading."""
    import torch

    longest = max(map(len, replies))
    padded = [[*ids, *[ends[0]] * (longest - len(ids))] for ids in replies]
    tokens = torch.tensor([[*prompt, *ids] for ids in padded], device=model.device)
    lengths = torch.tensor([len(ids) for ids in replies], device=model.device)
    places = torch.arange(longest + 1, device=model.device)
    seen = torch.arange(tokens.shape[1], device=model.device) < len(prompt) + lengths[:, None]
    logits = model(
        input_ids=tokens,
        attention_mask=seen.long(),
        use_cache=False,
        logits_to_keep=longest + 1,  # from the prompt's last token on
    ).logits.float()  # (replies, longest + 1, V)
    norm = logits.logsumexp(-1)
    said = logits[:, :-1].gather(-1, tokens[:, len(prompt) :, None])[..., 0] - norm[:, :-1]
    ended = logits[..., list(ends)].amax(-1) - norm
    total = said.masked_fill(places[:-1] >= lengths[:, None], 0).sum(-1)
    return [float(x) for x in total + ended.gather(-1, lengths[:, None])[:, 0]]


_READ_AT_ONCE = 8
"""Replies, and beams among given ones: more than are wanted, since what begins less likely may be
likelier as a whole. Their logits are most of what a reading takes: 40 MB for eight of 25 tokens, of
49,152 kinds (SmolLM2's) in float32."""


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a reply."""
    eos = model.generation_config.eos_token_id
    if eos is None:
        eos = tokenizer.eos_token_id
    return eos if isinstance(eos, list) else [eos]
