"""The base model that is trained, and what is worked out once for all that it learns in a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plum_langchain.consolidation.everyday import everyday_samples
from plum_langchain.learning import Encoder, Sample, encoder_for
from plum_langchain.models import LoadedModel, ResolvedModel, load_model, release_memory
from plum_langchain.settings import LearningSettings


@dataclass(frozen=True)
class TrainedBase:
    """A base model of its own, never the one that serves chats; `everyday` is to be rehearsed."""

    loaded: LoadedModel
    encoder: Encoder
    everyday: Sequence[Sample]


def load_base(
    resolved: ResolvedModel,
    device: str,
    learning: LearningSettings,
    should_stop: Callable[[], bool],
) -> TrainedBase:
    """Load it.

    Args:
        resolved: Where it is.
        device: To train on.
        learning: How it will be trained.
        should_stop: Asked while the model reads.

    Raises:
        StoppedError: `should_stop` returned True.
        ChatTemplateError: its chat template can't be used.
        ModelNotFoundError, InvalidInputError: as `load_model`.
        DivergedError, CacheError: as `everyday_samples`.
    """
    loaded = load_model(resolved, device=device, dtype=learning.dtype)
    encoder = encoder_for(loaded.tokenizer, learning)
    everyday: Sequence[Sample] = ()
    if learning.everyday_per_batch:
        everyday = everyday_samples(
            loaded, encoder, weight=learning.everyday_weight, should_stop=should_stop
        )
    release_memory()  # of the holes that this leaves, beside which training grows
    return TrainedBase(loaded, encoder, everyday)
