"""Generations on disk: immutable, hashed, published by rename."""

from plum_langchain.adapters.manifest import Manifest
from plum_langchain.adapters.store import AdapterRef, AdapterStore

__all__ = ["AdapterRef", "AdapterStore", "Manifest"]
