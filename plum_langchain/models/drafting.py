"""Many short replies drawn at once: a batch of prompts, several replies to each."""

import inspect
from collections.abc import Sequence
from typing import Any

from plum_langchain.learning.randomness import set_aside
from plum_langchain.models.sampling import Sampling


def draft(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    number: int,
    sampling: Sampling,
    seed: int,
) -> list[list[str]]:
    """So many replies to each prompt, as text.

    Args:
        model: A causal LM of transformers.
        tokenizer: Its own.
        prompts: As token ids, of about the same length.
        number: Of replies to each.
        sampling: Temperature, top p and the bound of their tokens.
        seed: Of what is drawn; what others draw isn't changed by it.

    Returns:
        For each prompt its replies, without what ends them.
    """
    import torch

    pad = tokenizer.pad_token_id or 0  # padding is masked: any id will do
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts]).to(model.device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts]).to(ids.device)
    # Newer versions of transformers call it so.
    parameters = inspect.signature(model.forward).parameters
    cache = "cache" if "cache" in parameters else "past_key_values"
    with set_aside(range(torch.cuda.device_count())), torch.inference_mode():  # all are seeded
        torch.manual_seed(seed)
        # Each prompt is read once, however many replies it gets; but for its last token, whose
        # logits the first token of a reply is drawn from.
        read = model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=(mask[:, :-1].cumsum(-1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        kept: Any = getattr(read, cache, None)
        known: dict[str, Any] = {}
        layers = getattr(kept, "layers", [])
        if layers and all(hasattr(layer, "batch_repeat_interleave") for layer in layers):
            kept.batch_repeat_interleave(number)
            known[cache] = kept  # else (Mamba, hybrids) it is read with each reply
        replies = model.generate(
            input_ids=ids.repeat_interleave(number, 0),
            attention_mask=mask.repeat_interleave(number, 0),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            repetition_penalty=1.0,  # probabilities as they are, whatever the model's file says
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
            **known,
        )
    texts = tokenizer.batch_decode(
        replies[:, longest:], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [
        [text.strip() for text in texts[start : start + number]]
        for start in range(0, len(texts), number)
    ]
