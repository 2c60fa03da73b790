"""Engines over a tiny model, as the tests of `models` have them."""

from tests.unit_tests.models.conftest import engine, shelf

__all__ = ["engine", "shelf"]
