"""What every long-term memory of a chatbot owes its users, as tests that any memory can run.

Subclass `MemoryStandardTests`, say how your memory is opened, and pytest does the rest. It needs
pytest (`pip install pytest`), and no plugin of it.
"""

from plum_langchain.testing.memory import (
    HOSTILE_IDS,
    Exchange,
    MemoryStandardTests,
    MemoryUnderTest,
)

__all__ = ["HOSTILE_IDS", "Exchange", "MemoryStandardTests", "MemoryUnderTest"]
