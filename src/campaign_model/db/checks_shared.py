"""What the CHECK constraints of both engines share."""

from __future__ import annotations

from collections.abc import Iterable

WHITESPACE = (
    *(*range(9, 14), *range(28, 33), 133, 160, 5760, *range(8192, 8203)),
    *(8232, 8233, 8239, 8287, 12288),
)
"""The characters that ``str.strip`` removes. A name is blank if it contains no others."""


def one_of(value: str, words: Iterable[str]) -> str:
    """Return the condition that an SQL expression is one of the words."""
    return f"{value} IN ({', '.join(repr(str(word)) for word in words)})"
