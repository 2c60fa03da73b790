"""Encryption at rest: keys of users, kept apart from the home, and what is sealed with them."""

from plum_langchain.encryption.box import ALGORITHM, Box, Seal
from plum_langchain.encryption.keys import KeyDirectory, Keys, KeyStore

__all__ = ["ALGORITHM", "Box", "KeyDirectory", "KeyStore", "Keys", "Seal"]
