"""LoCoMo, a public benchmark of long-term memory, with one of two speakers as the user.

Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents", ACL 2024, arXiv
2402.17753; data and scoring at github.com/snap-research/locomo. The data is CC BY-NC 4.0: for
measuring, and none of it comes with this package.
"""

from plum_langchain.evaluation.locomo.dialogues import Voice, Whose, read_dialogues
from plum_langchain.evaluation.locomo.observations import ObservationQuestions
from plum_langchain.evaluation.locomo.scores import (
    CATEGORIES,
    Category,
    CategoryScore,
    by_category,
    score,
    to_markdown,
)

__all__ = [
    "CATEGORIES",
    "Category",
    "CategoryScore",
    "ObservationQuestions",
    "Voice",
    "Whose",
    "by_category",
    "read_dialogues",
    "score",
    "to_markdown",
]
