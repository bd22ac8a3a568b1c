"""Fuzzing: random bytes for everything that reads documents, contacts and arguments."""

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
FAULTS = Path(__file__).parent / "faults"
