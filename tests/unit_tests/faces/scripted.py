"""A tiny model that says what is in a script: real tokens, of which each is all but certain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from plum_langchain.learning.template import ChatTemplate, Message
from plum_langchain.models import Toolbox
from plum_langchain.models.calls import CallSyntax
from tests.unit_tests.learning.learnable import make_learnable

Line = tuple[Sequence[Message], Toolbox | None, Message]
"""A chat, the tools it is shown with, and what is replied."""


def make_scripted(tiny: Path, directory: Path, script: Sequence[Line]) -> Path:
    """A copy of the tiny model, trained until it replies by the script."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_learnable(tiny, directory)
    tokenizer = AutoTokenizer.from_pretrained(str(directory))
    model = AutoModelForCausalLM.from_pretrained(str(directory)).train()
    template = ChatTemplate(tokenizer)
    syntax = CallSyntax.of(template)
    samples = []
    for chat, tools, reply in script:
        prompt, _ = template.tokenize(syntax.prompt(template, chat, tools))
        whole, _ = template.tokenize(syntax.prompt(template, [*chat, reply], tools))
        end = max(i for i, token in enumerate(whole) if token == tokenizer.eos_token_id)
        # What follows the reply's end is the opening of the next turn.
        end = next(i for i in range(len(prompt), end + 1) if whole[i] == tokenizer.eos_token_id)
        ids = torch.tensor([whole[: end + 1]])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        samples.append((ids, labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(200):
        losses = [model(input_ids=ids, labels=labels).loss for ids, labels in samples]
        worst: Any = torch.stack(losses).max()
        if worst < 0.01:
            break
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert worst < 0.05, f"the script was not learned: {worst:.3f}"
    model.save_pretrained(str(directory))
    return directory
