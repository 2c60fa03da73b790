"""What of a session isn't learned: secrets, personal numbers, pasted text, and what was recalled.

`screen` stands between a session and its questions. It takes whole sentences out of turns (their
indexes stay), says how many of which kind, and knows a question that would bring one back. Nothing
here quotes what it found.
"""

from plum_langchain.screening.noted import is_said
from plum_langchain.screening.screen import LeftOut, Screened, screen, told
from plum_langchain.screening.spans import Sort

__all__ = ["LeftOut", "Screened", "Sort", "is_said", "screen", "told"]
