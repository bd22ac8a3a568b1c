"""docs/failure-modes.md describes the failures that tests are named after, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import campaign_model
from generate import failure_tests
from support.paths import DOCS

PAGE = (DOCS / "failure-modes.md").read_text(encoding="utf-8")
FAILURES = list(range(1, 31))


def test_the_page_describes_all_failures_in_order() -> None:
    assert [int(number) for number in re.findall(r"^### (\d+)\. ", PAGE, re.MULTILINE)] == FAILURES


def test_every_failure_has_a_test_and_every_named_test_a_failure() -> None:
    assert sorted({number for number, _, _ in failure_tests.find_tests()}) == FAILURES


def test_every_module_that_the_page_names_exists() -> None:
    package = Path(campaign_model.__file__).parent
    entries, _, _ = PAGE.partition("## Tests")
    modules = set(re.findall(r"`([\w/]+\.py)`", entries))
    assert modules
    assert [module for module in sorted(modules) if not (package / module).is_file()] == []
