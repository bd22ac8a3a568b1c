"""Running the store contract as a service does: by pytest, in a directory of the service's own."""

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
"""Where the library under test is imported from."""

_OUTCOME = re.compile(r"^(FAILED|ERROR) \S*::(\S+)", re.MULTILINE)


def run_pytest(
    directory: Path, *arguments: str, source: Path = INSTALLED
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory of a service, with the library in ``source``."""
    # Of a copy, coverage would look for the source when it is gone.
    unwanted = ("PYTEST_ADDOPTS",) if source == INSTALLED else ("PYTEST_ADDOPTS", "COVERAGE_")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(unwanted)
    }
    # Other plugins that happen to be installed take as long to load as all the rest.
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
) -> subprocess.CompletedProcess[str]:
    """Run the contract, or some ``tests`` of it, with the library in ``source``."""
    return run_pytest(
        directory,
        *("-p", "campaign_model.testing.plugin", "--pyargs"),
        *([f"{PACKAGE}.{test}" for test in tests] or [PACKAGE]),
        *([] if url is None else [f"--campaign-model-url={url}"]),
        *arguments,
        source=source,
    )


def documented(beginning: str) -> str:
    """The block of Python in the guide that begins so."""
    guide = (DOCS / "testing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(beginning)]
    return str(block)


def failures(output: str) -> dict[str, set[str]]:
    """The names of the tests in the summary at the end: those that failed, and errors.

    (Of a module named on the command line, pytest tells no path.)
    """
    found: dict[str, set[str]] = {"FAILED": set(), "ERROR": set()}
    for outcome, test in _OUTCOME.findall(output):
        found[outcome].add(test)
    return found
