"""Several replies to one prompt: the likeliest of a few, or those that a beam search finds."""

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
        number: Of replies and of beams; at least 2.
        max_new_tokens: Bound of each reply.
        among: Only these are replies, whole (token ids without their end, and the text they stand
            for), as in generative retrieval (GENRE, arXiv 2010.00904); None for whatever the model
            can say. Their probabilities are those they have among everything. No more of them than
            `number` are read at once, instead of searched for: a beam search would find them all.
    """
    import torch

    ends = ends_of(model, tokenizer)
    if among is not None and len(among) <= number:
        return _all_of(
            {ids: text for ids, text in among.items() if len(ids) < max_new_tokens},
            model,
            prompt,
            ends,
        )
    only: dict[str, Any] = {}
    if among is not None:
        trie = Trie(among)

        def allowed(_: int, ids: "torch.Tensor") -> list[int]:
            return trie.after(ids[len(prompt) :].tolist(), ends)

        only["prefix_allowed_tokens_fn"] = allowed
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
    replies: dict[str, float] = {}
    for ids, score in zip(
        found.sequences[:, len(prompt) :].tolist(), found.sequences_scores.tolist(), strict=True
    ):
        if replies and score <= _NEVER_FOUND:
            continue
        if among is None:
            text = tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            ).strip()
        else:
            end = next((place for place, token in enumerate(ids) if token in ends), None)
            text = None if end is None else among.get(tuple(ids[:end]))
        if text is not None:  # a reply that was cut off is none of those
            replies[text] = max(score, replies.get(text, -math.inf))
    ordered = sorted(replies.items(), key=lambda one: -one[1])
    return [Likely(text, score) for text, score in ordered]


def _all_of(
    replies: Mapping[tuple[int, ...], str], model: Any, prompt: Sequence[int], ends: Sequence[int]
) -> list[Likely]:
    """Every reply with its log-probability, of the likelier end where there are several."""
    import torch

    if not replies:
        return []
    rows = [[*prompt, *ids] for ids in replies]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [ends[0]] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(
        input_ids=tokens.to(model.device),
        attention_mask=mask.to(model.device),
        use_cache=False,
        logits_to_keep=width - len(prompt) + 1,  # from the prompt's last token on
    ).logits
    log_p = logits.float().log_softmax(-1).cpu()  # (replies, their longest + 1, V)
    found = []
    for row, (ids, text) in zip(log_p, replies.items(), strict=True):
        said = row[range(len(ids)), list(ids)].sum() + row[len(ids), list(ends)].max()
        found.append(Likely(text, float(said)))
    return sorted(found, key=lambda one: -one.log_probability)


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a reply."""
    eos = model.generation_config.eos_token_id
    if eos is None:
        eos = tokenizer.eos_token_id
    return eos if isinstance(eos, list) else [eos]
