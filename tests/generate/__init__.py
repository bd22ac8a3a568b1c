"""Files that repeat what stands elsewhere, written from there, so that nobody says a thing twice.

``nox -s generate`` writes them; ``nox -s generate -- --check`` names those that differ instead.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from campaign_model import lifecycle
from generate import failure_tests, markdown
from generate.sql import checks_sql
from generate.typescript import typescript
from support import differences
from support.paths import ROOT

LIFECYCLE_PARTS = {
    "campaign diagram": markdown.campaign_diagram,
    "campaign table": markdown.campaign_table,
    "guards": markdown.guards,
    "permissions": markdown.permissions,
    "contact diagram": markdown.contact_diagram,
    "contact table": markdown.contact_table,
}

FILES: dict[str, Callable[[str], str]] = {
    "docs/checks.postgresql.sql": lambda _: checks_sql("postgresql"),
    "docs/checks.sqlite.sql": lambda _: checks_sql("sqlite"),
    "docs/documents.md": lambda text: with_parts(text, {"differences": differences.table}),
    "docs/failure-modes.md": lambda text: with_parts(text, {"tests": failure_tests.table}),
    "docs/lifecycle.md": lambda text: with_parts(text, LIFECYCLE_PARTS),
    "schemas/campaign-model.d.ts": lambda _: typescript(),
    "schemas/lifecycle.json": lambda _: lifecycle_json(),
}
"""Each file, and what it should hold, given what it holds."""


def lifecycle_json() -> str:
    """What ``campaign-model lifecycle --json`` prints."""
    return json.dumps(lifecycle.to_dict(), indent=2, ensure_ascii=False) + "\n"


def with_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """``text``, written by people, with each of ``parts`` in its place, between two comments.

    Raises ``ValueError`` unless there is one place for each of them and no other.
    """
    place = re.compile(
        r"^<!-- generated: ([a-z ]+) -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE
    )
    if sorted(place.findall(text)) != sorted(parts):
        raise ValueError(
            f"<!-- generated: ... --> and <!-- end --> should enclose each of {', '.join(parts)} "
            f"once, and enclose {', '.join(place.findall(text)) or 'nothing'}"
        )
    return place.sub(
        lambda found: f"<!-- generated: {found[1]} -->\n\n{parts[found[1]]()}\n\n<!-- end -->", text
    )


def differing(root: Path) -> dict[Path, str]:
    """The files under ``root`` that are not as they should be, and what they should hold."""
    found = {}
    for name, wanted in FILES.items():
        path = root / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != wanted(text):
            found[path] = wanted(text)
    return found


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write what differs under ``root``, or only name it; the exit code."""
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if any differ")
    check = parser.parse_args(arguments).check
    files = differing(root)
    for path, text in files.items():
        done = "differs; run nox -s generate" if check else "written"
        sys.stdout.write(f"{path.relative_to(root)}: {done}\n")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(files))
