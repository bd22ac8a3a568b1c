"""Marks for contract tests that run on one engine only.

A mark makes the test use an empty fixture with the name of the engine. ``conftest`` deselects the
tests that use the fixture of another engine.
"""

from __future__ import annotations

import pytest

__all__ = ["on_postgresql", "on_sqlite"]

on_postgresql: pytest.MarkDecorator = pytest.mark.usefixtures("postgresql")
on_sqlite: pytest.MarkDecorator = pytest.mark.usefixtures("sqlite")
