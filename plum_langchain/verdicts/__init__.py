"""Judging what was recited: does the statement that came back say what the question asks?"""

from plum_langchain.verdicts.judge import Judge
from plum_langchain.verdicts.recited import choose, verdict

__all__ = ["Judge", "choose", "verdict"]
