"""What was said: sessions, questions, generations and jobs, in SQL."""

from plum_langchain.journal.generations import Generation, Generations
from plum_langchain.journal.jobs import Job, Jobs
from plum_langchain.journal.journal import Journal
from plum_langchain.journal.sessions import Sessions

__all__ = ["Generation", "Generations", "Job", "Jobs", "Journal", "Sessions"]
