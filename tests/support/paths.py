"""The directories of the source tree."""

from pathlib import Path

__all__ = ["DOCS", "ROOT", "SCHEMAS", "TESTS"]

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
SCHEMAS = ROOT / "schemas"
