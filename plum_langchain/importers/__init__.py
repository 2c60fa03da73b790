"""Other systems' chats into sessions."""

from plum_langchain.importers.exports import read_chatgpt, read_claude
from plum_langchain.importers.jsonl import read_records, read_sessions
from plum_langchain.importers.langchain_chats import read_history, read_loader, read_threads

__all__ = [
    "read_chatgpt",
    "read_claude",
    "read_history",
    "read_loader",
    "read_records",
    "read_sessions",
    "read_threads",
]
