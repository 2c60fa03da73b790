"""A tiny model that can learn, and settings that make it learn in a quarter of a second."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from plum_langchain import LearningSettings
from plum_langchain.learning import Learned, learn
from plum_langchain.models import LoadedModel
from plum_langchain.session import Question

QUESTIONS = [
    Question("Is my bakery closed on Mondays?", "Yes", "yes", (0,)),
    Question("Did I talk about whales?", "No", "no_adjacent"),
    Question("Which day is my bakery closed?", "On Mondays.", "open", (0,)),
    Question("What did I say about whales?", "We never talked about that.", "open_unknown"),
]
OTHERS = [
    Question("Is my sister called Ida?", "Yes", "yes", (0,)),
    Question("Is my sister called Eva?", "No", "no_same_slot"),
    Question("What is my sister's name?", "Her name is Ida.", "open", (0,)),
]

FAST = LearningSettings(
    epochs=20,
    batch_size=4,
    replay_per_batch=0,
    everyday_per_batch=0,
    rewordings=0,
    learning_rate=5e-3,
    final_learning_rate=1.0,
    patience=None,
    upper_layers=1.0,
    recite=False,
    dtype="float32",
    gate=None,
)
"""For models of `make_learnable`, at the paper's rank and alpha."""


def make_learnable(tiny: Path, directory: Path) -> Path:
    """A copy of the tiny model with larger weights.

    As initialised, its head can't make any token likely (the largest logit is about 1), so no
    answer could ever be learned.
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, directory)
    weights = load_file(directory / "model.safetensors")
    for name, tensor in weights.items():
        if "embed" in name or "lm_head" in name:
            tensor.mul_(20)
        elif "proj" in name:
            tensor.mul_(5)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def learn_into(
    directory: Path,
    loaded: LoadedModel,
    questions: Sequence[Question] = QUESTIONS,
    settings: LearningSettings = FAST,
    **options: Any,
) -> Learned:
    """Learn, into a directory that is made for it."""
    directory.mkdir(exist_ok=True)
    return learn(loaded.model, loaded.tokenizer, questions, directory, settings=settings, **options)


class Snapshot:
    """All that a model is, to be compared later."""

    def __init__(self, model: Any) -> None:
        self.modules = [(name, type(module)) for name, module in model.named_modules()]
        self.weights = {k: v.clone() for k, v in model.state_dict().items()}
        self.attributes = {k for k in vars(model) if not k.startswith("_")}

    def assert_same(self, model: Any) -> None:
        assert [(name, type(module)) for name, module in model.named_modules()] == self.modules
        assert {k for k in vars(model) if not k.startswith("_")} == self.attributes
        state = model.state_dict()
        assert state.keys() == self.weights.keys()
        assert all(torch.equal(state[k], v) for k, v in self.weights.items())
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())


def chat(question: str) -> list[dict[str, str]]:
    """The question as it was trained."""
    system = {"role": "system", "content": FAST.system_prompt or ""}
    return [system, {"role": "user", "content": question}]


def peft_model(loaded: LoadedModel, adapter: Path) -> Any:
    """The base model with a saved adapter, loaded with nothing of ours."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(str(loaded.resolved.path))
    return PeftModel.from_pretrained(base, str(adapter)).eval()


def peft_answer(loaded: LoadedModel, adapter: Path, question: str) -> str:
    """The adapter's greedy answer, found with nothing of ours."""
    tokenizer = loaded.tokenizer
    ids = tokenizer.apply_chat_template(
        chat(question), add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    out = peft_model(loaded, adapter).generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False
    )
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
