"""Judging what was recited: is it about the question, and does it say what the question asks?"""

from plum_langchain.verdicts.judge import Judge
from plum_langchain.verdicts.recited import Candidate, candidates, says_never, verdict

__all__ = ["Candidate", "Judge", "candidates", "says_never", "verdict"]
