"""Fixtures of the engine's tests, which read with a tiny model."""

from tests.unit_tests.models.conftest import engine, shelf

__all__ = ["engine", "shelf"]
