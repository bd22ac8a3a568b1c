"""Marks for contract tests that run on one engine only."""

from __future__ import annotations

import pytest

__all__ = ["on_postgresql", "on_sqlite"]

on_postgresql = pytest.mark.usefixtures("postgresql")
on_sqlite = pytest.mark.usefixtures("sqlite")
