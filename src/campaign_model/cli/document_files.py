"""Checking JSON documents in files for ``campaign-model validate``, and printing what is wrong."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from campaign_model.cli.console import UserError, make_printable, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from campaign_model.errors import Violation

_STANDARD_INPUT = "-"


class Kind(StrEnum):
    """The kinds of document that have a JSON Schema."""

    TEMPLATE_CONFIG = "template_config"
    GENERATION_CONFIG = "generation_config"
    CAMPAIGN_TEMPLATE = "campaign_template"


class CheckedFile(NamedTuple):
    """A file, the kind of document that it was checked as, and its violations."""

    file: str
    kind: Kind
    violations: tuple[Violation, ...]


def check_file(file: str, kind: Kind | None, *, stored: bool) -> CheckedFile:
    """List the violations of the document in ``file``.

    Without ``kind`` the document's shape decides. ``stored`` checks the stored form instead of
    the submitted form. Raise ``UserError`` if the file cannot be read.
    """
    from campaign_model.errors import Violation
    from campaign_model.wire import DEFAULT

    try:
        content = sys.stdin.buffer.read() if file == _STANDARD_INPUT else Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        kind = kind or Kind.TEMPLATE_CONFIG
        violation = Violation("", "not_json", f"{kind}: this is not JSON: it is not UTF-8 text")
        return CheckedFile(file, kind, (violation,))
    kind = kind or _guess_kind(text)
    list_violations = DEFAULT.stored_violations if stored else DEFAULT.violations
    return CheckedFile(file, kind, list_violations(text, kind))


def _guess_kind(text: str) -> Kind:
    """Guess a document's kind from its shape; an array, or text that is not JSON, is steps."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Kind.TEMPLATE_CONFIG
    if not isinstance(document, dict):
        return Kind.TEMPLATE_CONFIG
    if document.keys() & {"id", "name", "steps", "generation_config"}:
        return Kind.CAMPAIGN_TEMPLATE
    return Kind.GENERATION_CONFIG


def print_checked_file(console: Console, checked: CheckedFile) -> None:
    """Print how many violations a document has, and a table of them."""
    file = "standard input" if checked.file == _STANDARD_INPUT else checked.file
    count = len(checked.violations)
    title = make_printable(
        f"{file}: {count or 'no'} violation{'s' * (count != 1)} (as {checked.kind})"
    )
    if not checked.violations:
        console.print(title)
        return
    print_table(
        console,
        ("location", "code", "message"),
        [
            (violation.path or "(document)", violation.code, violation.message)
            for violation in checked.violations
        ],
        title=title,
    )
