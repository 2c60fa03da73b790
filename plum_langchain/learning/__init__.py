"""Questions into LoRA weights: encoding, losses and the learner."""

from plum_langchain.learning.encode import (
    Encoder,
    Exchange,
    LossWeights,
    Sample,
    encoder_for,
    find_frame,
)
from plum_langchain.learning.learner import Learned, StepProgress, learn
from plum_langchain.learning.template import ChatTemplate

__all__ = [
    "ChatTemplate",
    "Encoder",
    "Exchange",
    "Learned",
    "LossWeights",
    "Sample",
    "StepProgress",
    "encoder_for",
    "find_frame",
    "learn",
]
