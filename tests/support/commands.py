"""Running the command line in a test: its exit code and what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class Answer:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    def assert_usage_error(self, *words: str) -> None:
        """Assert that the command failed with one line of explanation that has these words."""
        assert self.code == 2, self
        assert self.err.startswith("campaign-model: ")
        assert self.err.count("\n") == 1, self.err
        for word in words:
            assert word in self.err


Command = Callable[..., Answer]
