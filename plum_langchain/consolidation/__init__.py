"""Finished sessions into published generations, now or on a schedule."""

from plum_langchain.consolidation.consolidator import Consolidator
from plum_langchain.consolidation.progress import Consolidated, Progress
from plum_langchain.consolidation.schedule import Schedule

__all__ = ["Consolidated", "Consolidator", "Progress", "Schedule"]
