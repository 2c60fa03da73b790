"""The PLUM paper's own experiments, and the ones it leaves open: `plum compare --paper`."""

from plum_langchain.evaluation.paper.experiments import (
    BASE,
    EXPERIMENTS,
    PAPER,
    Experiment,
    check_people,
    choose,
    why_not,
)
from plum_langchain.evaluation.paper.results import Results
from plum_langchain.evaluation.paper.runs import Setup, run_experiment

__all__ = [
    "BASE",
    "EXPERIMENTS",
    "PAPER",
    "Experiment",
    "Results",
    "Setup",
    "check_people",
    "choose",
    "run_experiment",
    "why_not",
]
