"""The table of tests in docs/failure-modes.md."""

from __future__ import annotations

import re
from collections.abc import Iterator

from support.paths import TESTS

_TEST = re.compile(r"^def (test_failure_(\d\d)_\w+)\(", re.MULTILINE)


def find_tests() -> Iterator[tuple[int, str, str]]:
    """Yield each test that is named after a failure: number, path below tests/, name."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, number in _TEST.findall(path.read_text(encoding="utf-8")):
            yield int(number), path.relative_to(TESTS).as_posix(), name


def table() -> str:
    """List the tests by failure and module."""
    rows = [f"| {number} | `{path}` | `{name}` |" for number, path, name in sorted(find_tests())]
    return "\n".join(("| failure | module | test |", "| --- | --- | --- |", *rows))
