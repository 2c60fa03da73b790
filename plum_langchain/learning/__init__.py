"""Questions into LoRA weights: encoding, losses and the learner."""

from plum_langchain.learning.encode import Encoder, Sample, find_frame
from plum_langchain.learning.learner import Learned, StepProgress, learn
from plum_langchain.learning.losses import collate, weighted_cross_entropy
from plum_langchain.learning.template import ChatTemplate

__all__ = [
    "ChatTemplate",
    "Encoder",
    "Learned",
    "Sample",
    "StepProgress",
    "collate",
    "find_frame",
    "learn",
    "weighted_cross_entropy",
]
