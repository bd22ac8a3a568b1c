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
        """Assert that the command failed with a line of explanation that has these words."""
        self.assert_error(2, *words)

    def assert_error(self, code: int, *words: str) -> None:
        """Assert the exit code, and one line on standard error that has these words.

        After a wrong option or argument, one more line says how to get help.
        """
        assert self.code == code, self
        message, *hint = self.err.splitlines()
        assert self.err.endswith("\n")
        assert message.startswith("campaign-model: ")
        assert message.isprintable()
        assert not hint or (len(hint) == 1 and hint[0].startswith("Try  campaign-model ")), hint
        for word in words:
            assert word in message


Command = Callable[..., Answer]
