"""all-MiniLM-L6-v2 as LangChain embeddings, from weights on this disk."""

import threading

from langchain_core.embeddings import Embeddings

from plum_langchain.journal.database import storable
from plum_langchain.models.load import LoadedModel, load_encoder
from plum_langchain.models.resolve import EMBEDDING_MODEL, resolve_model


class LocalEmbeddings(Embeddings):
    """Sentence embeddings of a BERT-like model: mean of its token states, scaled to length 1.

    That is how all-MiniLM-L6-v2 was trained to be used
    (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
    """

    def __init__(self, model: str = EMBEDDING_MODEL) -> None:
        self.model = model
        self._loaded: LoadedModel | None = None
        self._lock = threading.Lock()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector of 384 floats per text (for the default model).

        A lone surrogate is read as U+FFFD, as the journal keeps it: tokenizers refuse it.

        Raises:
            ModelNotFoundError: the weights are nowhere to be found, or can't be read.
        """
        import torch

        if not texts:
            return []  # needs no weights
        loaded = self._load()
        texts = [storable(text) for text in texts]
        vectors: list[list[float]] = []
        for start in range(0, len(texts), 32):
            inputs = loaded.tokenizer(
                texts[start : start + 32],
                padding=True,
                truncation=True,
                max_length=256,  # the model's own sentence-transformers setting
                return_tensors="pt",
            )
            with torch.inference_mode():
                states = loaded.model(**inputs).last_hidden_state  # (B, T, D)
            mask = inputs["attention_mask"].unsqueeze(-1)
            mean = (states * mask).sum(1) / mask.sum(1)
            vectors += torch.nn.functional.normalize(mean, dim=1).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """One vector for one text.

        Raises:
            ModelNotFoundError: the weights are nowhere to be found, or can't be read.
        """
        return self.embed_documents([text])[0]

    def _load(self) -> LoadedModel:
        with self._lock:
            if self._loaded is None:
                self._loaded = load_encoder(resolve_model(self.model))
            return self._loaded
