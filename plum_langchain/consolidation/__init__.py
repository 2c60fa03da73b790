"""Finished sessions into published generations, now or on a schedule."""

from plum_langchain.consolidation.consolidator import Consolidated, Consolidator, Progress
from plum_langchain.consolidation.schedule import Schedule

__all__ = ["Consolidated", "Consolidator", "Progress", "Schedule"]
