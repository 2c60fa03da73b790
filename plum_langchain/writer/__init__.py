"""Questions in the words a user may choose, written by the base model itself."""

from plum_langchain.writer.writer import Writer

__all__ = ["Writer"]
