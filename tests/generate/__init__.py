"""The generated files: each repeats facts of the code for readers who do not read the code.

``nox -s generate`` writes them; ``nox -s generate -- --check`` only names the files that differ.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from campaign_model import lifecycle
from campaign_model.bundles import bundled_schema
from generate import answers, diagrams, failure_tests, markdown
from generate.sql import checks_sql
from generate.typescript import typescript
from support import differences
from support.paths import ROOT

LIFECYCLE_PARTS = {
    "campaign table": markdown.campaign_table,
    "guards": markdown.guards,
    "permissions": markdown.permissions,
    "contact table": markdown.contact_table,
}

BUNDLES = [
    f"{kind}.{form}"
    for kind in ("template_config", "generation_config", "campaign_template")
    for form in ("submitted", "stored")
]


def bundle_json(name: str, _text: str) -> str:
    """Return what ``campaign-model schema KIND --bundle`` prints."""
    kind, _, form = name.partition(".")
    return json.dumps(bundled_schema(kind, form), indent=2, ensure_ascii=False) + "\n"


FILES: dict[str, Callable[[str], str]] = {
    "docs/checks.postgresql.sql": lambda _: checks_sql("postgresql"),
    "docs/checks.sqlite.sql": lambda _: checks_sql("sqlite"),
    "docs/diagrams/campaign-lifecycle.svg": lambda _: diagrams.campaign_lifecycle(),
    "docs/diagrams/claim-protocol.svg": lambda _: diagrams.claim_protocol(),
    "docs/diagrams/contact-lifecycle.svg": lambda _: diagrams.contact_lifecycle(),
    "docs/diagrams/tables.svg": lambda _: diagrams.library_tables(),
    "docs/documents.md": lambda text: with_parts(text, {"differences": differences.table}),
    "docs/failure-modes.md": lambda text: with_parts(text, {"tests": failure_tests.table}),
    "docs/json.md": lambda text: with_parts(text, {"answers": answers.examples}),
    "docs/lifecycle.md": lambda text: with_parts(text, LIFECYCLE_PARTS),
    "schemas/answers.json": lambda _: answers.text(),
    **{f"schemas/bundles/{name}.schema.json": partial(bundle_json, name) for name in BUNDLES},
    "schemas/campaign-model.d.ts": lambda _: typescript(),
    "schemas/lifecycle.json": lambda _: lifecycle_json(),
}
"""The path of each file, and a function from its present text to its right text."""


def lifecycle_json() -> str:
    """Return what ``campaign-model lifecycle --json`` prints."""
    return json.dumps(lifecycle.to_dict(), indent=2, ensure_ascii=False) + "\n"


def with_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Replace the generated parts of a hand-written page. A part is between two comments.

    Raises ``ValueError`` unless the page has exactly one place for each of ``parts``.
    """
    part = re.compile(
        r"^<!-- generated: ([a-z ]+) -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE
    )
    if sorted(part.findall(text)) != sorted(parts):
        raise ValueError(
            f"the comments <!-- generated: NAME --> and <!-- end --> must enclose each of "
            f"{', '.join(parts)} once; they enclose {', '.join(part.findall(text)) or 'nothing'}"
        )
    return part.sub(
        lambda match: f"<!-- generated: {match[1]} -->\n\n{parts[match[1]]()}\n\n<!-- end -->", text
    )


def differing(root: Path) -> dict[Path, str]:
    """Return the files under ``root`` that differ from their right text, and that text."""
    right_texts = {}
    for name, right_text in FILES.items():
        path = root / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != right_text(text):
            right_texts[path] = right_text(text)
    return right_texts


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the files that differ under ``root``, or only name them. Return the exit code."""
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if any differ")
    check = parser.parse_args(arguments).check
    files = differing(root)
    for path, text in files.items():
        result = "differs; run nox -s generate" if check else "written"
        sys.stdout.write(f"{path.relative_to(root)}: {result}\n")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int(check and bool(files))
