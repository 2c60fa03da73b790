"""Judging what was recited: does the statement that came back say what the question asks?"""

from plum_langchain.verdicts.judge import Judge

__all__ = ["Judge"]
