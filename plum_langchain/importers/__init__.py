"""Other systems' chats into sessions."""

from plum_langchain.importers.jsonl import read_records, read_sessions

__all__ = ["read_records", "read_sessions"]
