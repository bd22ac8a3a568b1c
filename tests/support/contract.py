"""Run the store contract as a service does: with pytest, in a directory of the service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import campaign_model
from support.paths import DOCS

PACKAGE = "campaign_model.testing.contract"
INSTALLED = Path(campaign_model.__file__).parents[1]
"""The directory from which the library under test is imported."""

_OUTCOME = re.compile(r"^(FAILED|ERROR) \S*::(\S+)", re.MULTILINE)


def run_pytest(
    directory: Path, *arguments: str, source: Path = INSTALLED, measure: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory of a service, with the library in ``source``.

    ``measure=False`` measures no coverage.
    """
    # Coverage would look for the source of a copy after the copy was removed.
    measure = measure and source == INSTALLED
    unwanted = ("PYTEST_ADDOPTS",) if measure else ("PYTEST_ADDOPTS", "COVERAGE_")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(unwanted)
    }
    # Other installed plugins would double the start-up time.
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(source)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def run(
    directory: Path,
    url: str | None,
    *arguments: str,
    source: Path = INSTALLED,
    tests: tuple[str, ...] = (),
    measure: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run the contract, or only some ``tests``, with the library in ``source``."""
    return run_pytest(
        directory,
        # The oldest pytest reads the configuration of this repository if the library is installed
        # below it, and does not know all of its options.
        *("-W", "ignore::pytest.PytestConfigWarning"),
        *("-p", "campaign_model.testing.plugin", "--pyargs"),
        *([f"{PACKAGE}.{test}" for test in tests] or [PACKAGE]),
        *([] if url is None else [f"--campaign-model-url={url}"]),
        *arguments,
        source=source,
        measure=measure,
    )


def documented(beginning: str, page: str = "testing.md") -> str:
    """Return the Python block of a page of the docs that starts with ``beginning``."""
    guide = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(beginning)]
    return str(block)


def failures(output: str) -> dict[str, set[str]]:
    """Return the names of failed tests and of tests with errors from pytest's summary."""
    tests: dict[str, set[str]] = {"FAILED": set(), "ERROR": set()}
    for outcome, test in _OUTCOME.findall(output):
        tests[outcome].add(test)
    return tests
