"""Measuring memories against each other on one's own chats: `plum compare`."""

from plum_langchain.evaluation.compare import ARMS, Arm, Comparison, compare
from plum_langchain.evaluation.environment import machine
from plum_langchain.evaluation.everyday import Everyday, everyday_ability
from plum_langchain.evaluation.exam import Exam, ExamQuestion, read_exams
from plum_langchain.evaluation.metrics import Graded, Summary, answer_given, summarise

__all__ = [
    "ARMS",
    "Arm",
    "Comparison",
    "Everyday",
    "Exam",
    "ExamQuestion",
    "Graded",
    "Summary",
    "answer_given",
    "compare",
    "everyday_ability",
    "machine",
    "read_exams",
    "summarise",
]
