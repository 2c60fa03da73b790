"""Which messages are for a user's memory, and which for the base model alone."""

from plum_langchain.scope.scope import Scope

__all__ = ["Scope"]
