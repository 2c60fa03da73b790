"""What was said: sessions, questions, generations and jobs, in SQL."""

from plum_langchain.journal.forgettings import Erased, Forgettings
from plum_langchain.journal.generation_rows import Generation
from plum_langchain.journal.generations import Generations
from plum_langchain.journal.jobs import Job, Jobs
from plum_langchain.journal.journal import Journal
from plum_langchain.journal.sessions import Sessions

__all__ = [
    "Erased",
    "Forgettings",
    "Generation",
    "Generations",
    "Job",
    "Jobs",
    "Journal",
    "Sessions",
]
