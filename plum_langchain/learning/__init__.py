"""Questions into LoRA weights: encoding, losses and the learner."""

from plum_langchain.learning.encode import Encoder, Sample
from plum_langchain.learning.learner import Learned, StepProgress, learn
from plum_langchain.learning.losses import collate, weighted_cross_entropy

__all__ = [
    "Encoder",
    "Learned",
    "Sample",
    "StepProgress",
    "collate",
    "learn",
    "weighted_cross_entropy",
]
