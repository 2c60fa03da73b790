"""Going back: chats that are erased, and weights that never knew them."""

from plum_langchain.forgetting.doomed import Doomed, mentions_of, told_again
from plum_langchain.forgetting.forgetter import Forgetter
from plum_langchain.forgetting.mentions import Mention, find_mentions
from plum_langchain.forgetting.receipt import Forgotten, Probes, Recall

__all__ = [
    "Doomed",
    "Forgetter",
    "Forgotten",
    "Mention",
    "Probes",
    "Recall",
    "find_mentions",
    "mentions_of",
    "told_again",
]
