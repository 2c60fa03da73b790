"""A tiny model, embeddings and a home for unit tests: real objects, seconds instead of minutes."""

import hashlib
import json
import math
from pathlib import Path

from langchain_core.embeddings import Embeddings

from plum_langchain.questions.text import words_of
from plum_langchain.session import Question, Session, SessionState, Turn
from plum_langchain.settings import LearningSettings

CHATS = Path(__file__).parents[1] / "examples" / "chats"

IN_A_SECOND = LearningSettings(
    rank=4,
    alpha=8,
    epochs=2,
    learning_rate=5e-3,
    patience=None,
    dtype="float32",
    everyday_per_batch=0,
    gate=None,
)
"""Learns a session of a few questions on the tiny model in a second, recalled or not."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_tokenizer(template: str = CHATML, special: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    """A byte-level BPE tokenizer trained on the example chats, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = []
    for record in records("ana"):
        for question in record["qa_test"]:
            question.pop("until", None)  # a mark; more of them would make another tokenizer
        lines.append(json.dumps(record, ensure_ascii=False))
    tokenizer.train_from_iterator([*lines, "Yes", "No"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    fast.chat_template = template
    return fast


def save_tiny_model(directory: Path, *, seed: int = 0, **changes: object) -> Path:
    """A random two-layer Llama with its tokenizer, saved as a Hugging Face model directory.

    `changes` are of its configuration.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(str(directory))
    tokenizer.save_pretrained(str(directory))
    return directory


class WordEmbeddings(Embeddings):
    """Each word is a direction of its own: texts that share words are near. No weights needed."""

    model = "words-128"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = [0.0] * 128
        for word in words_of(text):
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 128] += 1.0
        length = math.sqrt(sum(x * x for x in vector)) or 1.0
        return [x / length for x in vector]


class FixedQuestions:
    """The same few questions for every session, naming it: fast to learn, easy to tell apart."""

    name = "fixed"

    def make(self, session: Session) -> list[Question]:
        said = session.turns[0].content
        return [
            Question(f"Did I say {said}?", "Yes", "yes", (0,)),
            Question("Did I talk about whales?", "No", "no_adjacent"),
            Question(f"What did I say in {session.session_id[:20]}?", said[:40], "open", (0,)),
            Question("What did I say about whales?", "We never talked about that.", "open_unknown"),
        ]


def session(user: str = "ana", name: str = "s1", *texts: str) -> Session:
    """A finished session; `texts` alternate between user and assistant."""
    said = texts or ("My bakery is closed on Mondays.", "Enjoy the day off.")
    turns = tuple(Turn("assistant" if i % 2 else "user", t) for i, t in enumerate(said))
    return Session(user, name, turns, state=SessionState.FINISHED)


def records(user: str) -> list[dict]:  # type: ignore[type-arg]
    """The records of a shipped example file."""
    return [json.loads(line) for line in (CHATS / f"{user}.jsonl").read_text("utf-8").splitlines()]
